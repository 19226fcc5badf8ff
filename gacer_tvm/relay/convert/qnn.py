"""Converters of quantized operators, by the integer arithmetic that TVM used, so that results agree bit for bit."""

from __future__ import annotations

import typing

import numpy as np

from gacer_tvm._tvm import relax
from gacer_tvm.relay.convert.conv import batch_matmul, conv, conv_transpose, dense
from gacer_tvm.relay.convert.elementwise import fixed_point_multiply
from gacer_tvm.relay.convert.emitter import Emitter, Rx
from gacer_tvm.relay.convert.pool import pool
from gacer_tvm.relay.convert.registry import converter
from gacer_tvm.relay.convert.requantize import (
    Params,
    constant,
    dequantize,
    is_constant,
    known,
    out_dtype,
    quantize,
    requantize,
    requantize_or_cast,
    same_constant,
    saturated,
    scalar,
    shifted,
)
from gacer_tvm.relay.dims import RuleError, normalize_axis
from gacer_tvm.relay.fixed_point import multiplier_shift
from gacer_tvm.relay.rules.qnn import QNN_UNARY
from gacer_tvm.relay.types import TensorType
from gacer_tvm.relay.values import OpCall, Tensor


def _wide_dtype(call: OpCall) -> str:
    """The type in which products are summed: the result's, but no narrower than int32."""
    out = out_dtype(call)
    return out if out == "int64" else "int32"


@converter("qnn.conv2d")
def _conv2d(e: Emitter, call: OpCall, data: Rx, weight: Rx, zero: Rx, weight_zero: Rx, *_scales: Rx) -> Rx:
    wide = _wide_dtype(call)
    layout = call.attr("kernel_layout")
    data = shifted(e, data, call.args[2], zero, call.attr("data_layout").index("C"), 4, wide)
    weight = shifted(e, weight, call.args[3], weight_zero, layout.index("O"), 4, wide)
    return e.cast(conv(e, _typed(call, wide), 2, data, weight), out_dtype(call))


def _typed(call: OpCall, dtype: str) -> OpCall:
    """The same call with another element type of the result."""
    shape = typing.cast(TensorType, call.out).shape
    return OpCall(call.name, call.attrs, call.args, call.expr, TensorType(shape, dtype))


@converter("qnn.conv2d_transpose")
def _conv2d_transpose(e: Emitter, call: OpCall, data: Rx, weight: Rx, zero: Rx, weight_zero: Rx, *_scales: Rx) -> Rx:
    wide = _wide_dtype(call)
    layout = call.attr("kernel_layout")
    data = shifted(e, data, call.args[2], zero, call.attr("data_layout").index("C"), 4, wide)
    weight = shifted(e, weight, call.args[3], weight_zero, layout.index("O"), 4, wide)
    return e.cast(conv_transpose(e, _typed(call, wide), 2, data, weight), out_dtype(call))


@converter("qnn.dense")
def _dense(e: Emitter, call: OpCall, data: Rx, weight: Rx, zero: Rx, weight_zero: Rx, *_scales: Rx) -> Rx:
    wide = _wide_dtype(call)
    data = shifted(e, data, call.args[2], zero, call.rank(0) - 1, call.rank(0), wide)
    weight = shifted(e, weight, call.args[3], weight_zero, 0, 2, wide)
    return dense(e, data, weight, wide)


@converter("qnn.batch_matmul")
def _batch_matmul(e: Emitter, call: OpCall, left: Rx, right: Rx, zero: Rx, right_zero: Rx, *_scales: Rx) -> Rx:
    wide = _wide_dtype(call)
    left = shifted(e, left, call.args[2], zero, 2, 3, wide)
    right = shifted(e, right, call.args[3], right_zero, 2, 3, wide)
    return batch_matmul(e, call, left, right)


@converter("qnn.add", "qnn.subtract")
def _add(e: Emitter, call: OpCall, left: Rx, right: Rx, _ls: Rx, lz: Rx, _rs: Rx, rz: Rx, _os: Rx, oz: Rx) -> Rx:
    args = call.args
    target = Params(args[6], args[7], oz)
    one = requantize_or_cast(e, left, Params(args[2], args[3], lz), target, int(call.attr("lhs_axis", -1)))
    two = requantize_or_cast(e, right, Params(args[4], args[5], rz), target, int(call.attr("rhs_axis", -1)))
    # Both carry the output's zero point: a sum has it twice, a difference not at all.
    if call.name == "qnn.add":
        result = e.add(one, two)
        if not is_constant(args[7], 0):
            result = e.subtract(result, e.reshape(oz, []))
    else:
        result = e.subtract(one, two)
        if not is_constant(args[7], 0):
            result = e.add(result, e.reshape(oz, []))
    return saturated(e, result, out_dtype(call))


@converter("qnn.mul")
def _mul(e: Emitter, call: OpCall, left: Rx, right: Rx, _ls: Rx, lz: Rx, _rs: Rx, rz: Rx, _os: Rx, oz: Rx) -> Rx:
    args = call.args
    ranks = call.rank(0), call.rank(1)
    axes = [int(call.attr(name, -1)) for name in ("lhs_axis", "rhs_axis")]
    scales = [constant(args[index], "the scale").astype("float32") for index in (2, 4)]
    per_tensor = all(scale.size == 1 for scale in scales)
    if not per_tensor and axes[0] != axes[1]:
        raise RuleError(f"quantization along different axes is not supported, found {axes}")
    where = [normalize_axis(axis, rank) if rank else 0 for axis, rank in zip(axes, ranks)]
    one = shifted(e, left, args[3], lz, where[0], ranks[0])
    two = shifted(e, right, args[5], rz, where[1], ranks[1])
    # The product is a quantized tensor too, of both scales' product and the zero point 0.
    scale = Tensor(None, const=(scales[0].astype("float64") * scales[1].astype("float64")).astype("float32"))
    if per_tensor:
        scale = known(scales[0].reshape(()) * scales[1].reshape(()), "float32")
    zero = known(0, "int32")
    source = Params(scale, zero, e.const(0, "int32"))
    axis = -1 if per_tensor else axes[0]
    return requantize(e, e.multiply(one, two), source, Params(args[6], args[7], oz), out_dtype(call), axis)


@converter("qnn.concatenate")
def _concatenate(
    e: Emitter, call: OpCall, parts: list[Rx], _scales: list[Rx], zeros: list[Rx], _out_scale: Rx, out_zero: Rx
) -> Rx:
    _, scale_values, zero_values, out_scale, out_zero_value = call.args
    target = Params(out_scale, out_zero_value, out_zero)
    joined = []
    for index, part in enumerate(parts):
        source = Params(scale_values[index], zero_values[index], zeros[index])  # type: ignore[index]
        if not (same_constant(source.scale, target.scale) and same_constant(source.zero, target.zero)):
            part = requantize(e, part, source, target, call.fields(0)[index].dtype)
        joined.append(part)
    return relax.op.concat(joined, normalize_axis(call.attr("axis", 0), len(call.fields(0)[0].shape)))


@converter("qnn.leaky_relu")
def _leaky_relu(e: Emitter, call: OpCall, data: Rx, _scale: Rx, zero: Rx, _out_scale: Rx, out_zero: Rx) -> Rx:
    args = call.args
    wide = e.cast(data, "int32")
    source, target = Params(args[1], args[2], zero), Params(args[3], args[4], out_zero)
    moved = requantize_or_cast(e, wide, source, target)
    alpha = float(call.attr("alpha"))
    lowered = fixed_point_multiply(e, moved, *multiplier_shift(alpha))
    offset = fixed_point_multiply(e, e.cast(e.reshape(out_zero, []), "int32"), *multiplier_shift(1 - alpha))
    negative = e.emit(relax.op.less(wide, e.cast(e.reshape(zero, []), "int32")), "less")
    chosen = e.emit(relax.op.where(negative, e.add(lowered, offset), moved), "where")
    return saturated(e, chosen, out_dtype(call))


@converter("qnn.avg_pool2d")
def _avg_pool2d(e: Emitter, call: OpCall, data: Rx, _scale: Rx, zero: Rx, _out_scale: Rx, out_zero: Rx) -> Rx:
    args = call.args
    source, target = Params(args[1], args[2], zero), Params(args[3], args[4], out_zero)
    moved = requantize_or_cast(e, data, source, target)
    return saturated(e, pool(e, _typed(call, "int32"), 2, moved, True), out_dtype(call))


@converter("qnn.softmax")
def _softmax(e: Emitter, call: OpCall, data: Rx, _scale: Rx, zero: Rx, _out_scale: Rx, out_zero: Rx) -> Rx:
    """Softmax in integers: Algorithm 1 of arXiv 2207.01405."""
    op = relax.op
    args, axis = call.args, normalize_axis(call.attr("axis", -1), call.rank(0))
    scale = np.float32(scalar(args[1], "the input scale"))
    if scale > 1:
        raise RuleError(f"the input scale must not exceed 1, found {scale}")

    def i32(number: int) -> Rx:
        return e.const(number, "int32")

    unit = int(np.floor(np.float32(1) / scale + np.float32(0.5)))
    x = shifted(e, data, args[2], zero, axis, call.rank(0))
    x = e.subtract(x, e.emit(op.max(x, [axis], True)))
    # Scaling by log2(e), approximately 1 + 1/2 - 1/16.
    x = e.subtract(e.add(x, e.emit(op.right_shift(x, i32(1)))), e.emit(op.right_shift(x, i32(4))))
    quotient = e.emit(op.clip(e.emit(op.divide(x, i32(-unit))), e.prim(0, "int32"), e.prim(20, "int32")))
    rest = e.subtract(x, e.multiply(quotient, i32(-unit)))
    base = e.add(e.emit(op.right_shift(rest, i32(1))), i32(unit))
    top = e.emit(op.max(quotient, [axis], True))
    powers = e.emit(op.left_shift(base, e.subtract(top, quotient)))
    share = e.emit(op.divide(i32(1 << 30), e.emit(op.sum(powers, [axis], True))))
    output = e.emit(op.right_shift(e.multiply(share, powers), i32(23)))
    source = Params(known(1 / 128, "float32"), known(0, "int32"), i32(0))
    return requantize(e, output, source, Params(args[3], args[4], out_zero), out_dtype(call), 0)


@converter(*QNN_UNARY)
def _unary(e: Emitter, call: OpCall, data: Rx, scale: Rx, zero: Rx, out_scale: Rx, out_zero: Rx) -> Rx:
    """Dequantize, compute in float32, quantize."""
    real = dequantize(e, data, scale, zero, call.args[2], -1)
    name = call.name.removeprefix("qnn.")
    if name == "hardswish":
        gate = e.emit(relax.op.clip(e.add(real, e.const(3, "float32")), e.prim(0.0, "float32"), e.prim(6.0, "float32")))
        result = e.multiply(real, e.emit(relax.op.divide(gate, e.const(6, "float32"))))
    else:
        result = e.emit(getattr(relax.op, name)(real))
    return quantize(e, result, out_scale, out_zero, -1, out_dtype(call))
