"""Resize and Upsample, axis by axis.

TVM's `resize2d` knows sizes but not scales (they differ where size · scale is no integer), and no antialiasing; it is
used where it agrees, since it is one operator. Everything else is resampled by `interpolate`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .._tvm import relax
from .interpolate import Axis, coordinates, nearest_taps, resample, weighted_taps
from .onnx_node import Converter, Node

__all__ = ["RESIZE"]

op = relax.op
_TVM_COORDINATES = ("half_pixel", "pytorch_half_pixel", "asymmetric", "align_corners")


def _axes(node: Node, scales: np.ndarray | None, sizes: np.ndarray | None) -> list[Axis]:
    """The axes that change."""
    shape = node.shape(0)
    named = [int(a) % len(shape) for a in node.attr("axes") or range(len(shape))]
    roi = node.const(1, "roi") if node.operator == "Resize" and node.version > 10 and node.has(1) else np.zeros(0)
    regions = [(0.0, 1.0)] * len(named)
    if roi.size == 2 * len(named) and node.attr("coordinate_transformation_mode") == "tf_crop_and_resize":
        regions = [(float(roi[k]), float(roi[len(named) + k])) for k in range(len(named))]
    if sizes is not None:
        factors = [int(sizes[k]) / shape[a] for k, a in enumerate(named)]
        outs = [int(size) for size in sizes]
        policy = node.attr("keep_aspect_ratio_policy", "stretch")
        if policy != "stretch":
            common = min(factors) if policy == "not_larger" else max(factors)
            factors = [common] * len(named)
            outs = [int(np.floor(common * shape[a] + 0.5)) for a in named]
    else:
        assert scales is not None
        factors = [float(scale) for scale in scales]
        outs = [int(np.floor(factors[k] * shape[a])) for k, a in enumerate(named)]
    return [
        Axis(a, shape[a], outs[k], factors[k], regions[k])
        for k, a in enumerate(named)
        if outs[k] != shape[a] or factors[k] != 1.0 or regions[k] != (0.0, 1.0)
    ]


def _resize(node: Node) -> Any:
    if node.version <= 10:  # Resize-10 has no coordinate modes yet
        node.attributes.update(coordinate_transformation_mode=b"asymmetric", nearest_mode=b"floor")
        return _resized(node, _axes(node, node.const(1, "scales"), None))
    sizes = node.const(3, "sizes") if node.has(3) and node.shape(3)[0] else None
    return _resized(node, _axes(node, node.const(2, "scales") if sizes is None else None, sizes))


def _upsample(node: Node) -> Any:
    node.attributes.update(coordinate_transformation_mode=b"asymmetric", nearest_mode=b"floor")
    if node.attr("mode") == "bilinear":
        node.attributes["mode"] = b"linear"
    scales = node.const(1, "scales") if node.has(1) else np.array(node.attr("scales"))
    return _resized(node, _axes(node, scales, None))


def _one_operator(node: Node, axes: list[Axis]) -> bool:
    """Whether TVM's operator computes the same."""
    return (
        len(node.shape(0)) == 4
        and all(axis.axis >= 2 for axis in axes)
        and node.attr("coordinate_transformation_mode", "half_pixel") in _TVM_COORDINATES
        and not node.attr("antialias", 0)
        and all(axis.out > 1 and axis.scale * axis.size == axis.out for axis in axes)
        and (
            node.attr("mode", "nearest") == "linear"
            or (node.attr("mode", "nearest") == "nearest" and all(axis.out % axis.size == 0 for axis in axes))
        )
    )


def _resized(node: Node, axes: list[Axis]) -> Any:
    if not axes:
        return node.expr(0)
    mode = node.attr("mode", "nearest")
    transformation = node.attr("coordinate_transformation_mode", "half_pixel")
    rounding = node.attr("nearest_mode", "round_prefer_floor")
    if _one_operator(node, axes):
        size = list(node.shape(0)[2:])
        for axis in axes:
            size[axis.axis - 2] = axis.out
        return op.image.resize2d(
            node.expr(0),
            size=relax.ShapeExpr(size),
            roi=[0.0] * 4,
            layout="NCHW",
            method="nearest_neighbor" if mode == "nearest" else "linear",
            coordinate_transformation_mode=transformation,
            rounding_method=rounding,
        )
    x, dtype = node.expr(0), node.dtype(0)
    work = dtype if dtype.startswith("float") or mode == "nearest" else "float32"
    if work != dtype:
        x = node.emit(op.astype(x, work))
    outside: list[tuple[Axis, np.ndarray]] = []
    for axis in axes:
        place = coordinates(transformation, axis)
        if mode == "nearest":
            taps = nearest_taps(place, axis.size, rounding)
        else:
            taps = weighted_taps(
                place,
                axis,
                mode == "cubic",
                float(node.attr("cubic_coeff_a", -0.75)),
                bool(node.attr("antialias", 0)),
                bool(node.attr("exclude_outside", 0)),
            )
        x = resample(node.emit, x, axis, taps, work)
        beyond = (place < 0) | (place > axis.size - 1)
        if transformation == "tf_crop_and_resize" and bool(beyond.any()):
            outside.append((axis, beyond))
    for axis, beyond in outside:
        along = [1] * int(x.ty.ndim)
        along[axis.axis] = axis.out
        value = relax.const(float(node.attr("extrapolation_value", 0.0)), work)
        x = node.emit(op.where(relax.const(beyond.reshape(along)), value, x))
    return x if work == dtype else node.emit(op.astype(x, dtype))


RESIZE: dict[str, Converter] = {"Resize": _resize, "Upsample": _upsample}
