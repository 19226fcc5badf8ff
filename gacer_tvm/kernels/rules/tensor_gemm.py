"""CUDA kernels of half-precision convolutions and matrix products on the tensor cores (`nvcuda::wmma`, 16 x 16 x 16).

A block's slices lie in shared memory; each warp keeps its part of the sums in fragments, in single precision where the model
sums so. Row and column operands are laid out as `product` has them, so that pixels are read side by side in an NCHW
convolution and rows of weights in a matrix product.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..._tvm import tir
from ..intrinsics import load_tensor_intrinsics
from .base import NotApplicable
from .gemm import finish
from .product import Operand, Product, by_registers, inline_into, product, slice_ahead

__all__ = ["TensorTile", "tensor_gemm", "tensor_tiles"]

_EDGE = 16
_WARP = 32
_STATIC = 48 * 1024


@dataclass(frozen=True)
class TensorTile:
    """Sizes of one such kernel, in elements.

    Attributes
    ----------
    rows, columns, depth
        Of the slice that a block works on at a time; multiples of 16.
    warp_rows, warp_columns
        Of the part that a warp computes; multiples of 16.
    vector
        Elements that a thread reads at once.
    ahead
        Whether the next slice is read from global memory while this one is worked on.
    taps_first
        As for `product`.
    """

    rows: int
    columns: int
    depth: int
    warp_rows: int
    warp_columns: int
    vector: int = 4
    ahead: bool = True
    taps_first: bool = False

    @property
    def warps(self) -> tuple[int, int]:
        """Warps along rows and columns."""
        return self.rows // self.warp_rows, self.columns // self.warp_columns


# As in `gemm`, fitted to 28 kernels.
_TIMED = (
    (TensorTile(64, 64, 32, 32, 32, vector=8), 461.2, 1),
    (TensorTile(16, 64, 64, 16, 16), 467.0, 1),
    (TensorTile(64, 32, 32, 32, 16), 605.1, 2),
    (TensorTile(32, 64, 32, 16, 32), 612.7, 2),
    (TensorTile(64, 64, 32, 32, 32, ahead=False), 747.1, 2),
    (TensorTile(64, 64, 32, 32, 32), 776.2, 2),
    (TensorTile(128, 64, 32, 64, 32), 840.0, 1),
    (TensorTile(32, 32, 64, 16, 16), 840.3, 3),
    (TensorTile(32, 64, 32, 16, 32, taps_first=True), 847.7, 2),
    (TensorTile(64, 128, 32, 32, 64), 923.9, 1),
    (TensorTile(64, 64, 64, 32, 32, ahead=False), 1247.9, 2),
    (TensorTile(128, 128, 32, 64, 32), 1328.9, 1),
    (TensorTile(128, 128, 64, 32, 64, vector=8), 1658.8, 1),
    (TensorTile(128, 128, 64, 32, 64), 1792.6, 1),
)


def tensor_tiles() -> dict[TensorTile, tuple[float, int]]:
    """The tiles among which a measurement decides: seconds of a step of the reduction, and blocks on an SM at a time."""
    return {tile: (nanoseconds * 1e-9, resident) for tile, nanoseconds, resident in _TIMED}


def tensor_gemm(func: tir.PrimFunc, tile: TensorTile) -> tir.PrimFunc:
    """Schedule a half-precision product with one tile.

    Raises
    ------
    NotApplicable
        Where `func` is no product, of another type, or too thin to fill a fragment.
    """
    p = product(func, depth_first=False, taps_first=tile.taps_first)
    if p.dtype != "float16" or p.total not in ("float16", "float32"):
        raise NotApplicable(f"float16 summed in float16 or float32, found {p.dtype} in {p.total}")
    if min(p.extents[1:3]) < 2 or p.extents[3] < _EDGE:
        raise NotApplicable("too thin for tensor cores")
    load_tensor_intrinsics()
    from tvm.s_tir.tensor_intrin.cuda import get_wmma_intrin_group

    sch, main = p.schedule, p.block
    sch.pad_einsum(main, [1, tile.rows, tile.columns, tile.depth])
    s, r, c, k = sch.get_loops(main)
    r, row = sch.split(r, [None, _EDGE])
    c, column = sch.split(c, [None, _EDGE])
    k, deep = sch.split(k, [None, _EDGE])
    sch.reorder(s, r, c, k, row, column, deep)
    sums = main
    outer = sch.blockize(row)
    block_r, warp_r, some_r = sch.split(r, [None, tile.warps[0], tile.warp_rows // _EDGE])
    block_c, warp_c, some_c = sch.split(c, [None, tile.warps[1], tile.warp_columns // _EDGE])
    step, inner = sch.split(k, [None, tile.depth // _EDGE])
    sch.reorder(s, block_r, block_c, warp_r, warp_c, step, inner, some_r, some_c)
    sch.bind(sch.fuse(s, block_r), "blockIdx.y")
    sch.bind(block_c, "blockIdx.x")
    warp = sch.fuse(warp_r, warp_c)
    sch.bind(warp, "threadIdx.y")
    for operand in (p.rows, p.columns):
        _fetch(p, outer, operand, step, tile)
    first = sch.cache_read(outer, p.rows.index, "wmma.matrix_a")
    second = sch.cache_read(outer, p.columns.index, "wmma.matrix_b")
    sch.compute_at(first, inner)
    sch.compute_at(second, inner)
    scope = _scope_of_sums(tile)
    shared = sch.cache_write(outer, 0, scope)
    sch.storage_align(shared, 0, -2, 16, 4)
    store = sch.cache_write(outer, 0, "wmma.accumulator")
    sch.reverse_compute_at(store, warp)
    sch.reverse_compute_at(shared, warp)
    of_store = _fragments(sch, store)
    start = sch.decompose_reduction(outer, step)
    names = get_wmma_intrin_group("shared.dyn", scope, "float16", p.total, False)
    sch.tensorize(_fragments(sch, first), names["load_a"])
    sch.tensorize(_fragments(sch, second), names["load_b"])
    sch.tensorize(sch.get_loops(sch.get_child_blocks(start)[0])[-2], names["init"])
    sch.tensorize(of_store, names["store"])
    sch.tensorize(sch.get_loops(sums)[-3], names["compute"])
    if tile.ahead:
        _look_ahead(sch, step, inner, tile)
    finish(sch, shared)
    _, lane, lanes = sch.split(sch.fuse(*sch.get_loops(shared)[-2:]), [None, _WARP, 4])
    sch.bind(lane, "threadIdx.x")
    sch.vectorize(lanes)
    return sch.mod["main"]


def _scope_of_sums(tile: TensorTile) -> str:
    """Where the sums wait for what follows them.

    TVM gives them the operands' memory where that is large enough, and then trips over its type; and it lets a block have more
    than 48 KB only where all of it is dynamic.

    Raises
    ------
    NotApplicable
        Where neither kind of shared memory will do.
    """
    stages = 2 if tile.ahead else 1
    slices = [2 * stages * tile.rows * _padded(tile.depth), 2 * stages * tile.depth * _padded(tile.columns)]
    sums = 4 * tile.rows * (tile.columns + 4)
    if max(slices) < sums:
        return "shared.dyn"
    if sum(slices) + sums <= _STATIC:
        return "shared"
    raise NotApplicable("its sums would share memory with an operand of another type")


def _padded(extent: int) -> int:
    """Elements of a row of a slice: 8 more than a multiple of 16."""
    return extent + (8 - extent) % 16


def _look_ahead(sch: Any, step: Any, inner: Any, tile: TensorTile) -> None:
    """Read the next slice while this one is worked on, and the next fragments while these are."""
    if tile.depth // _EDGE > 1:
        sch.annotate(inner, "software_pipeline_stage", [0, 0, 1])
        sch.annotate(inner, "software_pipeline_order", [0, 1, 2])
        # Both fetches in two parts, then the loop over fragments as its own pipeline leaves it: begin, body, end.
        sch.annotate(step, "software_pipeline_stage", [0, 0, 0, 0, 0, 1, 1])
        sch.annotate(step, "software_pipeline_order", [0, 3, 1, 4, 5, 2, 6])
    else:
        slice_ahead(sch, step)


def _fragments(sch: Any, block: Any) -> Any:
    """Split a copy's last two loops into fragments; the loop to tensorize."""
    outer, inner = sch.get_loops(block)[-2:]
    outer, row = sch.split(outer, [None, _EDGE])
    inner, column = sch.split(inner, [None, _EDGE])
    sch.reorder(outer, inner, row, column)
    return row


def _fetch(p: Product, outer: Any, operand: Operand, step: Any, tile: TensorTile) -> None:
    """All threads together read one operand's slice, neighbours what lies side by side in memory."""
    sch = p.schedule
    block = sch.cache_read(outer, operand.index, "shared.dyn")
    sch.compute_at(block, step)
    first, second = sch.get_loops(block)[-2:]
    # The row operand lies [row, depth], the other [depth, column].
    if operand.along_depth == (operand is p.columns):
        sch.reorder(second, first)
        first, second = second, first
    _, warp, lane, lanes = sch.split(
        sch.fuse(first, second), [None, tile.warps[0] * tile.warps[1], _WARP, tile.vector]
    )
    sch.bind(warp, "threadIdx.y")
    sch.bind(lane, "threadIdx.x")
    sch.vectorize(lanes)
    # Rows of 16 bytes apart: fragments are then read without conflicts.
    sch.storage_align(block, 0, axis=-2, factor=16, offset=8)
    inline_into(sch, block)
    if tile.ahead:
        by_registers(sch, block)
