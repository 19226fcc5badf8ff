"""Integer convolutions and matrix products, and the quantized operators made of them.

The arithmetic is the specification's: exact in int32, then scaled in float32, rounded half to even, and saturated.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .._tvm import relax
from .onnx_node import Converter, Node

__all__ = ["QUANTIZED", "dequantized", "quantized"]

op = relax.op
_LIMITS = {"uint8": (0, 255), "int8": (-128, 127), "uint16": (0, 65535), "int16": (-32768, 32767)}


def _centered(node: Node, index: int, zero: int, axis: int | None = None) -> Any:
    """Input `index` in int32, its zero point subtracted."""
    value = node.inputs[index]
    point = node.inputs[zero] if node.has(zero) else None
    if isinstance(value, np.ndarray) and (point is None or isinstance(point, np.ndarray)):
        wide = value.astype("int32")
        return relax.const(wide if point is None else wide - _along(point.astype("int32"), value.ndim, axis))
    wide = node.emit(op.astype(node.expr(index), "int32"))
    if point is None or (isinstance(point, np.ndarray) and not point.any()):
        return wide
    if isinstance(point, np.ndarray):
        shift = relax.const(_along(point.astype("int32"), len(node.shape(index)), axis))
    else:
        shift = node.emit(op.astype(point, "int32"))
        if len(node.shape(zero)) == 1 and axis is not None:
            extents = [1] * len(node.shape(index))
            extents[axis] = node.shape(zero)[0]
            shift = node.emit(op.reshape(shift, extents))
    return node.emit(op.subtract(wide, shift))


def _along(vector: np.ndarray, rank: int, axis: int | None) -> np.ndarray:
    """A vector laid along one axis of a tensor of `rank` axes; a single number stays one."""
    if vector.size == 1:
        return vector.reshape(())
    if vector.ndim != 1 or axis is None:
        return vector
    extents = [1] * rank
    extents[axis] = -1
    return vector.reshape(extents)


def _convolution(node: Node, data: Any, weight: Any) -> Any:
    """An int32 convolution with the node's attributes."""
    spatial = len(node.shape(0)) - 2
    size = [int(extent) for extent in weight.ty.shape.values[2:]]
    strides = list(node.attr("strides") or [1] * spatial)
    dilations = list(node.attr("dilations") or [1] * spatial)
    pads = list(node.attr("pads") or [0] * (2 * spatial))
    kind = node.attr("auto_pad", "NOTSET")
    if kind in ("SAME_UPPER", "SAME_LOWER"):
        for k in range(spatial):
            extent = node.shape(0)[2 + k]
            total = max((-(-extent // strides[k]) - 1) * strides[k] + (size[k] - 1) * dilations[k] + 1 - extent, 0)
            pads[k] = total // 2 if kind == "SAME_UPPER" else total - total // 2
            pads[spatial + k] = total - pads[k]
    convolve = {1: op.nn.conv1d, 2: op.nn.conv2d, 3: op.nn.conv3d}[spatial]
    layouts = {1: ("NCW", "OIW"), 2: ("NCHW", "OIHW"), 3: ("NCDHW", "OIDHW")}[spatial]
    return node.emit(
        convolve(
            data,
            weight,
            strides=strides,
            padding=pads,
            dilation=dilations,
            groups=int(node.attr("group", 1)),
            data_layout=layouts[0],
            kernel_layout=layouts[1],
            out_dtype="int32",
        )
    )


def quantized(node: Node, real: Any, scale: Any, zero: Any, dtype: str) -> Any:
    """round(real / scale) + zero, saturated to `dtype`."""
    low, high = _LIMITS[dtype]
    steps = node.emit(op.round(node.emit(op.divide(real, scale))))
    shifted = node.emit(op.add(steps, node.emit(op.astype(zero, "float32"))))
    return node.emit(op.astype(node.emit(op.clip(shifted, low, high)), dtype))


def dequantized(node: Node, index: int, scale: int, zero: int) -> Any:
    """(input - zero point) · scale, in float32."""
    wide = node.emit(op.astype(_centered(node, index, zero), "float32"))
    return node.emit(op.multiply(wide, node.emit(op.astype(node.expr(scale), "float32"))))


def _requantized(node: Node, total: Any, scales: tuple[int, int, int], zero: int, rank: int, axis: int | None) -> Any:
    """An int32 total brought to the output's scale and zero point."""
    a, b, out = (node.const(index, "scale").astype("float32") for index in scales)
    # The second operand's scale may be one number for each output channel.
    factor = (out.reshape(()) / (_along(a, rank, rank - 2) * _along(b, rank, axis))).astype("float32")
    point = node.expr(zero)
    return quantized(node, node.emit(op.astype(total, "float32")), relax.const(factor), point, node.dtype(zero))


def _conv_integer(node: Node) -> Any:
    return _convolution(node, _centered(node, 0, 2), _centered(node, 1, 3, axis=0))


def _qlinear_conv(node: Node) -> Any:
    rank = len(node.shape(0))
    total = _convolution(node, _centered(node, 0, 2), _centered(node, 3, 5, axis=0))
    if node.has(8):
        extents = [1, node.shape(8)[0], *[1] * (rank - 2)]
        total = node.emit(op.add(total, node.emit(op.reshape(node.expr(8), extents))))
    return _requantized(node, total, (1, 4, 6), 7, rank, 1)


def _qlinear_matmul(node: Node) -> Any:
    rank = max(len(node.shape(0)), len(node.shape(3)))
    a = _centered(node, 0, 2, axis=len(node.shape(0)) - 2)
    b = _centered(node, 3, 5, axis=len(node.shape(3)) - 1)
    total = node.emit(op.matmul(a, b, out_dtype="int32"))
    return _requantized(node, total, (1, 4, 6), 7, rank, rank - 1)


QUANTIZED: dict[str, Converter] = {
    "ConvInteger": _conv_integer,
    "QLinearConv": _qlinear_conv,
    "QLinearMatMul": _qlinear_matmul,
}
