"""Scales and zero points: quantize, dequantize, and requantize by the integer arithmetic that TVM used.

A quantized tensor of scale `s` and zero point `z` holds `q` for the real number `s * (q - z)`. Scales must be known
before running (constants, or parameters given to the conversion), because requantization folds them into integer
multipliers.
"""

from __future__ import annotations

import typing

import numpy as np

from gacer_tvm._tvm import relax
from gacer_tvm.relay.convert.elementwise import fixed_point_multiply, int_range, round_half_away
from gacer_tvm.relay.convert.emitter import Emitter, Rx
from gacer_tvm.relay.convert.registry import converter
from gacer_tvm.relay.dims import RuleError
from gacer_tvm.relay.fixed_point import multipliers_shifts
from gacer_tvm.relay.types import TensorType
from gacer_tvm.relay.values import OpCall, Tensor

__all__ = [
    "Params",
    "constant",
    "dequantize",
    "is_constant",
    "known",
    "out_dtype",
    "quantize",
    "requantize",
    "requantize_or_cast",
    "same_constant",
    "saturated",
    "scalar",
    "shifted",
]


Array = np.ndarray[typing.Any, typing.Any]


def out_dtype(call: OpCall) -> str:
    """The element type of a call's result."""
    return typing.cast(TensorType, call.out).dtype


def constant(value: typing.Any, what: str) -> Array:
    """A value's numbers; refuses one that is known only at run time."""
    if not isinstance(value, Tensor) or value.const is None:
        raise RuleError(
            f"{what} must be known before running: make it a constant, or give its value among the parameters"
        )
    return value.const


def scalar(value: typing.Any, what: str) -> float:
    """A value's one number; refuses several, and one that is known only at run time."""
    const = constant(value, what)
    if const.size != 1:
        raise RuleError(f"{what} must be one number, found {const.size}")
    return float(const.reshape(-1)[0])


def is_constant(value: typing.Any, number: float) -> bool:
    """Whether a value is known to be the scalar `number`."""
    const = value.const if isinstance(value, Tensor) else None
    return const is not None and const.size == 1 and float(const.reshape(-1)[0]) == number


def same_constant(left: typing.Any, right: typing.Any) -> bool:
    """Whether both values are known to be the same scalar."""
    const = right.const if isinstance(right, Tensor) else None
    return const is not None and const.size == 1 and is_constant(left, float(const.reshape(-1)[0]))


def _spread(e: Emitter, vector: Rx, axis: int, rank: int) -> Rx:
    """A scalar, or one number per channel shaped to broadcast along `axis`."""
    vector = e.emit(vector)
    shape = e.shape(vector)
    size = int(np.prod(shape)) if shape else 1
    return e.reshape(vector, []) if size == 1 else e.along(e.reshape(vector, [size]), axis, rank)


def shifted(e: Emitter, data: Rx, value: typing.Any, zero: Rx, axis: int, rank: int, dtype: str = "int32") -> Rx:
    """`data - zero point` in a type that holds it."""
    wide = e.cast(data, dtype)
    if is_constant(value, 0):
        return wide
    return e.subtract(wide, e.cast(_spread(e, zero, axis, rank), dtype))


def saturated(e: Emitter, data: Rx, dtype: str) -> Rx:
    """int32 numbers cut to the range of `dtype`."""
    if dtype == "int32":
        return e.emit(data)
    low, high = int_range(dtype)
    data = e.emit(data)
    kind = e.dtype(data)
    return e.cast(e.emit(relax.op.clip(data, e.prim(low, kind), e.prim(high, kind)), "clip"), dtype)


def known(number: typing.Any, dtype: str) -> Tensor:
    """A scalar whose value is known."""
    return Tensor(None, const=np.asarray(number, dtype).reshape(()))


class Params(typing.NamedTuple):
    """Scale and zero point of a quantized tensor, as values and as expressions."""

    scale: typing.Any
    zero: typing.Any
    zero_expr: Rx


def requantize(
    e: Emitter,
    data: Rx,
    source: Params,
    target: Params,
    dtype: str,
    axis: int = -1,
    rounding: str = "UPWARD",
    compute: str = "int64",
) -> Rx:
    """Numbers of the source's scale and zero point as those of the target's."""
    data = e.emit(data)
    rank = len(e.shape(data))
    axis = axis % rank if rank else 0
    out_scale = scalar(target.scale, "the output scale")
    if out_scale == 0.0:
        raise RuleError("the output scale must not be zero")
    scales = constant(source.scale, "the input scale").astype("float32").astype("float64")
    factors = scales / float(np.float32(out_scale))
    wide = shifted(e, data, source.zero, source.zero_expr, axis, rank)
    if compute in ("float32", "float64"):
        scaled = _scale_in_float(e, wide, factors, target, axis, rank, rounding, compute)
        return saturated(e, scaled, dtype)
    if factors.size > 1 or not same_constant(source.scale, target.scale):
        wide = _scale_in_integers(e, wide, factors, axis, rank, rounding)
    if not is_constant(target.zero, 0):
        wide = e.add(wide, e.cast(_spread(e, target.zero_expr, axis, rank), "int32"))
    return saturated(e, wide, dtype)


def _channel_shape(factors: Array, axis: int, rank: int) -> Array:
    return factors.reshape(()) if factors.size == 1 else factors.reshape([-1] + [1] * (rank - 1 - axis))


def _scale_in_integers(e: Emitter, data: Rx, factors: Array, axis: int, rank: int, rounding: str) -> Rx:
    factors = _channel_shape(factors, axis, rank)
    significands, exponents = multipliers_shifts(factors)
    if rounding == "UPWARD":
        return fixed_point_multiply(e, data, significands, exponents)
    left, right = np.maximum(exponents, 0), np.maximum(-exponents, 0) + 31
    wide = e.cast(data, "int64")
    if np.any(left):
        wide = e.emit(relax.op.left_shift(wide, e.const(left, "int64")), "left_shift")
    wide = e.multiply(wide, e.const(significands, "int64"))
    half = np.left_shift(np.int64(1), right - 1)
    positive = e.emit(relax.op.greater_equal(wide, e.const(0, "int64")), "greater_equal")
    bias = e.emit(relax.op.where(positive, e.const(half, "int64"), e.const(half - 1, "int64")), "where")
    return e.cast(e.emit(relax.op.right_shift(e.add(wide, bias), e.const(right, "int64")), "right_shift"), "int32")


def _scale_in_float(
    e: Emitter, data: Rx, factors: Array, target: Params, axis: int, rank: int, rounding: str, dtype: str
) -> Rx:
    scaled = e.multiply(e.cast(data, dtype), e.const(_channel_shape(factors, axis, rank), dtype))
    if not is_constant(target.zero, 0):
        scaled = e.add(scaled, e.cast(_spread(e, target.zero_expr, axis, rank), dtype))
    if rounding == "UPWARD":
        whole = e.emit(relax.op.floor(e.add(scaled, e.const(0.5, dtype))), "floor")
    else:
        whole = round_half_away(e, scaled)
    return e.cast(whole, "int32")


@converter("qnn.requantize")
def _requantize_call(e: Emitter, call: OpCall, data: Rx, _scale: Rx, zero: Rx, _out_scale: Rx, out_zero: Rx) -> Rx:
    def stated(name: str, default: str) -> str:
        value = call.attr(name, "None")
        return default if value in (None, "", "None") else str(value)

    return requantize(
        e,
        data,
        Params(call.args[1], call.args[2], zero),
        Params(call.args[3], call.args[4], out_zero),
        out_dtype(call),
        int(call.attr("axis", -1)),
        stated("rounding", "UPWARD"),
        stated("compute_dtype", "int64"),
    )


@converter("qnn.quantize")
def _quantize_call(e: Emitter, call: OpCall, data: Rx, scale: Rx, zero: Rx) -> Rx:
    return quantize(e, data, scale, zero, int(call.attr("axis", -1)), out_dtype(call))


def quantize(e: Emitter, data: Rx, scale: Rx, zero: Rx, axis: int, dtype: str) -> Rx:
    """Real numbers as quantized ones: `clip(round(data / scale) + zero)`."""
    data = e.emit(data)
    rank = len(e.shape(data))
    axis = axis % rank if rank else 0
    whole = round_half_away(e, e.emit(relax.op.divide(data, _spread(e, scale, axis, rank)), "divide"))
    moved = e.add(whole, e.cast(_spread(e, zero, axis, rank), "float32"))
    low, high = int_range(dtype)
    if dtype == "int32":
        # The largest float32 below 2**31, so that the cast cannot overflow.
        high = 2**31 - 128
    bounded = e.emit(relax.op.clip(moved, e.prim(float(low), "float32"), e.prim(float(high), "float32")), "clip")
    return e.cast(bounded, dtype)


@converter("qnn.dequantize")
def _dequantize_call(e: Emitter, call: OpCall, data: Rx, scale: Rx, zero: Rx) -> Rx:
    result = dequantize(e, data, scale, zero, call.args[2], int(call.attr("axis", -1)))
    out = out_dtype(call)
    if out == "float16":
        bound = 65504.0
        result = e.emit(relax.op.clip(result, e.prim(-bound, "float32"), e.prim(bound, "float32")), "clip")
    return e.cast(result, out)


def dequantize(e: Emitter, data: Rx, scale: Rx, zero: Rx, zero_value: typing.Any, axis: int) -> Rx:
    """Quantized numbers as float32: `scale * (data - zero)`."""
    data = e.emit(data)
    rank = len(e.shape(data))
    axis = axis % rank if rank else 0
    moved = e.cast(shifted(e, data, zero_value, zero, axis, rank), "float32")
    return e.multiply(moved, _spread(e, scale, axis, rank))


def requantize_or_cast(e: Emitter, data: Rx, source: Params, target: Params, axis: int = -1) -> Rx:
    """int32 numbers of the target's scale and zero point; a cast where the source has the same."""
    if same_constant(source.scale, target.scale) and same_constant(source.zero, target.zero):
        return e.cast(data, "int32")
    return requantize(e, data, source, target, "int32", axis)
