"""Small edits that keep schedules legal: orders that follow pointers and waits, core budgets by cluster."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence

from msgspec.structs import replace

from ..graph.model import MultiTenantGraph
from ..schedule import Schedule, Stream, TenantSchedule, Wait

__all__ = ["cluster_cores", "compressed", "issue_order", "only_stream_used", "set_tenant", "with_cluster_cores"]


def set_tenant(schedule: Schedule, tenant: int, changed: TenantSchedule) -> Schedule:
    """`schedule` with one tenant's part replaced."""
    tenants = list(schedule.tenants)
    tenants[tenant] = changed
    return schedule.replace(tenants=tuple(tenants))


def cluster_cores(stream: Stream, clusters: int) -> list[int | None]:
    """The core budget of `stream` in every cluster."""
    return [stream.cores_in(c) for c in range(clusters)]


def with_cluster_cores(stream: Stream, cores: Sequence[int | None]) -> Stream:
    """`stream` with a budget for each cluster (None everywhere, or numbers everywhere)."""
    known = [c for c in cores if c is not None]
    if len(known) != len(cores):
        return replace(stream, cores=())
    return replace(stream, cores=(known[0],) if len(set(known)) == 1 else tuple(known))


def issue_order(
    graph: MultiTenantGraph,
    pointers: Sequence[Sequence[int]],
    waits: Sequence[Wait] = (),
    key: Callable[[int, int], float] | None = None,
) -> tuple[tuple[int, int], ...] | None:
    """An order of issue: cluster by cluster, tenants in turn, awaited operators before those that wait.

    Parameters
    ----------
    key
        ``(tenant, position)`` to when it should be issued; by default each cluster's operators of a tenant spread
        evenly.

    Returns
    -------
    order
        Run-length encoded, or None where waits contradict each other or the pointers.
    """
    clusters = len(pointers[0]) + 1 if pointers else 1
    counts = [t.count for t in graph.tenants]
    blocked: dict[tuple[int, int], int] = {}
    waiting: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for wait in waits:
        blocked[wait.after] = blocked.get(wait.after, 0) + 1
        waiting.setdefault(wait.before, []).append(wait.after)
    done = [0] * len(counts)
    order: list[tuple[int, int]] = []
    for cluster in range(clusters):
        ends = [p[cluster] if cluster < clusters - 1 else counts[t] for t, p in enumerate(pointers)]
        begin = done.copy()

        def when(tenant: int, begin: list[int] = begin, ends: list[int] = ends) -> float:
            position = done[tenant]
            if key is not None:
                return key(tenant, position)
            return (position - begin[tenant] + 0.5) / (ends[tenant] - begin[tenant])

        ready = [(when(t), t) for t in range(len(counts)) if done[t] < ends[t] and not blocked.get((t, done[t]))]
        heapq.heapify(ready)
        while ready:
            _, tenant = heapq.heappop(ready)
            here = (tenant, done[tenant])
            if order and order[-1][0] == tenant:
                order[-1] = (tenant, order[-1][1] + 1)
            else:
                order.append((tenant, 1))
            done[tenant] += 1
            for after in waiting.get(here, ()):
                blocked[after] -= 1
                if blocked[after] == 0 and after[0] != tenant and done[after[0]] == after[1] < ends[after[0]]:
                    heapq.heappush(ready, (when(after[0]), after[0]))
            if done[tenant] < ends[tenant] and not blocked.get((tenant, done[tenant])):
                heapq.heappush(ready, (when(tenant), tenant))
        if done != list(ends):
            return None
    return tuple(order)


def only_stream_used(schedule: Schedule) -> set[int]:
    """Streams that some operator runs on."""
    used: set[int] = set()
    for part, count in zip(schedule.tenants, _counts(schedule), strict=True):
        if any(p not in part.placement for p in range(count)):
            used.add(part.stream)
        for streams in part.placement.values():
            used.update(streams)
    return used


def compressed(schedule: Schedule) -> Schedule:
    """`schedule` without streams that nothing runs on and without placements that say what is so anyway."""
    used = sorted(only_stream_used(schedule))
    number = {old: new for new, old in enumerate(used)}
    tenants = []
    for part, count in zip(schedule.tenants, _counts(schedule), strict=True):
        placement = {
            p: tuple(number[s] for s in streams)
            for p, streams in part.placement.items()
            if any(s != part.stream for s in streams)
        }
        home = part.stream if part.stream in number else (part.placement[0][0] if count else used[0])
        if home != part.stream:
            placement = {p: tuple(number[s] for s in streams) for p, streams in part.placement.items()}
        tenants.append(replace(part, stream=number[home], placement=placement))
    return schedule.replace(tenants=tuple(tenants), streams=tuple(schedule.streams[s] for s in used))


def _counts(schedule: Schedule) -> list[int]:
    counts = [0] * len(schedule.tenants)
    for tenant, count in schedule.order:
        counts[tenant] += count
    return counts
