"""CUDA kernels by TVM's dlight rules, one function and one rule at a time; a crash costs nothing."""

from __future__ import annotations

from typing import Any

from ..._tvm import tir, tvm
from .base import NotApplicable

__all__ = ["NAMES", "apply"]

# dlight's order: the specific rules first; its Fallback binds any injective or reduction block to threads.
NAMES = ("Matmul", "GEMV", "Reduction", "GeneralReduction", "Transpose", "Fallback")


def apply(name: str, func: tir.PrimFunc, target: tvm.target.Target) -> tir.PrimFunc:
    """Apply dlight's GPU rule `name` to `func`.

    Raises
    ------
    NotApplicable
        The rule declined; any other exception is the rule's own failure.
    """
    from tvm.s_tir import dlight

    with target:
        made = getattr(dlight.gpu, name)().apply(func, target, False)
    if made is None:
        raise NotApplicable(name)
    if isinstance(made, list):
        made = made[0]
    scheduled = made.mod["main"]
    # Host code must not touch device memory: every nest at the top has to be bound to threads.
    if not all(_bound(nest) for nest in _nests(scheduled)):
        raise NotApplicable(f"{name} left a loop nest that is not bound to threads")
    return scheduled


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
