"""DFT and STFT as matrix products with constant cosines and sines."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._tvm import relax
from .onnx_node import Converter, Node

__all__ = ["SIGNAL"]

op = relax.op


def _basis(length: int, size: int, bins: int, inverse: bool, dtype: str) -> tuple[Any, Any]:
    """cos and sin of the transform, (length, bins): X[k] = Σ x[n] · exp(∓2πi·n·k / size)."""
    # The product is reduced modulo `size` in integers, so that large n·k lose no digits.
    phase = (np.arange(length)[:, None] * np.arange(bins)[None, :]) % size * (2.0 * np.pi / size)
    scale = 1.0 / size if inverse else 1.0
    sign = 1.0 if inverse else -1.0
    return (
        relax.const((np.cos(phase) * scale).astype(dtype), dtype),
        relax.const((sign * np.sin(phase) * scale).astype(dtype), dtype),
    )


def _transform(node: Node, real: Any, imaginary: Any, cos: Any, sin: Any) -> tuple[Any, Any]:
    """Real and imaginary part of the transform along the last axis."""
    emit = node.emit
    if imaginary is None:
        return emit(op.matmul(real, cos)), emit(op.matmul(real, sin))
    out_real = op.subtract(emit(op.matmul(real, cos)), emit(op.matmul(imaginary, sin)))
    out_imaginary = op.add(emit(op.matmul(real, sin)), emit(op.matmul(imaginary, cos)))
    return emit(out_real), emit(out_imaginary)


def _parts(node: Node, value: Any) -> tuple[Any, Any]:
    """Real and imaginary part of a tensor whose last axis holds one or two numbers."""
    last = int(value.ty.ndim) - 1
    count = int(value.ty.shape.values[last])
    found = [
        node.emit(op.squeeze(node.emit(op.strided_slice(value, [last], [k], [k + 1])), [last])) for k in range(count)
    ]
    return found[0], found[1] if count == 2 else None


def _joined(node: Node, real: Any, imaginary: Any) -> Any:
    axis = int(real.ty.ndim)
    return node.emit(op.concat([node.emit(op.expand_dims(part, [axis])) for part in (real, imaginary)], axis))


def _dft(node: Node) -> Any:
    x = node.expr(0)
    rank = len(node.shape(0))
    axis = int(node.attr("axis", 1))
    if node.version >= 20:
        axis = int(node.const(2, "axis").reshape(-1)[0]) if node.has(2) else -2
    axis %= rank
    inverse, onesided = bool(node.attr("inverse", 0)), bool(node.attr("onesided", 0))
    length = node.shape(0)[axis]
    size = int(node.const(1, "dft_length").reshape(-1)[0]) if node.has(1) else length
    half = inverse and onesided
    if half:
        # The input holds the first half of a spectrum whose other half is its mirror image.
        size = size if node.has(1) else 2 * (length - 1)
        length = min(length, size // 2 + 1)
    if not half and size < length:
        length = size
    if length < node.shape(0)[axis]:
        x = node.emit(op.strided_slice(x, [axis], [0], [length]))
    real, imaginary = _parts(node, x)
    last = rank - 2
    order = [k for k in range(rank - 1) if k != axis] + [axis]
    back = [int(k) for k in np.argsort(order)]
    if axis != last:
        real = node.emit(op.permute_dims(real, order))
        imaginary = None if imaginary is None else node.emit(op.permute_dims(imaginary, order))
    if half:
        real, imaginary = _mirrored(node, real, imaginary, length, size), None
    else:
        bins = size // 2 + 1 if onesided else size
        cos, sin = _basis(length, size, bins, inverse, node.dtype(0))
        real, imaginary = _transform(node, real, imaginary, cos, sin)
    if axis != last:
        real = node.emit(op.permute_dims(real, back))
        imaginary = None if imaginary is None else node.emit(op.permute_dims(imaginary, back))
    return node.emit(op.expand_dims(real, [rank - 1])) if imaginary is None else _joined(node, real, imaginary)


def _mirrored(node: Node, real: Any, imaginary: Any, bins: int, size: int) -> Any:
    """The real signal of `size` samples whose spectrum starts with the given bins."""
    dtype = node.dtype(0)
    phase = (np.arange(bins)[:, None] * np.arange(size)[None, :]) % size * (2.0 * np.pi / size)
    # Every bin stands for itself and its mirror image, but for the first and, of an even size, the last.
    twice = np.full((bins, 1), 2.0)
    twice[0] = 1.0
    if size % 2 == 0 and bins == size // 2 + 1:
        twice[-1] = 1.0
    cos = relax.const((np.cos(phase) * twice / size).astype(dtype))
    sin = relax.const((np.sin(phase) * twice / size).astype(dtype))
    result = node.emit(op.matmul(real, cos))
    return result if imaginary is None else node.emit(op.subtract(result, node.emit(op.matmul(imaginary, sin))))


def _stft(node: Node) -> Any:
    signal = node.expr(0)
    step = int(node.const(1, "frame_step").reshape(-1)[0])
    if node.has(3):
        size = int(node.const(3, "frame_length").reshape(-1)[0])
    elif node.has(2):
        size = node.shape(2)[0]
    else:
        size = node.shape(0)[1]
    real, imaginary = (signal, None) if len(node.shape(0)) == 2 else _parts(node, signal)
    frames = (node.shape(0)[1] - size) // step + 1
    places = (np.arange(frames)[:, None] * step + np.arange(size)[None, :]).astype("int64")

    def framed(part: Any) -> Any:
        cut = node.emit(op.take(part, relax.const(places), axis=1, mode="clip"))  # (B, frames, size)
        return node.emit(op.multiply(cut, node.expr(2))) if node.has(2) else cut

    real = framed(real)
    imaginary = None if imaginary is None else framed(imaginary)
    onesided = bool(node.attr("onesided", 1)) and imaginary is None
    cos, sin = _basis(size, size, size // 2 + 1 if onesided else size, False, node.dtype(0))
    return _joined(node, *_transform(node, real, imaginary, cos, sin))


SIGNAL: dict[str, Converter] = {"DFT": _dft, "STFT": _stft}
