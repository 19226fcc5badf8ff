"""How much work a kernel does, counted from its TIR: arithmetic operations and bytes moved.

Every arithmetic node that depends on a loaded value counts once per iteration of its block (a multiply-accumulate is
two); index arithmetic and bounds conditions do not count. Bytes are those of each distinct element touched, once: a
cache that keeps nothing more than that is what the roofline assumes.
"""

from __future__ import annotations

from typing import Any

from .._tvm import expr_ir, tir
from .model import Chunking, Work
from .tir_blocks import OpaqueFunction, leaf_blocks, shape_of

__all__ = ["count_work", "itemsize", "nbytes"]

_ARITHMETIC = (tir.Add, tir.Sub, tir.Mul, tir.Div, tir.Mod, tir.FloorDiv, tir.FloorMod, tir.Min, tir.Max)
_COMPARISON = (tir.LT, tir.LE, tir.GT, tir.GE, tir.EQ, tir.NE, tir.And, tir.Or)


def itemsize(dtype: str) -> int:
    """Bytes of one element of a TVM dtype (``bool`` is one byte)."""
    digits = "".join(c for c in dtype.split("x")[0].split("_")[0] if c.isdigit())
    bits = 8 if dtype == "bool" else int(digits[:2] if dtype.startswith("float8") else digits or 8)
    return max(1, (bits + 7) // 8)


def nbytes(shape: tuple[int, ...], dtype: str) -> int:
    """Bytes of a dense tensor."""
    size = itemsize(dtype)
    for dim in shape:
        size *= dim
    return size


def count_work(func: Any, chunking: Chunking) -> Work:
    """Count the work of an unscheduled PrimFunc.

    Parameters
    ----------
    func
        The PrimFunc; for an opaque one a single operation per element of its largest parameter is assumed.
    chunking
        Says which parameters have the batch.
    """
    sizes = [nbytes(shape_of(p), str(p.ty.dtype)) for p in func.params]
    touched = dict(zip(func.params, sizes))
    try:
        flops = 0.0
        reach: dict[Any, int] = {}
        for block in leaf_blocks(func):
            points = [block.points * times for times in block.times]
            flops += sum(n * _operations(store.value)[0] for n, store in zip(points, block.stores))
            for access, _ in block.accesses():
                if access.buffer in touched:
                    size = max(points, default=0) * itemsize(str(access.buffer.ty.dtype))
                    reach[access.buffer] = reach.get(access.buffer, 0) + size
        # A gather (an embedding) reads far less than the table that it reads from.
        touched = {p: min(size, reach.get(p, size)) for p, size in touched.items()}
    except OpaqueFunction:
        flops = float(max((size // itemsize(str(p.ty.dtype)) for p, size in touched.items()), default=0))
    batched = sum(touched[p] for p, rows in zip(func.params, chunking.rows) if rows)
    return Work(flops, batched, sum(touched.values()) - batched)


def _operations(expr: Any) -> tuple[int, bool]:
    """Arithmetic operations on loaded values in `expr`, and whether it depends on any."""
    if isinstance(expr, expr_ir.TensorLoad):
        return 0, True
    if isinstance(expr, _ARITHMETIC + _COMPARISON):
        left, right = _operations(expr.a), _operations(expr.b)
        depends = left[1] or right[1]
        return left[0] + right[0] + (1 if depends else 0), depends
    if isinstance(expr, tir.Cast):
        return _operations(expr.value)
    if isinstance(expr, tir.Not):
        return _operations(expr.a)
    if isinstance(expr, tir.Select):
        parts = [_operations(e) for e in (expr.condition, expr.true_value, expr.false_value)]
        return sum(p[0] for p in parts) + (1 if parts[0][1] else 0), any(p[1] for p in parts)
    if isinstance(expr, expr_ir.Call):
        parts = [_operations(a) for a in expr.args]
        depends = any(p[1] for p in parts)
        structural = str(getattr(expr.op, "name", "")).rpartition(".")[2] in ("if_then_else", "reinterpret", "likely")
        return sum(p[0] for p in parts) + (1 if depends and not structural else 0), depends
    return 0, False
