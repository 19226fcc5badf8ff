"""Converters that replace TVM 0.27's own, and why each does.

Found by running ONNX's node tests (`onnx.backend.test`) through the importer and comparing every output.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .._tvm import relax
from .onnx_node import Converter, Node

__all__ = ["FIXES"]

op = relax.op


def _number(value: Any, dtype: str) -> Any:
    return relax.const(np.asarray(value, dtype), dtype)


def _clip(node: Node) -> Any:
    """TVM's makes two calls of TIR functions and four tests for NaN; with constant bounds one operator is enough."""
    dtype = node.dtype(0)
    if node.version < 11:
        low, high = node.attr("min", -np.inf), node.attr("max", np.inf)
    else:
        bounds = []
        for index, unbounded in ((1, -np.inf), (2, np.inf)):
            value = node.inputs[index] if node.has(index) else np.array(unbounded)
            bounds.append(value)
        if not all(isinstance(value, np.ndarray) for value in bounds):
            result = node.expr(0)
            for index, choose in ((1, op.maximum), (2, op.minimum)):
                if node.has(index):
                    result = node.emit(choose(result, node.emit(op.reshape(node.expr(index), ()))))
            return result
        low, high = (float(value.reshape(-1)[0]) for value in bounds)
        low, high = (-np.inf if np.isnan(low) else low), (np.inf if np.isnan(high) else high)
    if dtype.startswith(("float", "bfloat")) and low <= high:
        return op.nn.relu(node.expr(0)) if low == 0 and high == np.inf else op.clip(node.expr(0), low, high)
    result = node.expr(0)
    if np.isfinite(low):
        result = node.emit(op.maximum(result, _number(low, dtype)))
    if np.isfinite(high):
        result = node.emit(op.minimum(result, _number(high, dtype)))
    return result


def _gather(node: Node) -> Any:
    """Constant indices are checked and made positive here; others cannot read outside the data (TVM's mode "fast" may)."""
    axis = int(node.attr("axis", 0)) % len(node.shape(0))
    extent = node.shape(0)[axis]
    indices = node.inputs[1]
    if isinstance(indices, np.ndarray):
        if indices.size and not (-extent <= indices.min() and indices.max() < extent):
            raise ValueError(f"its indices go from {indices.min()} to {indices.max()}, its axis has {extent} items")
        indices = np.where(indices < 0, indices + extent, indices).astype("int64")
        if indices.ndim == 0:
            index = int(indices)
            part = op.strided_slice(node.expr(0), [axis], [index], [index + 1])
            return op.squeeze(node.emit(part), [axis])
        return op.take(node.expr(0), relax.const(indices), axis=axis, mode="clip")
    dtype = node.dtype(1)
    below = node.emit(op.less(indices, _number(0, dtype)))
    shifted = node.emit(op.add(indices, _number(extent, dtype)))
    return op.take(node.expr(0), node.emit(op.where(below, shifted, indices)), axis=axis, mode="clip")


def _pow(node: Node) -> Any:
    """Mixed and integer types, which TVM's refuses; small constant exponents become products."""
    dtype = node.dtype(0)
    x = node.expr(0)
    exponent = node.inputs[1]
    if isinstance(exponent, np.ndarray) and exponent.size == 1 and exponent.ndim <= len(node.shape(0)):
        value = float(exponent.reshape(-1)[0])
        if value == 1:
            return x
        if value in (2, 3):
            square = node.emit(op.multiply(x, x))
            return square if value == 2 else op.multiply(square, x)
        if value == 0.5 and dtype.startswith("float"):
            return op.sqrt(x)
    work = dtype if dtype.startswith("float") else "float64"
    power = node.expr(1)
    if node.dtype(1) != work:
        power = node.emit(op.astype(power, work))
    if work == dtype:
        return op.power(x, power)
    return op.astype(node.emit(op.round(node.emit(op.power(node.emit(op.astype(x, work)), power)))), dtype)


def _batch_norm(node: Node) -> Any:
    """In training mode TVM's running statistics are not the specification's (momentum the other way round)."""
    from .onnx_ops import tvm_converter

    if not node.attr("training_mode", 0):
        # The further outputs of operator sets before 14 are for training only.
        return [node.emit(relax.TupleGetItem(node.emit(tvm_converter(node)), 0))]
    x, dtype = node.expr(0), node.dtype(0)
    rank = len(node.shape(0))
    along = [1, node.shape(0)[1], *[1] * (rank - 2)]
    axes = [axis for axis in range(rank) if axis != 1]
    mean = node.emit(op.mean(x, axes, keepdims=True))
    centered = node.emit(op.subtract(x, mean))
    variance = node.emit(op.mean(node.emit(op.multiply(centered, centered)), axes, keepdims=True))
    root = node.emit(op.sqrt(node.emit(op.add(variance, _number(float(node.attr("epsilon", 1e-5)), dtype)))))
    scale, bias = (node.emit(op.reshape(node.expr(index), along)) for index in (1, 2))
    scaled = node.emit(op.multiply(node.emit(op.divide(centered, root)), scale))
    result = [node.emit(op.add(scaled, bias)), None, None]
    momentum = float(node.attr("momentum", 0.9))
    for index, old, new in ((1, 3, mean), (2, 4, variance)):
        if index < len(node.wanted) and node.wanted[index]:
            kept = node.emit(op.multiply(node.expr(old), _number(momentum, dtype)))
            flat = node.emit(op.reshape(new, node.shape(old)))
            result[index] = node.emit(op.add(kept, node.emit(op.multiply(flat, _number(1 - momentum, dtype)))))
    return result


def _is_inf(node: Node) -> Any:
    """TVM's ignores which infinity is asked for."""
    dtype = node.dtype(0)
    positive, negative = node.attr("detect_positive", 1), node.attr("detect_negative", 1)
    if positive and negative:
        return op.isinf(node.expr(0))
    if positive or negative:
        return op.equal(node.expr(0), _number(np.inf if positive else -np.inf, dtype))
    return np.zeros(node.shape(0), bool)


def _layer_norm(node: Node) -> Any:
    """TVM's gives scalars for the mean and the inverse deviation."""
    rank = len(node.shape(0))
    axes = list(range(int(node.attr("axis", -1)) % rank, rank))
    epsilon = float(node.attr("epsilon", 1e-5))
    dtype = node.dtype(0)
    shape = [node.shape(0)[axis] for axis in axes]

    def full(index: int, default: float) -> Any:
        if not node.has(index):
            return relax.const(np.full(shape, default, dtype))
        value = node.expr(index)
        return value if list(node.shape(index)) == shape else node.emit(op.broadcast_to(value, shape))

    x = node.expr(0)
    result = [op.nn.layer_norm(x, full(1, 1.0), full(2, 0.0), axes=axes, epsilon=epsilon), None, None]
    if any(node.wanted[1:]):
        wide = x if dtype == "float32" else node.emit(op.astype(x, "float32"))
        mean = node.emit(op.mean(wide, axes, keepdims=True))
        centered = node.emit(op.subtract(wide, mean))
        variance = node.emit(op.mean(node.emit(op.multiply(centered, centered)), axes, keepdims=True))
        deviation = node.emit(op.sqrt(node.emit(op.add(variance, _number(epsilon, "float32")))))
        result[1:] = [mean, node.emit(op.divide(_number(1.0, "float32"), deviation))]
    return result


def _rms_norm(node: Node) -> Any:
    """TVM's fails to compile where all axes are normalized."""
    rank = len(node.shape(0))
    axes = list(range(int(node.attr("axis", -1)) % rank, rank))
    dtype = node.dtype(0)
    wide = node.expr(0) if dtype == "float32" else node.emit(op.astype(node.expr(0), "float32"))
    mean = node.emit(op.mean(node.emit(op.multiply(wide, wide)), axes, keepdims=True))
    root = node.emit(op.sqrt(node.emit(op.add(mean, _number(float(node.attr("epsilon", 1e-5)), "float32")))))
    normal = node.emit(op.divide(wide, root))
    if dtype != "float32":
        normal = node.emit(op.astype(normal, dtype))
    return op.multiply(normal, node.emit(op.astype(node.expr(1), dtype)))


def _dropout(node: Node) -> Any:
    """Inference: the input itself, and a mask of true."""
    if node.has(2) and bool(np.any(node.const(2, "training_mode"))):
        ratio = float(node.const(1, "ratio").reshape(-1)[0]) if node.has(1) else 0.5
        if ratio:
            raise ValueError("it is in training mode, so its result is random; export the model for inference")
    mask = np.ones(node.shape(0), bool) if any(node.wanted[1:]) else None
    return [node.expr(0), mask]


def _conv_transpose(node: Node) -> Any:
    """TVM's ignores `output_shape`; the paddings follow from it (ONNX operator specification, ConvTranspose)."""
    from .onnx_ops import tvm_converter

    wanted = node.attr("output_shape")
    if wanted:
        spatial = len(node.shape(0)) - 2
        kernel = list(node.attr("kernel_shape") or node.shape(1)[2:])
        strides = list(node.attr("strides") or [1] * spatial)
        dilations = list(node.attr("dilations") or [1] * spatial)
        extra = list(node.attr("output_padding") or [0] * spatial)
        begins, ends = [], []
        for k, out in enumerate(list(wanted)[-spatial:]):
            reach = (kernel[k] - 1) * dilations[k] + 1
            total = strides[k] * (node.shape(0)[2 + k] - 1) + extra[k] + reach - int(out)
            if total < 0:
                extra[k], total = extra[k] - total, 0
            first = total - total // 2 if node.attr("auto_pad") == "SAME_LOWER" else total // 2
            if node.attr("auto_pad", "NOTSET") != "SAME_UPPER":
                first = total - total // 2
            begins.append(first)
            ends.append(total - first)
        node.attributes.update(pads=(*begins, *ends), output_padding=tuple(extra), auto_pad=b"NOTSET")
        node.attributes.pop("output_shape")
    return tvm_converter(node)


def _eye_like(node: Node) -> Any:
    """A constant, whatever the input's values are."""
    from onnx import helper

    kind = node.attr("dtype")
    dtype = node.dtype(0) if kind is None else str(helper.tensor_dtype_to_np_dtype(kind))
    rows, columns = node.shape(0)
    return np.eye(rows, columns, k=int(node.attr("k", 0)), dtype=dtype)


def _compress(node: Node) -> Any:
    """With a constant condition the shape is known."""
    chosen = np.flatnonzero(node.const(1, "condition"))
    axis = node.attr("axis")
    data = node.expr(0)
    if axis is None:
        data, axis = node.emit(op.reshape(data, (int(np.prod(node.shape(0))),))), 0
    return op.take(data, relax.const(chosen.astype("int64")), axis=int(axis), mode="clip")


def _roi_align(node: Node) -> Any:
    """TVM's mode "max" takes the greatest interpolated value, ONNX's the greatest weighted neighbour."""
    from .onnx_ops import tvm_converter

    if node.attr("mode", "avg") == "max":
        raise ValueError("the mode 'max' is not supported")
    return tvm_converter(node)


def _space_to_depth(node: Node) -> Any:
    """TVM's has no mode CRD."""
    batch, channels, height, width = node.shape(0)
    size = int(node.attr("blocksize"))
    split = (batch, channels, height // size, size, width // size, size)
    axes = [0, 1, 3, 5, 2, 4] if node.attr("mode", "DCR") == "CRD" else [0, 3, 5, 1, 2, 4]
    cut = node.emit(op.permute_dims(node.emit(op.reshape(node.expr(0), split)), axes))
    return op.reshape(cut, (batch, channels * size * size, height // size, width // size))


def _celu(node: Node) -> Any:
    """max(0, x) + min(0, α · (exp(x / α) - 1))."""
    dtype = node.dtype(0)
    alpha, one, zero = (_number(v, dtype) for v in (float(node.attr("alpha", 1.0)), 1.0, 0.0))
    x = node.expr(0)
    curve = node.emit(op.subtract(node.emit(op.exp(node.emit(op.divide(x, alpha)))), one))
    negative = node.emit(op.minimum(node.emit(op.multiply(alpha, curve)), zero))
    return op.add(node.emit(op.maximum(x, zero)), negative)


def _extreme(node: Node) -> Any:
    """TVM's cannot reduce truth values, which it has no least and greatest value of."""
    from .onnx_ops import tvm_converter

    if node.dtype(0) != "bool":
        return tvm_converter(node)
    node.inputs[0] = node.emit(op.astype(node.expr(0), "int8"))
    return op.astype(node.emit(tvm_converter(node)), "bool")


def _one_hot(node: Node) -> Any:
    """TVM's wants the depth as a scalar, and does not count negative indices from the end."""
    depth = int(node.const(1, "depth").reshape(-1)[0])
    rank = len(node.shape(0)) + 1
    axis = int(node.attr("axis", -1)) % rank
    dtype = node.dtype(2)
    indices = node.expr(0)
    if not node.dtype(0).startswith("int"):
        indices = node.emit(op.astype(indices, "int64"))
    kind = str(indices.ty.dtype)
    negative = node.emit(op.less(indices, _number(0, kind)))
    indices = node.emit(op.where(negative, node.emit(op.add(indices, _number(depth, kind))), indices))
    extents = [1] * rank
    extents[axis] = depth
    places = relax.const(np.arange(depth, dtype=kind).reshape(extents))
    chosen = node.emit(op.equal(node.emit(op.expand_dims(indices, [axis])), places))
    values = node.const(2, "values")
    return op.where(chosen, _number(values[1], dtype), _number(values[0], dtype))


FIXES: dict[str, Converter] = {
    "BatchNormalization": _batch_norm,
    "Celu": _celu,
    "Clip": _clip,
    "Compress": _compress,
    "ConvTranspose": _conv_transpose,
    "Dropout": _dropout,
    "EyeLike": _eye_like,
    "Gather": _gather,
    "IsInf": _is_inf,
    "OneHot": _one_hot,
    "LayerNormalization": _layer_norm,
    "Pow": _pow,
    "RMSNormalization": _rms_norm,
    "ReduceMax": _extreme,
    "ReduceMin": _extreme,
    "RoiAlign": _roi_align,
    "SpaceToDepth": _space_to_depth,
}
