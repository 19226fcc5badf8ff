"""A reduction along memory: lanes that each combine every sixteenth element, folded into one at the end.

Used where the reduced axis is the contiguous one (softmax, layer norm, dot products), so that no output axis can be a vector.
The order of the sum is fixed by the extent and the vector width alone; the result does not depend on threads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..._tvm import tir
from . import nest
from .access import identity_of, int64
from .base import NotApplicable
from .mathfunc import vectorizable

__all__ = ["fold", "neutral"]

_OPS = {"sum": tir.Add, "max": tir.Max, "min": tir.Min, "prod": tir.Mul}


def neutral(combine: str, dtype: str) -> Any:
    """What leaves every value as it is under `combine`."""
    known = identity_of(combine, dtype)
    if not known:
        raise NotApplicable(f"{combine} of {dtype} has no neutral element here")
    return tir.const(known[-1] if combine in ("max", "min") else known[0], dtype)


def fold(
    extent: int,
    count: int,
    lanes: int,
    vectors: int,
    combine: str,
    dtype: str,
    term: Callable[[Any, Any], Any],
    outer: Callable[[Callable[[], Any]], Any],
    use: Callable[[Any], Any],
) -> Any:
    """Reduce `count` rows of `extent` terms each, side by side.

    Parameters
    ----------
    extent
        Length of the contiguous reduction axis.
    count
        Rows reduced together; their accumulators stay in registers.
    lanes, vectors
        Elements of a vector, and vectors of accumulators for one row.
    combine, dtype
        The operation, and the type of the accumulators.
    term
        ``term(row, k)``: the term at position k of a row.
    outer
        Wraps the loop over k in the loops of the other reduction axes.
    use
        Makes the statement that uses the results, from a buffer of `count` of them.
    """
    op = _OPS[combine]
    while vectors > 1 and vectors * lanes > extent:
        vectors -= 1
    width = vectors * lanes
    acc = nest.buffer(count * width, dtype, "acc", "local")
    done = nest.buffer(count, dtype, "done", "local")
    full, rest = divmod(extent, width)

    def combined(slot: Any, value: Any) -> Any:
        return vectorizable(nest.store(acc, op(nest.load(acc, slot), value), slot))

    def each(cuts: list[nest.Segment], body: Callable[[Any, Any], Any]) -> Any:
        return nest.loop(count, lambda i: nest.points(cuts, lambda o, _: body(i, o)), "unrolled", "row")

    whole = [(v * lanes, lanes) for v in range(vectors)]
    start = each(whole, lambda i, o: nest.store(acc, neutral(combine, dtype), i * int64(width) + o))

    def sweep() -> Any:
        body = nest.loop(
            full,
            lambda c: each(whole, lambda i, o: combined(i * int64(width) + o, term(i, c * int64(width) + o))),
            name="k",
        )
        tail = each(
            nest.segments(rest, lanes),
            lambda i, o: combined(i * int64(width) + o, term(i, int64(full * width) + o)),
        )
        return nest.sequence([body, tail] if rest else [body])

    halves = []
    left = width
    while left > 1:
        # An odd number of vectors folds its last one into the first.
        keep = left // 2 if left <= lanes or (left // lanes) % 2 == 0 else left - lanes
        moved = left - keep

        def folded(i: Any, o: Any, k: int = keep) -> Any:
            return combined(i * int64(width) + o, nest.load(acc, i * int64(width) + int64(k) + o))

        halves.append(each(nest.segments(moved, lanes), folded))
        left = keep
    finish = nest.loop(count, lambda i: nest.store(done, nest.load(acc, i * int64(width)), i), "unrolled", "row")
    return nest.local([acc, done], nest.sequence([start, outer(sweep), *halves, finish, use(done)]))
