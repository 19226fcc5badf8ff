"""What the loop nests of an unscheduled kernel tell: points, loads by how they move, operations by kind."""

from __future__ import annotations

import math
from typing import Any

from .._tvm import expr_ir, tir
from ..graph.tir_blocks import OpaqueFunction, leaf_blocks, shape_of
from ..graph.work import nbytes
from ..kernels.indices import children

__all__ = ["OpaqueFunction", "body_facts"]

_SLOW = frozenset({
    "exp", "exp2", "exp10", "erf", "tanh", "sigmoid", "log", "log2", "log10", "log1p", "sqrt", "rsqrt", "pow", "sin", "cos",
    "tan", "atan", "atan2",
})  # fmt: skip


def body_facts(func: Any) -> dict[str, Any]:
    """The fields of `gacer_tvm.cost.facts.Facts` that an unscheduled function's loop nests tell.

    Raises
    ------
    OpaqueFunction
        Where it is no sequence of plain loop nests.
    """
    blocks = leaf_blocks(func)
    params = list(func.params)
    found: dict[str, Any] = {"opaque": 0, "nests": len(blocks), "points": float(sum(b.points for b in blocks))}
    counts = dict.fromkeys(("multiply", "divide", "compare", "cast", "slow"), 0.0)
    inside: dict[Any, int] = {}
    useful = 1.0
    for block in blocks:
        for store, times in zip(block.stores, block.times):
            guarded = [load for load, under in _loads(store.value) if under]
            if guarded and len(block.stores) == 1:
                kept = min(math.prod(shape_of(load.source)) for load in guarded)
                useful = min(useful, kept / max(1, block.points))
            for kind, count in _count(store.value).items():
                counts[kind] += count * block.points * times
            if not any(store.buffer.same_as(p) for p in params) and store.buffer not in inside:
                inside[store.buffer] = nbytes(shape_of(store.buffer), str(store.buffer.ty.dtype))
    found.update(counts, temporary=float(sum(inside.values())), useful=useful)
    if blocks:
        found.update(_of_main(max(blocks, key=lambda b: b.points * max(b.times, default=1))))
    return found


def _of_main(block: Any) -> dict[str, Any]:
    spatial = [block.iters[v] for v in block.spatial]
    across = [(v, e) for v, e in block.iters.items() if v not in block.spatial and e > 1]
    area = math.prod(spatial)
    last = next((v for v in reversed(block.spatial) if block.iters[v] > 1), None)
    loads = contiguous = broadcast = gathers = guarded = 0
    for store in block.stores:
        for load, under in _loads(store.value):
            loads += 1
            guarded += under
            moves = [n for n, index in enumerate(load.indices) if last is not None and _uses(index, last)]
            gathers += any(_loads(index) for index in load.indices)
            broadcast += not moves
            contiguous += moves == [len(load.indices) - 1] and load.indices[-1].same_as(last)
    return {
        "main": float(block.points),
        "spatial": float(area),
        "reduction": block.points / max(1, area),
        "reductions": len(across),
        "reduction_last": across[-1][1] if across else 1,
        "reduction_most": max((e for _, e in across), default=1),
        "inner": block.iters[last] if last is not None else 1,
        "outer": max((block.iters[v] for v in block.spatial if v is not last), default=1),
        "dims": sum(e > 1 for e in spatial),
        "loads": loads,
        "contiguous": contiguous,
        "broadcast": broadcast,
        "gathers": gathers,
        "guarded": guarded,
    }


def _count(expr: Any) -> dict[str, int]:
    """Operations of an expression by kind, index arithmetic left out."""
    found = dict.fromkeys(("multiply", "divide", "compare", "cast", "slow"), 0)
    pending = [expr]
    while pending:
        node = pending.pop()
        if isinstance(node, expr_ir.TensorLoad):
            continue
        if isinstance(node, tir.Mul):
            found["multiply"] += 1
        elif isinstance(node, tir.Div | tir.Mod | tir.FloorDiv | tir.FloorMod):
            found["divide"] += 1
        elif isinstance(node, tir.Min | tir.Max | tir.LT | tir.LE | tir.GT | tir.GE | tir.EQ | tir.NE | tir.Select):
            found["compare"] += 1
        elif isinstance(node, tir.Cast):
            found["cast"] += 1
        elif isinstance(node, expr_ir.Call):
            name = str(getattr(node.op, "name", "")).rpartition(".")[2]
            if name == "if_then_else":
                found["compare"] += 1
                pending.extend(node.args[1:])  # the condition is index arithmetic
                continue
            found["slow"] += name in _SLOW
        pending.extend(children(node))
    return found


def _loads(expr: Any, under: bool = False) -> list[tuple[Any, bool]]:
    """Loads of an expression, those in indices left out, and whether each stands under a condition."""
    if isinstance(expr, expr_ir.TensorLoad):
        return [(expr, under)]
    found = []
    guard = isinstance(expr, expr_ir.Call) and str(getattr(expr.op, "name", "")).endswith("if_then_else")
    for child in children(expr):
        found += _loads(child, under or guard)
    return found


def _uses(expr: Any, variable: Any) -> bool:
    if isinstance(expr, expr_ir.TensorLoad):  # what is looked up moves as it likes
        return False
    if isinstance(expr, expr_ir.Var):
        return bool(expr.same_as(variable))
    return any(_uses(child, variable) for child in children(expr))
