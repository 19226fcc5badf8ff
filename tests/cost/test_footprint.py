"""What a round touches, beside a count of what is alive at every step."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gacer_tvm.cost.footprint import mebibytes, round_bytes
from gacer_tvm.executable.build import lower_tenants
from gacer_tvm.graph.model import MultiTenantGraph
from gacer_tvm.graph.synthetic import Layer, make_graph, random_graph

from ..models import branches, convnet


def alive(graph: MultiTenantGraph) -> int:
    """Memory of its own, and the most intermediates between their first and last use."""
    uses: dict[int, list[int]] = {}
    for step, operator in enumerate(graph.operators):
        for index in (*operator.reads, *operator.writes):
            uses.setdefault(graph.buffers[index].root, []).append(step)
    roots = [b for b in graph.buffers if b.root == b.index]
    kept = sum(b.nbytes for b in roots if b.kind != "intermediate")
    used = [(uses[b.index][0], uses[b.index][-1], b.nbytes) for b in roots if b.kind == "intermediate" and b.index in uses]
    steps = [sum(size for first, last, size in used if first <= n <= last) for n in range(len(graph.operators))]
    return kept + max(steps, default=0)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(1, 25), st.integers(1, 5))
def test_a_round_touches_what_is_kept_and_the_peak_of_the_rest(seed: int, tenants: int, operators: int, width: int) -> None:
    graph = random_graph(seed, tenants=tenants, operators=operators, width=width)
    assert round_bytes(graph) == alive(graph)
    assert mebibytes(graph) == pytest.approx(alive(graph) / 2**20, abs=0.005)


def test_by_hand() -> None:
    # x: 200 bytes, weights: 1000 + 3000, y: 200, 400, 800 (the output); the first two are never alive beside more than that.
    layers = [Layer("a", 1, 400, 1000), Layer("b", 1, 800, 0, (0,)), Layer("c", 1, 1600, 3000, (1,))]
    assert round_bytes(make_graph({"net": (1, layers)})) == 200 + 1000 + 3000 + 800 + (200 + 400)


def test_of_real_models() -> None:
    graph = lower_tenants({"net": convnet(batch=3), "other": branches(batch=3)}, "cpu", cache=False)[0]
    assert round_bytes(graph) == alive(graph)
