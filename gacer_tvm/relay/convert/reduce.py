"""Converters of reductions, scans and sorting."""

from __future__ import annotations

import typing

from gacer_tvm._tvm import relax, topi
from gacer_tvm.relay.convert.emitter import Emitter, Rx
from gacer_tvm.relay.convert.registry import converter
from gacer_tvm.relay.dims import RuleError, normalize_axes, normalize_axis, product
from gacer_tvm.relay.types import TensorType, TupleType
from gacer_tvm.relay.values import OpCall


def _axes(call: OpCall) -> list[int]:
    return list(normalize_axes(call.attr("axis"), call.rank(0), bool(call.attr("exclude", False))))


@converter("sum", "mean", "max", "min", "prod")
def _reduce(e: Emitter, call: OpCall, data: Rx) -> Rx:
    axes = _axes(call)
    if not axes:
        return data
    return getattr(relax.op, call.name)(data, axes, bool(call.attr("keepdims", False)))


@converter("all", "any")
def _logical(e: Emitter, call: OpCall, data: Rx) -> Rx:
    axes = _axes(call)
    if not axes:
        return data
    # Relax reduces no booleans: all is the least of zeros and ones, any the greatest.
    reduce = relax.op.min if call.name == "all" else relax.op.max
    return e.cast(e.emit(reduce(e.cast(data, "int8"), axes, bool(call.attr("keepdims", False)))), "bool")


@converter("variance")
def _variance(e: Emitter, call: OpCall, data: Rx, mean: Rx) -> Rx:
    axes, dtype = _axes(call), call.dtype(0)
    apart = e.subtract(data, mean)
    squares = e.emit(relax.op.sum(e.multiply(apart, apart), axes, bool(call.attr("keepdims", False))))
    count = product(call.shape(0)[axis] for axis in axes)
    if not isinstance(count, int):
        raise RuleError("the variance over dimensions that are not known is not supported")
    return relax.op.divide(squares, e.const(count - 1 if call.attr("unbiased", False) else count, dtype))


@converter("argmax", "argmin")
def _arg_reduce(e: Emitter, call: OpCall, data: Rx) -> Rx:
    axes, rank = _axes(call), call.rank(0)
    keepdims = bool(call.attr("keepdims", False))
    dtype = typing.cast(TensorType, call.out).dtype
    if call.attr("select_last_index", False) or 1 < len(axes) < rank:
        function = topi.argmax if call.name == "argmax" else topi.argmin
        last = bool(call.attr("select_last_index", False))
        return e.cast(e.te(function, data, axes, keepdims, last, name=call.name), dtype)
    axis = axes[0] if len(axes) == 1 else None
    return e.cast(getattr(relax.op, call.name)(data, axis, keepdims), dtype)


@converter("cumsum", "cumprod")
def _scan(e: Emitter, call: OpCall, data: Rx) -> Rx:
    out = typing.cast(TensorType, call.out)
    axis = call.attr("axis")
    if axis is None:
        data, axis = e.reshape(data, [-1]), 0
    function = relax.op.cumsum if call.name == "cumsum" else relax.op.cumprod
    return function(data, int(axis), out.dtype, bool(call.attr("exclusive", False)))


@converter("sort")
def _sort(e: Emitter, call: OpCall, data: Rx) -> Rx:
    return relax.op.sort(data, call.attr("axis", -1), descending=not call.attr("is_ascend", True))


@converter("argsort")
def _argsort(e: Emitter, call: OpCall, data: Rx) -> Rx:
    dtype = typing.cast(TensorType, call.out).dtype
    # The kernel's indices are int32 or float32 in memory order; other types come by a cast.
    found = relax.op.argsort(data, call.attr("axis", -1), not call.attr("is_ascend", True), _index_dtype(dtype))
    return e.cast(found, dtype)


def _index_dtype(dtype: str) -> str:
    return dtype if dtype in ("int32", "int64") else "int32"


@converter("topk", "dyn.topk")
def _topk(e: Emitter, call: OpCall, data: Rx, k: Rx = None) -> typing.Any:
    kind = call.attr("ret_type", "both")
    outs = call.out.fields if isinstance(call.out, TupleType) else (call.out,)
    first = typing.cast(TensorType, outs[0])
    axis = normalize_axis(call.attr("axis", -1), call.rank(0))
    count = typing.cast(int, first.shape[axis])
    dtype = "int32" if kind == "values" else typing.cast(TensorType, outs[-1]).dtype
    found = relax.op.topk(data, count, axis, "both", not call.attr("is_ascend", False), _index_dtype(dtype))
    values, indices = e.fields(found, 2)
    indices = e.cast(indices, dtype)
    return (values, indices) if kind == "both" else values if kind == "values" else indices


@converter("searchsorted")
def _searchsorted(e: Emitter, call: OpCall, sequence: Rx, values: Rx) -> Rx:
    dtype = typing.cast(TensorType, call.out).dtype
    return e.te(topi.searchsorted, sequence, values, bool(call.attr("right", False)), dtype, name="searchsorted")


@converter("einsum")
def _einsum(e: Emitter, call: OpCall, operands: list[Rx]) -> Rx:
    return relax.op.einsum(operands, str(call.attr("equation")))
