"""Resampling along one axis: where each output element lies, which inputs make it, with which weights.

Formulas: ONNX operator specification, Resize; PyTorch's upsampling is the same arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .._tvm import relax

__all__ = ["Axis", "coordinates", "nearest_taps", "resample", "weighted_taps"]

op = relax.op
Taps = tuple[np.ndarray, np.ndarray]


class Axis(NamedTuple):
    """How one axis is resized.

    Attributes
    ----------
    axis, size, out
        Which axis, its extent, and the extent wanted.
    scale
        Output over input, as given: `out` may be its product with `size` rounded down.
    region
        The part of the axis that is used ("tf_crop_and_resize"), in units of ``size - 1``.
    """

    axis: int
    size: int
    out: int
    scale: float
    region: tuple[float, float] = (0.0, 1.0)


def coordinates(mode: str, axis: Axis) -> np.ndarray:
    """Where each output element lies on the input's axis, float64 of shape (out,).

    Parameters
    ----------
    mode
        ONNX's ``coordinate_transformation_mode``.
    """
    place = np.arange(axis.out, dtype="float64")
    exact = axis.scale * axis.size
    if mode == "align_corners":
        return np.zeros(axis.out) if exact == 1 else place * (axis.size - 1) / (exact - 1)
    if mode == "asymmetric":
        return place / axis.scale
    if mode == "tf_crop_and_resize":
        start, stop = axis.region
        if axis.out > 1:
            return start * (axis.size - 1) + place * (stop - start) * (axis.size - 1) / (axis.out - 1)
        return np.full(axis.out, 0.5 * (start + stop) * (axis.size - 1))
    half = (place + 0.5) / axis.scale - 0.5
    if mode == "pytorch_half_pixel":
        return half if axis.out > 1 else np.full(axis.out, -0.5)
    if mode == "half_pixel_symmetric":
        return axis.size / 2 * (1 - axis.out / exact) + half
    if mode != "half_pixel":
        raise ValueError(f"the coordinate transformation {mode!r} is unknown")
    return half


def nearest_taps(place: np.ndarray, size: int, rounding: str) -> Taps:
    """The nearest input of each place; `rounding` is ONNX's ``nearest_mode``."""
    if rounding == "floor":
        index = np.floor(place)
    elif rounding == "ceil":
        index = np.ceil(place)
    elif rounding == "round_prefer_ceil":
        index = np.floor(place + 0.5)
    else:
        index = np.ceil(place - 0.5)
    return np.clip(index, 0, size - 1).astype("int64")[:, None], np.ones((len(place), 1))


def _kernel(cubic: bool, distance: np.ndarray, a: float) -> np.ndarray:
    d: np.ndarray = np.abs(distance)
    if not cubic:
        return np.asarray(np.clip(1.0 - d, 0.0, 1.0))
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return np.where(d <= 1, near, np.where(d < 2, far, 0.0))


def weighted_taps(
    place: np.ndarray, axis: Axis, cubic: bool, a: float = -0.75, antialias: bool = False, exclude_outside: bool = False
) -> Taps:
    """Indices and weights of the inputs that make each output, both of shape (out, taps).

    Parameters
    ----------
    cubic
        Cubic convolution with the coefficient `a` (Keys 1981), else linear interpolation.
    antialias
        Widen the kernel where the axis shrinks.
    exclude_outside
        Inputs beyond the border weigh nothing, instead of repeating the border.
    """
    squeeze = min(axis.scale, 1.0) if antialias else 1.0
    reach = int(np.ceil((2 if cubic else 1) / squeeze))
    indices = np.floor(place).astype("int64")[:, None] + np.arange(1 - reach, reach + 1)[None, :]
    weights = _kernel(cubic, (indices - place[:, None]) * squeeze, a)
    if exclude_outside:
        weights = np.where((indices >= 0) & (indices < axis.size), weights, 0.0)
    if exclude_outside or squeeze != 1.0:
        weights = weights / weights.sum(axis=1, keepdims=True)
    return np.clip(indices, 0, axis.size - 1), weights


def resample(emit: Callable[[Any], Any], x: Any, axis: Axis, taps: Taps, dtype: str) -> Any:
    """`x` with one axis resampled: up to four gathers, else a matrix product.

    Parameters
    ----------
    emit
        Binds an expression to a variable.
    x
        A tensor of `dtype`.
    """
    indices, weights = taps
    rank = int(x.ty.ndim)
    count = indices.shape[1]

    def gather(column: np.ndarray) -> Any:
        return emit(op.take(x, relax.const(np.ascontiguousarray(column)), axis=axis.axis, mode="clip"))

    if count == 1:
        return gather(indices[:, 0])
    if count <= 4:
        along = [1] * rank
        along[axis.axis] = axis.out
        total = None
        for k in range(count):
            if not weights[:, k].any():
                continue
            weight = relax.const(weights[:, k].reshape(along).astype(dtype), dtype)
            term = emit(op.multiply(gather(indices[:, k]), weight))
            total = term if total is None else emit(op.add(total, term))
        return total
    matrix = np.zeros((axis.size, axis.out))
    np.add.at(matrix, (indices, np.arange(axis.out)[:, None]), weights)
    order = [k for k in range(rank) if k != axis.axis] + [axis.axis]
    product = emit(op.matmul(emit(op.permute_dims(x, order)), relax.const(matrix.astype(dtype), dtype)))
    return emit(op.permute_dims(product, [int(k) for k in np.argsort(order)]))
