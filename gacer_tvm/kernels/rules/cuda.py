"""CUDA kernels by TVM's dlight rules, one function and one rule at a time; a crash costs nothing.

Whatever dlight leaves, `threads` takes: a nest that is not bound to threads would become host code, which crashes on its
first access to device memory.
"""

from __future__ import annotations

from typing import Any

from ..._tvm import tir, tvm
from ..intrinsics import load_tensor_intrinsics
from .base import NotApplicable

__all__ = ["NAMES", "apply", "check_bound", "threads"]

# dlight's order: the specific rules first; its Fallback binds any injective or reduction block to threads.
NAMES = ("Matmul", "GEMV", "Reduction", "GeneralReduction", "Transpose", "Fallback")
_THREADS = 128


def apply(name: str, func: tir.PrimFunc, target: tvm.target.Target) -> tir.PrimFunc:
    """Apply dlight's GPU rule `name` to `func`.

    Raises
    ------
    NotApplicable
        The rule declined; any other exception is the rule's own failure.
    """
    from tvm.s_tir import dlight

    if name == "Matmul" and not all(str(p.ty.dtype) in ("float32", "float64") for p in func.params if hasattr(p.ty, "shape")):
        load_tensor_intrinsics()
    with target:
        made = getattr(dlight.gpu, name)().apply(func, target, False)
    if made is None:
        raise NotApplicable(name)
    if isinstance(made, list):
        made = made[0]
    scheduled = made.mod["main"]
    check_bound(scheduled, name)
    return scheduled


def check_bound(func: tir.PrimFunc, name: str) -> None:
    """Refuse a function of which a part would run on the host: every nest at the top has to be bound to threads.

    Raises
    ------
    NotApplicable
        If one is not.
    """
    if not all(_bound(nest) for nest in _nests(func)):
        raise NotApplicable(f"{name} left a loop nest that is not bound to threads")


def threads(func: tir.PrimFunc) -> tir.PrimFunc:
    """One thread for each element that a block computes, its reductions and nested blocks in that thread.

    Raises
    ------
    NotApplicable
        If the function is not blocks in nests of loops that run over their spatial axes first.
    """
    sch = tvm.s_tir.Schedule(func)
    for block in sch.get_child_blocks(sch.get_sblock("root")):
        loops = list(sch.get_loops(block))
        kinds = [var.iter_type for var in sch.get(block).iter_vars]
        spatial = 0
        while spatial < min(len(loops), len(kinds)) and kinds[spatial] == tir.IterVar.DataPar:
            spatial += 1
        if len(loops) != len(kinds) or any(kind == tir.IterVar.DataPar for kind in kinds[spatial:]):
            raise NotApplicable("its loops are not those of its block's axes, spatial ones first")
        if not loops:
            sch.add_unit_loop(block)
            loops, spatial = list(sch.get_loops(block)), 1
        elif not spatial:
            loops, spatial = [sch.add_unit_loop(loops[0])], 1
        outer, inner = sch.split(sch.fuse(*loops[:spatial]) if spatial > 1 else loops[0], factors=[None, _THREADS])
        sch.bind(outer, "blockIdx.x")
        sch.bind(inner, "threadIdx.x")
    made = sch.mod["main"]
    check_bound(made, "threads")
    return made


def _nests(func: tir.PrimFunc) -> list[Any]:
    body = func.body
    if isinstance(body, tvm.s_tir.SBlockRealize):
        body = body.block.body
    return list(body.seq) if isinstance(body, tir.SeqStmt) else [body]


def _bound(nest: Any) -> bool:
    while isinstance(nest, tir.For):
        if nest.kind == tir.ForKind.THREAD_BINDING:
            return True
        nest = nest.body
    return False
