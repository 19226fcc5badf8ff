"""Which axis is the vector, which the rows, how large the register tile and a task's block are: an estimate in cycles.

The estimate counts, for one step of the reduction in one tile, the vector operations and the loads (a load that depends on
rows and not on the vector is one broadcast a row, and so on), and for a task the bytes that it streams. It only has to rank
tilings of one kernel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from .access import split_guards, stride, uses
from .base import Machine, NotApplicable
from .nest import segments
from .phases import Phase
from .program import loads, shape_of
from .tile import Plan

__all__ = ["alternatives", "choose", "cycles", "divisions", "lanes_of"]

# Cycles a task costs to hand out, and bytes a core streams from its outer caches in a cycle.
_TASK = 400.0
_STREAM = 12.0
# Cycles to bring in the code of one accumulator.
_CODE = 12.0
# A kernel shorter than this many cycles is not worth waking another thread.
_SERIAL = 60_000.0
# The part of a core's second-level cache that one operand of a task may fill.
_CACHE = 400_000
_UNROLL = 128
# Accumulators of a tile whose reduction is a short window: more would only repeat its code.
_SHORT, _FEW = 64, 12
# Tilings that a measurement should decide between: estimated within this factor of the best, and so many.
_CLOSE, _TILES, _BLOCKINGS = 1.7, 8, 3


@dataclass(frozen=True)
class _Read:
    """One load of the term: its stride along each axis of the phase, and its buffer's size."""

    source: Any
    strides: tuple[int | None, ...]
    reduce: tuple[bool, ...]
    size: int


def choose(phase: Phase, machine: Machine) -> Plan:
    """The tiling of a reduction phase with the lowest estimate.

    Raises
    ------
    NotApplicable
        If no axis of the output can be a vector.
    """
    reads, ranked = _ranked(phase, machine)
    cost, tile = ranked[0]
    return _blocks(phase, _unroll(phase, tile), cost, reads, machine)[0]


def alternatives(phase: Phase, machine: Machine) -> list[Plan]:
    """Tilings for a measurement to decide between, the one that `choose` takes first.

    Raises
    ------
    NotApplicable
        If no axis of the output can be a vector.
    """
    reads, ranked = _ranked(phase, machine)
    found: list[Plan] = []
    for number, (cost, tile) in enumerate(t for t in ranked[:_TILES] if t[0] <= _CLOSE * ranked[0][0]):
        blockings = _blocks(phase, _unroll(phase, tile), cost, reads, machine)
        for plan in blockings[: _BLOCKINGS if number < 2 else 1]:
            found.append(plan)
            if number < 2 and plan is blockings[0] and plan.unrolled:
                found.append(replace(plan, unrolled=frozenset()))
    return list(dict.fromkeys(found))


def _ranked(phase: Phase, machine: Machine) -> tuple[list[_Read], list[tuple[float, Plan]]]:
    """Every register tile with its estimate, the best first."""
    lanes = lanes_of(phase, machine)
    guards, term = split_guards(phase.term, str(phase.combine), phase.init)
    reads = _reads(phase, term, lanes)
    found: list[tuple[float, Plan]] = []
    for v, axis in enumerate(phase.axes):
        if any(uses(g, axis.var) for g in guards) or not _storable(phase, v):
            continue
        order = _order(phase, guards)
        rows: list[int | None] = [None, *(i for i, a in enumerate(phase.axes) if i != v and a.extent > 1)]
        for r in rows:
            for vectors in range(1, 9 if r is None else 5):
                if vectors > 1 and (vectors - 1) * lanes >= axis.extent:
                    break
                for count in _row_counts(phase, r, v, vectors, reads, machine):
                    plan = Plan(v, lanes, vectors, r, count, order, frozenset())
                    found.append((cycles(phase, plan, reads, machine), plan))
    if not found:
        raise NotApplicable("no axis of the output can be a vector")
    # Stable: of equal estimates the one found first, as ever.
    found.sort(key=lambda f: f[0])
    return reads, found


def _unroll(phase: Phase, plan: Plan) -> Plan:
    """`plan` with its innermost reduction axes unrolled, as long as the tile's code stays small."""
    size = plan.rows * plan.vectors
    chosen: set[int] = set()
    for k in reversed(plan.order):
        size *= phase.reduce[k].extent
        if size > _UNROLL:
            break
        chosen.add(k)
    return replace(plan, unrolled=frozenset(chosen))


def lanes_of(phase: Phase, machine: Machine) -> int:
    """Elements of the phase's widest type that fit a vector."""
    types = {str(b.ty.dtype) for b, _ in phase.stores} | {str(load.source.ty.dtype) for load in phase.reads()}
    bits = max(int("".join(c for c in t if c.isdigit()) or 8) for t in types)
    return max(1, machine.lanes * 32 // bits)


def _storable(phase: Phase, v: int) -> bool:
    """Whether the stored buffers are contiguous along axis `v`."""
    return all(a.extent == 1 for a in phase.axes[v + 1 :])


def _reads(phase: Phase, term: Any, lanes: int) -> list[_Read]:
    ranges = {a.var: a.extent for a in (*phase.axes, *phase.reduce)}
    found = []
    for load in loads(term):
        strides = tuple(stride(load, a.var, ranges, lanes) for a in phase.axes)
        reduce = tuple(any(uses(i, k.var) for i in load.indices) for k in phase.reduce)
        found.append(_Read(load.source, strides, reduce, math.prod(shape_of(load.source)) * 4))
    return found


def _order(phase: Phase, guards: list[Any]) -> tuple[int, ...]:
    """Reduction axes, guarded ones outermost, then windows, then long ones."""
    guarded = [k for k, axis in enumerate(phase.reduce) if any(uses(g, axis.var) for g in guards)]
    window = [k for k, axis in enumerate(phase.reduce) if k not in guarded and axis.extent <= 7]
    others = [k for k in range(len(phase.reduce)) if k not in guarded and k not in window]
    return (*guarded, *window, *others)


def _row_counts(
    phase: Phase, r: int | None, v: int, vectors: int, reads: list[_Read], machine: Machine
) -> list[int]:
    if r is None:
        return [1]
    # Beside the accumulators, the vectors of a step and one broadcast need registers; spilling halves the speed.
    room = min(machine.registers - 2 - vectors, machine.registers * 4 // 5)
    if math.prod(a.extent for a in phase.reduce) <= _SHORT and all(read.strides[v] != 0 for read in reads):
        room = min(room, _FEW)
    most = min(phase.axes[r].extent, room // vectors)
    for read in reads:
        step = read.strides[r]
        if read.strides[v] == 0 and step:
            # Rows a page apart compete for the same few lines of the first-level cache.
            apart = step * 4
            if apart % 4096 == 0:
                most = min(most, 7)
            elif apart % 2048 == 0:
                most = min(most, 14)
    return list(range(1, most + 1))


def cycles(phase: Phase, plan: Plan, reads: list[_Read], machine: Machine) -> float:
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


def _tile_cycles(plan: Plan, reads: list[_Read], rows: int, vectors: int, steps: int) -> float:
    moves = 0.0
    for read in reads:
        along_v = read.strides[plan.vector]
        along_r = read.strides[plan.row] if plan.row is not None else 0
        times = (1 if along_v == 0 else vectors) * (1 if along_r == 0 else rows)
        price = 0.5 if along_v == 0 else 1.0 if along_v == 1 else 2.0 * plan.lanes
        moves += times * price
    work = rows * vectors
    # Each accumulator is a chain of dependent additions, four cycles each.
    return steps * (max(float(work), moves, 4.0) + 0.4) + work * 6 + 30


def _blocks(phase: Phase, plan: Plan, total: float, reads: list[_Read], machine: Machine) -> list[Plan]:
    """Block sizes of a task, and whether there are tasks at all; the best first."""
    taken = (plan.vector, plan.row)
    plain = [i for i, a in enumerate(phase.axes) if i not in taken and a.extent > 1]
    last = plain[-1] if plain else None
    outer = math.prod(phase.axes[i].extent for i in plain[:-1])
    q_extent = phase.axes[last].extent if last is not None else 1
    v_tiles = max(1, phase.axes[plan.vector].extent // (plan.vectors * plan.lanes))
    r_tiles = max(1, phase.axes[plan.row].extent // plan.rows) if plan.row is not None else 1
    found: list[tuple[float, Plan]] = []
    for q in divisions(q_extent):
        for v in divisions(v_tiles):
            for r in divisions(r_tiles):
                tasks = outer * -(-q_extent // q) * -(-v_tiles // v) * -(-r_tiles // r)
                rounds = math.ceil(tasks / machine.cores) * machine.cores / tasks
                # Cores may be fewer or more where the kernel runs: prefer enough tasks to share evenly.
                evenness = rounds * (1 + 0.15 * machine.cores / tasks)
                share = {last: q / q_extent, plan.vector: v / v_tiles, plan.row: r / r_tiles}
                bytes_moved = 0.0
                for read in reads:
                    part = float(read.size)
                    for i, axis in enumerate(phase.axes):
                        if read.strides[i] != 0 and axis.extent > 1:
                            part *= share.get(i, 1 / axis.extent)
                    moved = part
                    if read.strides[plan.vector] == 0 and part > _CACHE:
                        moved = part * v
                    elif read.strides[plan.vector] != 0 and part / v > _CACHE:
                        moved = part * q
                    bytes_moved += moved
                score = total * evenness + tasks * (_TASK + bytes_moved / _STREAM)
                found.append((score, replace(plan, plain_block=q, vector_block=v, row_block=r, parallel=True)))
    found.sort(key=lambda f: f[0])
    plans = [p for _, p in found]
    if total < _SERIAL:
        plans.insert(0, replace(plan, plain_block=q_extent, vector_block=v_tiles + 1, row_block=r_tiles + 1))
    return plans


def divisions(extent: int) -> list[int]:
    """Block sizes worth trying: the ceilings of ``extent / n``."""
    sizes: list[int] = []
    n = 1
    while n <= extent:
        size = -(-extent // n)
        if not sizes or size != sizes[-1]:
            sizes.append(size)
        n = n + 1 if n < 4 else n * 2 if n < 64 else extent + 1 if n >= 1024 else n * 4
    return sizes
