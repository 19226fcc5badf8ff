"""Type rules: for each operator, the type of its result from the types of its operands and its attributes.

A rule also fills in the types of operands that nobody stated (weights made by `relay.var("w")`), as TVM's did.
"""

from __future__ import annotations

from gacer_tvm.relay.rules import conv, create, elementwise, image, indexing, nn, pool, qnn, reduce, transform, vision
from gacer_tvm.relay.rules.registry import RULES, Rule

__all__ = [
    "RULES",
    "Rule",
    "conv",
    "create",
    "elementwise",
    "image",
    "indexing",
    "nn",
    "pool",
    "qnn",
    "reduce",
    "transform",
    "vision",
]
