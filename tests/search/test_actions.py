"""Actions keep schedules legal, whatever is done in whatever order; and each does what it says."""

from __future__ import annotations

import dataclasses
import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gacer_tvm.cost import AnalyticPrior, Device
from gacer_tvm.errors import ScheduleError
from gacer_tvm.graph.synthetic import Layer, make_graph, random_graph
from gacer_tvm.graph.synthetic_models import model_layers
from gacer_tvm.schedule import Stream, Wait, check, make
from gacer_tvm.search import actions as act
from gacer_tvm.search.actions import IllegalAction
from gacer_tvm.search.branches import chains, lanes
from gacer_tvm.search.edit import compressed, issue_order
from gacer_tvm.search.propose import Proposer
from gacer_tvm.search.seeds import baselines, seeds, wrapped
from gacer_tvm.search.space import budget_cores, make_space
from gacer_tvm.sim import Simulator

from ..devices import cpu

CPU = cpu(4)
GPU = Device.named("nvidia-h200")
DEVICES = {"cpu": CPU, "gpu": GPU}


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), kind=st.sampled_from(sorted(DEVICES)))
def test_any_chain_of_proposals_stays_legal(seed: int, kind: str) -> None:
    device = DEVICES[kind]
    graph = random_graph(seed, tenants=1 + seed % 4, operators=9, batch=6)
    simulator = Simulator(graph, device, AnalyticPrior())
    space = make_space(graph, device)
    propose = Proposer(space, simulator, random.Random(seed))
    schedule = (
        make.random(graph, device.name, seed, cores=device.cores) if seed % 2 else make.parallel(graph, device.name)
    )
    if len(schedule.streams) > space.max_streams:
        return
    applied = 0
    for _ in range(60):
        action = propose(schedule)
        if action is None:
            continue
        before = schedule
        try:
            schedule = action.apply(schedule, space)
        except IllegalAction:
            continue
        assert schedule != before, f"{action} changed nothing"
        check(schedule, graph, device.name)
        simulator.score(schedule)
        assert len(schedule.streams) <= space.max_streams
        applied += 1
    assert applied > 5 or len(graph.tenants) == 1


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), kind=st.sampled_from(["cpu", "gpu", "small", "large"]))
def test_seeds_are_legal(seed: int, kind: str) -> None:
    device = {"small": dataclasses.replace(CPU, units=1), "large": dataclasses.replace(CPU, units=40), **DEVICES}[kind]
    graph = random_graph(seed, tenants=1 + seed % 5, operators=1 + seed % 9)
    simulator = Simulator(graph, device, AnalyticPrior())
    space = make_space(graph, device)
    limits = (0.5,) + (None,) * (len(graph.tenants) - 1)
    for name, schedule in [*baselines(graph, device), *seeds(space, simulator, limits=limits)]:
        check(schedule, graph, device.name)
        assert simulator.score(schedule).makespan > 0, name


def test_wrapping_balances_the_streams() -> None:
    # Three equal tenants on two cores: neither one a core (2 : 1) nor all in a row is the optimum, 1.5 tenants each is.
    layer = Layer("conv", 1e8, 64, 0)
    layers = [dataclasses.replace(layer, inputs=(n - 1,) if n else ()) for n in range(20)]
    graph = make_graph({name: (1, layers) for name in "abc"})
    device = dataclasses.replace(CPU, units=2, event_seconds=0.0)
    simulator = Simulator(graph, device, AnalyticPrior())
    schedule = check(wrapped(graph, device, simulator, 2, 1), graph)
    score = simulator.score(schedule)
    assert score.makespan == pytest.approx(score.work / 2, rel=0.01)
    assert len(schedule.streams) == 2 and any(t.placement for t in schedule.tenants)


def _plain():
    graph = random_graph(5, tenants=3, operators=8, batch=8)
    return graph, make_space(graph, GPU), make.parallel(graph, GPU.name)


def test_pointer_actions() -> None:
    graph, space, schedule = _plain()
    added = act.AddPointer(0, (2, 4, 8)).apply(schedule, space)
    assert [t.pointers for t in added.tenants] == [(2,), (4,), (8,)]
    twice = act.AddPointer(1, (5, 5, 8)).apply(added, space)
    assert [t.pointers for t in twice.tenants] == [(2, 5), (4, 5), (8, 8)]
    moved = act.MovePointer(0, 1, 8).apply(twice, space)
    assert moved.tenants[0].pointers == (2, 8)
    assert act.RemovePointer(1).apply(moved, space) == added
    for bad in (
        act.MovePointer(0, 1, 1),
        act.MovePointer(0, 1, 5),
        act.MovePointer(0, 7, 1),
        act.MovePointer(0, 1, 9),
        act.RemovePointer(2),
        act.AddPointer(0, (3, 3, 3)),
    ):
        with pytest.raises(IllegalAction):
            bad.apply(twice, space)
    relaxed = act.RelaxPointer(0, ((0, 1), (1, 0))).apply(added, space)
    assert relaxed.clusters == 1
    assert set(relaxed.waits) == {Wait((0, 1), (1, 4)), Wait((1, 3), (0, 2))}
    check(relaxed, graph)


def test_spatial_actions() -> None:
    graph, space, schedule = _plain()
    operator = next(o for o in graph.operators if o.chunking.divisible)
    tenant, position = operator.tenant, operator.position
    cut = act.SplitOperator(tenant, position, (4, 4)).apply(schedule, space)
    assert cut.tenants[tenant].splits == {position: (4, 4)}
    placed = act.PlaceChunk(tenant, position, 1, 3).apply(cut, space)
    assert len(placed.streams) == 4 and placed.tenants[tenant].streams_at(position)[1] == 3
    assert act.MergeOperator(tenant, position).apply(cut, space) == schedule
    branch = act.PlaceBranch(tenant, (0, 1), 3).apply(cut, space)
    assert {s for p in (0, 1) for s in branch.tenants[tenant].streams_at(p)} == {3}
    together = act.SetStream(0, 1).apply(schedule, space)
    assert len(together.streams) == 2 and together.tenants[0].stream == together.tenants[1].stream
    fixed = next((o for o in graph.operators if not o.chunking.divisible), None)
    bad = [
        act.SplitOperator(tenant, position, (7, 1)),
        act.MergeOperator(tenant, (position + 1) % 8),
        act.PlaceChunk(tenant, position, 5, 0),
        act.PlaceChunk(tenant, position, 0, 99),
        act.SetStream(0, 0),
        act.SetStream(0, 12),
        act.SetCores(0, 0, 2),
    ]
    if fixed is not None:
        bad.append(act.SplitOperator(fixed.tenant, fixed.position, (4, 4)))
    for action in bad:
        with pytest.raises(IllegalAction):
            action.apply(cut, space)
            action.apply(schedule, space)


def test_device_actions_and_waits() -> None:
    graph, space, schedule = _plain()
    urgent = act.SetPriority(1, 2).apply(schedule, space)
    assert urgent.streams[1].priority == 2
    waiting = act.AddWait((0, 7), (1, 0)).apply(schedule, space)
    assert waiting.waits == (Wait((0, 7), (1, 0)),)
    with pytest.raises(IllegalAction):  # a circle
        act.AddWait((1, 3), (0, 2)).apply(waiting, space)
    with pytest.raises(IllegalAction):
        act.AddWait((0, 1), (0, 2)).apply(schedule, space)
    assert act.RemoveWait(0).apply(waiting, space).waits == ()
    reordered = act.Reorder(5, 0).apply(schedule, space)
    check(reordered, graph)
    assert sum(c for _, c in reordered.order) == len(graph.operators)
    with pytest.raises(IllegalAction):  # would issue the waiting before the awaited
        sequence = [t for t, c in waiting.order for _ in range(c)]
        act.Reorder(sequence.index(1), 0).apply(waiting, space)
    budgets = make_space(graph, CPU)
    cpu = make.parallel(graph, "cpu", 4)
    pointed = act.AddPointer(0, (4, 4, 4)).apply(cpu, budgets)
    changed = act.SetCores(0, 1, 3).apply(pointed, budgets)
    assert changed.streams[0].cores == (1, 3)
    assert act.RemovePointer(0).apply(changed, budgets).streams[0].cores == (1,)
    with pytest.raises(IllegalAction):
        act.SetCores(0, 1, 9).apply(pointed, budgets)


def test_cores_are_divided_among_those_with_work() -> None:
    graph = random_graph(5, tenants=3, operators=4)
    schedule = make.parallel(graph, "cpu", 4)
    space = make_space(graph, CPU)
    assert [s.cores for s in budget_cores(schedule, CPU).streams] == [(2,), (1,), (1,)]
    pointed = act.AddPointer(0, (4, 4, 2)).apply(schedule, space)
    assert [s.cores for s in budget_cores(pointed, CPU).streams] == [(2, 1), (1,), (1, 4)]
    assert budget_cores(schedule, GPU) is schedule


def test_orders_follow_waits_or_are_refused() -> None:
    graph = random_graph(5, tenants=2, operators=4)
    order = issue_order(graph, [(), ()], [Wait((1, 3), (0, 0))])
    assert order == ((1, 4), (0, 4))
    assert issue_order(graph, [(), ()], [Wait((1, 3), (0, 0)), Wait((0, 0), (1, 0))]) is None
    assert issue_order(graph, [(2,), (2,)], [Wait((1, 3), (0, 0))]) is None  # against the pointer
    assert issue_order(graph, [(), ()], key=lambda t, p: t) == ((0, 4), (1, 4))


def test_compressed_drops_unused_streams_only() -> None:
    graph, space, schedule = _plain()
    assert compressed(schedule) == schedule
    padded = schedule.replace(streams=(*schedule.streams, Stream(priority=1)))
    assert compressed(padded) == schedule
    moved = act.PlaceBranch(0, tuple(range(8)), 1).apply(schedule, space)
    assert len(moved.streams) == 2
    check(moved, graph)


def test_chains_cover_every_operator_once_and_follow_edges() -> None:
    for seed in range(20):
        graph = random_graph(seed, tenants=2, operators=15)
        for tenant, info in enumerate(graph.tenants):
            found = chains(graph, tenant)
            assert sorted(p for chain in found for p in chain) == list(range(info.count))
            for chain in found:
                for before, after in itertools.pairwise(chain):
                    assert info.first + before in graph.operators[info.first + after].predecessors
            packed = lanes(graph, tenant, 3, [1.0] * info.count)
            assert len(packed) <= 3 and sorted(c for lane in packed for c in lane) == sorted(found)


def test_a_two_layer_lstm_is_two_long_chains() -> None:
    graph = make_graph({"lstm": (8, model_layers("lstm", 8))})
    lengths = sorted(map(len, chains(graph, 0)))
    assert lengths[-1] > 60 and sum(n > 20 for n in lengths) == 2


def test_checker_agrees_that_random_edits_of_files_are_illegal() -> None:
    # The checker is the judge of all the tests above: it must be able to say no.
    graph, _, schedule = _plain()
    with pytest.raises(ScheduleError):
        check(schedule.replace(order=schedule.order[:-1]), graph)
