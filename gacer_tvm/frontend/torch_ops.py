"""Converters of PyTorch operators that replace those of TVM's importer, and why each does."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .._tvm import relax, tvm
from .interpolate import Axis, coordinates, nearest_taps, resample, weighted_taps

__all__ = ["KEPT_WHOLE", "TORCH_OPERATORS"]

op = relax.op

# Operators that PyTorch must not decompose, since there is a converter for the whole here.
KEPT_WHOLE = ("scaled_dot_product_attention.default",)


def _argument(node: Any, position: int, name: str, default: Any) -> Any:
    return node.args[position] if len(node.args) > position else node.kwargs.get(name, default)


def _attention(node: Any, importer: Any) -> Any:
    """softmax(Q Kᵀ · scale + mask) V, in three operators.

    PyTorch's decomposition guards against rows that are masked out completely, with five more operators, even where
    there is no mask; TVM's converter makes one kernel of two matrix products and a softmax, which no schedule rule
    fits, and takes no three-dimensional tensors and no boolean masks.
    """
    emit = importer.block_builder.emit
    query, key, value = (importer.env[argument] for argument in node.args[:3])
    mask = _argument(node, 3, "attn_mask", None)
    if _argument(node, 4, "dropout_p", 0.0):
        raise ValueError("scaled_dot_product_attention drops out; call .eval() before torch.export.export")
    causal = _argument(node, 5, "is_causal", False)
    scale = node.kwargs.get("scale")
    dtype = str(query.ty.dtype)
    rank = int(query.ty.ndim)
    width = int(query.ty.shape.values[-1])
    if node.kwargs.get("enable_gqa", False):
        times = int(query.ty.shape.values[-3]) // int(key.ty.shape.values[-3])
        key, value = (emit(op.repeat(part, times, rank - 3)) for part in (key, value))
    factor = 1.0 / math.sqrt(width) if scale is None else float(scale)
    turned = emit(op.permute_dims(key, [*range(rank - 2), rank - 1, rank - 2]))
    scores = emit(op.multiply(emit(op.matmul(query, turned)), relax.const(factor, dtype)))
    rows, columns = (int(extent) for extent in scores.ty.shape.values[-2:])
    if causal:
        hidden = np.triu(np.full((rows, columns), -np.inf, dtype), 1)
        scores = emit(op.add(scores, relax.const(hidden, dtype)))
    weights = None
    if mask is not None:
        bias = importer.env[mask]
        if str(bias.ty.dtype) == "bool":
            bias = emit(op.where(bias, relax.const(0.0, dtype), relax.const(-np.inf, dtype)))
        scores = emit(op.add(scores, bias))
        # A row with nothing to look at gives zeros, not NaN. TVM's maximum starts from the least finite number.
        least = relax.const(tvm.tirx.min_value(dtype).value, dtype)
        dead = emit(op.less_equal(emit(op.max(scores, -1, keepdims=True)), least))
        weights = emit(op.where(dead, relax.const(0.0, dtype), emit(op.nn.softmax(scores, -1))))
    if weights is None:
        weights = emit(op.nn.softmax(scores, -1))
    return emit(op.matmul(weights, value))


def _select(node: Any, importer: Any) -> Any:
    """One item along an axis. TVM's gathers it, by an index that it does not count from the end when negative."""
    data, axis, index = importer.env[node.args[0]], int(node.args[1]), int(node.args[2])
    axis %= int(data.ty.ndim)
    extent = data.ty.shape.values[axis]
    first = int(extent) + index if index < 0 else index
    emit = importer.block_builder.emit
    return emit(op.squeeze(emit(op.strided_slice(data, [axis], [first], [first + 1])), [axis]))


def _accumulator(dtype: str) -> str:
    """PyTorch sums half-precision products in float32; TVM's converters use float32 for every type, float64 too."""
    return "float32" if dtype in ("float16", "bfloat16") else dtype


def _cast(emit: Any, x: Any, dtype: str) -> Any:
    return x if str(x.ty.dtype) == dtype else emit(op.astype(x, dtype))


def _product(importer: Any, a: Any, b: Any) -> Any:
    emit, dtype = importer.block_builder.emit, str(a.ty.dtype)
    return _cast(emit, emit(op.matmul(a, b, out_dtype=_accumulator(dtype))), dtype)


def _matmul(node: Any, importer: Any) -> Any:
    return _product(importer, importer.env[node.args[0]], importer.env[node.args[1]])


def _addmm(node: Any, importer: Any) -> Any:
    """beta · input + alpha · (a @ b)."""
    emit = importer.block_builder.emit
    added, a, b = (importer.env[argument] for argument in node.args[:3])
    dtype = str(a.ty.dtype)
    result = _product(importer, a, b)
    for name, where in (("alpha", "product"), ("beta", "added")):
        factor = node.kwargs.get(name, 1)
        if factor != 1:
            scaled = op.multiply(result if where == "product" else added, relax.const(factor, dtype))
            if where == "product":
                result = emit(scaled)
            else:
                added = emit(scaled)
    return result if node.kwargs.get("beta", 1) == 0 else emit(op.add(result, added))


def _linear(node: Any, importer: Any) -> Any:
    emit = importer.block_builder.emit
    x, weight = importer.env[node.args[0]], importer.env[node.args[1]]
    result = _product(importer, x, emit(op.permute_dims(weight)))
    bias = _argument(node, 2, "bias", None)
    return result if bias is None else emit(op.add(result, importer.env[bias]))


def _convolution(node: Any, importer: Any) -> Any:
    """Convolutions of one to three dimensions, transposed or not."""
    emit = importer.block_builder.emit
    x, weight = importer.env[node.args[0]], importer.env[node.args[1]]
    bias, stride, padding, dilation, transposed, output_padding, groups = node.args[2:9]
    spatial = int(x.ty.ndim) - 2
    dtype = str(x.ty.dtype)
    place = {1: "W", 2: "HW", 3: "DHW"}[spatial]

    def each(value: Any) -> list[int]:
        listed = [int(item) for item in value]
        return listed * spatial if len(listed) == 1 else listed

    kind = f"conv{spatial}d_transpose" if transposed else f"conv{spatial}d"
    options: dict[str, Any] = {
        "strides": each(stride),
        "padding": each(padding) * 2,
        "dilation": each(dilation),
        "groups": int(groups),
        "data_layout": f"NC{place}",
        "kernel_layout": f"{'IO' if transposed else 'OI'}{place}",
        "out_dtype": _accumulator(dtype),
    }
    if transposed:
        options["output_padding"] = each(output_padding)
    result = _cast(emit, emit(getattr(op.nn, kind)(x, weight, **options)), dtype)
    if bias is None:
        return result
    return emit(op.add(result, emit(op.reshape(importer.env[bias], (1, -1, *[1] * spatial)))))


def _resized(node: Any, importer: Any, cubic: bool | None, aligned: bool) -> Any:
    """Upsampling by sizes or by scales; TVM's takes sizes only, so that scales like 1.7 come out wrong."""
    emit = importer.block_builder.emit
    x = importer.env[node.args[0]]
    sizes, scales = node.args[1], node.args[-1]
    rank = int(x.ty.ndim)
    dtype = str(x.ty.dtype)
    for k in range(rank - 2):
        extent = int(x.ty.shape.values[2 + k])
        out = int(sizes[k]) if sizes is not None else math.floor(extent * scales[k])
        scale = float(scales[k]) if scales is not None else out / extent
        if out == extent and scale == 1.0:
            continue
        if aligned:
            scale = out / extent
        axis = Axis(2 + k, extent, out, scale)
        if cubic is None:
            taps = nearest_taps(coordinates("asymmetric", axis), extent, "floor")
        else:
            place = coordinates("align_corners" if aligned else "half_pixel", axis)
            if not cubic:
                place = np.maximum(place, 0.0)
            taps = weighted_taps(place, axis, cubic)
        x = resample(emit, x, axis, taps, dtype)
    return x


def _upsample_nearest(node: Any, importer: Any) -> Any:
    return _resized(node, importer, None, False)


def _upsample_linear(node: Any, importer: Any) -> Any:
    return _resized(node, importer, False, bool(node.args[2]))


def _upsample_cubic(node: Any, importer: Any) -> Any:
    return _resized(node, importer, True, bool(node.args[2]))


def _grid_sample(node: Any, importer: Any) -> Any:
    """TVM's does not bring the grid from (N, H, W, 2) to the (N, 2, H, W) that its operator takes."""
    emit = importer.block_builder.emit
    grid = emit(op.permute_dims(importer.env[node.args[1]], [0, 3, 1, 2]))
    return emit(
        op.image.grid_sample(
            importer.env[node.args[0]],
            grid,
            method=("bilinear", "nearest", "bicubic")[int(node.args[2])],
            layout="NCHW",
            padding_mode=("zeros", "border", "reflection")[int(node.args[3])],
            align_corners=bool(node.args[4]),
        )
    )


def _clamp(node: Any, importer: Any) -> Any:
    """TVM's clips integers at infinity where a bound is left out."""
    emit, x = importer.block_builder.emit, importer.env[node.args[0]]
    dtype = str(x.ty.dtype)
    for position, name, choose in ((1, "min", op.maximum), (2, "max", op.minimum)):
        bound = _argument(node, position, name, None)
        if bound is not None:
            x = emit(choose(x, relax.const(bound, dtype)))
    return x


TORCH_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "clamp.default": _clamp,
    "addmm.default": _addmm,
    "bmm.default": _matmul,
    "convolution.default": _convolution,
    "grid_sampler_2d.default": _grid_sample,
    "linear.default": _linear,
    "matmul.default": _matmul,
    "mm.default": _matmul,
    "scaled_dot_product_attention.default": _attention,
    "select.int": _select,
    "upsample_bicubic2d.vec": _upsample_cubic,
    "upsample_bilinear2d.vec": _upsample_linear,
    "upsample_linear1d.vec": _upsample_linear,
    "upsample_nearest1d.vec": _upsample_nearest,
    "upsample_nearest2d.vec": _upsample_nearest,
    "upsample_nearest3d.vec": _upsample_nearest,
    "upsample_trilinear3d.vec": _upsample_linear,
}
