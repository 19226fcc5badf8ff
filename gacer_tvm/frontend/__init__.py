"""Frontend stage: Relax, torch.export, ONNX and Relay models become tenants of one form."""

from __future__ import annotations

from .check import check_inputs
from .normalize import normalize
from .signature import TensorSpec
from .tenant import Tenant

__all__ = ["Tenant", "TensorSpec", "check_inputs", "normalize"]
