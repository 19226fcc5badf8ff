"""Owners of the arena's bytes against an array of bytes, and what the placement makes of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gacer_tvm.graph.model import MultiTenantGraph
from gacer_tvm.graph.synthetic import random_graph
from gacer_tvm.plan import LaunchPlan, lower, memory
from gacer_tvm.plan.model import Access, Launch
from gacer_tvm.plan.owners import Owners, Part, parts_of
from gacer_tvm.schedule import make

SIZE = 400


def written(launches: int, cores: int | None, stream: int = 0, nbytes: int = 120) -> list[Launch]:
    """A buffer 7 written in so many equal chunks."""
    step = nbytes // launches
    return [
        Launch(n, 0, n, 1, False, stream, cores, (), (), (Access(7, n * step, (n + 1) * step), Access(8, 0, 64)), ())
        for n in range(launches)
    ]


@st.composite
def parts(draw: st.DrawFn) -> tuple[int, list[Part]]:
    cuts = sorted(draw(st.lists(st.integers(0, 90), min_size=2, max_size=4)))
    owners = draw(st.lists(st.integers(0, 5), min_size=len(cuts) - 1, max_size=len(cuts) - 1))
    return draw(st.integers(0, SIZE - 100)), list(zip(cuts, cuts[1:], owners))


@settings(max_examples=200, deadline=None)
@given(st.lists(parts(), max_size=25))
def test_owners_are_those_of_an_array_of_bytes(steps: list[tuple[int, list[Part]]]) -> None:
    owners, truth = Owners(), np.full(SIZE, -1)
    for offset, given_parts in steps:
        expected = sum(
            int(np.sum((truth[offset + a : offset + b] >= 0) & (truth[offset + a : offset + b] != owner)))
            for a, b, owner in given_parts
        )
        assert owners.foreign(offset, given_parts) == expected
        owners.write(offset, given_parts)
        for a, b, owner in given_parts:
            truth[offset + a : offset + b] = owner
        seams = [n for n in range(1, SIZE) if truth[n - 1] >= 0 and truth[n - 1] % 2 == 0 and truth[n] == truth[n - 1] + 1]
        assert owners.seams().tolist() == seams


def test_halves_of_the_cores_own_halves_of_what_they_write() -> None:
    assert parts_of(7, written(1, None)) == [(0, 60, 0), (60, 120, 1)]
    assert parts_of(7, written(1, 2, stream=3)) == [(0, 60, 6), (60, 120, 7)]
    assert parts_of(7, written(1, 1, stream=3)) == [(0, 120, 6)]
    assert parts_of(7, written(2, None)) == [(0, 30, 0), (30, 60, 1), (60, 90, 0), (90, 120, 1)]


def _foreign(plan: LaunchPlan, graph: MultiTenantGraph) -> int:
    """Bytes of intermediates that another core wrote last, in one round after another."""
    owners, count = Owners(), 0
    for _ in range(2):
        count = 0
        for launch in plan.launches:
            for access in launch.writes:
                if access.root in plan.placement.offsets:
                    mine = parts_of(access.root, [launch])
                    count += owners.foreign(plan.placement.offsets[access.root], mine)
                    owners.write(plan.placement.offsets[access.root], mine)
    return count


@pytest.mark.parametrize("seed", range(8))
def test_cores_write_where_they_wrote_before_and_it_costs_little_memory(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = random_graph(seed, tenants=2, operators=20, batch=1, scale=1e-2)
    schedule = make.sequential(graph, "test")
    owned = lower(schedule, graph)
    growth = memory._GROWTH
    monkeypatch.setattr(memory, "_GROWTH", 0.0)
    tight = lower(schedule, graph)
    assert owned.placement.arena_bytes <= growth * tight.placement.arena_bytes
    if owned.placement != tight.placement:
        assert _foreign(owned, graph) <= _foreign(tight, graph)


def test_a_chain_stays_with_its_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where buffers lie over each other, so do their middles, mostly."""
    graph = random_graph(1, tenants=1, operators=14, batch=1, width=1, scale=1e-2)
    schedule = make.sequential(graph, "test")
    placed = lower(schedule, graph)
    monkeypatch.setattr(memory, "_GROWTH", 0.0)
    assert 0 < _foreign(placed, graph) < 0.5 * _foreign(lower(schedule, graph), graph)
