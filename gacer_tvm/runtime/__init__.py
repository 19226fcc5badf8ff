"""Runtime stage: a launch plan replayed on CPU threads, CUDA streams, or nothing at all."""

from __future__ import annotations

from .cpu import CpuSession, usable_cores
from .memory import Constants, HostMemory
from .null import NullRuntime

__all__ = ["Constants", "CpuSession", "HostMemory", "NullRuntime", "usable_cores"]
