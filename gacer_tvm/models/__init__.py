"""The networks that tests and benchmarks build: seeded random weights, outputs of ordinary size.

They are PyTorch modules (torchvision's, and a small LSTM and BERT encoder of our own), so PyTorch is needed:
``pip install 'gacer-tvm[torch]'``.
"""

from __future__ import annotations

from .zoo import MODELS, MORE_MODELS, SETS, tenant, torch_model

__all__ = ["MODELS", "MORE_MODELS", "SETS", "tenant", "torch_model"]
