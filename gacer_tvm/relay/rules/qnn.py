"""Type rules of quantized operators."""

from __future__ import annotations

from gacer_tvm.relay.dims import RuleError, broadcast
from gacer_tvm.relay.rules.conv import batch_matmul_type, conv_transpose_type, conv_type, matmul_type
from gacer_tvm.relay.rules.pool import pool_type
from gacer_tvm.relay.rules.registry import rule
from gacer_tvm.relay.rules.transform import concatenated
from gacer_tvm.relay.types import TensorType, Type
from gacer_tvm.relay.values import OpCall

__all__ = ["QNN_UNARY"]

_QUANTIZED = ("int8", "uint8", "int16", "uint16", "int32")
QNN_UNARY = (
    "qnn.abs", "qnn.erf", "qnn.exp", "qnn.hardswish", "qnn.log", "qnn.rsqrt", "qnn.sigmoid", "qnn.sqrt", "qnn.tanh",
)  # fmt: skip


def _expect(dtype: str, allowed: tuple[str, ...], what: str) -> None:
    if dtype not in allowed:
        raise RuleError(f"{what} must be one of {', '.join(allowed)}, found {dtype}")


@rule("qnn.quantize", inputs=3)
def _quantize(call: OpCall) -> Type:
    data = call.tensor(0)
    _expect(data.dtype, ("float32",), "data")
    out = call.attr("out_dtype") or "int8"
    _expect(out, _QUANTIZED, "out_dtype")
    return TensorType(data.shape, out)


@rule("qnn.dequantize", inputs=3)
def _dequantize(call: OpCall) -> Type:
    data = call.tensor(0)
    _expect(data.dtype, _QUANTIZED, "data")
    return TensorType(data.shape, call.attr("out_dtype") or "float32")


@rule("qnn.requantize", inputs=5)
def _requantize(call: OpCall) -> Type:
    data = call.tensor(0)
    _expect(data.dtype, ("int8", "uint8", "int16", "int32", "int64"), "data")
    out = call.attr("out_dtype") or "int8"
    _expect(out, ("int8", "uint8", "int16", "uint16", "int32"), "out_dtype")
    return TensorType(data.shape, out)


@rule("qnn.conv2d", inputs=6)
def _conv2d(call: OpCall) -> Type:
    _expect(call.dtype(0), ("int8", "uint8", "int16"), "data")
    return conv_type(call, 2, call.attr("out_dtype") or "int32")


@rule("qnn.conv2d_transpose", inputs=6)
def _conv2d_transpose(call: OpCall) -> Type:
    result = conv_transpose_type(call, 2)
    return TensorType(result.shape, call.attr("out_dtype") or "int32")


@rule("qnn.dense", inputs=6)
def _dense(call: OpCall) -> Type:
    return matmul_type(call, False, True, call.attr("out_dtype") or "int32")


@rule("qnn.batch_matmul", inputs=6)
def _batch_matmul(call: OpCall) -> Type:
    result = batch_matmul_type(call)
    return TensorType(result.shape, call.attr("out_dtype") or "int32")


@rule("qnn.add", "qnn.mul", "qnn.subtract", inputs=8)
def _binary(call: OpCall) -> Type:
    left, right = call.tensor(0), call.tensor(1)
    if left.dtype != right.dtype:
        raise RuleError(f"both operands must have one element type, found {left.dtype} and {right.dtype}")
    return TensorType(broadcast(left.shape, right.shape), left.dtype)


@rule("qnn.concatenate", inputs=5)
def _concatenate(call: OpCall) -> Type:
    fields = call.fields(0)
    for index, what in ((1, "scales"), (2, "zero points")):
        if len(call.fields(index)) != len(fields):
            raise RuleError(f"needs one of the {what} for each of {len(fields)} tensors")
    return concatenated(fields, call.attr("axis", 0))


@rule(*QNN_UNARY, "qnn.leaky_relu", "qnn.softmax", inputs=5)
def _unary(call: OpCall) -> Type:
    return call.tensor(0)


@rule("qnn.avg_pool2d", inputs=5)
def _avg_pool2d(call: OpCall) -> Type:
    return pool_type(call, 2)
