"""Quantized operators as Python functions: `relay.qnn.op.conv2d`, …"""

from __future__ import annotations

import typing

from gacer_tvm.relay.ast import Call, Tuple
from gacer_tvm.relay.op.build import as_expr, call, operator, padding, spread
from gacer_tvm.relay.op.tensor import _fields

__all__ = [
    "abs", "add", "avg_pool2d", "batch_matmul", "concatenate", "conv2d", "conv2d_transpose", "dense", "dequantize",
    "erf", "exp", "hardswish", "leaky_relu", "log", "mul", "quantize", "requantize", "rsqrt", "sigmoid", "softmax",
    "sqrt", "subtract", "tanh",
]  # fmt: skip

quantize = operator("qnn.quantize", "data, output_scale, output_zero_point", "axis=-1, out_dtype='int8'")
dequantize = operator("qnn.dequantize", "data, input_scale, input_zero_point", "axis=-1, out_dtype='float32'")
requantize = operator(
    "qnn.requantize",
    "data, input_scale, input_zero_point, output_scale, output_zero_point",
    "axis=-1, rounding='None', compute_dtype='None', out_dtype='int8'",
    # "None" is a word here, not an unset element type.
    convert={"compute_dtype": str},
)
_CONV = "data, {}, input_zero_point, kernel_zero_point, input_scale, kernel_scale"
_LAYOUT = "data_layout='NCHW', kernel_layout={!r}, out_layout='', "
_two = {"strides": spread(2), "dilation": spread(2), "kernel_size": spread(2), "padding": padding(2)}
conv2d = operator(
    "qnn.conv2d",
    _CONV.format("kernel"),
    "kernel_size, channels, strides=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1, "
    + _LAYOUT.format("OIHW")
    + "out_dtype='int32'",
    convert=_two,
)
conv2d_transpose = operator(
    "qnn.conv2d_transpose",
    _CONV.format("weight"),
    "strides=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1, channels=None, kernel_size=None, "
    + _LAYOUT.format("IOHW")
    + "output_padding=(0, 0), out_dtype='int32'",
    convert={"output_padding": spread(2), **_two},
)
dense = operator("qnn.dense", _CONV.format("weight"), "units, out_dtype='int32'")
_BINARY = "lhs, rhs, lhs_scale, lhs_zero_point, rhs_scale, rhs_zero_point, output_scale, output_zero_point"
add = operator("qnn.add", _BINARY, "lhs_axis=-1, rhs_axis=-1")
subtract = operator("qnn.subtract", _BINARY, "lhs_axis=-1, rhs_axis=-1")
mul = operator("qnn.mul", _BINARY, "lhs_axis=-1, rhs_axis=-1")
_UNARY = "x, scale, zero_point, output_scale, output_zero_point"
abs = operator("qnn.abs", _UNARY)
erf = operator("qnn.erf", _UNARY)
exp = operator("qnn.exp", _UNARY)
hardswish = operator("qnn.hardswish", _UNARY)
log = operator("qnn.log", _UNARY)
rsqrt = operator("qnn.rsqrt", _UNARY)
sigmoid = operator("qnn.sigmoid", _UNARY)
sqrt = operator("qnn.sqrt", _UNARY)
tanh = operator("qnn.tanh", _UNARY)
softmax = operator("qnn.softmax", _UNARY, "axis=-1")
avg_pool2d = operator(
    "qnn.avg_pool2d",
    "data, input_scale, input_zero_point, output_scale, output_zero_point",
    "pool_size, strides, padding, dilation, ceil_mode=False, count_include_pad=True, layout='NHWC', out_layout=''",
    convert={"pool_size": spread(2), "strides": spread(2), "dilation": spread(2), "padding": padding(2)},
)


def batch_matmul(
    x: typing.Any,
    y: typing.Any,
    x_zero_point: typing.Any,
    y_zero_point: typing.Any,
    x_scale: typing.Any,
    y_scale: typing.Any,
    out_dtype: str = "int32",
) -> Call:
    """Products of stacks of matrices, the second of each transposed."""
    attrs = {"out_dtype": out_dtype, "transpose_a": False, "transpose_b": True}
    return call("qnn.batch_matmul", [x, y, x_zero_point, y_zero_point, x_scale, y_scale], attrs)


def leaky_relu(
    x: typing.Any,
    alpha: float,
    input_scale: typing.Any,
    input_zero_point: typing.Any,
    output_scale: typing.Any,
    output_zero_point: typing.Any,
) -> Call:
    """`x` where it is positive, else `alpha * x`."""
    return call("qnn.leaky_relu", [x, input_scale, input_zero_point, output_scale, output_zero_point], {"alpha": alpha})


def concatenate(
    data: typing.Any,
    input_scales: typing.Any,
    input_zero_points: typing.Any,
    output_scale: typing.Any,
    output_zero_point: typing.Any,
    axis: int,
) -> Call:
    """Quantized tensors joined along an axis, each with its scale and zero point."""
    scales, zeros = (Tuple(tuple(as_expr(item) for item in items)) for items in (input_scales, input_zero_points))
    return call("qnn.concatenate", [_fields(data), scales, zeros, output_scale, output_zero_point], {"axis": axis})
