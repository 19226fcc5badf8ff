"""Of two schedules that the model cannot tell apart, the simpler is easier to review and holds fewer surprises."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from ..schedule import Schedule
from .actions import IllegalAction, MergeOperator, RemovePointer, RemoveWait
from .edit import compressed, issue_order, set_tenant
from .evaluate import BudgetSpent, Evaluator
from .space import Space

__all__ = ["simplify"]


def simplify(schedule: Schedule, space: Space, evaluate: Evaluator, cap: tuple[float, float]) -> Schedule:
    """Take away what does not matter, large things first, while the objective stays within `cap`.

    Parameters
    ----------
    cap
        Largest key that is still as good (both numbers of `Objective.key` must stay within).
    """
    best = schedule
    changed = True
    while changed:
        changed = False
        for simpler in _simpler(best, space):
            try:
                key = evaluate(simpler, "simplified")
            except BudgetSpent:
                return best
            if key[0] <= cap[0] and key[1] <= cap[1]:
                best, changed = simpler, True
                break
    return best


def _simpler(schedule: Schedule, space: Space) -> Iterator[Schedule]:
    """Schedules with one thing less than `schedule`."""
    if schedule.waits:
        yield schedule.replace(waits=())
    if any(s.priority for s in schedule.streams):
        yield schedule.replace(streams=tuple(replace(s, priority=0) for s in schedule.streams))
    for tenant, part in enumerate(schedule.tenants):
        if part.placement:
            yield compressed(set_tenant(schedule, tenant, replace(part, placement={})))
        if len(part.splits) > 1:
            kept = {p: s for p, s in part.placement.items() if p not in part.splits}
            yield compressed(set_tenant(schedule, tenant, replace(part, splits={}, placement=kept)))
    for column in reversed(range(schedule.clusters - 1)):
        try:
            yield RemovePointer(column).apply(schedule, space)
        except IllegalAction:
            continue
    for number in reversed(range(len(schedule.waits))):
        yield RemoveWait(number).apply(schedule, space)
    for number, stream in enumerate(schedule.streams):
        if stream.priority and sum(1 for s in schedule.streams if s.priority) > 1:
            streams = list(schedule.streams)
            streams[number] = replace(stream, priority=0)
            yield schedule.replace(streams=tuple(streams))
        if len(stream.cores) > 1:
            streams = list(schedule.streams)
            streams[number] = replace(stream, cores=stream.cores[:1])
            yield schedule.replace(streams=tuple(streams))
    for tenant, part in enumerate(schedule.tenants):
        for position in part.splits:
            yield compressed(MergeOperator(tenant, position).apply(schedule, space))
        runs = list(_runs(part.placement))
        for run in runs if len(runs) > 1 else ():
            kept = {p: s for p, s in part.placement.items() if p not in run}
            yield compressed(set_tenant(schedule, tenant, replace(part, placement=kept)))
    order = issue_order(space.graph, [t.pointers for t in schedule.tenants], schedule.waits)
    if order is not None and len(order) < len(schedule.order):
        yield schedule.replace(order=order)


def _runs(placement: dict[int, tuple[int, ...]]) -> Iterator[list[int]]:
    """Neighbouring positions that are placed alike."""
    run: list[int] = []
    for position in sorted(placement):
        if run and (position != run[-1] + 1 or set(placement[position]) != set(placement[run[-1]])):
            yield run
            run = []
        run.append(position)
    if run:
        yield run
