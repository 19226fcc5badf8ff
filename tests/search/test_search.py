"""The search as its users see it: never worse than the plain ways, legal, repeatable, within its budgets and limits."""

from __future__ import annotations

import dataclasses
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace as replaced

from gacer_tvm import progress
from gacer_tvm.cost import AnalyticPrior, Device, RandomCost, RecordedCost
from gacer_tvm.errors import ScheduleError, SearchError
from gacer_tvm.graph.synthetic import Layer, make_graph, random_graph
from gacer_tvm.graph.synthetic_models import model_graph
from gacer_tvm.schedule import Stream, Wait, check, make
from gacer_tvm.search import InfeasibleError, lower_bounds, make_space, search
from gacer_tvm.search.edit import issue_order
from gacer_tvm.search.evaluate import family
from gacer_tvm.search.exhaustive import best_of_all, count_schedules
from gacer_tvm.search.objective import Objective
from gacer_tvm.sim import Simulator, simulate

from ..devices import cpu

CPU = cpu(4)
GPU = Device.named("nvidia-titan-v")
DEVICES = {"cpu": CPU, "gpu": GPU}
QUICK = {"time_budget_s": None, "evaluations": 400}


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    kind=st.sampled_from(sorted(DEVICES)),
    strategy=st.sampled_from(["gacer", "evolve"]),
    ablation=st.sampled_from(["spatial", "temporal", "both"]),
    objective=st.sampled_from(["makespan", "mean_latency"]),
)
def test_never_worse_than_the_plain_ways_and_above_the_bound(
    seed: int, kind: str, strategy: str, ablation: str, objective: str
) -> None:
    device = DEVICES[kind]
    graph = random_graph(seed, tenants=1 + seed % 4, operators=1 + seed % 9, batch=1 + seed % 8)
    cost = RandomCost(seed, 1e-4) if seed % 2 else AnalyticPrior()
    result = search(graph, device, cost, objective=objective, strategy=strategy, ablation=ablation, seed=seed, **QUICK)
    goal = Objective(objective)
    for schedule in (make.sequential(graph, device.name), make.parallel(graph, device.name, device.cores)):
        plain = simulate(schedule, graph, device, cost).score
        assert result.seconds <= goal.seconds(plain) * (1 + 1e-12)
    assert result.seconds >= result.bound_seconds * (1 - 1e-9)
    assert result.gap == pytest.approx(result.seconds / result.bound_seconds - 1)
    previous = result.seconds / 1.0011
    for ranked in result.ranked:
        check(ranked.schedule, graph, device.name)
        again = simulate(ranked.schedule, graph, device, cost).score
        assert again == ranked.score
        assert goal.seconds(again) >= previous
        previous = max(previous, goal.seconds(again) / 1.0011)
        if ablation == "spatial":
            assert ranked.schedule.clusters == 1 and not ranked.schedule.waits
        if ablation == "temporal":
            assert not any(t.splits for t in ranked.schedule.tenants)
    assert result.best == result.ranked[0].schedule
    assert len({repr((r.schedule.tenants, r.schedule.streams, r.schedule.order)) for r in result.ranked}) >= min(
        2, len(result.ranked)
    )
    assert result.best.provenance.predicted_seconds == result.score.makespan
    assert result.best.provenance.bound_seconds == result.bounds.makespan


@settings(max_examples=80, deadline=None)
@given(seed=st.integers(0, 10_000), kind=st.sampled_from(sorted(DEVICES)), whole=st.booleans())
def test_no_schedule_is_below_the_bounds(seed: int, kind: str, whole: bool) -> None:
    device = DEVICES[kind]
    graph = random_graph(seed, tenants=1 + seed % 3, operators=8, batch=4)
    simulator = Simulator(graph, device, RandomCost(seed, 1e-4) if seed % 2 else AnalyticPrior())
    space = make_space(graph, device, whole_only=whole)
    bounds = lower_bounds(space, simulator)
    chunks = {o.index: [s for way in space.splits[o.index] for s in way] for o in graph.operators}
    for number in range(4):
        schedule = make.random(graph, device.name, seed + number, chunk_sizes=chunks, cores=device.cores)
        if any(p not in (None, 4) and (4 % max(s)) for t in schedule.tenants for p, s in t.splits.items()):
            continue
        score = simulator.score(schedule)
        assert score.makespan >= bounds.makespan * (1 - 1e-9)
        assert sum(score.latencies) / len(score.latencies) >= bounds.mean_latency * (1 - 1e-9)
        for tenant, latency in enumerate(score.latencies):
            assert latency >= bounds.latency(tenant) * (1 - 1e-9)


def test_same_seed_same_answer() -> None:
    graph = random_graph(4, operators=12)
    for device in (CPU, GPU):
        one, two = (search(graph, device, seed=7, time_budget_s=None, evaluations=1500) for _ in range(2))
        assert one.best == two.best and one.evaluations == two.evaluations
        assert [i.what for i in one.trace] == [i.what for i in two.trace]
        assert [r.schedule for r in one.ranked] == [r.schedule for r in two.ranked]


def test_trace_falls_to_the_result() -> None:
    result = search(random_graph(4, operators=12), CPU, time_budget_s=None, evaluations=1500)
    seconds = [i.seconds for i in result.trace]
    assert seconds == sorted(seconds, reverse=True) and seconds[-1] <= result.seconds <= seconds[-1] * 1.0011
    assert [i.evaluations for i in result.trace] == sorted(i.evaluations for i in result.trace)


def test_both_is_at_least_as_good_as_either() -> None:
    for seed in range(2):
        graph = random_graph(seed, operators=9)
        for device in (CPU, GPU):
            found = {
                a: search(graph, device, strategy="gacer", ablation=a, time_budget_s=None, evaluations=None).seconds
                for a in ("spatial", "temporal", "both")
            }
            assert found["both"] <= min(found["spatial"], found["temporal"]) * 1.0011


@pytest.mark.parametrize("kind", sorted(DEVICES))
@pytest.mark.parametrize("strategy", ["gacer", "evolve"])
def test_small_spaces_against_every_schedule(kind: str, strategy: str) -> None:
    device = DEVICES[kind]
    for seed in range(3):
        graph = random_graph(seed, tenants=2, operators=5, batch=8, scale=0.2)
        cuttable = [o.index for o in graph.operators if o.chunking.divisible][:3]
        sizes = {o.index: [4] if o.index in cuttable else [] for o in graph.operators}
        cost = RandomCost(seed, 1e-4)
        space = make_space(graph, device, sizes)
        assert count_schedules(space, 1) == 2 * (1 + 36) * 2 ** len(cuttable)
        _, optimum = best_of_all(space, Simulator(graph, device, cost), Objective("makespan"))
        result = search(
            graph,
            device,
            cost,
            chunk_sizes=sizes,
            max_pointers=1,
            strategy=strategy,
            time_budget_s=None,
            evaluations=4000,
        )
        assert result.seconds <= optimum * 1.03


def test_a_pointer_is_found_where_it_pays() -> None:
    # Each tenant has a wide and a narrow half; without a pointer the wide kernels meet and block the narrow ones.
    wide = Layer("wide", 1.0, 64, 0, divisible=False)
    graph = make_graph(
        {
            "a": (1, [wide, dataclasses.replace(wide, inputs=(0,)), dataclasses.replace(wide, inputs=(1,))]),
            "b": (1, [wide, dataclasses.replace(wide, inputs=(0,)), dataclasses.replace(wide, inputs=(1,))]),
        }
    )
    seconds = {0: 1.0, 1: 4.0, 2: 4.0, 3: 1.0, 4: 0.5, 5: 4.0}
    width = {0: 1.0, 1: 0.2, 2: 0.9, 3: 1.0, 4: 0.9, 5: 0.2}

    class Fixed:
        name = "fixed"

        def estimate(self, graph, device, rows):
            import numpy as np

            from gacer_tvm.cost import Estimates

            return Estimates(
                np.array([seconds[o] for o, _, _ in rows]),
                np.array([width[o] * device.units for o, _, _ in rows]),
                np.full(len(rows), 1.0),
            )

    plain = simulate(make.parallel(graph, GPU.name), graph, GPU, Fixed()).makespan
    result = search(graph, GPU, Fixed(), strategy="gacer", ablation="temporal", time_budget_s=None)
    assert result.seconds <= plain
    assert result.seconds <= best_of_all(
        make_space(graph, GPU), Simulator(graph, GPU, Fixed()), Objective("makespan"), max_pointers=1
    )[1] * (1 + 1e-9)


def test_only_the_chunk_sizes_allowed_are_used() -> None:
    graph = random_graph(3, operators=10, batch=8)
    allowed = {o.index: [5, 3] if o.index % 2 else [] for o in graph.operators}
    result = search(graph, GPU, RandomCost(1, 1e-4), chunk_sizes=allowed, time_budget_s=None, evaluations=2000)
    used = 0
    for ranked in result.ranked:
        for tenant, part in enumerate(ranked.schedule.tenants):
            for position, sizes in part.splits.items():
                assert set(sizes) <= set(allowed[graph.tenants[tenant].first + position])
                used += 1
    assert make_space(graph, GPU, allowed).splits[1] == ((5, 3),) or not graph.operators[1].chunking.divisible
    with pytest.raises(SearchError, match=r"chunk sizes \[9\] of operator .*expected 1..8"):
        search(graph, GPU, chunk_sizes={next(o.index for o in graph.operators if o.chunking.divisible): [9]})
    with pytest.raises(SearchError, match="chunk sizes name operator 999"):
        search(graph, GPU, chunk_sizes={999: [4]})


def test_budgets_stop_it() -> None:
    graph = random_graph(1, operators=30)
    result = search(graph, GPU, time_budget_s=None, evaluations=50)
    assert result.stopped_by == "evaluations" and result.evaluations <= 50
    result = search(graph, GPU, time_budget_s=0.0)
    # The plain ways and the other seeds are tried whatever the budget.
    assert result.stopped_by == "time" and result.seconds <= min(s.makespan for s in result.baselines.values())
    result = search(random_graph(1, tenants=1, operators=2), GPU, strategy="gacer", time_budget_s=None)
    assert result.stopped_by == "converged"


def test_interrupt_returns_the_best_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = random_graph(1, operators=30)
    original, calls = Simulator.score, []

    def interrupted(self: Simulator, schedule):  # type: ignore[no-untyped-def]
        calls.append(schedule)
        if len(calls) == 40:
            raise KeyboardInterrupt
        return original(self, schedule)

    monkeypatch.setattr(Simulator, "score", interrupted)
    result = search(graph, CPU)
    assert result.stopped_by == "interrupt" and len(calls) < 50
    assert result.seconds <= min(s.makespan for s in result.baselines.values())


def test_interrupt_before_anything_was_tried_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(self: Simulator, schedule):  # type: ignore[no-untyped-def]
        raise KeyboardInterrupt

    monkeypatch.setattr(Simulator, "score", interrupted)
    with pytest.raises(KeyboardInterrupt):
        search(random_graph(1), CPU)


def test_limits_that_can_be_met_are_met() -> None:
    graph = random_graph(6, operators=12)
    for device in (CPU, GPU):
        names = [t.name for t in graph.tenants]
        alone = search(graph, device, time_budget_s=None, evaluations=300)
        for tight in range(len(names)):
            # One tenant must be nearly as fast as it can be at all.
            limit = alone.bounds.critical_path[tight] * 1.3
            sequence = Simulator(graph, device, AnalyticPrior())
            first = make.sequential(graph, device.name)
            order = (first.order[tight], *(e for n, e in enumerate(first.order) if n != tight))
            reachable = sequence.score(first.replace(order=order)).latencies[tight]
            limit = max(limit, reachable * 1.01)
            result = search(
                graph, device, objective={"slo_ms": {names[tight]: limit * 1e3}}, time_budget_s=None, evaluations=1500
            )
            assert simulate(result.best, graph, device, AnalyticPrior()).latencies[tight] <= limit
            assert result.objective == "slo"


def test_limits_that_cannot_be_met_say_the_closest() -> None:
    graph = random_graph(6, operators=12)
    with pytest.raises(InfeasibleError) as caught:
        search(graph, CPU, objective={"slo_ms": {"tenant1": 1e-3}}, time_budget_s=None, evaluations=300)
    message = str(caught.value)
    result = caught.value.result
    assert isinstance(caught.value, SearchError)
    assert "'tenant1' reaches" in message and f"{result.score.latencies[1] * 1e3:.3f} ms" in message
    assert "no schedule can be below" in message
    best_alone = search(graph, CPU, objective={"slo_ms": {"tenant1": 1e7}}, time_budget_s=None, evaluations=300)
    assert result.score.latencies[1] <= best_alone.score.latencies[1] * (1 + 1e-9)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"objective": "fastest"}, "objective 'fastest'; expected 'makespan'"),
        ({"objective": {"slo_ms": {"nobody": 1}}}, r"names tenants \['nobody'\]; expected some of"),
        ({"objective": {"slo_ms": {"tenant0": -1}}}, "limit|slo_ms of tenant 'tenant0' is -1"),
        ({"objective": {"slo_ms": {"tenant0": True}}}, "is True; expected positive milliseconds"),
        ({"objective": {"slo_ms": {"tenant0": math.nan}}}, "is nan; expected positive milliseconds"),
        ({"objective": {"slo_ms": {}}}, "slo_ms is empty"),
        ({"objective": {"slo_ms": 3}}, "expected 'makespan'"),
        ({"strategy": "magic"}, "strategy 'magic'; expected one of"),
        ({"ablation": "neither"}, "ablation 'neither'; expected one of"),
        ({"top": 0}, "top=0"),
        ({"max_pointers": -1}, "max_pointers=-1"),
        ({"evaluations": -5}, "evaluations=-5"),
        ({"time_budget_s": math.nan}, "time_budget_s=nan"),
    ],
)
def test_senseless_arguments_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(SearchError, match=message):
        search(random_graph(1), CPU, **arguments)


def test_a_graph_without_operators_is_refused_and_an_empty_tenant_is_not() -> None:
    with pytest.raises(SearchError, match="no operators"):
        search(make_graph({"a": (1, [])}), CPU)
    layer = Layer("conv", 1e8, 1000, 0)
    graph = make_graph(
        {"a": (4, [layer]), "empty": (4, []), "b": (4, [layer, dataclasses.replace(layer, inputs=(0,))])}
    )
    for device in (CPU, GPU, dataclasses.replace(CPU, units=1)):
        result = search(graph, device, **QUICK)
        assert result.score.latencies[1] == 0.0


def test_starts_are_used_and_checked() -> None:
    graph = random_graph(9, operators=20)
    long = search(graph, GPU, time_budget_s=None, evaluations=3000)
    short = search(graph, GPU, time_budget_s=0.0, start=[long.best])
    assert short.seconds <= long.seconds
    with pytest.raises(ScheduleError, match="was made for device"):
        search(graph, CPU, start=[long.best])


def test_progress_is_told() -> None:
    told: list[int] = []

    class Listener:
        def start(self, task: str, total: int | None) -> str:
            assert task == "search" and total == 200
            return task

        def advance(self, handle: str, steps: int, note: str) -> None:
            told.append(steps)

        def finish(self, handle: str) -> None:
            told.append(-1)

    with progress.listen(Listener()):
        result = search(random_graph(1, operators=20), GPU, time_budget_s=None, evaluations=200)
    assert told[-1] == -1 and sum(told[:-1]) == result.evaluations


def test_measured_costs_lead_it() -> None:
    # Kernels that do not scale over cores: side by side with one core each is twice as fast as one after the other.
    graph = model_graph(("alexnet", "alexnet"), batch=2)
    device = dataclasses.replace(CPU, units=2, bandwidth=1e15, launch_seconds=0.0, sync_seconds=0.0, event_seconds=0.0)
    rows = {(o.index, 2, c): 1e-3 for o in graph.operators for c in (1, 2)}
    sizes = {o.index: [] for o in graph.operators}
    result = search(graph, device, RecordedCost(rows), chunk_sizes=sizes, time_budget_s=None, evaluations=500)
    assert result.baselines["sequential"].makespan == pytest.approx(22e-3)
    assert result.baselines["parallel"].makespan == pytest.approx(11e-3)
    assert result.seconds == pytest.approx(11e-3)
    # Kernels that scale perfectly and two tenants of unequal length: the tail must not leave a core idle.
    rows = {(o.index, 2, c): (3e-3 if o.tenant else 1e-3) / c for o in graph.operators for c in (1, 2)}
    result = search(graph, device, RecordedCost(rows), chunk_sizes=sizes, time_budget_s=None, evaluations=500)
    assert result.baselines["parallel"].makespan == pytest.approx(33e-3)
    assert result.seconds == pytest.approx(22e-3, rel=1e-3)


def test_text_says_the_gap_and_the_baselines() -> None:
    result = search(random_graph(1), CPU, **QUICK)
    text = result.as_text()
    for part in ("lower bound", "gap", "sequential:", "parallel:", "stopped by", "predicted", "prior"):
        assert part in text


def test_what_gains_nothing_is_left_out() -> None:
    # Started from a schedule full of needless cuts, placements, waits and pointers, the result has none of them: two
    # tenants of one kernel each that fills half the device need nothing but two streams.
    layer = Layer("conv", 1e9, 1000, 0)
    graph = make_graph({"a": (8, [layer]), "b": (8, [layer])})

    class Fixed:
        name = "fixed"

        def estimate(self, graph, device, rows):
            import numpy as np

            from gacer_tvm.cost import Estimates

            seconds = np.array([items / 8 for _, items, _ in rows])
            return Estimates(seconds, np.full(len(rows), device.units / 2), np.zeros(len(rows)))

    base = make.parallel(graph, GPU.name)
    fussy = base.replace(
        tenants=tuple(
            replaced(t, splits={0: (2, 2, 2, 2)}, placement={0: (n, n + 2, n, n + 2)})
            for n, t in enumerate(base.tenants)
        ),
        streams=tuple(Stream(priority=n) for n in range(4)),
    )
    result = search(graph, GPU, Fixed(), start=[fussy], time_budget_s=None, evaluations=600)
    best = result.best
    assert result.seconds == pytest.approx(1.0, rel=1e-3)
    assert not any(t.splits or t.placement or t.pointers for t in best.tenants) and not best.waits
    assert len(best.streams) == 2 and not any(s.priority for s in best.streams)


def test_ranked_schedules_are_of_different_kinds() -> None:
    result = search(random_graph(2, operators=15), GPU, time_budget_s=None, evaluations=2500, top=6)
    kinds = {family(r.schedule) for r in result.ranked}
    assert len(kinds) == len(result.ranked) >= 4


def test_starts_with_waits_go_through_the_reference() -> None:
    for seed in range(8):
        graph = random_graph(seed, tenants=3, operators=8)
        begin = make.parallel(graph, GPU.name)
        waits = (Wait((0, 6), (1, 2)), Wait((1, 5), (2, 1)))
        order = issue_order(graph, [(), (), ()], waits)
        assert order is not None
        start = check(begin.replace(waits=waits, order=order), graph)
        result = search(graph, GPU, start=[start], strategy="gacer", time_budget_s=None, evaluations=1500)
        for ranked in result.ranked:
            check(ranked.schedule, graph)


class Doubtful(AnalyticPrior):
    """The prior with an error that it knows."""

    def __init__(self, error: float) -> None:
        super().__init__()
        self.error = error

    def resolution(self, graph, device) -> float:  # type: ignore[no-untyped-def]
        return self.error


@pytest.mark.parametrize("objective", ["makespan", "mean_latency"])
def test_a_plain_way_is_preferred_to_a_gain_that_the_model_cannot_tell(objective: str) -> None:
    graph = random_graph(5, tenants=3, operators=8, batch=8)
    goal = Objective(objective)
    sure = search(graph, GPU, AnalyticPrior(), objective=objective, **QUICK)
    ways = [make.sequential(graph, GPU.name), make.parallel(graph, GPU.name, GPU.cores)]
    plain = min(ways, key=lambda way: goal.key(simulate(way, graph, GPU, AnalyticPrior()).score))
    gain = goal.seconds(simulate(plain, graph, GPU, AnalyticPrior()).score) / sure.seconds - 1
    assert gain > 0.02

    doubted = search(graph, GPU, Doubtful(gain * 1.01), objective=objective, **QUICK)
    assert doubted.best.replace(provenance=plain.provenance) == plain
    assert doubted.ranked[1].schedule == sure.best and doubted.resolution == gain * 1.01
    assert f"preferred to a schedule predicted at {sure.ranked[0].score.makespan * 1e3:.3f} ms" in doubted.as_text()

    trusted = search(graph, GPU, Doubtful(gain * 0.99), objective=objective, **QUICK)
    assert trusted.best == sure.best and "preferred" not in trusted.as_text()


def test_latency_limits_come_before_what_a_model_cannot_tell() -> None:
    graph = random_graph(5, tenants=3, operators=8, batch=8)
    sure = search(graph, GPU, AnalyticPrior(), **QUICK)
    limits = {"slo_ms": {t.name: 1.001e3 * s for t, s in zip(graph.tenants, sure.score.latencies)}}
    found = search(graph, GPU, Doubtful(10.0), objective=limits, start=[sure.best], **QUICK)
    for latency, limit in zip(found.score.latencies, limits["slo_ms"].values()):
        assert latency * 1e3 <= limit
