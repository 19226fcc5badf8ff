"""CUDA kernels of convolutions and matrix products on the ordinary cores: tiles in shared memory, a register tile a thread.

The scheme is the classic one (Volkov and Demmel, SC 2008; CUTLASS, "Efficient GEMM in CUDA"): a block of threads computes a tile
of the result, fetching a slice of both operands for each step of the reduction; each thread keeps `thread_rows` times
`thread_columns` sums in registers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..._tvm import tir, tvm
from .base import NotApplicable
from .product import Operand, Product, by_registers, inline_into, product, slice_ahead

__all__ = ["GemmTile", "finish", "gemm", "gemm_tiles"]

_GROUP = 4


@dataclass(frozen=True)
class GemmTile:
    """Sizes of one such kernel.

    Attributes
    ----------
    rows, columns, depth
        Of the slice that a block works on at a time.
    thread_rows, thread_columns
        Sums of a thread; columns in groups of four, a group's neighbours belong to the next threads.
    ahead
        Whether the next slice is read from global memory while this one is worked on (one more slice in shared memory).
    taps_first
        As for `product`.
    """

    rows: int
    columns: int
    depth: int
    thread_rows: int
    thread_columns: int
    ahead: bool = True
    taps_first: bool = False

    @property
    def threads(self) -> tuple[int, int]:
        """Threads along rows and columns."""
        return self.rows // self.thread_rows, self.columns // self.thread_columns


# Tile, nanoseconds of one step of its reduction with every SM at work, and blocks that an SM has at a time: fitted to 26
# kernels timed under each on an H100 (tuning_logs/h100).
_TIMED = (
    (GemmTile(64, 64, 8, 8, 4), 601.0, 2),
    (GemmTile(64, 32, 16, 4, 4), 711.6, 2),
    (GemmTile(64, 64, 16, 4, 4, taps_first=True), 727.8, 1),
    (GemmTile(64, 64, 16, 4, 4), 748.9, 1),
    (GemmTile(16, 64, 32, 4, 4), 756.7, 1),
    (GemmTile(128, 64, 8, 8, 8), 778.0, 2),
    (GemmTile(64, 128, 8, 8, 8), 997.3, 2),
    (GemmTile(128, 128, 8, 8, 8, taps_first=True), 1016.9, 1),
    (GemmTile(128, 128, 8, 8, 8), 1054.9, 1),
    (GemmTile(32, 64, 16, 4, 4, taps_first=True), 1078.5, 3),
    (GemmTile(32, 64, 16, 4, 4), 1179.1, 3),
    (GemmTile(64, 64, 16, 4, 4, ahead=False), 1267.2, 2),
    (GemmTile(32, 128, 16, 4, 8), 1654.1, 2),
    (GemmTile(32, 32, 32, 4, 4), 1752.2, 4),
)


def gemm_tiles() -> dict[GemmTile, tuple[float, int]]:
    """The tiles among which a measurement decides: seconds of a step of the reduction, and blocks on an SM at a time."""
    return {tile: (nanoseconds * 1e-9, resident) for tile, nanoseconds, resident in _TIMED}


def gemm(func: tir.PrimFunc, tile: GemmTile) -> tir.PrimFunc:
    """Schedule a product with one tile.

    Raises
    ------
    NotApplicable
        Where `func` is no product.
    """
    p = product(func, depth_first=True, taps_first=tile.taps_first)
    sch, main = p.schedule, p.block
    if min(p.extents[1:]) < 2:
        raise NotApplicable("a product of matrices, not of vectors")
    sch.pad_einsum(main, [1, tile.rows, tile.columns, tile.depth])
    s, r, c, k = sch.get_loops(main)
    block_r, thread_r, row = sch.split(r, [None, tile.threads[0], tile.thread_rows])
    block_c, group, thread_c, column = sch.split(c, [None, tile.thread_columns // _GROUP, tile.threads[1], _GROUP])
    step, inner = sch.split(k, [None, tile.depth])
    sch.reorder(s, block_r, block_c, group, thread_r, thread_c, step, inner, row, column)
    sch.bind(sch.fuse(s, block_r), "blockIdx.y")
    sch.bind(block_c, "blockIdx.x")
    sch.bind(group, "vthread.x")
    sch.bind(thread_r, "threadIdx.y")
    sch.bind(thread_c, "threadIdx.x")
    sch.annotate(thread_c, "pragma_auto_unroll_max_step", 2048)
    sch.annotate(thread_c, "pragma_unroll_explicit", 0)
    out = sch.cache_write(main, 0, "local")
    sch.reverse_compute_at(out, thread_c, preserve_unit_loops=True)
    for operand in (p.rows, p.columns):
        _fetch(p, operand, step, tile)
    if tile.ahead:
        slice_ahead(sch, step)
    finish(sch, out)
    _, lanes = sch.split(sch.get_loops(out)[-1], [None, _GROUP])
    sch.vectorize(lanes)
    sch.decompose_reduction(main, step)
    return sch.mod["main"]


def finish(sch: Any, block: Any) -> None:
    """Compute what follows the product where its result is written."""
    while True:
        consumers = list(sch.get_consumers(block))
        if not consumers:
            return
        try:
            sch.reverse_compute_inline(consumers[0])
        except tvm.s_tir.ScheduleError as error:
            raise NotApplicable("what follows the product cannot be computed where it is written") from error


def _fetch(p: Product, operand: Operand, step: Any, tile: GemmTile) -> None:
    """All threads together read one operand's slice, neighbours what lies side by side in memory."""
    sch = p.schedule
    block = sch.cache_read(p.block, operand.index, "shared")
    sch.compute_at(block, step, preserve_unit_loops=True)
    s, depth, along = sch.get_loops(block)[-3:]
    if operand.along_depth:
        sch.reorder(along, depth)
        # Threads then write down a column of the slice: four further banks for each.
        sch.storage_align(block, 0, axis=-2, factor=32, offset=4)
        fused = sch.fuse(s, along, depth)
    else:
        fused = sch.fuse(s, depth, along)
    _, y, x = sch.split(fused, [None, *tile.threads])
    sch.bind(y, "threadIdx.y")
    sch.bind(x, "threadIdx.x")
    inline_into(sch, block)
    if tile.ahead:
        by_registers(sch, block)
