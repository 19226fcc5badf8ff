"""``schedule="auto"``: search under a cost model, then measure the best few beside the plain ways and keep the winner.

Sequential and parallel always take part in the measurement, so the result is not worse than either within what the
measurement can tell.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from ..cost import AnalyticPrior, Device, RecordedCost
from ..cost.learned import find_model
from ..cost.predicted import LearnedCost, MeasuredAndLearned
from ..graph.model import MultiTenantGraph
from ..kernels.library import KernelLibrary
from ..plan import LaunchPlan, check_plan, lower
from ..runtime import Constants
from ..schedule import Schedule, make
from ..search import SearchResult, search
from .measure import Quantiles, interleave
from .record import Recorder
from .session import open_session

__all__ = ["Decision", "choose", "measure_alone"]

# A candidate must beat a plain way by this much to be worth its complexity: below it the two are the same measurement.
_CLEARLY = 0.01
_MOST_TURNS = 0.7
# The least of several rounds is what a model learns from.
_ROUNDS_KEPT = 7


@dataclass(frozen=True)
class Decision:
    """How a schedule was chosen.

    Attributes
    ----------
    search
        The search's result; None where schedules found beforehand took its place.
    measured
        Timings of every candidate measured on the device, by name; empty where there was no device.
    chosen
        Name of the winner.
    """

    search: SearchResult | None
    measured: Mapping[str, Quantiles] = field(default_factory=dict)
    chosen: str = ""
    cost: str = ""
    """Which cost model the search had, and why no learned one where it had none."""

    def as_text(self) -> str:
        """A few lines for people; predictions are called so."""
        told = "schedules found beforehand" if self.search is None else self.search.as_text()
        lines = [f"search: {line}" for line in told.splitlines()]
        if self.cost:
            lines.append(f"cost model: {self.cost}")
        if self.measured:
            lines += [
                f"measured {name}: {q}{'  <- chosen' if name == self.chosen else ''}" for name, q in self.measured.items()
            ]
        else:
            lines.append(f"not measured (no device at hand): {self.chosen} chosen by prediction")
        return "\n".join(lines)


def choose(
    graph: MultiTenantGraph,
    library: KernelLibrary,
    device: Device,
    *,
    here: bool,
    objective: Any = "makespan",
    seed: int = 0,
    search_seconds: float = 20.0,
    measure_seconds: float = 20.0,
    candidates: int = 4,
    feed: Callable[[Any], None] | None = None,
    cost: Any = None,
    models: Sequence[str | Path] = ("tuning_logs",),
    record: Recorder | None = None,
    timed_section: Callable[[], AbstractContextManager[Any]] = nullcontext,
    found: Sequence[Schedule] = (),
) -> tuple[LaunchPlan, Any, Decision]:
    """Find the schedule.

    Parameters
    ----------
    graph, library, device
        What runs where.
    here
        Whether the device can run it now; if not, the search's best under the prior is taken.
    objective, seed
        As for `search`.
    search_seconds, measure_seconds
        Time budgets.
    candidates
        How many of the search's best are measured beside the plain ways.
    feed
        Puts inputs into a session; random values by default.
    cost
        Cost model; by default kernels measured alone on the device, what was not measured predicted by the device's
        learned model where there is one, else by the prior.
    models
        Folders where a learned model of the device is looked for (`gacer_tvm.cost.learned.find_model`).
    record
        Keeps what is measured.
    timed_section
        Entered for every measurement, and only for those: where several processes take turns at one device.
    found
        Schedules searched for beforehand, best first: they take the place of a search, and nothing is measured for one.

    Returns
    -------
    plan, session, decision
        The winner's plan and (where the device is here) its open session.
    """
    constants = Constants(graph) if here and device.kind == "cpu" else None
    model, told, result = cost, "", None
    if not found:
        if model is None:
            measured_alone = None
            if here:
                with timed_section():
                    measured_alone = measure_alone(graph, library, device, constants, feed, record=record)
            model, told = _default_cost(device, models, measured_alone, library)
        result = search(
            graph, device, model, objective=objective, seed=seed, time_budget_s=search_seconds, top=max(candidates, 1)
        )
        found = [result.best] if not here else [ranked.schedule for ranked in result.ranked]
    if not here:
        plan = lower(found[0], graph)
        check_plan(plan, graph)
        return plan, None, Decision(result, {}, "gacer", told)
    plans: dict[str, LaunchPlan] = {}
    plain = {"sequential": make.sequential(graph, device.name), "parallel": _parallel(graph, device)}
    for name, schedule in plain.items():
        plans[name] = lower(schedule, graph)
    for n, schedule in enumerate(found[:candidates]):
        if not any(_same(schedule, p.schedule) for p in plans.values()):
            plans[f"gacer-{n + 1}"] = lower(schedule, graph)
    library.ensure({at for p in plans.values() for at in p.kernels})
    sessions = {}
    for name, plan in plans.items():
        check_plan(plan, graph)
        sessions[name] = open_session(graph, plan, library, device, constants)
        (feed or _feed_random)(sessions[name])
    rounds = {name: session.round for name, session in sessions.items()}
    half = measure_seconds / 2
    with timed_section():
        timed = interleave(rounds, repeats=15, budget_seconds=half, task="measuring schedules")
        ranking = sorted(timed, key=lambda n: timed[n].median)
        fastest_plain = next(name for name in ranking if name in plain)
        finalists = {name: rounds[name] for name in dict.fromkeys([*ranking[:3], fastest_plain])}
        again = interleave(finalists, repeats=25, warmup=1, budget_seconds=half, task="measuring finalists")
    measured = {
        name: Quantiles(q.seconds + again[name].seconds) if name in again else q for name, q in timed.items()
    }
    if record is not None:
        if model is not None:
            record.add_cost(model)
        record.makespans({name: plan.schedule for name, plan in plans.items()}, measured)
    chosen = _winner(again, plain)
    for name, session in sessions.items():
        if name != chosen:
            session.close()
    schedule = plans[chosen].schedule
    provenance = schedule.provenance
    named = schedule.replace(
        provenance=msgspec.structs.replace(provenance, measured_seconds=measured[chosen].median, seed=seed)
    )
    plan = lower(named, graph)
    sessions[chosen].plan = plan
    return plan, sessions[chosen], Decision(result, measured, chosen, told)


def _default_cost(
    device: Device,
    folders: Sequence[str | Path],
    alone: Mapping[tuple[int, int, int | None], float] | None,
    library: KernelLibrary,
) -> tuple[Any, str]:
    """The device's learned model, or the prior, over what was measured; and in words which, and why."""
    found, where = find_model(device, folders)
    measured = "" if alone is None else "whole kernels measured alone; chunks and company by "
    if found is None:
        return (AnalyticPrior() if alone is None else RecordedCost(alone)), f"{measured}prior; {where}"
    learned = LearnedCost(found, counts=library.counts)
    return (learned if alone is None else MeasuredAndLearned(alone, learned)), f"{measured}{learned.name}; {where}"


def measure_alone(
    graph: MultiTenantGraph,
    library: KernelLibrary,
    device: Device,
    constants: Any = None,
    feed: Callable[[Any], None] | None = None,
    rounds: int = 3,
    record: Recorder | None = None,
) -> dict[tuple[int, int, int | None], float]:
    """Seconds of every whole operator alone, on one core and on all: ``(operator, batch, cores)`` → median seconds.

    They are taken in `rounds` rounds of the whole graph, one after the other; in more where they are to be kept (`record`).
    """
    rounds = rounds if record is None else max(rounds, _ROUNDS_KEPT)
    base = make.sequential(graph, device.name)
    found: dict[tuple[int, int, int | None], list[float]] = {}
    counts = sorted({1, device.units}) if device.kind == "cpu" else [device.units]
    for cores in counts:
        schedule = base
        if device.kind == "cpu":
            schedule = base.replace(streams=(type(base.streams[0])(cores=(cores,)),))
        plan = lower(schedule, graph)
        session = open_session(graph, plan, library, device, constants)
        try:
            (feed or _feed_random)(session)
            times = np.asarray(session.timed_rounds(rounds))
        finally:
            session.close()
        took = np.maximum(times[:, :, 1] - times[:, :, 0], 1e-7)
        for launch, seconds in zip(plan.launches, took.T, strict=True):
            found[launch.operator, launch.items, cores] = seconds.tolist()
    if record is not None:
        record.alone(found)
    return {at: float(np.median(seconds)) for at, seconds in found.items()}


def _parallel(graph: MultiTenantGraph, device: Device) -> Schedule:
    return make.parallel(graph, device.name, device.cores)


def _winner(timed: Mapping[str, Quantiles], plain: Mapping[str, Any]) -> str:
    """The fastest, unless it does not clearly beat the fastest plain way: in its median, and in most turns taken side by side."""
    best = min(timed, key=lambda n: timed[n].median)
    fastest_plain = min((n for n in timed if n in plain), key=lambda n: timed[n].median, default=best)
    if best == fastest_plain:
        return best
    pairs = list(zip(timed[best].seconds, timed[fastest_plain].seconds))
    wins = sum(1 for mine, theirs in pairs if mine < theirs)
    clearly = timed[best].median < timed[fastest_plain].median * (1 - _CLEARLY) and wins >= _MOST_TURNS * len(pairs)
    return best if clearly else fastest_plain


def _same(left: Schedule, right: Schedule) -> bool:
    return left.replace(provenance=right.provenance) == right


def _feed_random(session: Any) -> None:
    session.feed_random()
