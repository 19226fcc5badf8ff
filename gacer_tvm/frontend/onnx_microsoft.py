"""Operators of the domain ``com.microsoft``, which ONNX Runtime's optimizer and quantizer write into models."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._tvm import relax
from .onnx_node import Converter, Node
from .onnx_quantized import dequantized, quantized

__all__ = ["MICROSOFT"]

op = relax.op


def _number(value: float, dtype: str) -> Any:
    return relax.const(np.asarray(value, dtype), dtype)


def _fused_conv(node: Node) -> Any:
    """Convolution, an optional addition, and an activation."""
    from .onnx_ops import converter_for

    plain = Node(node.builder, "Conv", 11, node.inputs[:3], node.attributes, [True])
    result = node.emit(converter_for("", "Conv")(plain))
    if node.has(3):
        result = node.emit(op.add(result, node.expr(3)))
    return _activated(node, result)


def _activated(node: Node, x: Any) -> Any:
    kind, parameters = node.attr("activation", ""), list(node.attr("activation_params") or [])
    dtype = str(x.ty.dtype)
    if kind == "":
        return x
    if kind == "HardSigmoid":
        alpha, beta = parameters or (0.2, 0.5)
        return op.clip(node.emit(op.add(node.emit(op.multiply(x, _number(alpha, dtype))), _number(beta, dtype))), 0, 1)
    if kind == "LeakyRelu":
        return op.nn.leakyrelu(x, parameters[0] if parameters else 0.01)
    if kind == "Clip":
        return op.clip(x, *parameters[:2])
    table = {"Relu": op.nn.relu, "Sigmoid": op.sigmoid, "Tanh": op.tanh}
    if kind not in table:
        raise ValueError(f"the activation {kind!r} is not supported")
    return table[kind](x)


def _fused_matmul(node: Node) -> Any:
    """alpha · transA(A) @ transB(B)."""
    sides = []
    for index, flag in ((0, "transA"), (1, "transB")):
        side, rank = node.expr(index), len(node.shape(index))
        if node.attr(flag, 0) and rank > 1:
            side = node.emit(op.permute_dims(side, [*range(rank - 2), rank - 1, rank - 2]))
        if node.attr(flag.replace("trans", "transBatch"), 0):
            raise ValueError("transposed batches are not supported")
        sides.append(side)
    product = node.emit(op.matmul(*sides))
    alpha = float(node.attr("alpha", 1.0))
    return product if alpha == 1.0 else op.multiply(product, _number(alpha, node.dtype(0)))


def _quick_gelu(node: Node) -> Any:
    """x · sigmoid(alpha · x)."""
    scaled = node.emit(op.multiply(node.expr(0), _number(float(node.attr("alpha", 1.702)), node.dtype(0))))
    return op.multiply(node.expr(0), node.emit(op.sigmoid(scaled)))


def _rms(node: Node, x: Any, scale: Any, epsilon: float, axis: int) -> Any:
    rank = int(x.ty.ndim)
    axes = list(range(axis % rank, rank))
    dtype = str(x.ty.dtype)
    mean = node.emit(op.mean(node.emit(op.multiply(x, x)), axes, keepdims=True))
    root = node.emit(op.sqrt(node.emit(op.add(mean, _number(epsilon, dtype)))))
    return node.emit(op.multiply(node.emit(op.divide(x, root)), scale))


def _simplified_layer_norm(node: Node) -> Any:
    return _rms(node, node.expr(0), node.expr(1), float(node.attr("epsilon", 1e-5)), int(node.attr("axis", -1)))


def _sum_of(node: Node, indices: tuple[int, ...]) -> Any:
    total = node.expr(indices[0])
    for index in indices[1:]:
        if node.has(index):
            total = node.emit(op.add(total, node.expr(index)))
    return total


def _skip_simplified_layer_norm(node: Node) -> Any:
    """Inputs: x, skip, gamma, bias."""
    total = _sum_of(node, (0, 1, 3))
    return [_rms(node, total, node.expr(2), float(node.attr("epsilon", 1e-5)), -1), None, None, total]


def _skip_layer_norm(node: Node) -> Any:
    """Inputs: x, skip, gamma, beta, bias; the last two may be left out, which TVM's does not allow."""
    total = _sum_of(node, (0, 1, 4))
    beta = node.expr(3) if node.has(3) else relax.const(np.zeros(node.shape(2), node.dtype(2)))
    normal = op.nn.layer_norm(total, node.expr(2), beta, axes=[-1], epsilon=float(node.attr("epsilon", 1e-12)))
    return [normal, None, None, total]


def _qlinear_binary(node: Node) -> Any:
    """QLinearAdd and QLinearMul: A, its scale and zero point, B, …, C's."""
    combine = op.add if node.operator == "QLinearAdd" else op.multiply
    real = node.emit(combine(dequantized(node, 0, 1, 2), dequantized(node, 3, 4, 5)))
    return quantized(node, real, node.expr(6), _zero(node, 7), node.dtype(0))


def _zero(node: Node, index: int) -> Any:
    return node.expr(index) if node.has(index) else _number(0, node.dtype(0))


def _qlinear_unary(node: Node) -> Any:
    """QLinearSigmoid and QLinearLeakyRelu: X, its scale and zero point, Y's."""
    real = dequantized(node, 0, 1, 2)
    if node.operator == "QLinearSigmoid":
        real = node.emit(op.sigmoid(real))
    else:
        real = node.emit(op.nn.leakyrelu(real, float(node.attr("alpha", 0.01))))
    return quantized(node, real, node.expr(3), _zero(node, 4), node.dtype(0))


def _qlinear_global_average(node: Node) -> Any:
    if node.attr("channels_last", 0):
        raise ValueError("channels_last is not supported")
    axes = list(range(2, len(node.shape(0))))
    real = node.emit(op.mean(dequantized(node, 0, 1, 2), axes, keepdims=True))
    return quantized(node, real, node.expr(3), _zero(node, 4), node.dtype(0))


def _qlinear_concat(node: Node) -> Any:
    """Y's scale and zero point, then three inputs for each part."""
    parts = [dequantized(node, index, index + 1, index + 2) for index in range(2, len(node), 3)]
    real = node.emit(op.concat(parts, int(node.attr("axis"))))
    return quantized(node, real, node.expr(0), node.expr(1), node.dtype(1))


MICROSOFT: dict[str, Converter] = {
    "FusedConv": _fused_conv,
    "FusedMatMul": _fused_matmul,
    "QLinearAdd": _qlinear_binary,
    "QLinearConcat": _qlinear_concat,
    "QLinearGlobalAveragePool": _qlinear_global_average,
    "QLinearLeakyRelu": _qlinear_unary,
    "QLinearMul": _qlinear_binary,
    "QLinearSigmoid": _qlinear_unary,
    "QuickGelu": _quick_gelu,
    "SimplifiedLayerNormalization": _simplified_layer_norm,
    "SkipLayerNormalization": _skip_layer_norm,
    "SkipSimplifiedLayerNormalization": _skip_simplified_layer_norm,
}
