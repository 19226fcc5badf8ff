"""Memory planned for concurrency: two intermediates share bytes only where the plan orders their lifetimes.

A buffer may take the place of another when every launch that touches the other certainly finishes before any launch that
writes this one starts. "Certainly" means by stream order and the events that the plan has anyway: reuse adds no event, so it
never makes one stream wait for another.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..graph.model import MultiTenantGraph
from .model import Access, Launch, Placement
from .order import Clocks

__all__ = ["place", "sum_alone"]


def place(graph: MultiTenantGraph, launches: Sequence[Launch], clocks: Clocks, align: int) -> Placement:
    """Assign every intermediate an offset in one arena, best fit in the order of definition.

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
    offsets = np.zeros(count, np.int64)
    for n in range(count):
        dead = np.all(last[:n] < start[n], axis=1)
        offsets[n] = _best_gap(offsets[:n][~dead], sizes[:n][~dead], int(sizes[n]))
    return Placement(
        {root: int(offset) for root, offset in zip(order, offsets)}, int(np.max(offsets + sizes))
    )


def _best_gap(offsets: np.ndarray, sizes: np.ndarray, size: int) -> int:
    """Offset of the smallest gap between live blocks that holds `size`; behind the last one if there is none."""
    if not len(offsets):
        return 0
    order = np.argsort(offsets, kind="stable")
    begins = offsets[order]
    ends = np.maximum.accumulate(begins + sizes[order])
    before = np.concatenate(([0], ends[:-1]))
    gaps = begins - before
    fitting = np.flatnonzero(gaps >= size)
    if not len(fitting):
        return int(ends[-1])
    return int(before[fitting[np.argmin(gaps[fitting])]])


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
