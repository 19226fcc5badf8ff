"""What a lowered plan must guarantee: the schedule's own words, and no event more than needed for them."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings

from gacer_tvm.errors import ScheduleError
from gacer_tvm.graph.synthetic import random_graph
from gacer_tvm.plan import lower, sum_alone
from gacer_tvm.plan.memory import _best_gap, _gaps
from gacer_tvm.schedule import Stream, make

from .cases import plans, without_wait
from .reference import happens_before, live_together


@settings(max_examples=150, deadline=None)
@given(plans())
def test_launches_are_the_schedules_chunks_in_its_order(case):
    graph, schedule, plan = case
    expected = []
    for tenant, position in schedule.issue():
        info, part = graph.tenants[tenant], schedule.tenants[tenant]
        first = 0
        for items, stream in zip(part.chunks(position, info.batch), part.streams_at(position)):
            expected.append((info.first + position, first, items, items == info.batch, stream))
            first += items
    assert [(n.operator, n.first, n.items, n.whole, n.stream) for n in plan.launches] == expected


@settings(max_examples=150, deadline=None)
@given(plans())
def test_pointers_and_waits_are_kept(case):
    graph, schedule, plan = case
    before = happens_before(plan)
    where = []
    for launch in plan.launches:
        operator = graph.operators[launch.operator]
        where.append((operator.tenant, operator.position))
    for a in range(len(where)):
        for b in range(len(where)):
            (tenant, position), (other, there) = where[a], where[b]
            clusters = (
                schedule.tenants[tenant].cluster_of(position),
                schedule.tenants[other].cluster_of(there),
            )
            if clusters[0] < clusters[1]:
                assert a in before[b]
    for wait in schedule.waits:
        for a, b in ((a, b) for a in range(len(where)) for b in range(len(where))):
            if (where[a], where[b]) == (wait.before, wait.after):
                assert a in before[b]


@settings(max_examples=100, deadline=None)
@given(plans())
def test_no_event_follows_from_the_others(case):
    _, _, plan = case
    for launch in plan.launches:
        for wait in launch.waits:
            assert plan.launches[wait].stream != launch.stream
            assert wait not in happens_before(without_wait(plan, launch.index, wait))[launch.index]


@settings(max_examples=150, deadline=None)
@given(plans(operators=12))
def test_buffers_that_live_together_lie_apart(case):
    graph, _, plan = case
    assert live_together(plan, graph) == []
    written = {graph.buffers[b].root for operator in graph.operators for b in operator.writes}
    assert set(plan.placement.offsets) == {r for r in written if graph.buffers[r].kind == "intermediate"}
    for root, offset in plan.placement.offsets.items():
        assert offset % 64 == 0 and 0 <= offset <= plan.placement.arena_bytes - graph.buffers[root].nbytes


def test_a_chain_alternates_between_two_places():
    """On one stream a chain of equal buffers needs room for two of them, however long it is."""
    graph = random_graph(1, tenants=1, operators=12, batch=2, width=1, scale=1e-7)
    sizes = [graph.buffers[o.writes[0]].nbytes for o in graph.operators[:-1]]
    used = [{graph.buffers[b].root for b in o.reads + o.writes} for o in graph.operators]
    live = []
    for n in range(len(graph.operators)):
        # Live at step n: written at or before it, used at or after it.
        alive = [
            k
            for k in range(len(sizes))
            if k <= n and any(graph.operators[k].writes[0] in u for u in used[n:])
        ]
        live.append(sum(-(-sizes[k] // 64) * 64 for k in alive))
    plan = lower(make.sequential(graph, "test"), graph)
    assert plan.placement.arena_bytes >= max(live)
    assert plan.placement.arena_bytes <= 2 * max(live)
    assert sum_alone(graph) == {graph.tenants[0].name: plan.placement.arena_bytes}


def test_sequential_tenants_share_memory_and_parallel_ones_do_not():
    graph = random_graph(3, tenants=3, operators=10, batch=2, scale=1e-7)
    alone = sum_alone(graph)
    sequential = lower(make.sequential(graph, "test"), graph).placement.arena_bytes
    parallel = lower(make.parallel(graph, "test"), graph).placement.arena_bytes
    assert sequential < sum(alone.values())
    assert parallel == pytest.approx(sum(alone.values()), rel=0.3)


def test_the_smallest_gap_that_fits_is_taken():
    # Blocks at 0..64, 192..256, 320..384: gaps of 128 and 64.
    offsets, sizes = np.array([320, 0, 192]), np.array([64, 64, 64])
    gaps = _gaps(offsets, sizes)
    assert _best_gap(gaps, 64) == 256
    assert _best_gap(gaps, 128) == 64
    assert _best_gap(gaps, 192) == 384
    assert _best_gap(_gaps(offsets[:0], sizes[:0]), 64) == 0
    # A block inside a longer one leaves no gap behind itself.
    assert _best_gap(_gaps(np.array([0, 64]), np.array([512, 64])), 64) == 512


def test_an_illegal_schedule_is_not_lowered():
    graph = random_graph(1, tenants=2, operators=4)
    schedule = make.parallel(graph, "test")
    with pytest.raises(ScheduleError, match="stream 9"):
        lower(
            schedule.replace(
                tenants=(msgspec.structs.replace(schedule.tenants[0], stream=9), *schedule.tenants[1:])
            ),
            graph,
        )
    with pytest.raises(ScheduleError, match="device"):
        lower(schedule, graph, device="another")


def test_core_budgets_follow_the_clusters():
    graph = random_graph(2, tenants=2, operators=6, batch=2)
    schedule = make.parallel(graph, "test")
    tenants = tuple(msgspec.structs.replace(t, pointers=(3,)) for t in schedule.tenants)
    order = make.compose_order([t.count for t in graph.tenants], [(3,), (3,)])
    streams = (Stream(cores=(1, 4)), Stream(cores=(2,)))
    plan = lower(schedule.replace(tenants=tenants, order=order, streams=streams), graph)
    for launch in plan.launches:
        operator = graph.operators[launch.operator]
        late = operator.position >= 3
        assert launch.cores == ((4 if late else 1) if operator.tenant == 0 else 2)
