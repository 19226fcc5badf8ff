"""Tilings a step away from a tiling, for a search that a clock drives: the estimate of `plan` only says where to begin."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

from .base import Machine
from .estimate import lanes_of
from .phases import Phase
from .plan import divisions
from .tile import Plan

__all__ = ["neighbours"]

# Accumulators beyond the registers that a tile may have (spilling a few is sometimes worth it), the steps that unrolling may
# write out, and the vectors side by side.
_SPILLED, _CODE, _VECTORS = 4, 384, 8
# Vector operations from which on a kernel is kept on all of its cores: on a busy machine one core looks better than it is.
_LARGE = 60_000


def neighbours(phase: Phase, plan: Plan, machine: Machine) -> list[Plan]:
    """Tilings that differ from `plan` in one decision: the tile's shape, the order and unrolling of the reduction, the tasks.

    Not every one of them can be emitted; which can is for the caller to try.
    """
    steps = (*_tiles(phase, plan), *_reductions(phase, plan), *_tasks(phase, plan), *_widths(phase, plan, machine))
    return [p for p in dict.fromkeys(steps) if p != plan and _fits(phase, p, machine)]


def _fits(phase: Phase, plan: Plan, machine: Machine) -> bool:
    tile = plan.rows * plan.vectors
    code = tile * math.prod(phase.reduce[k].extent for k in plan.unrolled)
    if tile > machine.registers + _SPILLED or code > max(_CODE, 2 * tile):
        return False
    work = math.prod(a.extent for a in (*phase.axes, *phase.reduce)) // plan.lanes
    return work < _LARGE or (plan.parallel and _count(phase, plan) >= machine.cores)


def _count(phase: Phase, plan: Plan) -> int:
    """Tasks that there are."""
    *outer, last = [1, *_plain(phase, plan)]
    columns, rows = _extents(phase, plan)
    blocks = ((last, plan.plain_block), (columns, plan.vector_block), (rows, plan.row_block))
    return math.prod(outer) * math.prod(-(-extent // size) for extent, size in blocks)


def _plain(phase: Phase, plan: Plan) -> list[int]:
    """Extents of the axes outside the tile."""
    return [a.extent for i, a in enumerate(phase.axes) if i not in (plan.vector, plan.row) and a.extent > 1]


def _extents(phase: Phase, plan: Plan) -> tuple[int, int]:
    """Whole tiles along the vector axis and along the rows."""
    columns = phase.axes[plan.vector].extent // (plan.vectors * plan.lanes)
    rows = phase.axes[plan.row].extent // plan.rows if plan.row is not None else 1
    return max(1, columns), max(1, rows)


def _tiles(phase: Phase, plan: Plan) -> Iterator[Plan]:
    """Other shapes of the register tile, and rows along another axis."""
    width = phase.axes[plan.vector].extent
    for vectors in (plan.vectors - 1, plan.vectors + 1):
        if 1 <= vectors <= _VECTORS and (vectors - 1) * plan.lanes < width:
            yield replace(plan, vectors=vectors)
            # The same work in a tile of the other shape.
            if plan.row is not None:
                yield _with_rows(phase, plan, plan.row, max(1, plan.rows * plan.vectors // vectors), vectors)
    for row in range(len(phase.axes)):
        if row not in (plan.vector, plan.row) and phase.axes[row].extent > 1:
            yield _with_rows(phase, plan, row, plan.rows if plan.row is not None else 4, plan.vectors)
    if plan.row is not None:
        extent = phase.axes[plan.row].extent
        # A few more, a few less, and the next counts that leave no rest.
        counts = {plan.rows + d for d in (-2, -1, 1, 2)}
        even = [n for n in range(1, extent + 1) if extent % n == 0]
        counts |= {max((n for n in even if n < plan.rows), default=1), min((n for n in even if n > plan.rows), default=1)}
        for rows in sorted(counts):
            if 1 <= rows <= extent:
                yield _with_rows(phase, plan, plan.row, rows, plan.vectors)


def _with_rows(phase: Phase, plan: Plan, row: int, rows: int, vectors: int) -> Plan:
    rows = min(rows, phase.axes[row].extent)
    # What a task does stays about the same.
    block = max(1, round(plan.row_block * plan.rows / rows)) if row == plan.row else plan.row_block
    return replace(plan, row=row, rows=rows, vectors=vectors, row_block=block)


def _reductions(phase: Phase, plan: Plan) -> Iterator[Plan]:
    """Other orders of the reduction axes, and other ones unrolled."""
    for n in range(len(plan.order) - 1):
        order = [*plan.order]
        order[n], order[n + 1] = order[n + 1], order[n]
        yield replace(plan, order=tuple(order))
    for k in range(len(phase.reduce)):
        if phase.reduce[k].extent > 1:
            yield replace(plan, unrolled=plan.unrolled ^ {k})


def _tasks(phase: Phase, plan: Plan) -> Iterator[Plan]:
    """Larger and smaller blocks of a task, tasks on several cores or not."""
    columns, rows = _extents(phase, plan)
    yield replace(plan, parallel=not plan.parallel)
    for size in _sizes([1, *_plain(phase, plan)][-1], plan.plain_block):
        yield replace(plan, plain_block=size)
    for size in _sizes(columns, plan.vector_block):
        yield replace(plan, vector_block=size)
    for size in _sizes(rows, plan.row_block):
        yield replace(plan, row_block=size)


def _sizes(extent: int, now: int) -> list[int]:
    """The next smaller and larger block sizes, two of each."""
    sizes = sorted(divisions(extent))
    smaller, larger = [s for s in sizes if s < now], [s for s in sizes if s > now]
    return smaller[-2:] + larger[:2]


def _widths(phase: Phase, plan: Plan, machine: Machine) -> Iterator[Plan]:
    """Vectors of half a register where whole ones leave a rest, and back."""
    most = lanes_of(phase, machine)
    if plan.lanes > 4:
        yield replace(plan, lanes=plan.lanes // 2)
    if plan.lanes < most:
        yield replace(plan, lanes=plan.lanes * 2)
