"""Converters: for each operator, the Relax expressions that compute what Relay's did.

A converter uses the Relax operator of the same meaning where there is one, else several primitive Relax operators, and
a tensor expression of TVM's own library (`topi`) where neither says it well.
"""

from __future__ import annotations

from gacer_tvm.relay.convert import (
    conv,
    create,
    elementwise,
    image,
    indexing,
    layout,
    nn,
    pool,
    qnn,
    reduce,
    requantize,
    transform,
    vision,
)
from gacer_tvm.relay.convert.emitter import Emitter
from gacer_tvm.relay.convert.registry import CONVERTERS

__all__ = [
    "CONVERTERS",
    "Emitter",
    "conv",
    "create",
    "elementwise",
    "image",
    "indexing",
    "layout",
    "nn",
    "pool",
    "qnn",
    "reduce",
    "requantize",
    "transform",
    "vision",
]
