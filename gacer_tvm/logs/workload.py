"""What a workload is, told from shapes alone: its operator class and its arithmetic.

An Ansor key names its computation by an md5, so all that most logs tell of it is the shapes of its inputs and output. The
rules below read the class off them: a 4-d weight beside a 4-d input whose channels fit is a convolution, and so on.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from .record import Tensor

__all__ = ["classify", "flat_shape_cuts", "flops_of"]

Shape = tuple[int, ...]


def classify(shapes: Sequence[Shape]) -> str:
    """The operator class of a workload whose tensors, the output last, have these shapes."""
    return _recognize(shapes)[0]


def flops_of(op_class: str, tensors: Sequence[Tensor], outputs: int = 1) -> float | None:
    """Arithmetic operations of a workload (a multiply and an add are two), None where the shapes do not tell.

    For convolutions and products: ``2 * prod(output) * (reduction length)``; the reduction length is the weight's size
    over its output channels. Winograd's is that of its batched product, in the transformed domain.
    """
    shapes = [tensor.shape for tensor in tensors]
    if outputs < 1 or len(shapes) < 2:
        return None
    known, flops = _recognize(shapes)
    if known == op_class or known.split("_")[0] == op_class.split("_")[0]:
        return flops
    return None


def _recognize(shapes: Sequence[Shape]) -> tuple[str, float | None]:
    if not shapes or any(extent <= 0 for shape in shapes for extent in shape):
        return "unknown", None
    if len(shapes) >= 3:
        data, weight, out = shapes[0], shapes[1], shapes[-1]
        for rule in (_winograd, _conv2d_nhwc, _conv2d_nchw, _conv2d_packed, _product):
            found = rule(data, weight, out)
            if found is not None:
                return found
    data, out = shapes[0], shapes[-1]
    if len(data) == len(out) and math.prod(out) < math.prod(data):
        # A window or a whole axis is reduced; a second input of the output's shape is what was fused behind.
        spatial = sum(1 for a, b in zip(data, out) if a != b)
        return ("pool" if len(data) >= 4 and spatial == 2 else "reduce"), float(math.prod(data))
    if len(shapes) >= 2 and math.prod(out) == max(math.prod(shape) for shape in shapes):
        return "elementwise", float(math.prod(out))
    return "unknown", None


def _winograd(data: Shape, weight: Shape, out: Shape) -> tuple[str, float] | None:
    """Weights already transformed: [a, a, CO, CI] (or CI, CO) with a = 4 or 6, output as large as the input."""
    if len(data) != 4 or len(weight) != 4 or len(out) != 4 or weight[0] != weight[1] or weight[0] not in (4, 6, 8):
        return None
    alpha, m = weight[0], weight[0] - 2
    if data[1:3] == out[1:3] and sorted(weight[2:]) == sorted((data[3], out[3])):
        tiles = data[0] * -(-out[1] // m) * -(-out[2] // m)
    elif data[2:] == out[2:] and sorted(weight[2:]) == sorted((data[1], out[1])):
        tiles = data[0] * -(-out[2] // m) * -(-out[3] // m)
    else:
        return None
    return "conv2d_winograd", 2.0 * alpha * alpha * tiles * weight[2] * weight[3]


def _window_fits(size: int, kernel: int, out: int) -> bool:
    """Whether some stride in 1..4 and a padding below the kernel's size turn `size` into `out`."""
    for stride in (1, 2, 3, 4):
        pad = (out - 1) * stride + kernel - size
        # With a stride the last rows may stay unread, so the needed padding can fall below zero.
        if -stride < pad <= 2 * (kernel - 1) or (kernel == 1 and -stride < pad <= 0):
            return True
    return False


def _conv2d_nhwc(data: Shape, weight: Shape, out: Shape) -> tuple[str, float] | None:
    if len(data) != 4 or len(weight) != 4 or len(out) != 4 or data[0] != out[0]:
        return None
    kh, kw, ci, co = weight
    if max(kh, kw) > 31 or not _window_fits(data[1], kh, out[1]) or not _window_fits(data[2], kw, out[2]):
        return None
    if ci == data[3] and co == 1 and out[3] == ci:
        return "depthwise_conv2d", 2.0 * math.prod(out) * kh * kw
    if co == out[3] and data[3] % ci == 0 and (ci > 1 or data[3] == 1):
        kind = "conv2d" if ci == data[3] else "group_conv2d"
        return kind, 2.0 * math.prod(out) * kh * kw * ci
    return None


def _conv2d_nchw(data: Shape, weight: Shape, out: Shape) -> tuple[str, float] | None:
    if len(data) != 4 or len(weight) != 4 or len(out) != 4 or data[0] != out[0]:
        return None
    co, ci, kh, kw = weight
    if max(kh, kw) > 31 or not _window_fits(data[2], kh, out[2]) or not _window_fits(data[3], kw, out[3]):
        return None
    if co == data[1] == out[1] and ci == 1 and co > 1:
        return "depthwise_conv2d", 2.0 * math.prod(out) * kh * kw
    if co == out[1] and data[1] % ci == 0 and (ci > 1 or data[1] == 1):
        kind = "conv2d" if ci == data[1] else "group_conv2d"
        return kind, 2.0 * math.prod(out) * kh * kw * ci
    return None


def _conv2d_packed(data: Shape, weight: Shape, out: Shape) -> tuple[str, float] | None:
    """NCHW[x]c: data [N, C/x, H, W, x], weight [CO/y, CI/x, KH, KW, x, y], output [N, CO/y, H, W, y]."""
    if len(data) != 5 or len(weight) != 6 or len(out) != 5:
        return None
    co, ci, kh, kw, ci_block, co_block = weight
    if (co, co_block) != (out[1], out[4]):
        return None
    if not _window_fits(data[2], kh, out[2]) or not _window_fits(data[3], kw, out[3]):
        return None
    if (ci, ci_block) == (data[1], data[4]):
        return "conv2d", 2.0 * math.prod(out) * kh * kw * ci * ci_block
    if (ci, ci_block) == (1, 1):
        return "depthwise_conv2d", 2.0 * math.prod(out) * kh * kw
    return None


def _product(data: Shape, weight: Shape, out: Shape) -> tuple[str, float] | None:
    if len(data) == len(weight) == len(out) == 2 and data[0] == out[0]:
        if weight == (out[1], data[1]) or weight == (data[1], out[1]):
            return "dense", 2.0 * math.prod(out) * data[1]
        return None
    if not len(data) == len(weight) == len(out) == 3 or data[:2] != out[:2] or weight[0] not in (1, data[0]):
        return None
    if weight[1:] in ((out[2], data[2]), (data[2], out[2])):
        return "batch_matmul", 2.0 * math.prod(out) * data[2]
    return None


def flat_shape_cuts(flat: Sequence[int]) -> list[list[Shape]]:
    """Ways to cut the flat list of extents of a 2021 key (``1, 56, 56, 64, 3, 3, 64, 64, ...``) into shapes, best first.

    The key does not say where one shape ends. Cuts into shapes of one rank (or those of a packed convolution, or of a
    dense layer with a 1-d bias) are tried: those in which a weight fits its input come first, then those that make sense.
    """
    if any(extent <= 0 for extent in flat):
        return []
    strong: list[list[Shape]] = []
    weak: list[list[Shape]] = []
    for ranks in _rank_lists(len(flat)):
        shapes, start = [], 0
        for rank in ranks:
            shapes.append(tuple(flat[start : start + rank]))
            start += rank
        kind = _recognize(shapes)[0]
        if kind != "unknown" and _tail_fits(shapes):
            (weak if kind in ("pool", "reduce", "elementwise") else strong).append(shapes)
    return strong + weak


def _rank_lists(count: int) -> Iterator[list[int]]:
    for rank in (4, 2, 3, 5):
        if count % rank == 0 and count // rank >= 2:
            yield [rank] * (count // rank)
    if count >= 16 and (count - 6) % 5 == 0:
        yield [5, 6] + [5] * ((count - 11) // 5)
    for rank in (2, 3, 4):
        biases = count - 3 * rank
        if 1 <= biases <= 3:
            yield [rank, rank] + [1] * biases + [rank]


def _tail_fits(shapes: Sequence[Shape]) -> bool:
    """Whether every tensor after the first two broadcasts into the output, as a fused tail's inputs do."""
    out = shapes[-1]
    return all(
        all(a in (1, b) for a, b in zip(shape[::-1], out[::-1])) and (math.prod(shape) > 1 or math.prod(out) == 1)
        for shape in shapes[2:-1]
    )
