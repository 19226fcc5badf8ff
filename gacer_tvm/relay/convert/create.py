"""Converters of the operators that make tensors: constants, ranges, grids, masks and shapes as numbers."""

from __future__ import annotations

import typing

import numpy as np

from gacer_tvm._tvm import relax, topi
from gacer_tvm.relay.convert.emitter import Emitter, Rx
from gacer_tvm.relay.convert.registry import converter
from gacer_tvm.relay.dims import RuleError, normalize_axis
from gacer_tvm.relay.types import TensorType, TupleType
from gacer_tvm.relay.values import OpCall

__all__ = ["static_shape"]


def static_shape(call: OpCall, what: str = "the result's shape") -> tuple[int, ...]:
    """The result's shape in numbers; refuses one that is known only at run time."""
    out = typing.cast(TensorType, call.out)
    if not out.is_static:
        raise RuleError(f"{what} must be known before running, found {out}")
    return typing.cast("tuple[int, ...]", out.shape)


@converter("broadcast_to", "dyn.broadcast_to")
def _broadcast_to(e: Emitter, call: OpCall, data: Rx, _shape: Rx = None) -> Rx:
    return relax.op.broadcast_to(data, list(static_shape(call)))


@converter("broadcast_to_like")
def _broadcast_to_like(e: Emitter, call: OpCall, data: Rx, like: Rx) -> Rx:
    return relax.op.broadcast_to(data, e.shape(e.emit(like)))


@converter("zeros", "ones", "dyn.zeros", "dyn.ones")
def _init(e: Emitter, call: OpCall, _shape: Rx = None) -> Rx:
    function = relax.op.zeros if call.name.endswith("zeros") else relax.op.ones
    return function(list(static_shape(call)), typing.cast(TensorType, call.out).dtype)


@converter("full", "dyn.full")
def _full(e: Emitter, call: OpCall, value: Rx, _shape: Rx = None) -> Rx:
    dtype = typing.cast(TensorType, call.out).dtype
    return relax.op.full(list(static_shape(call)), e.cast(e.reshape(value, []), dtype), dtype)


@converter("arange")
def _arange(e: Emitter, call: OpCall, *_bounds: Rx) -> Rx:
    start, _, step = (
        call.constant(index, what).reshape(-1)[0].item() for index, what in enumerate(("start", "end", "step"))
    )
    dtype = typing.cast(TensorType, call.out).dtype
    count = static_shape(call)[0]
    if count > 65536:
        ends = [
            value if isinstance(value, int) else e.prim(value, dtype) for value in (start, start + step * count, step)
        ]
        return relax.op.arange(*ends, dtype)
    # A range is known before running; as a constant it costs no kernel.
    numbers = start + step * np.arange(count, dtype="float64" if dtype.startswith(("float", "bfloat")) else "int64")
    return e.const(numbers, dtype)


@converter("meshgrid")
def _meshgrid(e: Emitter, call: OpCall, parts: list[Rx]) -> typing.Any:
    outs = typing.cast(TupleType, call.out).fields
    swap = call.attr("indexing", "ij") == "xy" and len(parts) > 1
    result = []
    for index, part in enumerate(parts):
        shape = typing.cast(TensorType, outs[index]).shape
        axis = 1 - index if swap and index < 2 else index
        vector = e.along(e.reshape(part, [-1]), axis, len(shape))
        result.append(relax.op.broadcast_to(vector, [int(typing.cast(int, dim)) for dim in shape]))
    return tuple(result)


@converter("one_hot", "dyn.one_hot")
def _one_hot(e: Emitter, call: OpCall, indices: Rx, on_value: Rx, off_value: Rx, _depth: Rx = None) -> Rx:
    out = typing.cast(TensorType, call.out)
    axis = normalize_axis(call.attr("axis", -1), len(out.shape))
    on, off = call.const(1), call.const(2)
    depth = int(typing.cast(int, out.shape[axis]))
    if on is not None and off is not None and call.dtype(0) in ("int32", "int64"):
        numbers = (e.prim(value.reshape(-1)[0].item(), out.dtype) for value in (on, off))
        return relax.op.one_hot(indices, *numbers, depth, axis)
    places = e.numbers(depth, call.dtype(0))
    spread = e.emit(relax.op.expand_dims(indices, [axis]), "expand_dims")
    hit = e.emit(relax.op.equal(spread, e.along(places, axis, len(out.shape))), "equal")
    on_value, off_value = (e.cast(e.reshape(value, []), out.dtype) for value in (on_value, off_value))
    return relax.op.where(hit, on_value, off_value)


@converter("shape_of", "vm.shape_of", "ndarray_size", "contrib.ndarray_size")
def _shape_of(e: Emitter, call: OpCall, data: Rx) -> Rx:
    shape = e.emit(relax.op.shape_to_tensor(e.emit(relax.op.shape_of(data))))
    if call.name.endswith("ndarray_size"):
        shape = e.emit(relax.op.prod(shape))
    return e.cast(shape, typing.cast(TensorType, call.out).dtype)


@converter("matrix_set_diag")
def _matrix_set_diag(e: Emitter, call: OpCall, data: Rx, diagonal: Rx) -> Rx:
    lower, upper = int(call.attr("k1", 0)), int(call.attr("k2", 0))
    sides = tuple("right" if call.attr(name, default) else "left" for name, default in (
        ("super_diag_right_align", True), ("sub_diag_right_align", False)))  # fmt: skip
    align = f"{sides[0].upper()}_{sides[1].upper()}"
    return e.te(topi.matrix_set_diag, data, diagonal, (lower, upper), align, name="matrix_set_diag")


@converter("trilu")
def _trilu(e: Emitter, call: OpCall, data: Rx, _k: Rx) -> Rx:
    function = relax.op.triu if call.attr("upper", True) else relax.op.tril
    return function(data, call.ints(1, "k")[0])


@converter("invert_permutation")
def _invert_permutation(e: Emitter, call: OpCall, data: Rx) -> Rx:
    # The inverse of a permutation is what sorts it.
    return e.cast(relax.op.argsort(data, 0, False, "int32"), call.dtype(0))


@converter("sequence_mask")
def _sequence_mask(e: Emitter, call: OpCall, data: Rx, lengths: Rx) -> Rx:
    axis, rank = int(call.attr("axis", 0)), call.rank(0)
    size = call.shape(0)[axis]
    if not isinstance(size, int):
        raise RuleError("the length of sequences must be known before running")
    places = e.along(e.numbers(size, call.dtype(1)), axis, rank)
    valid = e.emit(relax.op.less(places, e.along(lengths, 1 - axis, rank)), "less")
    return relax.op.where(valid, data, e.const(float(call.attr("mask_value", 0.0)), call.dtype(0)))
