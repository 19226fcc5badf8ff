"""CUDA kernels of small reductions (depthwise convolutions): a thread a result, padding read as it is needed."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..._tvm import s_tir, tir
from .base import NotApplicable
from .product import fold_epilogue, inline_into, only_reduction

__all__ = ["DirectTile", "direct", "direct_tiles"]

# Longer ones are for threads together.
_LONGEST = 128


@dataclass(frozen=True)
class DirectTile:
    """Sizes of one such kernel.

    Attributes
    ----------
    threads
        Of a block.
    """

    threads: int


def direct_tiles() -> list[DirectTile]:
    """The tiles among which a measurement decides."""
    return [DirectTile(256), DirectTile(128), DirectTile(64)]


def direct(func: tir.PrimFunc, tile: DirectTile) -> tir.PrimFunc:
    """Schedule a small reduction, with what follows it in the same thread.

    Raises
    ------
    NotApplicable
        Where nothing is reduced, several things are, the reduction is long, or nothing follows it.
    """
    sch = s_tir.Schedule(func)
    main = only_reduction(sch)
    reduced = [int(v.dom.extent) for v in sch.get(main).iter_vars if v.iter_type == tir.IterVar.CommReduce]
    if math.prod(reduced) > _LONGEST:
        raise NotApplicable(f"a reduction over {math.prod(reduced)} values")
    last = fold_epilogue(sch, main)
    if last is None:
        raise NotApplicable("nothing follows the reduction")
    fused = sch.fuse(*sch.get_loops(last))
    block, thread = sch.split(fused, [None, tile.threads])
    sch.bind(block, "blockIdx.x")
    sch.bind(thread, "threadIdx.x")
    sch.compute_at(main, thread, preserve_unit_loops=True)
    sch.set_scope(main, 0, "local")
    inline_into(sch, main)
    loops = sch.get_loops(main)[2:]
    # The loops are short and all unrolled: that the sum begins at zero costs nothing where it stands.
    for loop in loops[-len(reduced) :]:
        sch.unroll(loop)
    return sch.mod["main"]
