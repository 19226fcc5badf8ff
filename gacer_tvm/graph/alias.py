"""Which kernels only give bytes another shape, so that they need not run at all.

Proved from index expressions: the element written at flattened position p is the one read at flattened position p.
"""

from __future__ import annotations

from typing import Any

from .._tvm import Analyzer, expr_ir, tir, tvm, tvm_ffi
from .tir_blocks import OpaqueFunction, leaf_blocks, shape_of

__all__ = ["is_reshape"]


def is_reshape(func: Any) -> bool:
    """Whether a PrimFunc of one input and one output is the identity on the bytes."""
    if len(func.params) != 2:
        return False
    source, result = func.params
    try:
        if str(source.ty.dtype) != str(result.ty.dtype):
            return False
        blocks = leaf_blocks(func)
        if len(blocks) != 1 or len(blocks[0].stores) != 1 or blocks[0].guards or blocks[0].inner:
            return False
        store = blocks[0].stores[0]
        if not isinstance(store.value, expr_ir.TensorLoad) or not store.value.source.same_as(source):
            return False
        shapes = shape_of(source), shape_of(result)
    except OpaqueFunction:
        return False
    if _size(shapes[0]) != _size(shapes[1]) or blocks[0].points != _size(shapes[1]):
        return False
    analyzer = Analyzer()
    for var, extent in blocks[0].iters.items():
        analyzer.bind(var, tvm.ir.Range(0, extent))
    read = analyzer.simplify(_flat(store.value.indices, shapes[0]))
    written = analyzer.simplify(_flat(store.indices, shapes[1]))
    return bool(tvm_ffi.structural_equal(read, written) or analyzer.can_prove_equal(read, written))


def _size(shape: tuple[int, ...]) -> int:
    size = 1
    for dim in shape:
        size *= dim
    return size


def _flat(indices: Any, shape: tuple[int, ...]) -> Any:
    total: Any = tir.IntImm("int64", 0)
    for index, dim in zip(indices, shape):
        total = total * tir.IntImm("int64", dim) + tir.Cast("int64", index)
    return total
