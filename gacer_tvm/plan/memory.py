"""Memory planned for concurrency: two intermediates share bytes only where the plan orders their lifetimes.

Where that costs next to no memory, they share them so that each core writes where it wrote before (`gacer_tvm.plan.owners`).

A buffer may take the place of another when every launch that touches the other certainly finishes before any launch that
writes this one starts. "Certainly" means by stream order and the events that the plan has anyway: reuse adds no event, so it
never makes one stream wait for another.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..graph.model import MultiTenantGraph
from .model import Access, Launch, Placement
from .order import Clocks
from .owners import Owners, Part, parts_of

__all__ = ["place", "sum_alone"]

Offsets = NDArray[np.int64]
# The end of a gap that has none.
_OPEN = 1 << 62
# As much larger an arena may be in which cores write where they wrote before.
_GROWTH = 1.1


def place(graph: MultiTenantGraph, launches: Sequence[Launch], clocks: Clocks, align: int) -> Placement:
    """Assign every intermediate an offset in one arena, in the order of definition.

    Parameters
    ----------
    graph
        Whose buffers of kind ``intermediate`` are placed.
    launches, clocks
        The launches, and what happens before what.
    align
        Bytes that every offset is a multiple of.
    """
    order: list[int] = []
    users: dict[int, list[int]] = {}
    writers: dict[int, list[int]] = {}
    for launch in launches:
        for access in launch.writes:
            if graph.buffers[access.root].kind == "intermediate":
                if access.root not in writers:
                    order.append(access.root)
                writers.setdefault(access.root, []).append(launch.index)
                users.setdefault(access.root, []).append(launch.index)
        for access in launch.reads:
            if graph.buffers[access.root].kind == "intermediate":
                users.setdefault(access.root, []).append(launch.index)
    count = len(order)
    if not count:
        return Placement({}, 0)
    last = np.full((count, clocks.streams), -1, np.int64)
    start = np.zeros((count, clocks.streams), np.int64)
    sizes = np.zeros(count, np.int64)
    for n, root in enumerate(order):
        for user in users[root]:
            stream = clocks.stream[user]
            last[n, stream] = max(last[n, stream], clocks.place[user])
        start[n] = np.min([clocks.clock[w] for w in writers[root]], axis=0)
        sizes[n] = -(-max(1, graph.buffers[root].nbytes) // align) * align
    live = [~np.all(last[:n] < start[n], axis=1) for n in range(count)]
    offsets = _tightest(sizes, live)
    parts = [parts_of(root, (launches[w] for w in dict.fromkeys(writers[root]))) for root in order]
    owned = _where_owned(sizes, live, parts, align)
    # Memory that is written by the core that wrote it before must not cost memory.
    if int(np.max(owned + sizes)) <= int(np.max(offsets + sizes)) * _GROWTH:
        offsets = owned
    return Placement(
        {root: int(offset) for root, offset in zip(order, offsets)}, int(np.max(offsets + sizes))
    )


def _tightest(sizes: Offsets, live: Sequence[NDArray[np.bool_]]) -> Offsets:
    """Best fit: each buffer in the smallest gap between those that live when it is written."""
    offsets = np.zeros(len(sizes), np.int64)
    for n, size in enumerate(sizes):
        offsets[n] = _best_gap(_gaps(offsets[:n][live[n]], sizes[:n][live[n]]), int(size))
    return offsets


def _where_owned(
    sizes: Offsets, live: Sequence[NDArray[np.bool_]], parts: Sequence[Sequence[Part]], align: int
) -> Offsets:
    """Each buffer in a gap where its writers wrote before, its middle over the middle of what lay there."""
    offsets, owners, top = np.zeros(len(sizes), np.int64), Owners(), 0
    for n, size in enumerate(sizes):
        places = []
        for begin, stop in _gaps(offsets[:n][live[n]], sizes[:n][live[n]]):
            if stop - begin < size:
                continue
            highest = stop - int(size)
            middles = [(int(seam) - int(size) // 2) // align * align for seam in owners.seams()]
            places += [begin, *(m for m in middles if begin < m < highest)]
            if stop != _OPEN:
                places.append(highest)
        offsets[n] = min(dict.fromkeys(places), key=lambda o: (owners.foreign(o, parts[n]) + max(0, o + size - top), o))
        owners.write(int(offsets[n]), parts[n])
        top = max(top, int(offsets[n] + size))
    return offsets


def _best_gap(gaps: Sequence[tuple[int, int]], size: int) -> int:
    """Where the smallest gap that holds `size` begins; the open one holds everything."""
    return min((stop - begin, begin) for begin, stop in gaps if stop - begin >= size)[1]


def _gaps(offsets: Offsets, sizes: Offsets) -> list[tuple[int, int]]:
    """First byte and one past the last of each gap between live blocks; the last one is open."""
    found, end = [], 0
    for begin, size in sorted(zip(offsets.tolist(), sizes.tolist())):
        if begin > end:
            found.append((end, begin))
        end = max(end, begin + size)
    return [*found, (end, _OPEN)]


def sum_alone(graph: MultiTenantGraph, align: int = 64) -> dict[str, int]:
    """Arena bytes of each tenant if it ran alone on one stream: what `report` shows beside the plan's peak."""
    found = {}
    for number, info in enumerate(graph.tenants):
        clocks = Clocks(1)
        launches: list[Launch] = []
        for operator in graph.tenant_operators(number):
            clocks.add(0, ())
            launches.append(_whole(graph, operator.index, len(launches)))
        found[info.name] = place(graph, launches, clocks, align).arena_bytes
    return found


def _whole(graph: MultiTenantGraph, index: int, place_: int) -> Launch:
    operator = graph.operators[index]

    def all_of(buffers: tuple[int, ...]) -> tuple[Access, ...]:
        return tuple(Access(graph.buffers[b].root, 0, graph.buffers[b].nbytes) for b in buffers)

    return Launch(
        place_, index, 0, 1, True, 0, None, operator.reads + operator.writes, all_of(operator.reads),
        all_of(operator.writes), (),
    )
