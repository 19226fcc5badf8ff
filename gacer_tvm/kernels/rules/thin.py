"""CUDA kernels of products with a thin side (a batch of eight rows against a large matrix): bound by reading the large operand.

Threads of a block share the reduction of the same results and add up at the end; each keeps the thin side's sums in registers,
so that the large operand is read once, side by side.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..._tvm import tir
from .base import NotApplicable
from .product import inline_into, product

__all__ = ["ThinTile", "thin", "thin_tiles"]

_THIN = 16
# Beyond it (pixels of a convolution to few channels) there is work enough without sharing reductions.
_LONG = 16384


@dataclass(frozen=True)
class ThinTile:
    """Sizes of one such kernel.

    Attributes
    ----------
    wide
        Results along the long side that a block computes.
    shares
        Threads that share the reduction of one result.
    """

    wide: int
    shares: int


def thin_tiles() -> list[ThinTile]:
    """The tiles among which a measurement decides, the one that was fastest on an H100 first."""
    sizes = ((4, 64), (8, 32), (16, 16), (32, 16), (32, 32), (32, 8), (64, 8))
    return [ThinTile(wide, shares) for wide, shares in sizes]


def thin(func: tir.PrimFunc, tile: ThinTile) -> tir.PrimFunc:
    """Schedule a thin product with one tile.

    Raises
    ------
    NotApplicable
        Where `func` is no product, or neither side is thin.
    """
    p = product(func, depth_first=True)
    sch, main = p.schedule, p.block
    _, rows, columns, _ = p.extents
    if min(rows, columns) > _THIN:
        raise NotApplicable("neither side is thin")
    if p.fused:
        # The part of the result that a block writes is then no box of its axes, and TVM would let blocks write each other's.
        raise NotApplicable("a side of several axes")
    if max(rows, columns) > _LONG:
        raise NotApplicable("the long side alone keeps every thread busy")
    by_rows = rows > columns
    large = p.rows if by_rows else p.columns
    sch.pad_einsum(main, [1, tile.wide, 1, tile.shares] if by_rows else [1, 1, tile.wide, tile.shares])
    s, r, c, k = sch.get_loops(main)
    slim, long = (c, r) if by_rows else (r, c)
    block, wide = sch.split(long, [None, tile.wide])
    steps, share = sch.split(k, [None, tile.shares])
    sch.reorder(s, block, wide, slim, share, steps)
    partial = sch.rfactor(share, 0)
    # The thin side innermost: an element of the large operand is used for all of its sums.
    s, block, wide, slim, share, steps = _loops_of_partial(sch, partial)
    sch.reorder(s, block, wide, share, steps, slim)
    sch.bind(s, "blockIdx.y")
    sch.bind(block, "blockIdx.x")
    across, along = ("threadIdx.y", "threadIdx.x") if large.along_depth else ("threadIdx.x", "threadIdx.y")
    sch.bind(wide, across)
    sch.bind(share, along)
    sch.unroll(slim)
    sch.set_scope(partial, 0, "local")
    inline_into(sch, partial)
    sch.decompose_reduction(partial, steps)
    sch.reverse_compute_at(main, block, preserve_unit_loops=True)
    share, *_, r, c = sch.get_loops(main)[2:]
    slim, wide = (c, r) if by_rows else (r, c)
    sch.reorder(wide, slim, share)
    sch.bind(wide, across)
    sch.bind(share, along)
    sch.set_scope(main, 0, "shared")
    last = _last(sch, main)
    sch.reverse_compute_at(last, block, preserve_unit_loops=True)
    fused = sch.fuse(*sch.get_loops(last)[2:])
    shape = (tile.shares, tile.wide) if across == "threadIdx.x" else (tile.wide, tile.shares)
    _, y, x = sch.split(fused, [None, *shape])
    sch.bind(y, "threadIdx.y")
    sch.bind(x, "threadIdx.x")
    return sch.mod["main"]


def _last(sch: Any, main: Any) -> Any:
    """What is written in the end, with all that stands between it and the sums."""
    while True:
        consumers = list(sch.get_consumers(main))
        if len(consumers) != 1:
            raise NotApplicable(f"one use of the sums, found {len(consumers)}")
        if not list(sch.get_consumers(consumers[0])):
            return consumers[0]
        sch.compute_inline(consumers[0])


def _loops_of_partial(sch: Any, block: Any) -> list[Any]:
    loops = list(sch.get_loops(block))
    if len(loops) != 6:
        raise NotApplicable(f"six loops of the partial sums, found {len(loops)}")
    return loops
