"""Which axis is the vector, which the rows, how large the register tile and a task's block are: the lowest estimate in cycles.

Register tiles are ranked by `estimate`; tasks by what handing them out costs and by the bytes that each streams.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from .access import split_guards, stride, uses
from .base import Machine, NotApplicable
from .estimate import Read, branches, cycles, lanes_of, reads_of
from .phases import Phase
from .program import loads
from .tile import Plan

__all__ = ["alternatives", "choose", "divisions"]

# Cycles a task costs to hand out, and bytes a core streams from its outer caches in a cycle.
_TASK = 400.0
_STREAM = 12.0
# Bytes that a core reads in a cycle of what another core wrote, where they share no cache.
_EXCHANGE = 12.0
# A kernel shorter than this many cycles is not worth waking another thread.
_SERIAL = 60_000.0
# The part of a core's second-level cache that one operand of a task may fill.
_CACHE = 400_000
_UNROLL = 128
# Accumulators of a tile whose reduction is a short window: more would only repeat its code.
_SHORT, _FEW = 64, 12
# Tilings that a measurement should decide between: estimated within this factor of the best, and so many.
_CLOSE, _TILES, _BLOCKINGS = 1.7, 8, 3


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


def _ranked(phase: Phase, machine: Machine) -> tuple[list[Read], list[tuple[float, Plan]]]:
    """Every register tile with its estimate, the best first."""
    lanes = lanes_of(phase, machine)
    guards, term = split_guards(phase.term, str(phase.combine), phase.init)
    reads = reads_of(phase, term, lanes)
    found: list[tuple[float, Plan]] = []
    for v, axis in enumerate(phase.axes):
        if any(uses(g, axis.var) for g in guards) or not _storable(phase, v):
            continue
        for width in _widths(phase, v, term, lanes):
            found.extend(_tiles(phase, v, width, reads if width == lanes else reads_of(phase, term, width), guards, machine))
    if not found:
        raise NotApplicable("no axis of the output can be a vector")
    # Stable: of equal estimates the one found first, as ever.
    found.sort(key=lambda f: f[0])
    return reads, found


def _widths(phase: Phase, v: int, term: Any, lanes: int) -> list[int]:
    """Vector widths worth trying along axis `v`: narrower ones where an operand is a broadcast or contiguous only in them.

    Such is the input of a convolution in groups of 8 channels: 16 lanes read two values of it. A window that moves by two
    has none, and elements are worth trying.
    """
    found = [lanes]
    ragged = sum(read.strides[v] not in (0, 1) for read in reads_of(phase, term, lanes))
    width = lanes // 2
    while ragged and width > 1:
        left = sum(read.strides[v] not in (0, 1) for read in reads_of(phase, term, width))
        if left < ragged:
            found.append(width)
            ragged = left
        width //= 2
    # What stays scattered is read one by one anyway.
    return [*found, 1] if ragged and lanes > 1 else found


def _tiles(
    phase: Phase, v: int, lanes: int, reads: list[Read], guards: list[Any], machine: Machine
) -> list[tuple[float, Plan]]:
    """Register tiles with vectors of `lanes` along axis `v`, and their estimates."""
    found = []
    order = _order(phase, guards)
    # Of axes that are as good the last comes first: tasks can then be shared out along the first, as everywhere (`_blocks`).
    rows: list[int | None] = [None, *(i for i, a in reversed([*enumerate(phase.axes)]) if i != v and a.extent > 1)]
    for r in rows:
        for vectors in range(1, 9 if r is None else 5):
            if vectors > 1 and (vectors - 1) * lanes >= phase.axes[v].extent:
                break
            for count in _row_counts(phase, r, v, vectors, reads, machine):
                plan = Plan(v, lanes, vectors, r, count, order, frozenset())
                found.append((cycles(phase, plan, reads, machine) + branches(phase, plan, guards), plan))
    return found


def _unroll(phase: Phase, plan: Plan) -> Plan:
    """`plan` with its innermost windows unrolled in which rows share what they load, as long as the tile's code stays small."""
    if plan.row is None:
        return plan
    row, ranges = phase.axes[plan.row].var, {a.var: a.extent for a in (*phase.axes, *phase.reduce)}
    steps = [(load, stride(load, row, ranges)) for load in loads(phase.term)]
    size = plan.rows * plan.vectors
    chosen: set[int] = set()
    for k in reversed(plan.order):
        axis = phase.reduce[k]
        size *= axis.extent
        # Row i at place k of the window reads what row i - 1 reads further along it.
        moves = [(far, stride(load, axis.var, ranges)) for load, far in steps]
        if size > _UNROLL or not any(far and by and far % by == 0 and far // by < axis.extent for far, by in moves):
            break
        chosen.add(k)
    return replace(plan, unrolled=frozenset(chosen))


def _storable(phase: Phase, v: int) -> bool:
    """Whether the stored buffers are contiguous along axis `v`."""
    return all(a.extent == 1 for a in phase.axes[v + 1 :])


def _order(phase: Phase, guards: list[Any]) -> tuple[int, ...]:
    """Reduction axes, guarded ones outermost, then windows, then long ones."""
    guarded = [k for k, axis in enumerate(phase.reduce) if any(uses(g, axis.var) for g in guards)]
    window = [k for k, axis in enumerate(phase.reduce) if k not in guarded and axis.extent <= 7]
    others = [k for k in range(len(phase.reduce)) if k not in guarded and k not in window]
    return (*guarded, *window, *others)


def _row_counts(
    phase: Phase, r: int | None, v: int, vectors: int, reads: list[Read], machine: Machine
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


def _blocks(phase: Phase, plan: Plan, total: float, reads: list[Read], machine: Machine) -> list[Plan]:
    """Block sizes of a task, and whether there are tasks at all; the best first."""
    taken = (plan.vector, plan.row)
    plain = [i for i, a in enumerate(phase.axes) if i not in taken and a.extent > 1]
    last = plain[-1] if plain else None
    outer = math.prod(phase.axes[i].extent for i in plain[:-1])
    q_extent = phase.axes[last].extent if last is not None else 1
    v_tiles = max(1, phase.axes[plan.vector].extent // (plan.vectors * plan.lanes))
    r_tiles = max(1, phase.axes[plan.row].extent // plan.rows) if plan.row is not None else 1
    # Where tasks are not shared out along the first axis, cores read what others wrote. Axes outside the blocks come first.
    home = next((i for i, a in enumerate(phase.axes) if a.extent > 1), None)
    crossing = sum(read.size for read in reads if home is not None and read.strides[home] != 0)
    far = crossing * (1 - 1 / machine.cores) / _EXCHANGE if outer == 1 else 0.0
    found: list[tuple[float, Plan]] = []
    for q in divisions(q_extent):
        for v in divisions(v_tiles):
            for r in divisions(r_tiles):
                cuts = ((last, -(-q_extent // q)), (plan.vector, -(-v_tiles // v)), (plan.row, -(-r_tiles // r)))
                tasks = outer * math.prod(count for _, count in cuts)
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
                first = next((axis for axis, count in cuts if count > 1), None)
                score = total * evenness + tasks * (_TASK + bytes_moved / _STREAM) + (far if first != home else 0.0)
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
