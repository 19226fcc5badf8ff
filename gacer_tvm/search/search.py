"""`search`: the best schedule under a cost model within a budget."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from .. import progress
from ..cost.device import Device
from ..cost.model import Cost, UncertainCost
from ..cost.prior import AnalyticPrior
from ..errors import SearchError
from ..graph.model import MultiTenantGraph
from ..schedule import Provenance, Schedule, check
from ..sim import Score, Simulator
from .bound import lower_bounds
from .evaluate import BudgetSpent, Evaluator, family
from .evolve import evolve
from .objective import Objective, parse
from .propose import Proposer
from .reference import reference_search
from .result import InfeasibleError, Ranked, SearchResult
from .seeds import baselines, seeds
from .simplify import simplify
from .space import Space, make_space

__all__ = ["search"]

_ABLATIONS = ("spatial", "temporal", "both")
# Of the budgets, what is for searching; the rest is for making the result simpler.
_SEARCH_SHARE = 0.95
# Of the budgets, what is for the reference where evolution follows it.
_REFERENCE_SHARE = 0.6
# How many starts the reference descends from.
_STARTS = 6
# How much worse (relative) a simpler schedule may be predicted to be: no cost model knows better.
_SAME = 1e-3
_STRATEGIES = ("gacer", "evolve")


def search(
    graph: MultiTenantGraph,
    device: Device,
    cost: Cost | None = None,
    *,
    objective: str | Mapping[str, Mapping[str, float]] = "makespan",
    strategy: str = "evolve",
    ablation: str = "both",
    seed: int = 0,
    time_budget_s: float | None = 60.0,
    evaluations: int | None = 20000,
    chunk_sizes: Mapping[int, Sequence[int]] | None = None,
    start: Sequence[Schedule] = (),
    top: int = 5,
    max_pointers: int = 6,
) -> SearchResult:
    """Search for the best schedule.

    Sequential and parallel are always among the candidates, so the result is never predicted to be worse than they are.
    In the end the best is made simpler where that costs less than 0.1 % of the objective, which no model can tell. Where a
    model knows its error (`gacer_tvm.cost.model.UncertainCost`), a plain way is preferred to what is predicted to be better
    by less than that; the other then is the next in `SearchResult.ranked`. Not under latency limits, which decide first.

    Parameters
    ----------
    graph, device
        What runs, and where.
    cost
        Cost model; by default the analytic prior.
    objective
        ``"makespan"``, ``"mean_latency"``, or ``{"slo_ms": {tenant: milliseconds}}`` (the smallest makespan within
        the limits).
    strategy
        ``"gacer"``: the paper's coordinate descent. ``"evolve"``: the same, then evolution over all actions
        (branches of a tenant on several streams, waits between pairs, priorities, core budgets, order).
    ablation
        ``"spatial"`` (chunks only), ``"temporal"`` (pointers only) or ``"both"``.
    seed
        Seed of everything random. With the same seed and an evaluation budget the answer is the same.
    time_budget_s, evaluations
        Budgets; None for no limit. Ctrl-C ends the search too and returns the best so far.
    chunk_sizes
        Operator index to chunk sizes that may be used; operators not named may be cut evenly into any number of pieces.
    start
        Further schedules to start from (for example the best of an earlier search); they must be legal.
    top
        How many schedules to rank: the best, then the best of other kinds (other streams, number of pointers, what is
        cut), so that measuring them tells something.
    max_pointers
        Most pointers of a tenant.

    Raises
    ------
    SearchError
        For arguments that mean nothing; `InfeasibleError`, which carries the closest result, where limits cannot be
        met.
    ScheduleError
        Where `start` holds a schedule that is not legal here.
    """
    if ablation not in _ABLATIONS:
        raise SearchError(f"ablation {ablation!r}; expected one of {list(_ABLATIONS)}")
    if strategy not in _STRATEGIES:
        raise SearchError(f"strategy {strategy!r}; expected one of {list(_STRATEGIES)}")
    for name, number, least in (("top", top, 1), ("max_pointers", max_pointers, 0), ("evaluations", evaluations, 0)):
        if number is not None and number < least:
            raise SearchError(f"{name}={number}; expected at least {least}")
    if time_budget_s is not None and not time_budget_s >= 0:
        raise SearchError(f"time_budget_s={time_budget_s}; expected seconds, or None for no limit")
    if not graph.operators:
        raise SearchError("the graph has no operators; nothing to schedule")
    for schedule in start:
        check(schedule, graph, device.name)
    goal = parse(objective, graph)
    model: Cost = cost if cost is not None else AnalyticPrior()
    simulator = Simulator(graph, device, model)
    space = make_space(graph, device, chunk_sizes, whole_only=ablation == "temporal")
    bounds = lower_bounds(space, simulator)
    with progress.update("search", evaluations) as task:
        evaluate = Evaluator(simulator, goal, time_budget_s=time_budget_s, evaluations=evaluations, top=top, task=task)
        stopped = "converged"
        try:
            begin = _begin(space, evaluate, goal, start, pointers=ablation != "spatial")
            evaluate.allow(_SEARCH_SHARE if strategy == "gacer" else _REFERENCE_SHARE)
            try:
                _run(begin, space, evaluate, goal, ablation, max_pointers)
            except BudgetSpent:
                if strategy == "gacer":
                    raise
            if strategy == "evolve":
                evaluate.allow(_SEARCH_SHARE)
                rng = random.Random(seed)
                kinds = {"spatial": ablation != "temporal", "temporal": ablation != "spatial"}
                propose = Proposer(space, simulator, rng, max_pointers=max_pointers, **kinds)
                evolve([s for s, _ in evaluate.ranked()] + begin, propose, evaluate, rng)
        except BudgetSpent as spent:
            stopped = spent.reason
        except KeyboardInterrupt:
            if evaluate.best is None:
                raise
            stopped = "interrupt"
        found = evaluate.ranked()
        resolution = 0.0
        if stopped != "interrupt":
            evaluate.allow(1.0)
            found = _simplest_first(found, space, evaluate, goal, start)
            if isinstance(model, UncertainCost) and goal.kind != "slo":
                resolution = model.resolution(graph, device)
                found = _plain_first(found, space, evaluate, goal, resolution)
    label = strategy if ablation == "both" else f"{strategy}-{ablation}"
    ranked = []
    for schedule, score in found:
        provenance = Provenance(label, model.name, score.makespan, bounds.makespan, None, seed)
        ranked.append(Ranked(check(schedule.replace(provenance=provenance), graph, device.name), score))
    seconds = goal.seconds(ranked[0].score)
    bound = bounds.mean_latency if goal.kind == "mean_latency" else bounds.makespan
    result = SearchResult(
        best=ranked[0].schedule,
        ranked=tuple(ranked),
        baselines={name: simulator.score(schedule) for name, schedule in baselines(graph, device)},
        objective=goal.kind,
        seconds=seconds,
        bounds=bounds,
        bound_seconds=bound,
        gap=seconds / bound - 1.0 if bound > 0 else 0.0,
        evaluations=evaluate.count,
        elapsed=evaluate.elapsed,
        trace=tuple(evaluate.trace),
        stopped_by=stopped,
        cost_model=model.name,
        strategy=strategy,
        ablation=ablation,
        seed=seed,
        resolution=resolution,
    )
    if goal.kind == "slo" and goal.excess(result.score) > 0:
        raise InfeasibleError(_closest(goal, result), result)
    return result


def _begin(
    space: Space, evaluate: Evaluator, goal: Objective, start: Sequence[Schedule], *, pointers: bool
) -> list[Schedule]:
    """The plain ways, the caller's schedules, and the seeds, all evaluated whatever the budget."""
    named = [*baselines(space.graph, space.device), *(("start", schedule) for schedule in start)]
    # Without temporal regulation there are no pointers, the seeds' included.
    named += [
        (name, schedule)
        for name, schedule in seeds(space, evaluate.simulator, limits=goal.limits)
        if pointers or schedule.clusters == 1
    ]
    for name, schedule in named:
        evaluate(schedule, name, always=True)
    return [schedule for _, schedule in named]


def _simplest_first(
    ranked: list[tuple[Schedule, Score]],
    space: Space,
    evaluate: Evaluator,
    goal: Objective,
    start: Sequence[Schedule],
) -> list[tuple[Schedule, Score]]:
    """The best schedule made simpler where the model cannot tell the difference, then the other families.

    It stays at least as good as the plain ways and as what the caller gave.
    """
    best, score = ranked[0]
    cap = _cap(goal, goal.key(score))
    for schedule in (*(s for _, s in baselines(space.graph, space.device)), *start):
        key = evaluate(schedule, "start", always=True)
        if goal.kind != "slo":
            cap = min(cap[0], key[0]), cap[1]
        elif key[0] <= cap[0]:
            cap = cap[0], min(cap[1], key[1])
    simple = simplify(best, space, evaluate, cap)
    taken = {family(best), family(simple)}
    others = [entry for entry in ranked if family(entry[0]) not in taken]
    return [(simple, evaluate.simulator.score(simple)), *others]


def _plain_first(
    ranked: list[tuple[Schedule, Score]], space: Space, evaluate: Evaluator, goal: Objective, resolution: float
) -> list[tuple[Schedule, Score]]:
    """The better plain way before the best, where the model cannot tell the difference."""
    ways = [(s, evaluate.simulator.score(s)) for _, s in baselines(space.graph, space.device)]
    plain = min(ways, key=lambda entry: goal.key(entry[1]))
    if goal.key(plain[1])[0] > goal.key(ranked[0][1])[0] * (1.0 + resolution):
        return ranked
    return [plain, *(entry for entry in ranked if entry[0] != plain[0])]


def _run(
    begin: list[Schedule], space: Space, evaluate: Evaluator, goal: Objective, ablation: str, max_pointers: int
) -> None:
    """The reference from the best starts.

    ``both`` first goes the ways of its ablations to their end, so that it can only be better than either.
    """
    ranked = sorted(begin, key=lambda s: evaluate(s, "start", always=True))[:_STARTS]
    ways = {
        "spatial": ((True, False),),
        "temporal": ((False, True),),
        "both": ((True, False), (False, True), (True, True)),
    }
    for spatial, temporal in ways[ablation]:
        found = [
            reference_search(s, space, evaluate, spatial=spatial, temporal=temporal, max_pointers=max_pointers)
            for s in ranked
        ]
        best = min(found, key=lambda s: evaluate(s, "start", always=True))
        simplify(best, space, evaluate, _cap(goal, evaluate(best, "start", always=True)))
    if ablation == "both" and evaluate.best is not None:
        reference_search(evaluate.best, space, evaluate, max_pointers=max_pointers)


def _cap(goal: Objective, key: tuple[float, float]) -> tuple[float, float]:
    """The largest key that no model can tell from `key`."""
    if goal.kind == "slo":
        return key[0], key[1] * (1 + _SAME)
    return key[0] * (1 + _SAME), key[1] * (1 + 10 * _SAME)


def _closest(goal: Objective, result: SearchResult) -> str:
    parts = []
    for tenant, part in enumerate(result.best.tenants):
        limit = goal.limits[tenant]
        if limit is None:
            continue
        reached, least = result.score.latencies[tenant], result.bounds.latency(tenant)
        note = ""
        if least > limit:
            note = f", and no schedule can be below {least * 1e3:.3f} ms"
        parts.append(f"{part.name!r} reaches {reached * 1e3:.3f} ms of {limit * 1e3:.3f} ms{note}")
    return (
        f"the latency limits cannot be met; the closest schedule: {'; '.join(parts)} (predicted by "
        f"{result.cost_model}, {result.evaluations} schedules tried, stopped by {result.stopped_by}); raise the "
        f"limits, take fewer tenants or a smaller batch"
    )
