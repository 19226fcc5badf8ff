"""Computations that TVM's tutorials and tests registered by name (`matmul_add`, `conv2d_layer` ...), written as DAG texts.

The name is the user's choice, so a name and its arguments give candidates; the record's steps decide which one fits.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from .ansor_key import WorkloadKey
from .families import candidate_texts

__all__ = ["is_product", "is_shape", "named_texts"]

Shape = tuple[int, ...]

_PRODUCT = re.compile(r"matmul|gemm|dense|(?:^|_)mm(?:_|$)")


def is_product(name: str) -> bool:
    """Whether a registered function's name says that it is a matrix product."""
    return "sparse" not in name and bool(_PRODUCT.search(name.lower()))


def named_texts(key: WorkloadKey) -> Iterator[tuple[str, tuple[Shape, ...], str]]:
    """(text, shapes, dtype) of the computations that a named key may mean, the likeliest first."""
    name = key.name.lower()
    numbers = [item for item in key.arguments if type(item) is int]
    dtype = next(
        (item for item in key.arguments if isinstance(item, str) and re.match(r"(float|int|uint)\d+$", item)), ""
    )
    if any(not 0 < number < 1 << 20 for number in numbers[:7]):
        return
    if "conv2d" in name and len(numbers) >= 6:
        texts = _conv2d(key, numbers)
    elif "conv2d" in name and len(key.arguments) >= 2 and all(is_shape(item) for item in key.arguments[:2]):
        texts = _conv2d_of_shapes(*key.arguments[:2])
    elif is_product(name) and len(numbers) >= 3:
        texts = _matmul(numbers)
    elif "softmax" in name and len(numbers) == 2:
        shape = (numbers[0], numbers[1])
        texts = ((text, (shape, shape)) for text in candidate_texts((shape, shape)) if "max=" in text)
    else:
        return
    for text, shapes in texts:
        yield text, shapes, dtype or "float32"


def _matmul(numbers: list[int]) -> Iterator[tuple[str, tuple[Shape, ...]]]:
    a, b, c = numbers[:3]
    # (N, L, M) of the tutorials, where L is reduced; (N, M, K) of the tests, where K is.
    for n, k, m in ((a, b, c), (a, c, b)):
        for right, second in (((k, m), "k, j"), ((m, k), "j, k")):
            shapes = ((n, k), right)
            head = f"A = PLACEHOLDER\nB = PLACEHOLDER\nmatmul(i, j) += (A[i, k]*B[{second}])\n"
            yield head + "C = PLACEHOLDER\nout(i, j) = (matmul[i, j] + C[i, j])\n", (*shapes, (n, m), (n, m))
            yield head, (*shapes, (n, m))
            yield head + "C = PLACEHOLDER\nout(i, j) = (matmul[i, j] + C[j])\n", (*shapes, (m,), (n, m))


def _conv2d(key: WorkloadKey, numbers: list[int]) -> Iterator[tuple[str, tuple[Shape, ...]]]:
    n, h, w, co, ci, kh = numbers[:6]
    rest = [item for item in key.arguments[5:] if type(item) is int or isinstance(item, list)]
    choices = []
    if len(numbers) >= 7:
        choices.append((co, ci, (kh, numbers[6]), rest[2:]))
        choices.append((ci, co, (kh, numbers[6]), rest[2:]))
    choices.append((co, ci, (kh, kh), rest[1:]))
    choices.append((ci, co, (kh, kh), rest[1:]))
    for out_channels, in_channels, kernel, options in choices:
        stride = _pair(options[0] if options else 1)
        padding = _pair(options[1] if len(options) > 1 else 0)
        if 0 in stride:
            continue
        sizes = [(s + 2 * p - k) // t + 1 for s, p, k, t in zip((h, w), padding, kernel, stride, strict=True)]
        if min(sizes) <= 0:
            continue
        data, weight = (n, in_channels, h, w), (out_channels, in_channels, *kernel)
        out = (n, out_channels, *sizes)
        bias = (1, out_channels, 1, 1)
        for tail in ([bias], [], [bias, bias, bias]):
            shapes = (data, weight, *tail, out)
            for text in candidate_texts(shapes):
                # The stride must be the key's; candidate_texts tries all that fit the shapes.
                if "conv2d_nchw(" in text and ("*2)" in text) == (stride[0] == 2) and "p0" in text:
                    yield text, shapes


def _conv2d_of_shapes(data: object, weight: object) -> Iterator[tuple[str, tuple[Shape, ...]]]:
    """A convolution registered with the shapes of its inputs; stride and padding are what the steps say they are."""
    assert isinstance(data, list) and isinstance(weight, list)
    n, channels, h, w = data
    out_channels, in_channels, kh, kw = weight
    if channels != in_channels:
        return
    for stride in (1, 2):
        for padding in sorted({kh // 2, 0}):
            sizes = [(size + 2 * padding - k) // stride + 1 for size, k in ((h, kh), (w, kw))]
            if min(sizes) > 0:
                shapes = (tuple(data), tuple(weight), (n, out_channels, *sizes))
                for text in candidate_texts(shapes):
                    if "conv2d_nchw(" in text and ("*2)" in text) == (stride == 2) and "p0" in text:
                        yield text, shapes


def is_shape(value: object) -> bool:
    """Whether an argument is the shape of a 4-d tensor."""
    return isinstance(value, list) and len(value) == 4 and all(type(n) is int and 0 < n < 1 << 20 for n in value)


def _pair(value: object) -> tuple[int, int]:
    if type(value) is int and 0 <= value < 1024:
        return value, value
    if isinstance(value, list) and len(value) >= 2 and all(type(item) is int and 0 <= item < 1024 for item in value):
        return value[0], value[1]
    return 1, 1
