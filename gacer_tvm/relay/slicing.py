"""How Relay normalizes attributes that cut and reshape tensors: `reshape`'s codes and `strided_slice`'s modes.

Shared by the type rules and the converters, so that both mean the same.
"""

from __future__ import annotations

from collections.abc import Sequence

from gacer_tvm.relay.dims import RuleError, div, known, mul, normalize_axis, product
from gacer_tvm.relay.types import ANY, Any, Dim

__all__ = ["Slice", "reshape_like_shape", "reshaped", "slice_attrs", "sliced_dim"]

_FAR = 2**62
Slice = tuple[int, int, int]


def reshaped(shape: Sequence[Dim], target: Sequence[int], allow_zero: bool = False) -> tuple[Dim, ...]:
    """The shape that `reshape` with the attribute `newshape` yields.

    Parameters
    ----------
    shape : sequence of int or Any
    target : sequence of int
        Numbers, or the codes 0 (copy this dimension), -1 (infer), -2 (copy all that remain), -3 (merge two), -4 (split
        one into the two that follow).
    allow_zero : bool
        Whether 0 means an empty dimension.

    Raises
    ------
    RuleError
        If the codes do not fit, or the number of elements would change.
    """
    out: list[Dim] = []
    # Dimensions that a code copies, merges or splits take no part in the inference of -1.
    used_in: set[int] = set()
    used_out: set[int] = set()
    infer: int | None = None
    source = position = 0

    def take() -> Dim:
        nonlocal source
        if source >= len(shape):
            raise RuleError(f"newshape {list(target)} uses more dimensions than {tuple(shape)} has")
        used_in.add(source)
        source += 1
        return shape[source - 1]

    while position < len(target):
        code = int(target[position])
        position += 1
        if code > 0 or (code == 0 and allow_zero):
            out.append(code)
            source += 1
        elif code == 0:
            used_out.add(len(out))
            out.append(take())
        elif code == -1:
            if infer is not None:
                raise RuleError(f"newshape {list(target)} has more than one -1")
            infer = len(out)
            out.append(1)
            source += 1
        elif code == -2:
            while source < len(shape):
                used_out.add(len(out))
                out.append(take())
        elif code == -3:
            used_out.add(len(out))
            out.append(mul(take(), take()))
        elif code == -4:
            if position + 1 >= len(target):
                raise RuleError(f"newshape {list(target)} ends in the middle of a -4 split")
            whole = take()
            left, right = int(target[position]), int(target[position + 1])
            position += 2
            if left == -1 and right == -1:
                raise RuleError(f"newshape {list(target)} splits a dimension into two unknowns")
            used_out.update((len(out), len(out) + 1))
            out.append(div(whole, right) if left == -1 else left)
            out.append(div(whole, left) if right == -1 else right)
        else:
            raise RuleError(f"newshape {list(target)} has the unknown code {code}")
    if infer is not None:
        rest = product(dim for index, dim in enumerate(shape) if index not in used_in)
        for index, dim in enumerate(out):
            if index not in used_out:
                rest = div(rest, dim)
        out[infer] = rest
    before, after = product(shape), product(out)
    if known(before) and known(after) and before != after:
        raise RuleError(f"data of shape {tuple(shape)} cannot take the shape {tuple(out)} of newshape {list(target)}")
    return tuple(out)


def reshape_like_shape(
    left: Sequence[Dim], right: Sequence[Dim], bounds: tuple[int, int | None, int, int | None]
) -> tuple[Dim, ...]:
    """The shape that `reshape_like` yields: `left` with its range of axes replaced by `right`'s.

    Parameters
    ----------
    left, right : sequence of int or Any
    bounds : tuple
        `lhs_begin, lhs_end, rhs_begin, rhs_end`; an end of None means all, negatives count from the end.
    """

    def clamp(index: int | None, size: int) -> int:
        return size if index is None else index + size if index < 0 else index

    lhs_begin, lhs_end = clamp(bounds[0], len(left)), clamp(bounds[1], len(left))
    rhs_begin, rhs_end = clamp(bounds[2], len(right)), clamp(bounds[3], len(right))
    out = (*left[:lhs_begin], *right[rhs_begin:rhs_end], *left[lhs_end:])
    before, after = product(left), product(out)
    if known(before) and known(after) and before != after:
        raise RuleError(f"data of shape {tuple(left)} cannot take the shape {out}")
    return out


def slice_attrs(
    rank: int,
    begin: Sequence[int],
    end: Sequence[int],
    strides: Sequence[int] | None,
    mode: str = "end",
    axes: Sequence[int] | None = None,
) -> dict[int, Slice]:
    """What `strided_slice` does to each axis that it touches.

    Returns
    -------
    dict of int to (begin, end, stride)
        As stated, with `size` mode turned into ends; a huge number stands for "to the border".
    """
    steps = [1] * len(begin) if not strides else [int(step) for step in strides]
    if mode == "size":
        steps = [1] * max(len(begin), len(end))
    elif mode != "end":
        raise RuleError(f"slice_mode must be end or size, found {mode!r}")
    if axes is None:
        count = max(len(begin), len(end), len(steps))
        where = list(range(count))
    else:
        where = [normalize_axis(int(axis), rank) for axis in axes]
        count = len(where)
    if count > rank:
        raise RuleError(f"slices {count} axes of a tensor of {rank} dimensions")
    out: dict[int, Slice] = {}
    for index in range(count):
        step = steps[index] if index < len(steps) else 1
        if step == 0:
            raise RuleError("a stride must not be zero")
        start = int(begin[index]) if index < len(begin) else (0 if step > 0 else _FAR)
        if index >= len(end):
            stop = _FAR if step > 0 else -_FAR
        elif mode == "size":
            stop = _FAR if int(end[index]) < 0 else start + int(end[index])
            if start < 0 <= int(end[index]) and stop >= 0:
                stop = _FAR
        else:
            stop = int(end[index])
        out[where[index]] = (start, stop, step)
    return out


def sliced_dim(dim: Dim, bounds: Slice) -> tuple[Dim, Slice]:
    """The size of a sliced dimension, and the slice with both ends made absolute.

    Raises
    ------
    RuleError
        If the slice runs backwards.
    """
    start, stop, step = bounds
    if isinstance(dim, Any):
        return (dim if (start, step) == (0, 1) and stop >= _FAR else ANY), bounds
    low, high = (0, dim) if step > 0 else (-1, dim - 1)
    start = min(max(start + dim if start < 0 else start, low), high)
    stop = -1 if stop <= -_FAR else min(max(stop + dim if stop < 0 else stop, low), high)
    span = stop - start if step > 0 else start - stop
    if span < 0:
        raise RuleError(f"the slice [{bounds[0]}:{bounds[1]}:{step}] of a dimension of {dim} runs backwards")
    size = -(-span // abs(step))
    return size, (start, stop, step)
