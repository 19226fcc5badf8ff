"""Printed DAGs written anew for the shapes of a key, until one has the key's hash.

A workload key of TVM 0.8 to 0.19 is the md5 of the printed computation beside the shapes. The operators that networks are
made of print in few ways: a convolution with some stride, then additions, multiplications, an activation, under the names
that one TVM or another gave its stages. So the text of an unknown key can be found by trying: a text with the right md5 *is*
the computation (but for what the print hides, the amount of padding, which the shapes tell).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from .winograd import data_matrix, output_matrix

__all__ = ["candidate_texts"]

Shape = tuple[int, ...]

# How stages were named: inputs as `placeholder` up to 0.9, then `p0, p1 ...`.
_NUMBERED = (True, False)
_MAX_TAIL_INPUTS = 4


class _Text:
    """A text under construction: numbered inputs, formulas, the name of the last stage."""

    def __init__(self, numbered: bool) -> None:
        self.numbered = numbered
        self.lines: list[str] = []
        self.count = 0
        self.last = ""

    def input(self, shape: Shape) -> str:
        name = f"p{self.count}" if self.numbered else "placeholder"
        self.count += 1
        self.lines.append(f"{name} = PLACEHOLDER [{', '.join(map(str, shape))}]")
        return name

    def stage(self, name: str, axes: str, body: str, combiner: str = "") -> str:
        self.lines.append(f"{name}({axes}) {combiner}= {body}")
        self.last = name
        return name

    def copy(self) -> _Text:
        other = _Text(self.numbered)
        other.lines, other.count, other.last = list(self.lines), self.count, self.last
        return other

    def text(self) -> str:
        return "\n".join(self.lines) + "\n"


def candidate_texts(shapes: Sequence[Shape]) -> Iterator[str]:
    """Printed computations whose inputs and output have these shapes, the plausible ones first."""
    if len(shapes) < 2 or any(extent <= 0 for shape in shapes for extent in shape):
        return
    out = shapes[-1]
    for numbered in _NUMBERED:
        for base, rest in _bases(shapes, numbered):
            for text in _tails(base, rest, out):
                yield text.text()


# --- what a kernel is built around ----------------------------------------------------------------------------------


def _bases(shapes: Sequence[Shape], numbered: bool) -> Iterator[tuple[_Text, Sequence[Shape]]]:
    out = shapes[-1]
    if len(shapes) >= 3:
        data, weight = shapes[0], shapes[1]
        for make in (_conv_nhwc, _conv_nchw, _depthwise, _winograd_nhwc, _conv_packed, _dense, _batch_matmul):
            for text in make(data, weight, out, numbered):
                yield text, shapes[2:-1]
    for text in itertools.chain(
        _pool(shapes[0], out, numbered), _softmax(shapes, numbered), _plain(shapes[0], out, numbered)
    ):
        yield text, shapes[1:-1]


def _strides(sizes: Sequence[int], kernels: Sequence[int], outs: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Strides, the same on both axes, under which some padding below the kernel's size turns sizes into outs."""
    for stride in (1, 2, 3, 4):
        pads = [(o - 1) * stride + k - s for s, k, o in zip(sizes, kernels, outs, strict=True)]
        if all(
            -stride < pad <= 2 * (k - 1) or (k == 1 and -stride < pad <= 0)
            for pad, k in zip(pads, kernels, strict=True)
        ):
            yield (stride, *pads)


def _pad_body(
    source: str, axes: Sequence[str], spatial: Sequence[int], pads: Sequence[tuple[int, int]], value: str
) -> str:
    """The guard as TVM printed it; without padding the stage is a copy."""
    conditions: list[str] = []
    indices = list(axes)
    for axis, (before, size) in zip(spatial, pads, strict=True):
        if before > 0:
            conditions.append(f"({axes[axis]} >= {before})")
            indices[axis] = f"({axes[axis]} - {before})"
        if before > 0:
            conditions.append(f"({axes[axis]} < {before + size})")
    body = f"{source}[{', '.join(indices)}]"
    if not conditions:
        return body
    condition = conditions[0]
    for other in conditions[1:]:
        condition = f"({condition} && {other})"
    return f"tir.if_then_else({condition}, {body}, {value})"


def _pads(totals: Sequence[int], sizes: Sequence[int]) -> list[tuple[int, int]]:
    # Odd totals come from a stride that leaves the last row unread: padding is the same on both sides.
    return [((max(total, 0) + 1) // 2, size) for total, size in zip(totals, sizes, strict=True)]


def _at(variable: str, stride: int, window: str) -> str:
    return f"({variable} + {window})" if stride == 1 else f"(({variable}*{stride}) + {window})"


def _conv_nhwc(data: Shape, weight: Shape, out: Shape, numbered: bool) -> Iterator[_Text]:
    if len(data) != 4 or len(weight) != 4 or len(out) != 4 or weight[2] != data[3] or weight[3] != out[3]:
        return
    for stride, *totals in _strides(data[1:3], weight[:2], out[1:3]):
        for pad_name, name in (
            ("pad_temp", "conv2d_nhwc"),
            ("PaddedInput", "Conv2dOutput"),
            ("PaddedInput", "conv2d_nhwc"),
        ):
            text = _Text(numbered)
            source = text.input(data)
            axes = ("i0", "i1", "i2", "i3")
            text.stage(pad_name, ", ".join(axes), _pad_body(source, axes, (1, 2), _pads(totals, data[1:3]), "0f"))
            kernel = text.input(weight)
            y, x = _at("yy", stride, "ry"), _at("xx", stride, "rx")
            text.stage(name, "nn, yy, xx, ff", f"({pad_name}[nn, {y}, {x}, rc]*{kernel}[ry, rx, rc, ff])", "+")
            yield text


def _conv_nchw(data: Shape, weight: Shape, out: Shape, numbered: bool) -> Iterator[_Text]:
    if len(data) != 4 or len(weight) != 4 or len(out) != 4 or weight[1] != data[1] or weight[0] != out[1]:
        return
    for stride, *totals in _strides(data[2:], weight[2:], out[2:]):
        for name in ("conv2d_nchw", "compute"):
            text = _Text(numbered)
            source = text.input(data)
            axes = ("i0", "i1", "i2", "i3")
            text.stage("pad_temp", ", ".join(axes), _pad_body(source, axes, (2, 3), _pads(totals, data[2:]), "0f"))
            kernel = text.input(weight)
            y, x = _at("yy", stride, "ry"), _at("xx", stride, "rx")
            text.stage(name, "nn, ff, yy, xx", f"(pad_temp[nn, rc, {y}, {x}]*{kernel}[ff, rc, ry, rx])", "+")
            yield text


def _depthwise(data: Shape, weight: Shape, out: Shape, numbered: bool) -> Iterator[_Text]:
    if len(data) != 4 or len(weight) != 4 or len(out) != 4:
        return
    nhwc = weight[2:] == (data[3], 1) and out[3] == data[3]
    nchw = weight[:2] == (data[1], 1) and out[1] == data[1]
    if not nhwc and not nchw:
        return
    spatial = (1, 2) if nhwc else (2, 3)
    sizes, outs = [data[i] for i in spatial], [out[i] for i in spatial]
    kernels = weight[:2] if nhwc else weight[2:]
    for stride, *totals in _strides(sizes, kernels, outs):
        for plain in (True, False):
            text = _Text(numbered)
            source = text.input(data)
            axes = ("i0", "i1", "i2", "i3")
            text.stage("PaddedInput", ", ".join(axes), _pad_body(source, axes, spatial, _pads(totals, sizes), "0f"))
            kernel = text.input(weight)
            y, x = _at("i", stride, "di"), _at("j", stride, "dj")
            c, m = ("c", "0") if plain else ("floordiv(c, 1)", "floormod(c, 1)")
            if nhwc:
                body = f"(PaddedInput[b, {y}, {x}, {c}]*{kernel}[di, dj, {c}, {m}])"
            else:
                body = f"(PaddedInput[b, {c}, {y}, {x}]*{kernel}[{c}, {m}, di, dj])"
            text.stage("DepthwiseConv2d", "b, i, j, c" if nhwc else "b, c, i, j", body, "+")
            yield text


def _matrix_body(matrix: Sequence[Sequence[float]]) -> str:
    rows, columns = len(matrix), len(matrix[0])
    body = "0f"
    for i in range(rows):
        for j in range(columns):
            value = f"{matrix[i][j]:.6g}f"
            if value == "-0f":
                value = "0f"
            body = f"select(((floormod(i, {rows}) == {i}) && (floormod(j, {columns}) == {j})), {value}, {body})"
    return body


def _winograd_nhwc(data: Shape, weight: Shape, out: Shape, numbered: bool) -> Iterator[_Text]:
    if len(data) != 4 or len(weight) != 4 or len(out) != 4 or weight[0] != weight[1]:
        return
    alpha, m = weight[0], weight[0] - 2
    b, a = data_matrix(alpha), output_matrix(alpha)
    if b is None or a is None or data[:3] != out[:3]:
        return
    nh, nw = -(-out[1] // m), -(-out[2] // m)
    for transposed in (True, False):
        if (weight[2], weight[3]) != ((out[3], data[3]) if transposed else (data[3], out[3])):
            continue
        text = _Text(numbered)
        source = text.input(data)
        axes = ("i0", "i1", "i2", "i3")
        text.stage("data_pad", ", ".join(axes), _pad_body(source, axes, (1, 2), [(1, data[1]), (1, data[2])], "0f"))
        tile = f"(floormod(floordiv(p, {nw}), {nh})*{m})", f"(floormod(p, {nw})*{m})"
        text.stage(
            "input_tile", "eps, nu, p, ci", f"data_pad[floordiv(p, {nh * nw}), ({tile[0]} + eps), ({tile[1]} + nu), ci]"
        )
        text.stage("B", "i, j", _matrix_body(b))
        text.stage("data_pack", "eps, nu, p, ci", "((input_tile[r_a, r_b, p, ci]*B[r_a, eps])*B[r_b, nu])", "+")
        kernel = text.input(weight)
        last = "co, ci" if transposed else "ci, co"
        text.stage("bgemm", "eps, nu, p, co", f"(data_pack[eps, nu, p, ci]*{kernel}[eps, nu, {last}])", "+")
        text.stage("A", "i, j", _matrix_body(a))
        text.stage("inverse", "vh, vw, p, co", "((bgemm[r_a, r_b, p, co]*A[r_a, vh])*A[r_b, vw])", "+")
        position = f"((((n*{nh})*{nw}) + (floordiv(h, {m})*{nw})) + floordiv(w, {m}))"
        text.stage("conv2d_winograd", "n, h, w, co", f"inverse[floormod(h, {m}), floormod(w, {m}), {position}, co]")
        yield text


def _conv_packed(data: Shape, weight: Shape, out: Shape, numbered: bool) -> Iterator[_Text]:
    if len(data) != 5 or len(weight) != 6 or len(out) != 5:
        return
    if (weight[1], weight[4]) != (data[1], data[4]) or (weight[0], weight[5]) != (out[1], out[4]):
        return
    block = data[4]
    for stride, *totals in _strides(data[2:4], weight[2:4], out[2:4]):
        text = _Text(numbered)
        source = text.input(data)
        axes = ("i0", "i1", "i2", "i3", "i4")
        if any(total > 0 for total in totals):
            body = _pad_body(source, axes, (2, 3), _pads(totals, data[2:4]), "0f")
            source = text.stage("data_pad", ", ".join(axes), body)
        kernel = text.input(weight)
        y, x = _at("oh", stride, "kh"), _at("ow", stride, "kw")
        chunk, inner = f"floordiv(ic, {block})", f"floormod(ic, {block})"
        text.stage(
            "conv2d_NCHWc",
            "n, oc_chunk, oh, ow, oc_block",
            f"({source}[n, {chunk}, {y}, {x}, {inner}]*{kernel}[oc_chunk, {chunk}, kh, kw, {inner}, oc_block])",
            "+",
        )
        yield text


def _dense(data: Shape, weight: Shape, out: Shape, numbered: bool) -> Iterator[_Text]:
    if len(data) != 2 or len(weight) != 2 or len(out) != 2 or data[0] != out[0]:
        return
    for i, j in (("i0", "i1"), ("i", "j")):
        for name, order in (("T_matmul_NT", "NT"), ("T_dense", "NT"), ("T_matmul_NN", "NN"), ("T_matmul", "NN")):
            if weight != ((out[1], data[1]) if order == "NT" else (data[1], out[1])):
                continue
            text = _Text(numbered)
            left, right = text.input(data), text.input(weight)
            second = f"{j}, k" if order == "NT" else f"k, {j}"
            text.stage(name, f"{i}, {j}", f"({left}[{i}, k]*{right}[{second}])", "+")
            yield text


def _batch_matmul(data: Shape, weight: Shape, out: Shape, numbered: bool) -> Iterator[_Text]:
    if not len(data) == len(weight) == len(out) == 3 or data[:2] != out[:2]:
        return
    for name in ("T_batch_matmul", "T_batch_matmul_", "compute"):
        for order in ("NT", "NN"):
            if weight[1:] != ((out[2], data[2]) if order == "NT" else (data[2], out[2])):
                continue
            text = _Text(numbered)
            left, right = text.input(data), text.input(weight)
            batch = "b" if weight[0] == data[0] else "0"
            second = "j, k" if order == "NT" else "k, j"
            stage = name + order if name.endswith("_") else name
            text.stage(stage, "b, i, j", f"({left}[b, i, k]*{right}[{batch}, {second}])", "+")
            yield text


def _pool(data: Shape, out: Shape, numbered: bool) -> Iterator[_Text]:
    rank = len(data)
    if rank not in (4, 5) or len(out) != rank:
        return
    spatial = next((s for s in ((1, 2), (2, 3)) if all(data[i] == out[i] for i in range(rank) if i not in s)), None)
    if spatial is None or data == out:
        return
    sizes, outs = [data[i] for i in spatial], [out[i] for i in spatial]
    axes = [f"ax{i}" for i in range(rank)]
    joined = ", ".join(axes)
    if all(size % o == 0 for size, o in zip(sizes, outs, strict=True)):
        windows = [size // o for size, o in zip(sizes, outs, strict=True)]
        for total, mean in (("adaptive_pool_sum", "adaptive_pool_avg"), ("tensor", "tensor")):
            text = _Text(numbered)
            source = text.input(data)
            indices, counts = list(axes), []
            for position, (axis, window) in enumerate(zip(spatial, windows, strict=True)):
                start = f"({axes[axis]}*{window})"
                indices[axis] = f"({start} + rv{position})"
                end = f"(({axes[axis]} + 1)*{window})"
                counts.append(f"float32((select((bool)1, {end}, ({end} + 1)) - {start}))")
            text.stage(total, joined, f"{source}[{', '.join(indices)}]", "+")
            text.stage(mean, joined, f"({total}[{joined}]/({counts[0]}*{counts[1]}))")
            yield text
    for window in (3, 2, 5, 7):
        for stride, *totals in _strides(sizes, (window, window), outs):
            for name, variables in (("pool_max", ("rv0", "rv1")), ("tensor", ("dh", "dw")), ("tensor", ("rv0", "rv1"))):
                text = _Text(numbered)
                source = text.input(data)
                if any(total > 0 for total in totals):
                    body = _pad_body(source, axes, spatial, _pads(totals, sizes), "-3.40282e+38f")
                    source = text.stage("pad_temp", joined, body)
                indices = list(axes)
                for axis, variable in zip(spatial, variables, strict=True):
                    indices[axis] = _at(axes[axis], stride, variable)
                text.stage(name, joined, f"{source}[{', '.join(indices)}]", "max")
                yield text


def _softmax(shapes: Sequence[Shape], numbered: bool) -> Iterator[_Text]:
    shape = shapes[0]
    if len(shapes) != 2 or shape != shapes[1] or len(shape) < 2:
        return
    outer = [f"i{axis}" for axis in range(len(shape) - 1)]
    full = ", ".join([*outer, f"i{len(shape) - 1}"])
    rows, along = ", ".join(outer), ", ".join([*outer, "k"])
    for prefix in ("T_softmax", "T_fast_softmax"):
        text = _Text(numbered)
        source = text.input(shape)
        text.stage(f"{prefix}_maxelem", rows, f"{source}[{along}]", "max")
        shifted = f"({source}[{full}] - {prefix}_maxelem[{rows}])"
        text.stage(f"{prefix}_exp", full, f"tir.exp({shifted})")
        text.stage(f"{prefix}_expsum", rows, f"{prefix}_exp[{along}]", "+")
        text.stage(f"{prefix}_norm", full, f"({prefix}_exp[{full}]/{prefix}_expsum[{rows}])")
        yield text


def _plain(data: Shape, out: Shape, numbered: bool) -> Iterator[_Text]:
    """Nothing but a tail: elementwise kernels."""
    if data == out:
        text = _Text(numbered)
        text.last = text.input(data)
        yield text


# --- what is fused behind -------------------------------------------------------------------------------------------

_UNARY = {
    "relu": ("T_relu", "ax", "max({x}, 0f)"),
    "relu as compute": ("compute", "i", "max({x}, 0f)"),
    "clip": ("compute", "i", "max(min({x}, 6f), 0f)"),
    "sigmoid": ("T_sigmoid", "ax", "tir.sigmoid({x})"),
    "sigmoid as compute": ("compute", "i", "tir.sigmoid({x})"),
    "tanh": ("T_tanh", "ax", "tir.tanh({x})"),
    "tanh as compute": ("compute", "i", "tir.tanh({x})"),
}


def _tails(base: _Text, rest: Sequence[Shape], out: Shape) -> Iterator[_Text]:
    """The base followed by one addition or multiplication for each further input, and activations."""
    if len(rest) > _MAX_TAIL_INPUTS or any(not _broadcasts(shape, out) for shape in rest):
        return
    for operators in itertools.product(("add", "multiply"), repeat=len(rest)):
        for middle in ("", "relu") if rest else ("",):
            for last in ("", *_UNARY):
                text = base.copy()
                for position, (operator, shape) in enumerate(zip(operators, rest, strict=True)):
                    if middle and position == len(rest) - 1:
                        _unary(text, middle, len(out))
                    _binary(text, operator, shape, out)
                if last:
                    _unary(text, last, len(out))
                if len(text.lines) > 1:
                    yield text


def _broadcasts(shape: Shape, out: Shape) -> bool:
    return len(shape) <= len(out) and all(a in (1, b) for a, b in zip(shape[::-1], out[::-1], strict=False))


def _binary(text: _Text, operator: str, shape: Shape, out: Shape) -> None:
    axes = [f"ax{axis}" for axis in range(len(out))]
    skip = len(out) - len(shape)
    indices = [axes[skip + i] if size == out[skip + i] else "0" for i, size in enumerate(shape)]
    left = f"{text.last}[{', '.join(axes)}]"
    other = text.input(shape)
    sign = " + " if operator == "add" else "*"
    text.stage(f"T_{operator}", ", ".join(axes), f"({left}{sign}{other}[{', '.join(indices)}])")


def _unary(text: _Text, name: str, rank: int) -> None:
    stage, prefix, form = _UNARY[name]
    axes = ", ".join(f"{prefix}{axis}" for axis in range(rank))
    text.stage(stage, axes, form.format(x=f"{text.last}[{axes}]"))
