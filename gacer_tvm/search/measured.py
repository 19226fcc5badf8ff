"""Search and measurement in turn: what the best schedules rest on is measured before they are believed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..cost.device import Device
from ..cost.model import Cost, Row
from ..cost.recorded import RecordedCost
from ..graph.model import MultiTenantGraph
from ..schedule import Schedule
from .result import InfeasibleError, SearchResult
from .search import search

__all__ = ["rows_of", "search_measured"]


def search_measured(
    graph: MultiTenantGraph,
    device: Device,
    measure: Callable[[Sequence[Row]], Mapping[Row, float]],
    known: Mapping[Row, float] | None = None,
    *,
    prior: Cost | None = None,
    rounds: int = 3,
    time_budget_s: float | None = 60.0,
    evaluations: int | None = 20000,
    top: int = 5,
    start: Sequence[Schedule] = (),
    **given: Any,
) -> tuple[SearchResult, RecordedCost]:
    """Search under measured kernel times, measuring what the best schedules use and nobody has timed yet.

    A cost model that never saw a chunk size may think too well of it, and a search finds exactly those mistakes. So
    after each round the kernels of the ranked schedules that have no measurement are measured, and the search goes
    on from these schedules with what was learned. The last round uses measured chunk sizes only, so that its best
    rests on measurements alone.

    Parameters
    ----------
    graph, device
        What runs, and where.
    measure
        Times kernels alone: (operator index, items, cores) rows to seconds. Rows it leaves out stay unknown.
    known
        What has been measured before, for example every whole operator.
    prior
        Fills the gaps; the analytic prior by default.
    rounds
        Most rounds of searching, at least 1.
    time_budget_s, evaluations
        For all rounds together (measuring is not counted).
    top, start, given
        As for `search`.

    Returns
    -------
    result, cost
        The last round's result, and the cost model with everything measured.
    """
    rows = dict(known or {})
    result: SearchResult | None = None
    starts = list(start)
    for turn in range(max(1, rounds)):
        last = turn == max(1, rounds) - 1
        cost = RecordedCost(rows, prior=prior)
        options = dict(given)
        if last and rounds > 1:
            options["chunk_sizes"] = _measured_sizes(graph, rows, given.get("chunk_sizes"))
            starts = [s for s in starts if all(r in rows for r in rows_of(s, graph, device))]
        try:
            result = search(
                graph,
                device,
                cost,
                time_budget_s=None if time_budget_s is None else time_budget_s / max(1, rounds),
                evaluations=None if evaluations is None else evaluations // max(1, rounds),
                top=top,
                start=starts,
                **options,
            )
        except InfeasibleError as closest:
            # More measurements may show that the limits can be met after all.
            if last:
                raise
            result = closest.result
        if last:
            break
        missing = [row for r in result.ranked for row in rows_of(r.schedule, graph, device) if row not in rows]
        if missing:
            rows.update(measure(list(dict.fromkeys(missing))))
        starts = [*start, *(r.schedule for r in result.ranked)]
    assert result is not None
    return result, RecordedCost(rows, prior=prior)


def rows_of(schedule: Schedule, graph: MultiTenantGraph, device: Device) -> list[Row]:
    """The costs that a schedule rests on: each (operator, items, cores) that it launches, cores None on a GPU."""
    rows: dict[Row, None] = {}
    for tenant, position in schedule.issue():
        part, info = schedule.tenants[tenant], graph.tenants[tenant]
        cluster = part.cluster_of(position)
        sizes = part.chunks(position, info.batch)
        for size, stream in zip(sizes, part.streams_at(position), strict=True):
            cores = schedule.streams[stream].cores_in(cluster) if device.kind == "cpu" else None
            if device.kind == "cpu":
                cores = device.units if cores is None else min(cores, device.units)
            rows[(info.first + position, size, cores)] = None
    return list(rows)


def _measured_sizes(
    graph: MultiTenantGraph, rows: Mapping[Row, float], allowed: Mapping[int, Sequence[int]] | None
) -> dict[int, list[int]]:
    sizes: dict[int, set[int]] = {operator.index: set() for operator in graph.operators}
    for operator, items, _ in rows:
        batch = graph.tenants[graph.operators[operator].tenant].batch
        if items < batch and (allowed is None or operator not in allowed or items in allowed[operator]):
            sizes[operator].add(items)
    return {operator: sorted(found) for operator, found in sizes.items()}
