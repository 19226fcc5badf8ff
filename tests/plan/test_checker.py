"""The checker against the definition of a sound plan, on random plans and on plans broken at random."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from gacer_tvm.errors import PlanError
from gacer_tvm.graph.synthetic import Layer, make_graph, random_graph
from gacer_tvm.plan import check_plan, lower
from gacer_tvm.schedule import Stream, make

from .cases import mutations, plans, with_launch, with_offset, without_wait
from .reference import happens_before, is_sound


def accepted(plan, graph) -> bool:
    try:
        check_plan(plan, graph)
    except PlanError:
        return False
    return True


@settings(max_examples=150, deadline=None)
@given(plans())
def test_lowered_plans_are_sound_and_accepted(case):
    graph, _, plan = case
    assert is_sound(plan, graph)
    check_plan(plan, graph)


@settings(max_examples=100, deadline=None)
@given(plans())
def test_every_needed_event_removed_is_caught(case):
    graph, _, plan = case
    for launch in plan.launches:
        for wait in launch.waits:
            broken = without_wait(plan, launch.index, wait)
            assert accepted(broken, graph) == is_sound(broken, graph)


def test_most_events_are_needed():
    """Keeps the test above from passing because no event ever is."""
    needed = total = 0
    for seed in range(60):
        graph = random_graph(seed, tenants=2, operators=6, batch=3, scale=1e-7)
        plan = lower(make.random(graph, "test", seed), graph)
        for launch in plan.launches:
            for wait in launch.waits:
                total += 1
                needed += not accepted(without_wait(plan, launch.index, wait), graph)
    assert needed > max(50, total / 4)


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_verdict_is_the_definition_on_mutated_plans(data):
    graph, _, plan = data.draw(plans(operators=6))
    broken = data.draw(mutations(plan))
    sound = is_sound(broken, graph)
    event(f"sound: {sound}")
    assert accepted(broken, graph) == sound


def two_layers(batch: int = 4, tenants: int = 1):
    """A chain of two divisible operators for each tenant; 64 bytes between them."""
    layers = [
        Layer("conv", 1e3, 128 * batch, 0),
        Layer("dense", 1e3, 128 * batch, 0, inputs=(0,)),
        Layer("add", 1e3, 128 * batch, 0, inputs=(1,)),
    ]
    return make_graph({f"t{n}": (batch, layers) for n in range(tenants)})


def chain_on_two_streams():
    graph = two_layers()
    schedule = make.sequential(graph, "test")
    tenant = msgspec.structs.replace(schedule.tenants[0], placement={1: (1,)})
    schedule = schedule.replace(tenants=(tenant,), streams=(Stream(), Stream()))
    return graph, lower(schedule, graph)


def test_a_race_names_both_launches_and_the_memory():
    graph, plan = chain_on_two_streams()
    assert plan.launches[1].waits == (0,)
    with pytest.raises(
        PlanError, match=r"race on t0/.*: tenant 't0', operator 't0/1.*' \(launch 1\) on stream 1"
    ):
        check_plan(without_wait(plan, 1, 0), graph)


def test_reading_before_the_writer_is_a_race_too():
    graph, plan = chain_on_two_streams()
    # The reader comes first in the checker's order as well: both on one stream, the wrong way round.
    first, second = plan.launches[0], plan.launches[1]
    swapped = (
        replace(second, index=0, stream=0, waits=()),
        replace(first, index=1),
        *plan.launches[2:],
    )
    with pytest.raises(PlanError, match="reads it before anything wrote it"):
        check_plan(replace(plan, launches=swapped), graph)


def test_ordered_but_overwritten_memory_is_refused():
    """Everything on one stream is ordered; overlapping lifetimes are wrong all the same."""
    graph = random_graph(5, tenants=1, operators=8, batch=2, width=3, scale=1e-7)
    plan = lower(make.sequential(graph, "test"), graph)
    broken = 0
    for root in plan.placement.offsets:
        for other in plan.placement.offsets:
            moved = with_offset(plan, root, plan.placement.offsets[other])
            assert accepted(moved, graph) == is_sound(moved, graph)
            broken += not accepted(moved, graph)
    assert broken


def test_writing_its_own_input_is_refused():
    graph, plan = chain_on_two_streams()
    first, second = plan.placement.offsets
    assert graph.buffers[first].nbytes and graph.buffers[second].nbytes
    with pytest.raises(PlanError, match="overlap on"):
        check_plan(with_offset(plan, second, plan.placement.offsets[first]), graph)


def test_deadlocks_are_refused():
    graph, plan = chain_on_two_streams()
    cyclic = with_launch(plan, 0, waits=(1,))
    assert happens_before(cyclic) is None
    with pytest.raises(PlanError, match="deadlock: tenant 't0'"):
        check_plan(cyclic, graph)
    with pytest.raises(PlanError, match="deadlock"):
        check_plan(with_launch(plan, 1, waits=(1,)), graph)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"waits": (99,)}, "waits for launch 99, which does not exist"),
        ({"stream": 7}, r"stream 7, expected 0\.\.1"),
        ({"operator": 99}, "runs operator 99"),
        ({"index": 5}, "has the index 5"),
        ({"buffers": (0, 0)}, "arguments are buffers"),
        ({"items": 2, "whole": False}, r"items 0\.\.2, expected 0\.\.4 exactly once"),
        ({"items": 2}, "whole is True, but it computes 2 of 4 items"),
        ({"first": 1}, r"items 1\.\.5, expected 0\.\.4 exactly once"),
    ],
)
def test_malformed_launches_are_refused(changes, message):
    graph, plan = chain_on_two_streams()
    with pytest.raises(PlanError, match=message):
        check_plan(with_launch(plan, 1, **changes), graph)


def test_missing_and_repeated_launches_are_refused():
    graph, plan = chain_on_two_streams()
    with pytest.raises(
        PlanError, match=r"operator 't0/2.*': launches compute the items none, expected 0\.\.4"
    ):
        check_plan(replace(plan, launches=plan.launches[:2]), graph)
    again = replace(plan.launches[2], index=3, waits=())
    with pytest.raises(PlanError, match=r"items 0\.\.4, 0\.\.4, expected 0\.\.4 exactly once"):
        check_plan(replace(plan, launches=(*plan.launches, again)), graph)


def test_an_indivisible_operator_is_not_cut():
    layers = [Layer("softmax", 1e3, 512, 0, divisible=False)]
    graph = make_graph({"t": (4, layers)})
    plan = lower(make.sequential(graph, "test"), graph)
    whole = plan.launches[0]
    halves = (replace(whole, items=2, whole=False), replace(whole, index=1, first=2, items=2, whole=False))
    with pytest.raises(PlanError, match="it cannot be cut: it reads other items of the batch"):
        check_plan(replace(plan, launches=halves), graph)


def test_addresses_outside_the_arena_are_refused():
    graph, plan = chain_on_two_streams()
    root = next(iter(plan.placement.offsets))
    for offset in (-64, plan.placement.arena_bytes):
        with pytest.raises(PlanError, match="outside the arena"):
            check_plan(with_offset(plan, root, offset), graph)
    unplaced = replace(plan, placement=replace(plan.placement, offsets={}))
    with pytest.raises(PlanError, match="has no place in the arena"):
        check_plan(unplaced, graph)
