"""Schedules made without a search: the plain ways, and random legal ones for tests and for exploration."""

from __future__ import annotations

import random as _random
from collections.abc import Sequence

from ..graph.model import MultiTenantGraph
from .schedule import Provenance, Schedule, Stream, TenantSchedule, Wait

__all__ = ["compose_order", "parallel", "random", "sequential"]


def sequential(graph: MultiTenantGraph, device: str) -> Schedule:
    """Tenant after tenant on one stream that has the whole device: how models run without co-location."""
    return Schedule(
        graph=graph.fingerprint,
        device=device,
        tenants=tuple(TenantSchedule(name=t.name, stream=0) for t in graph.tenants),
        streams=(Stream(),),
        order=tuple((n, t.count) for n, t in enumerate(graph.tenants) if t.count),
        provenance=Provenance(strategy="sequential"),
    )


def parallel(graph: MultiTenantGraph, device: str, cores: int | None = None) -> Schedule:
    """One stream a tenant, no regulation. With `cores`, a CPU's cores are divided among them (at least one each)."""
    count = len(graph.tenants)
    each: tuple[int, ...] = () if cores is None else (max(1, cores // max(1, count)),)
    return Schedule(
        graph=graph.fingerprint,
        device=device,
        tenants=tuple(TenantSchedule(name=t.name, stream=n) for n, t in enumerate(graph.tenants)),
        streams=tuple(Stream(cores=each) for _ in graph.tenants),
        order=compose_order([t.count for t in graph.tenants], [() for _ in graph.tenants]),
        provenance=Provenance(strategy="parallel"),
    )


def compose_order(counts: Sequence[int], pointers: Sequence[Sequence[int]]) -> tuple[tuple[int, int], ...]:
    """Issue cluster by cluster; inside a cluster take the tenants in turn in proportion to their operator counts.

    Parameters
    ----------
    counts
        Operators of each tenant.
    pointers
        Pointers of each tenant, equally many.

    Returns
    -------
    order
        Run-length encoded order of issue, as `Schedule.order` wants it.
    """
    clusters = (len(pointers[0]) if pointers else 0) + 1
    order: list[tuple[int, int]] = []

    def issue(tenant: int) -> None:
        if order and order[-1][0] == tenant:
            order[-1] = (tenant, order[-1][1] + 1)
        else:
            order.append((tenant, 1))

    for cluster in range(clusters):
        spans = []
        for tenant, count in enumerate(counts):
            first = pointers[tenant][cluster - 1] if cluster else 0
            last = pointers[tenant][cluster] if cluster < clusters - 1 else count
            spans.append((last - first, tenant))
        # Operator k of n is issued at virtual time (k + 1/2) / n: the tenants advance evenly.
        slots = sorted(((k + 0.5) / n, tenant) for n, tenant in spans for k in range(n))
        for _, tenant in slots:
            issue(tenant)
    return tuple(order)


def random(
    graph: MultiTenantGraph,
    device: str,
    seed: int,
    *,
    chunk_sizes: dict[int, Sequence[int]] | None = None,
    cores: int | None = None,
) -> Schedule:
    """A random legal schedule: any splits, pointers, streams, waits and order that `check` accepts.

    Parameters
    ----------
    graph, device
        What it is for.
    seed
        Same seed, same schedule.
    chunk_sizes
        Per operator index, the chunk sizes to draw from (for example those already compiled); by default any size.
    cores
        Cores of a CPU; None on a GPU.
    """
    rng = _random.Random(seed)
    count = len(graph.tenants)
    clusters = rng.choice((1, 1, 2, 3, 4))
    stream_count = rng.randint(1, count + 2)
    tenants, pointers = [], []
    for index, info in enumerate(graph.tenants):
        marks = tuple(sorted(rng.randint(0, info.count) for _ in range(clusters - 1)))
        pointers.append(marks)
        splits: dict[int, tuple[int, ...]] = {}
        placement: dict[int, tuple[int, ...]] = {}
        home = rng.randrange(stream_count)
        for operator in graph.tenant_operators(index):
            if operator.chunking.divisible and rng.random() < 0.5:
                allowed = chunk_sizes.get(operator.index) if chunk_sizes is not None else None
                sizes = _random_sizes(rng, info.batch, allowed if chunk_sizes is not None else range(1, info.batch + 1))
                if sizes is not None and len(sizes) > 1:
                    splits[operator.position] = sizes
            if rng.random() < 0.4:
                chunks = len(splits.get(operator.position, (0,)))
                placement[operator.position] = tuple(rng.randrange(stream_count) for _ in range(chunks))
        tenants.append(
            TenantSchedule(name=info.name, stream=home, pointers=marks, splits=splits, placement=placement)
        )
    schedule = Schedule(
        graph=graph.fingerprint,
        device=device,
        tenants=tuple(tenants),
        streams=tuple(Stream(cores=_random_cores(rng, cores, clusters)) for _ in range(stream_count)),
        order=_random_order(rng, [t.count for t in graph.tenants], pointers),
        provenance=Provenance(strategy="random", seed=seed),
    )
    return schedule.replace(waits=_random_waits(rng, schedule))


def _random_cores(rng: _random.Random, cores: int | None, clusters: int) -> tuple[int, ...]:
    return () if cores is None else tuple(rng.randint(1, cores) for _ in range(rng.choice((1, clusters))))


def _random_waits(rng: _random.Random, schedule: Schedule) -> tuple[Wait, ...]:
    """A few waits between tenants, each for an operator that is issued earlier."""
    issued = list(schedule.issue())
    waits = []
    for _ in range(rng.choice((0, 0, 1, 3)) if len(schedule.tenants) > 1 and len(issued) > 1 else 0):
        before, after = sorted(rng.sample(range(len(issued)), 2))
        if issued[before][0] != issued[after][0]:
            waits.append(Wait(issued[before], issued[after]))
    return tuple(waits)


def _random_sizes(rng: _random.Random, batch: int, allowed: Sequence[int] | range | None) -> tuple[int, ...] | None:
    if not allowed:
        return None
    sizes: list[int] = []
    left = batch
    while left:
        fitting = [size for size in allowed if size <= left]
        if not fitting:
            return None
        sizes.append(rng.choice(fitting))
        left -= sizes[-1]
    return tuple(sizes)


def _random_order(
    rng: _random.Random, counts: Sequence[int], pointers: Sequence[Sequence[int]]
) -> tuple[tuple[int, int], ...]:
    order: list[tuple[int, int]] = []
    done = [0] * len(counts)
    clusters = len(pointers[0]) + 1 if pointers else 1
    for cluster in range(clusters):
        ends = [p[cluster] if cluster < clusters - 1 else counts[t] for t, p in enumerate(pointers)]
        while open_ := [t for t in range(len(counts)) if done[t] < ends[t]]:
            tenant = rng.choice(open_)
            run = rng.randint(1, ends[tenant] - done[tenant])
            done[tenant] += run
            if order and order[-1][0] == tenant:
                order[-1] = (tenant, order[-1][1] + run)
            else:
                order.append((tenant, run))
    return tuple(order)
