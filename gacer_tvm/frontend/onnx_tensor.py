"""Standard operators for which TVM 0.27 has no converter: tensor rearrangements and reductions."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._tvm import relax
from .onnx_node import Converter, Node

__all__ = ["TENSOR"]

op = relax.op


def _reverse_sequence(node: Node) -> Any:
    """The first `length` items of each sequence in reverse, by one gather with constant places."""
    time, batch = int(node.attr("time_axis", 0)), int(node.attr("batch_axis", 1))
    lengths = node.const(1, "sequence_lens")
    shape = node.shape(0)
    steps = np.arange(shape[time])[:, None]
    places = np.where(steps < lengths[None, :], lengths[None, :] - 1 - steps, steps)  # (T, B)
    # One item of the flattened (time, batch) axes at a time, the rest of the tensor behind it.
    order = [time, batch] + [axis for axis in range(len(shape)) if axis not in (time, batch)]
    moved = node.emit(op.permute_dims(node.expr(0), order))
    rest = [shape[axis] for axis in order[2:]]
    flat = node.emit(op.reshape(moved, (shape[time] * shape[batch], *rest)))
    index = (places * shape[batch] + np.arange(shape[batch])[None, :]).reshape(-1).astype("int64")
    taken = node.emit(op.take(flat, relax.const(index), axis=0, mode="clip"))
    back = node.emit(op.reshape(taken, (shape[time], shape[batch], *rest)))
    return op.permute_dims(back, [int(axis) for axis in np.argsort(order)])


def _cum_prod(node: Node) -> Any:
    axis = int(node.const(1, "axis").reshape(-1)[0])
    exclusive, reverse = bool(node.attr("exclusive", 0)), bool(node.attr("reverse", 0))
    x = node.expr(0)
    if reverse:
        x = node.emit(op.flip(x, axis))
    x = node.emit(op.cumprod(x, axis, dtype=node.dtype(0), exclusive=exclusive))
    return op.flip(x, axis) if reverse else x


def _lp_normalization(node: Node) -> Any:
    axis, order = int(node.attr("axis", -1)), int(node.attr("p", 2))
    x = node.expr(0)
    size = node.emit(op.abs(x)) if order == 1 else node.emit(op.multiply(x, x))
    total = node.emit(op.sum(size, [axis], keepdims=True))
    norm = total if order == 1 else node.emit(op.sqrt(total))
    zero = relax.const(np.zeros((), node.dtype(0)))
    # A vector of zeros stays one.
    one = relax.const(np.ones((), node.dtype(0)))
    safe = node.emit(op.where(node.emit(op.equal(norm, zero)), one, norm))
    return op.divide(x, safe)


def _col2im(node: Node) -> Any:
    """Overlapping blocks added up: one matrix product with the constant matrix that says which block element goes where."""
    image = [int(extent) for extent in node.const(1, "image_shape")]
    block = [int(extent) for extent in node.const(2, "block_shape")]
    rank = len(image)
    dilations = list(node.attr("dilations") or [1] * rank)
    strides = list(node.attr("strides") or [1] * rank)
    pads = list(node.attr("pads") or [0] * (2 * rank))
    counts = [
        (image[k] + pads[k] + pads[rank + k] - dilations[k] * (block[k] - 1) - 1) // strides[k] + 1 for k in range(rank)
    ]
    places, columns = int(np.prod(counts)), int(np.prod(block))
    matrix = np.zeros((columns * places, int(np.prod(image))), node.dtype(0))
    for row, (element, position) in enumerate(np.ndindex(columns, places)):
        inside = np.unravel_index(element, block)
        start = np.unravel_index(position, counts)
        target = [int(start[k] * strides[k] + inside[k] * dilations[k] - pads[k]) for k in range(rank)]
        if all(0 <= target[k] < image[k] for k in range(rank)):
            matrix[row, int(np.ravel_multi_index(target, image))] = 1
    batch, wide = node.shape(0)[0], node.shape(0)[1]
    channels = wide // columns
    flat = node.emit(op.reshape(node.expr(0), (batch, channels, columns * places)))
    summed = node.emit(op.matmul(flat, relax.const(matrix)))
    return op.reshape(summed, (batch, channels, *image))


def _det(node: Node) -> Any:
    """By cofactors; matrices of at most four rows."""
    size = node.shape(0)[-1]
    rank = len(node.shape(0))
    if size > 4:
        raise ValueError(f"determinants of {size} x {size} matrices are not supported, only up to 4 x 4")

    def element(row: int, column: int) -> Any:
        axes = [rank - 2, rank - 1]
        cut = node.emit(op.strided_slice(node.expr(0), axes, [row, column], [row + 1, column + 1]))
        return node.emit(op.squeeze(cut, axes))

    def minor(row: int, columns: list[int]) -> Any:
        if len(columns) == 1:
            return element(row, columns[0])
        total = None
        for sign, column in enumerate(columns):
            rest = minor(row + 1, [other for other in columns if other != column])
            term = node.emit(op.multiply(element(row, column), rest))
            if total is None:
                total = term
            else:
                total = node.emit(op.subtract(total, term) if sign % 2 else op.add(total, term))
        return total

    return minor(0, list(range(size)))


def _bit_cast(node: Node) -> Any:
    raise ValueError("reinterpreting bits is only supported on constants")


TENSOR: dict[str, Converter] = {
    "BitCast": _bit_cast,
    "Col2Im": _col2im,
    "CumProd": _cum_prod,
    "Det": _det,
    "LpNormalization": _lp_normalization,
    "ReverseSequence": _reverse_sequence,
}
