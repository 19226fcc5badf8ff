"""Every schedule of a small space: what the search is measured against."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

from ..errors import SearchError
from ..schedule import Schedule, Stream, TenantSchedule, make
from ..sim import Simulator
from .objective import Objective
from .space import Space, budget_cores

__all__ = ["best_of_all", "count_schedules", "every_schedule"]


def every_schedule(space: Space, max_pointers: int = 1) -> Iterator[Schedule]:
    """Yield every combination of tenants on streams, up to `max_pointers` pointers anywhere, and cuts.

    Streams that several tenants share run them in turn; the cores of a CPU are divided among the streams with work.
    """
    graph = space.graph
    counts = [t.count for t in graph.tenants]
    ways = [[None, *space.splits[o.index]] for o in graph.operators]
    for homes in _partitions(len(counts)):
        if max(homes) >= space.max_streams:
            continue
        streams = tuple(Stream() for _ in range(max(homes) + 1))
        for pointers in range(max_pointers + 1):
            columns = [list(itertools.combinations_with_replacement(range(c + 1), pointers)) for c in counts]
            for matrix in itertools.product(*columns):
                order = make.compose_order(counts, matrix)
                for cuts in itertools.product(*ways):
                    tenants = tuple(
                        TenantSchedule(
                            name=info.name,
                            stream=homes[n],
                            pointers=matrix[n],
                            splits={p: cut for p in range(info.count) if (cut := cuts[info.first + p]) is not None},
                        )
                        for n, info in enumerate(graph.tenants)
                    )
                    schedule = Schedule(
                        graph=graph.fingerprint,
                        device=space.device.name,
                        tenants=tenants,
                        streams=streams,
                        order=order,
                    )
                    yield budget_cores(schedule, space.device)


def count_schedules(space: Space, max_pointers: int = 1) -> int:
    """How many schedules `every_schedule` yields."""
    counts = [t.count for t in space.graph.tenants]
    homes = sum(1 for h in _partitions(len(counts)) if max(h) < space.max_streams)
    pointers = sum(math.prod(math.comb(c + k, k) for c in counts) for k in range(max_pointers + 1))
    return homes * pointers * math.prod(1 + len(w) for w in space.splits)


def best_of_all(
    space: Space, simulator: Simulator, objective: Objective, max_pointers: int = 1, limit: int = 500_000
) -> tuple[Schedule, float]:
    """The optimum of the small space and its objective in seconds.

    Raises
    ------
    SearchError
        Where there are more than `limit` schedules.
    """
    count = count_schedules(space, max_pointers)
    if count > limit:
        raise SearchError(f"{count} schedules are too many to try all (limit {limit}); take fewer operators or cuts")
    best: Schedule | None = None
    best_key = (math.inf, math.inf)
    seconds = math.inf
    for schedule in every_schedule(space, max_pointers):
        score = simulator.score(schedule)
        key = objective.key(score)
        if key < best_key:
            best, best_key, seconds = schedule, key, objective.seconds(score)
    assert best is not None, "there is always the sequential schedule"
    return best, seconds


def _partitions(count: int) -> Iterator[tuple[int, ...]]:
    """Ways to put `count` tenants on streams, as restricted growth strings."""

    def extend(prefix: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
        if len(prefix) == count:
            yield prefix
            return
        for stream in range(max(prefix, default=-1) + 2):
            yield from extend((*prefix, stream))

    yield from extend(())
