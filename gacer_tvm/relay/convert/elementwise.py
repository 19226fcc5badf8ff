"""Converters of the operators that work element by element."""

from __future__ import annotations

import typing

from gacer_tvm._tvm import relax, topi
from gacer_tvm.relay.convert.emitter import Emitter, Rx
from gacer_tvm.relay.convert.registry import converter
from gacer_tvm.relay.dims import normalize_axis
from gacer_tvm.relay.types import TensorType
from gacer_tvm.relay.values import OpCall

__all__ = ["fixed_point_multiply", "int_range", "round_half_away"]

_UNARY = {
    "abs": "abs", "acos": "acos", "acosh": "acosh", "asin": "asin", "asinh": "asinh", "atan": "atan", "atanh": "atanh",
    "bitwise_not": "bitwise_not", "ceil": "ceil", "cos": "cos", "cosh": "cosh", "erf": "erf", "exp": "exp",
    "floor": "floor", "isfinite": "isfinite", "isinf": "isinf", "isnan": "isnan", "log": "log",
    "logical_not": "logical_not", "negative": "negative", "rsqrt": "rsqrt", "sigmoid": "sigmoid", "sign": "sign",
    "sin": "sin", "sinh": "sinh", "sqrt": "sqrt", "tan": "tan", "tanh": "tanh", "trunc": "trunc",
    # The fast forms were approximations; the exact ones are within their error.
    "fast_erf": "erf", "fast_exp": "exp", "fast_tanh": "tanh",
}  # fmt: skip
_BINARY = {
    "add": "add", "subtract": "subtract", "multiply": "multiply", "divide": "divide", "power": "power",
    "floor_divide": "floor_divide", "floor_mod": "floor_mod", "mod": "mod", "maximum": "maximum", "minimum":
    "minimum", "logical_and": "logical_and", "logical_or": "logical_or", "logical_xor": "logical_xor",
    "bitwise_and": "bitwise_and", "bitwise_or": "bitwise_or", "bitwise_xor": "bitwise_xor", "left_shift":
    "left_shift", "right_shift": "right_shift", "equal": "equal", "not_equal": "not_equal", "less": "less",
    "less_equal": "less_equal", "greater": "greater", "greater_equal": "greater_equal",
}  # fmt: skip
_IDENTITY = (
    "annotation.bitpack_end", "annotation.bitpack_start", "annotation.cast_hint", "annotation.checkpoint",
    "annotation.compiler_begin", "annotation.compiler_end", "annotation.stop_fusion", "copy", "device_copy",
    "on_device",
)  # fmt: skip
_FLOATS = ("float16", "float32", "float64", "bfloat16")


@converter(*_UNARY)
def _unary(e: Emitter, call: OpCall, data: Rx) -> Rx:
    if call.dtype(0) not in _FLOATS and call.name in ("ceil", "floor", "trunc"):
        return data
    return getattr(relax.op, _UNARY[call.name])(data)


@converter(*_BINARY)
def _binary(e: Emitter, call: OpCall, left: Rx, right: Rx) -> Rx:
    return getattr(relax.op, _BINARY[call.name])(left, right)


@converter(*_IDENTITY)
def _identity(e: Emitter, call: OpCall, data: Rx) -> Rx:
    return data


@converter("nn.relu")
def _relu(e: Emitter, call: OpCall, data: Rx) -> Rx:
    return relax.op.nn.relu(data)


@converter("log2")
def _log2(e: Emitter, call: OpCall, data: Rx) -> Rx:
    return e.te(topi.log2, data, name="log2")


@converter("log10")
def _log10(e: Emitter, call: OpCall, data: Rx) -> Rx:
    return e.te(topi.log10, data, name="log10")


@converter("round")
def _round(e: Emitter, call: OpCall, data: Rx) -> Rx:
    return round_half_away(e, data) if call.dtype(0) in _FLOATS else data


def round_half_away(e: Emitter, data: Rx) -> Rx:
    """Round to the nearest whole number, halves away from zero, as Relay's kernels did (Relax rounds halves to even).

    `data - trunc(data)` is exact in floating point, so that the comparison with a half is too.
    """
    dtype = e.dtype(data)
    whole = e.emit(relax.op.trunc(data), "trunc")
    rest = e.emit(relax.op.abs(e.subtract(data, whole)), "abs")
    up = e.emit(relax.op.greater_equal(rest, e.const(0.5, dtype)), "greater_equal")
    away = e.add(whole, e.emit(relax.op.sign(data), "sign"))
    return e.emit(relax.op.where(up, away, whole), "round")


@converter("trunc_divide")
def _trunc_divide(e: Emitter, call: OpCall, left: Rx, right: Rx) -> Rx:
    quotient = e.emit(relax.op.divide(left, right))
    return relax.op.trunc(quotient) if call.dtype(0) in _FLOATS else quotient


@converter("trunc_mod")
def _trunc_mod(e: Emitter, call: OpCall, left: Rx, right: Rx) -> Rx:
    if call.dtype(0) not in _FLOATS:
        return relax.op.mod(left, right)
    quotient = e.emit(relax.op.trunc(e.emit(relax.op.divide(left, right))))
    return relax.op.subtract(left, e.multiply(quotient, right))


@converter("hardswish")
def _hardswish(e: Emitter, call: OpCall, data: Rx) -> Rx:
    dtype = call.dtype(0)
    gate = e.emit(relax.op.clip(e.add(data, e.const(3, dtype)), e.prim(0.0, dtype), e.prim(6.0, dtype)))
    return relax.op.multiply(data, e.emit(relax.op.divide(gate, e.const(6, dtype))))


@converter("clip")
def _clip(e: Emitter, call: OpCall, data: Rx) -> Rx:
    low, high, dtype = float(call.attr("a_min")), float(call.attr("a_max")), call.dtype(0)
    if dtype in _FLOATS:
        return relax.op.clip(data, e.prim(low, dtype), e.prim(high, dtype))
    least, most = int_range(dtype)
    bounds = [int(min(max(bound, least), most)) for bound in (low, high)]
    return relax.op.clip(data, e.prim(bounds[0], dtype), e.prim(bounds[1], dtype))


def int_range(dtype: str) -> tuple[int, int]:
    """The smallest and the largest number of an integer type."""
    if dtype == "bool":
        return 0, 1
    bits = int(dtype.lstrip("uint"))
    return (0, 2**bits - 1) if dtype.startswith("u") else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


@converter("cast", "cast_like")
def _cast(e: Emitter, call: OpCall, data: Rx, like: Rx = None) -> Rx:
    return e.cast(data, typing.cast(TensorType, call.out).dtype)


@converter("reinterpret")
def _reinterpret(e: Emitter, call: OpCall, data: Rx) -> Rx:
    return e.te(topi.reinterpret, data, call.attr("dtype"), name="reinterpret")


@converter("zeros_like", "ones_like")
def _filled(e: Emitter, call: OpCall, data: Rx) -> Rx:
    return getattr(relax.op, call.name)(data)


@converter("full_like")
def _full_like(e: Emitter, call: OpCall, data: Rx, value: Rx) -> Rx:
    return relax.op.full_like(data, e.cast(e.reshape(value, []), call.dtype(0)))


@converter("where")
def _where(e: Emitter, call: OpCall, cond: Rx, left: Rx, right: Rx) -> Rx:
    cond = e.emit(cond)
    if e.dtype(cond) != "bool":
        cond = e.emit(relax.op.not_equal(cond, e.const(0, e.dtype(cond))), "not_equal")
    out = typing.cast(TensorType, call.out)
    picks_rows = call.rank(0) == 1 < len(out.shape) and call.shape(0)[0] == out.shape[0] != out.shape[-1]
    if picks_rows:
        cond = e.along(cond, 0, len(out.shape))
    return relax.op.where(cond, left, right)


@converter("nn.dropout")
def _dropout(e: Emitter, call: OpCall, data: Rx) -> typing.Any:
    return data, relax.op.ones_like(data)


@converter("nn.leaky_relu")
def _leaky_relu(e: Emitter, call: OpCall, data: Rx) -> Rx:
    return relax.op.nn.leakyrelu(data, float(call.attr("alpha", 0.25)))


@converter("nn.prelu")
def _prelu(e: Emitter, call: OpCall, data: Rx, alpha: Rx) -> Rx:
    return relax.op.nn.prelu(data, alpha, normalize_axis(call.attr("axis", 1), call.rank(0)))


@converter("nn.bias_add")
def _bias_add(e: Emitter, call: OpCall, data: Rx, bias: Rx) -> Rx:
    rank = call.rank(0)
    return relax.op.add(data, e.along(bias, normalize_axis(call.attr("axis", 1), rank), rank))


@converter("fixed_point_multiply")
def _fixed_point_multiply(e: Emitter, call: OpCall, data: Rx) -> Rx:
    return fixed_point_multiply(e, data, int(call.attr("multiplier")), int(call.attr("shift")))


def fixed_point_multiply(e: Emitter, data: Rx, multiplier: typing.Any, shift: typing.Any) -> Rx:
    """`round(data * multiplier * 2**(shift - 31))` in whole numbers, halves upward, as TVM's `q_multiply_shift`.

    Parameters
    ----------
    data : Relax expression
        int32.
    multiplier, shift : int or numpy array
        Of one number, or shaped to broadcast with the data.
    """
    import numpy as np

    factor, steps = np.asarray(multiplier, "int64"), np.asarray(shift, "int64")
    wide = e.cast(data, "int64")
    left, right = np.maximum(steps, 0), np.maximum(-steps, 0) + 31
    if np.any(left):
        wide = e.emit(relax.op.left_shift(wide, e.const(left, "int64")), "left_shift")
    product = e.multiply(wide, e.const(factor, "int64"))
    half = e.const(np.left_shift(np.int64(1), right - 1), "int64")
    rounded = e.emit(relax.op.right_shift(e.add(product, half), e.const(right, "int64")), "right_shift")
    return e.cast(rounded, "int32")


@converter("fixed_point_multiply_per_axis")
def _fixed_point_multiply_per_axis(e: Emitter, call: OpCall, data: Rx, factor: Rx, left: Rx, right: Rx) -> Rx:
    axes = [normalize_axis(int(axis), call.rank(0)) for axis in call.attr("axes") or ()]
    dims = e.shape(e.emit(data))
    shape = [dim if axis in axes else 1 for axis, dim in enumerate(dims)]
    factor, left, right = (e.cast(e.reshape(x, shape), "int64") for x in (factor, left, right))
    wide = e.cast(data, "int64")
    if call.attr("is_lshift_required", False):
        wide = e.emit(relax.op.left_shift(wide, left))
    total = e.add(right, e.const(31, "int64"))
    half = e.emit(relax.op.left_shift(e.const(1, "int64"), e.subtract(total, e.const(1, "int64"))))
    rounded = e.emit(relax.op.right_shift(e.add(e.multiply(wide, factor), half), total))
    return e.cast(rounded, call.dtype(0))
