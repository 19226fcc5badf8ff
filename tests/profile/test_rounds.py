"""Rounds: spans of every launch, in order; schedules of one chunk size."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gacer_tvm.executable.build import assemble
from gacer_tvm.graph.model import MultiTenantGraph
from gacer_tvm.graph.synthetic import make_graph, random_layers
from gacer_tvm.plan import check_plan, lower
from gacer_tvm.profile.company import draw
from gacer_tvm.profile.rounds import Rounds, chunked
from gacer_tvm.schedule import check

from ..devices import cpu
from ..models import inputs_for
from .conftest import Lowered


@st.composite
def mixed(draw: st.DrawFn) -> MultiTenantGraph:
    """Tenants of different batches."""
    rng = random.Random(draw(st.integers(0, 10**6)))
    return make_graph(
        {
            f"t{n}": (batch, random_layers(rng, draw(st.integers(1, 8)), batch=batch))
            for n, batch in enumerate(draw(st.lists(st.integers(1, 9), min_size=1, max_size=3)))
        }
    )


@settings(max_examples=80, deadline=None)
@given(mixed(), st.integers(1, 10), st.integers(1, 4), st.data())
def test_every_operator_that_can_be_is_cut_into_chunks_of_one_size(
    graph: MultiTenantGraph, items: int, cores: int, data: st.DataObject
) -> None:
    device = cpu(4)
    whole = frozenset(data.draw(st.sets(st.sampled_from(range(len(graph.operators))))))
    schedule = chunked(graph, device, items, cores, whole)
    check(schedule, graph, device.name)
    plan = lower(schedule, graph, device=device.name)
    check_plan(plan, graph)
    assert plan.streams == 1 and {launch.cores for launch in plan.launches} == {cores}
    # Tenant after tenant, operator after operator.
    assert [launch.operator for launch in plan.launches] == sorted(launch.operator for launch in plan.launches)
    for operator in graph.operators:
        batch = graph.tenants[operator.tenant].batch
        chunks = [(n.first, n.items) for n in plan.launches if n.operator == operator.index]
        cut = operator.chunking.divisible and operator.index not in whole and items < batch
        step = items if cut else batch
        assert chunks == [(first, min(step, batch - first)) for first in range(0, batch, step)]


def test_spans_are_of_every_round_and_launch_and_in_order(lowered: Lowered) -> None:
    graph, library, device = lowered
    company = draw(graph, device, lambda operator, items, cores: 1e-4, 2, sizes=lambda operator: (1, 2, 3))
    schedules = [chunked(graph, device, 2, 1), company.schedule, company.twin, chunked(graph, device, 3, device.units)]
    timed = Rounds(graph, library, device).timed(schedules, 3, 2)
    assert [plan.schedule for plan, _ in timed] == schedules
    for plan, spans in timed:
        assert spans.shape == (6, len(plan.launches), 2) and spans.dtype == np.float64
        start, end = spans[..., 0], spans[..., 1]
        assert (start >= 0).all() and (end >= start).all()
        last: dict[int, int] = {}
        for launch in plan.launches:
            for before in (*launch.waits, *([last[launch.stream]] if launch.stream in last else [])):
                assert (start[:, launch.index] >= end[:, before]).all()
            last[launch.stream] = launch.index
    # What runs in turn never runs side by side.
    for n in (0, 2, 3):
        spans = timed[n][1]
        assert (spans[:, 1:, 0] >= spans[:, :-1, 1]).all()


def test_the_same_schedule_twice_is_timed_twice(lowered: Lowered) -> None:
    graph, library, device = lowered
    schedule = chunked(graph, device, 1, 1)
    (_, first), (_, second) = Rounds(graph, library, device).timed([schedule, schedule], 1, 1)
    assert first.shape == second.shape and not np.array_equal(first, second)


@pytest.mark.parametrize("items", [1, 2, 3])
def test_chunked_rounds_compute_what_whole_ones_do(lowered: Lowered, items: int) -> None:
    graph, library, device = lowered
    arrays = inputs_for(graph)
    found = []
    for schedule in ("sequential", chunked(graph, device, items, 1)):
        with assemble(graph, library, device, schedule) as executable:
            found.append(executable.run(arrays))
    for name, outputs in found[0].items():
        for whole, ours in zip(outputs, found[1][name], strict=True):
            np.testing.assert_allclose(np.asarray(ours), np.asarray(whole), rtol=1e-5, atol=1e-6)
