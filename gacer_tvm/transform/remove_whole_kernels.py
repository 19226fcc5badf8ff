"""The last step before compiling: kernels that main does not call are dropped."""

from __future__ import annotations

from typing import Any

from .._tvm import expr_ir, tir, tvm, tvm_ffi

__all__ = ["RemoveWholeKernels"]


@tvm.transform.module_pass(opt_level=0, name="RemoveWholeKernels")
class RemoveWholeKernels:
    """Drops the kernels of whole batches that `SplitOperators` kept although only chunks of them are called.

    Rewrite
    -------
    ::

        {main, a__conv2d, a__conv2d__items3, a__conv2d__items5}   →   {main, a__conv2d__items3, a__conv2d__items5}

    Afterwards the module can no longer be read as a graph (`graph.read.read_graph`).
    """

    def transform_module(self, module: Any, context: Any) -> Any:
        called: set[str] = set()
        tvm_ffi.structural_walk(
            module["main"], (expr_ir.GlobalVar, lambda gv: called.add(gv.name_hint)), order="pre"
        )
        kept = {
            gv: func
            for gv, func in module.functions.items()
            if not isinstance(func, tir.PrimFunc) or gv.name_hint in called
        }
        return tvm.IRModule(kept, attrs=module.attrs)
