"""Company: schedules in which parts of the tenants meet, and their twins in which the same parts run one after the other.

A drawn schedule cuts the tenants into clusters. In the schedule the streams of a cluster begin together; in its twin every
stream has the machine to itself, in the same order and with the same budgets. The difference is what company costs.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

from ..cost.device import Device
from ..graph.model import MultiTenantGraph
from ..schedule import Schedule, Stream, TenantSchedule
from ..schedule.make import compose_order
from ..schedule.schedule import Provenance
from .select import budgets, in_turn

__all__ = ["Company", "draw"]

# What a stream of a cluster lasts without company, seconds: drawn evenly between the logarithms of these.
_LEAST, _MOST = 1e-4, 1e-2
_STEPS = 4
# Streams that meet last about as long: each within this factor of what was drawn.
_UNEVEN = 1.6
_MOST_LAUNCHES = 16
_CUT_SHARE = 0.35


@dataclass(frozen=True)
class Company:
    """A drawn schedule and its twin.

    Attributes
    ----------
    schedule, twin
        Cluster ``n`` of the schedule is clusters ``n * tenants … n * tenants + tenants - 1`` of the twin, one a tenant.
    met
        For each cluster in which several tenants meet, its number and the tenants.
    """

    schedule: Schedule
    twin: Schedule
    met: tuple[tuple[int, tuple[int, ...]], ...]


def draw(
    graph: MultiTenantGraph,
    device: Device,
    seconds: Callable[[int, int, int], float],
    number: int,
    seed: int = 0,
    *,
    sizes: Callable[[int], Sequence[int]] = lambda operator: (),
) -> Company:
    """Draw one: which tenants meet, for how long, with how many cores and in which chunks.

    Parameters
    ----------
    graph, device
        Several tenants on a CPU.
    seconds
        About how long (operator, items, cores) takes.
    number, seed
        The same numbers draw the same company.
    sizes
        Chunk sizes that an operator may be cut into.
    """
    rng = random.Random(f"{seed} {number}")
    count = len(graph.tenants)
    splits = [_splits(graph, tenant, sizes, rng) for tenant in range(count)]
    left = [list(range(info.count)) for info in graph.tenants]
    ends: list[list[int]] = [[] for _ in range(count)]
    cores: list[list[int]] = [[] for _ in range(count)]
    met = []
    cells = _cells(count, device.units, rng)
    while any(left):
        active, budget, target = _next(cells, [bool(some) for some in left])
        shares = dict(zip(active, rng.sample(budget, len(budget)), strict=True))
        # The others last as long as the longest next operator, and nobody longer than the one with the least left.
        target = max(target, *(_lasting(graph, t, left[t][:1], splits[t], seconds, c) for t, c in shares.items()), _LEAST)
        target = min(target, *(_lasting(graph, t, left[t], splits[t], seconds, c) for t, c in shares.items()), _MOST)
        for tenant in range(count):
            share = shares.get(tenant, 1)
            if tenant in shares:
                _take(graph, tenant, left[tenant], splits[tenant], seconds, share, target * _UNEVEN ** rng.uniform(-1, 1))
            ends[tenant].append(graph.tenants[tenant].count - len(left[tenant]))
            cores[tenant].append(share)
        if len(active) > 1:
            met.append((len(ends[0]) - 1, tuple(sorted(active))))
    pointers = [each[:-1] for each in ends]
    return Company(
        _schedule(graph, device, pointers, splits, cores),
        _schedule(graph, device, *_twin(pointers, ends, splits, cores)),
        tuple(met),
    )


Cell = tuple[tuple[int, ...], tuple[int, ...], float]


def _cells(count: int, units: int, rng: random.Random) -> Iterator[Cell]:
    """Who meets, with which budgets, for how long: without end, all kinds in turn."""
    while True:
        cells = [
            (members, budget, step)
            for streams in range(2, min(count, units + 1) + 1)
            for members in combinations(range(count), streams)
            for budget in budgets(units, streams)
            for step in range(_STEPS)
        ]
        for members, budget, step in in_turn(cells, lambda cell: (len(cell[0]), cell[1]), rng.randrange(1 << 30)):
            width = math.log(_MOST / _LEAST) / _STEPS
            yield members, budget, _LEAST * math.exp(width * (step + rng.random()))


def _next(cells: Iterator[Cell], open_: Sequence[bool]) -> Cell:
    """The next cell whose tenants all have operators left; whoever is left at the end runs alone."""
    if sum(open_) == 1:
        return (open_.index(True),), (1,), _MOST
    while True:
        cell = next(cells)
        if all(open_[tenant] for tenant in cell[0]):
            return cell


def _splits(
    graph: MultiTenantGraph, tenant: int, sizes: Callable[[int], Sequence[int]], rng: random.Random
) -> dict[int, tuple[int, ...]]:
    batch = graph.tenants[tenant].batch
    found = {}
    for operator in graph.tenant_operators(tenant):
        allowed = [s for s in sizes(operator.index) if s < batch and (batch % s == 0 or batch % s in sizes(operator.index))]
        if operator.chunking.divisible and allowed and rng.random() < _CUT_SHARE:
            size = rng.choice(allowed)
            rest = batch % size
            found[operator.position] = (size,) * (batch // size) + ((rest,) if rest else ())
    return found


def _take(
    graph: MultiTenantGraph,
    tenant: int,
    left: list[int],
    splits: dict[int, tuple[int, ...]],
    seconds: Callable[[int, int, int], float],
    cores: int,
    target: float,
) -> None:
    """Take operators off the front of `left` until they last `target` seconds, at least one."""
    info = graph.tenants[tenant]
    taken, launches = 0.0, 0
    while left:
        sizes = splits.get(left[0], (info.batch,))
        more = _lasting(graph, tenant, left[:1], splits, seconds, cores)
        # Stop where the sum comes nearest to the target.
        if launches and (launches + len(sizes) > _MOST_LAUNCHES or taken + more / 2 > target):
            return
        taken, launches = taken + more, launches + len(sizes)
        del left[0]


def _lasting(
    graph: MultiTenantGraph,
    tenant: int,
    positions: Sequence[int],
    splits: dict[int, tuple[int, ...]],
    seconds: Callable[[int, int, int], float],
    cores: int,
) -> float:
    info = graph.tenants[tenant]
    return sum(seconds(info.first + p, size, cores) for p in positions for size in splits.get(p, (info.batch,)))


def _twin(
    pointers: Sequence[Sequence[int]],
    ends: Sequence[Sequence[int]],
    splits: list[dict[int, tuple[int, ...]]],
    cores: Sequence[Sequence[int]],
) -> tuple[list[list[int]], list[dict[int, tuple[int, ...]]], list[list[int]]]:
    count = len(ends)
    found: list[list[int]] = [[] for _ in range(count)]
    for cluster in range(len(ends[0])):
        for turn in range(count):
            for tenant in range(count):
                before = ends[tenant][cluster - 1] if cluster else 0
                found[tenant].append(ends[tenant][cluster] if turn >= tenant else before)
    return [each[:-1] for each in found], splits, [[c for c in each for _ in range(count)] for each in cores]


def _schedule(
    graph: MultiTenantGraph,
    device: Device,
    pointers: Sequence[Sequence[int]],
    splits: Sequence[dict[int, tuple[int, ...]]],
    cores: Sequence[Sequence[int]],
) -> Schedule:
    return Schedule(
        graph=graph.fingerprint,
        device=device.name,
        tenants=tuple(
            TenantSchedule(info.name, n, tuple(pointers[n]), dict(splits[n])) for n, info in enumerate(graph.tenants)
        ),
        streams=tuple(Stream(cores=tuple(each)) for each in cores),
        order=compose_order([t.count for t in graph.tenants], pointers),
        provenance=Provenance(strategy="drawn"),
    )
