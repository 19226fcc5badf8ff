"""The last CPU rules: loops that their author wrote are kept, any others made parallel and vectorized where legal."""

from __future__ import annotations

import contextlib

from ..._tvm import s_tir, tir, tvm
from .base import Machine, NotApplicable

__all__ = ["as_written", "plain"]

# Below this many innermost iterations the launch of the thread pool (about 5 us) costs more than it saves.
_PARALLEL_WORK = 32768


def as_written(func: tir.PrimFunc, machine: Machine) -> tir.PrimFunc:
    """Keep a function that is one block of its author's own loops (scans, sorts), often parallel already.

    Raises
    ------
    NotApplicable
        If the function is a sequence of blocks under a root, as schedules need it.
    """
    if isinstance(func.body, s_tir.SBlockRealize) and str(func.body.block.name_hint) == "root":
        raise NotApplicable("its blocks can be scheduled")
    return func


def plain(func: tir.PrimFunc, machine: Machine) -> tir.PrimFunc:
    """Inline what can be inlined, then make each remaining block parallel and vectorized where legal."""
    sch = tvm.s_tir.Schedule(func)
    for block in _blocks(sch):
        try:
            sch.compute_inline(block)
        except Exception:  # TVM raises whichever class goes by the name of ScheduleError
            continue
    for block in _blocks(sch):
        _spread(sch, block, machine)
    return sch.mod["main"]


def _blocks(sch: tvm.s_tir.Schedule) -> list[tvm.s_tir.schedule.SBlockRV]:
    return list(sch.get_child_blocks(sch.get_sblock("root")))


def _spread(sch: tvm.s_tir.Schedule, block: tvm.s_tir.schedule.SBlockRV, machine: Machine) -> None:
    loops = sch.get_loops(block)
    iters = list(sch.get(block).iter_vars)
    extents = [sch.get(loop).extent for loop in loops]
    if len(loops) != len(iters) or not all(isinstance(e, tir.IntImm) for e in extents):
        return
    work = 1
    for extent in extents:
        work *= int(extent)
    spatial = 0
    while spatial < len(iters) and iters[spatial].iter_type == tir.IterVar.DataPar:
        spatial += 1
    inner = None
    if spatial == len(iters) and spatial > 0 and int(extents[-1]) > 1:
        inner = loops[-1]
        if int(extents[-1]) > machine.lanes:
            inner = sch.split(loops[-1], factors=[None, machine.lanes])[1]
        spatial -= 1
    if spatial > 0 and work >= _PARALLEL_WORK:
        outer = sch.fuse(*loops[:spatial]) if spatial > 1 else loops[0]
        with contextlib.suppress(Exception):
            sch.parallel(outer)
    if inner is not None:
        with contextlib.suppress(Exception):
            sch.vectorize(inner)
