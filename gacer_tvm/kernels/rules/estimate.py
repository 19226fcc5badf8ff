"""How many cycles a register tile takes: what the choice of a tiling goes by.

The estimate counts, for one step of the reduction in one tile, the vector operations and the loads (a load that depends on
rows and not on the vector is one broadcast a row, and so on). It only has to rank tilings of one kernel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from .access import stride, uses
from .base import Machine
from .nest import segments
from .phases import Phase
from .program import loads, shape_of
from .tile import Plan

__all__ = ["Read", "branches", "cycles", "lanes_of", "reads_of"]

# Cycles to bring in the code of one accumulator.
_CODE = 12.0
# Cycles that a row of a tile costs more than another vector of the same row: its stores go elsewhere.
_STREAMS = 2.0
# Cycles of a branch around a part of a tile's reduction.
_BRANCH = 3.0
# Cycles to bring one element into its lane where a vector is not contiguous.
_GATHER = 3.0
# Bytes of an operand that stay in the first-level cache; vectors of a larger one come at half the rate.
_NEAR = 1 << 15


@dataclass(frozen=True)
class Read:
    """One load of the term: its stride along each axis of the phase, and its buffer's size."""

    source: Any
    strides: tuple[int | None, ...]
    reduce: tuple[bool, ...]
    size: int


def lanes_of(phase: Phase, machine: Machine) -> int:
    """Elements of the phase's widest type that fit a vector."""
    types = {str(b.ty.dtype) for b, _ in phase.stores} | {str(load.source.ty.dtype) for load in phase.reads()}
    bits = max(int("".join(c for c in t if c.isdigit()) or 8) for t in types)
    return max(1, machine.lanes * 32 // bits)


def reads_of(phase: Phase, term: Any, lanes: int) -> list[Read]:
    ranges = {a.var: a.extent for a in (*phase.axes, *phase.reduce)}
    found = []
    for load in loads(term):
        strides = tuple(stride(load, a.var, ranges, lanes) for a in phase.axes)
        reduce = tuple(any(uses(i, k.var) for i in load.indices) for k in phase.reduce)
        found.append(Read(load.source, strides, reduce, math.prod(shape_of(load.source)) * 4))
    return found


def cycles(phase: Phase, plan: Plan, reads: list[Read], machine: Machine) -> float:
    """Estimated cycles of the whole phase on one core."""
    steps = math.prod(a.extent for a in phase.reduce)
    width = plan.vectors * plan.lanes
    v, r = phase.axes[plan.vector], phase.axes[plan.row] if plan.row is not None else None
    plain = math.prod(a.extent for i, a in enumerate(phase.axes) if i not in (plan.vector, plan.row))
    full, tail = divmod(v.extent, width)
    columns = [(full, plan.vectors), (1 if tail else 0, len(segments(tail, plan.lanes)))]
    if r is None:
        row_tiles = [(1, 1)]
    else:
        n, rest = divmod(r.extent, plan.rows)
        row_tiles = [(n, plan.rows), (1 if rest else 0, rest)]
    total = 0.0
    code = 0
    for many_v, vectors in columns:
        for many_r, rows in row_tiles:
            if many_v and many_r:
                total += many_v * many_r * _tile_cycles(plan, reads, rows, vectors, steps)
                code += rows * vectors
    # Code is fetched (and compiled) before it runs.
    return total * plain + code * _CODE


def _tile_cycles(plan: Plan, reads: list[Read], rows: int, vectors: int, steps: int) -> float:
    moves = 0.0
    for read in reads:
        along_v = read.strides[plan.vector]
        along_r = read.strides[plan.row] if plan.row is not None else 0
        times = (1 if along_v == 0 else vectors) * (1 if along_r == 0 else rows)
        vector = 2.0 if read.size > _NEAR else 1.0
        apart = _GATHER * plan.lanes if plan.lanes > 1 else 0.5
        price = 0.5 if along_v == 0 else vector if along_v == 1 else apart
        moves += times * price
    work = rows * vectors
    # Each accumulator is a chain of dependent additions, four cycles each; each row is another stream of stores.
    return steps * (max(float(work), moves, 4.0) + 0.4) + work * 6 + rows * _STREAMS + 30


def branches(phase: Phase, plan: Plan, guards: list[Any]) -> float:
    """Estimated cycles of the guards that stay branches inside tiles: those that do not depend on the rows."""
    row = phase.axes[plan.row].var if plan.row is not None else None
    left = [g for g in guards if row is None or not uses(g, row)]
    inside, count = 1.0, 0.0
    for k in plan.order:
        inside *= phase.reduce[k].extent
        if any(uses(g, phase.reduce[k].var) for g in left):
            count += inside
    points = math.prod(a.extent for a in phase.axes)
    return _BRANCH * count * points / (plan.rows * plan.vectors * plan.lanes)
