"""A schedule lowered to a launch plan.

The events follow from three things only: a chunk waits for the chunks that wrote what it reads, the first launches behind a
pointer wait for everything before it, and the extra waits of the schedule. Waits that stream order or other waits imply are
left out.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..graph.model import MultiTenantGraph, Operator
from ..schedule import Schedule, check
from .memory import place
from .model import Access, Launch, LaunchPlan
from .order import Clocks

__all__ = ["lower"]


def lower(schedule: Schedule, graph: MultiTenantGraph, *, device: str | None = None, align: int = 64) -> LaunchPlan:
    """Lower a schedule for a graph.

    Parameters
    ----------
    schedule, graph
        The schedule is checked against the graph first (and against `device`, where given).
    align
        Alignment of every intermediate, bytes.

    Raises
    ------
    ScheduleError
        If the schedule is not legal.
    """
    check(schedule, graph, device)
    lowering = _Lowering(schedule, graph)
    for tenant, position in schedule.issue():
        lowering.issue(tenant, position)
    launches = tuple(lowering.launches)
    placement = place(graph, launches, lowering.clocks, align)
    return LaunchPlan(schedule, len(schedule.streams), launches, placement)


class _Lowering:
    def __init__(self, schedule: Schedule, graph: MultiTenantGraph) -> None:
        self.schedule = schedule
        self.graph = graph
        self.clocks = Clocks(len(schedule.streams))
        self.launches: list[Launch] = []
        self.writers: dict[int, list[tuple[int, int, int]]] = {}
        self.of_operator: dict[tuple[int, int], list[int]] = {}
        self.waits: dict[tuple[int, int], list[tuple[int, int]]] = {}
        for wait in schedule.waits:
            self.waits.setdefault(wait.after, []).append(wait.before)
        self.cluster = 0
        # What a launch behind the last pointer must wait for: the last launch of each stream before it.
        self.barrier: list[int] = []
        self.last: dict[int, int] = {}

    def issue(self, tenant: int, position: int) -> None:
        part = self.schedule.tenants[tenant]
        info = self.graph.tenants[tenant]
        operator = self.graph.operators[info.first + position]
        cluster = part.cluster_of(position)
        if cluster > self.cluster:
            self.cluster = cluster
            self.barrier = list(self.last.values())
        sizes = part.chunks(position, info.batch)
        extra = [n for before in self.waits.get((tenant, position), ()) for n in self.of_operator[before]]
        own: list[int] = []
        first = 0
        for items, stream in zip(sizes, part.streams_at(position)):
            own.append(self._launch(operator, first, items, info.batch, stream, cluster, extra))
            first += items
        self.of_operator[tenant, position] = own

    def _launch(
        self, operator: Operator, first: int, items: int, batch: int, stream: int, cluster: int, extra: list[int]
    ) -> int:
        reads = self._accesses(operator, operator.reads, 0, first, items, batch)
        writes = self._accesses(operator, operator.writes, len(operator.reads), first, items, batch)
        after = [*self.barrier, *extra]
        for access in reads:
            for start, stop, writer in self.writers.get(access.root, ()):
                if start < access.stop and access.start < stop:
                    after.append(writer)
        waits = tuple(self.clocks.needed(stream, after))
        own = len(self.launches)
        self.clocks.add(stream, waits)
        for access in writes:
            self.writers.setdefault(access.root, []).append((access.start, access.stop, own))
        self.launches.append(
            Launch(
                index=own,
                operator=operator.index,
                first=first,
                items=items,
                whole=items == batch,
                stream=stream,
                cores=self.schedule.streams[stream].cores_in(cluster),
                buffers=operator.reads + operator.writes,
                reads=reads,
                writes=writes,
                waits=waits,
            )
        )
        self.last[stream] = own
        return own

    def _accesses(
        self, operator: Operator, buffers: Iterable[int], argument: int, first: int, items: int, batch: int
    ) -> tuple[Access, ...]:
        found = []
        for n, index in enumerate(buffers, argument):
            buffer = self.graph.buffers[index]
            if items != batch and operator.chunking.rows[n]:
                item = buffer.nbytes // operator.chunking.items
                found.append(Access(buffer.root, first * item, (first + items) * item))
            else:
                found.append(Access(buffer.root, 0, buffer.nbytes))
        return tuple(found)
