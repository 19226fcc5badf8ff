"""Quantized operators: `relay.qnn.op`."""

from __future__ import annotations

from gacer_tvm.relay.qnn import op

__all__ = ["op"]
