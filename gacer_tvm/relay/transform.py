"""The few passes that scripts which only build models need: `relay.transform`.

Everything else that TVM's Relay passes did (fusion, folding, layout changes) happens on the Relax side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from gacer_tvm.relay.ast import IRModule
from gacer_tvm.relay.infer import infer_types

__all__ = ["InferType", "Sequential"]


class InferType:
    """Fills in the types of all expressions: `relay.transform.InferType()(module)`."""

    def __call__(self, module: IRModule) -> IRModule:
        return infer_types(module)


class Sequential:
    """Passes applied one after the other."""

    def __init__(self, passes: Iterable[Callable[[IRModule], IRModule]]) -> None:
        self.passes = tuple(passes)

    def __call__(self, module: IRModule) -> IRModule:
        for item in self.passes:
            module = item(module)
        return module
