"""What a round touches, beside a count of what is alive at every step."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gacer_tvm.cost.footprint import distances, mean_distance, round_bytes
from gacer_tvm.executable.build import lower_tenants
from gacer_tvm.graph.model import MultiTenantGraph
from gacer_tvm.graph.synthetic import Layer, make_graph, random_graph
from gacer_tvm.profile import suite_tenants

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


def test_by_hand() -> None:
    # x: 200 bytes, weights: 1000 + 3000, y: 200, 400, 800 (the output); the first two are never alive beside more than that.
    layers = [Layer("a", 1, 400, 1000), Layer("b", 1, 800, 0, (0,)), Layer("c", 1, 1600, 3000, (1,))]
    assert round_bytes(make_graph({"net": (1, layers)})) == 200 + 1000 + 3000 + 800 + (200 + 400)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 3), st.integers(1, 15))
def test_data_are_as_far_away_as_a_run_through_the_rounds_says(seed: int, tenants: int, operators: int) -> None:
    graph = random_graph(seed, tenants=tenants, operators=operators)
    whole = round_bytes(graph)
    # Every buffer that each operator touches, three rounds on end, and what was touched in all before.
    history: list[tuple[int, set[int], set[int]]] = []
    for _ in range(3):
        for operator in graph.operators:
            reads = {graph.buffers[b].root for b in operator.reads}
            history.append((operator.index, reads, reads | {graph.buffers[b].root for b in operator.writes}))
    sizes = [sum(graph.buffers[b].nbytes for b in touched) for _, _, touched in history]
    found = distances(graph)
    work = [graph.operators[o].work.flops + 4.0 * size for (o, _, _), size in zip(history, sizes)]
    for n in range(2 * len(graph.operators), len(history)):
        operator, reads, _ = history[n]
        ran = [m for m in range(n) if graph.operators[history[m][0]].kernel == graph.operators[operator].kernel]
        assert found[operator].code == pytest.approx(min(sum(sizes[ran[-1] + 1 : n]), whole) / 2**20, rel=1e-3, abs=1e-3)
        assert found[operator].work == pytest.approx(sum(work[ran[-1] + 1 : n]) / 1e6, rel=1e-3, abs=1e-3)
        away = {}
        for root in reads:
            before = [m for m in range(n) if root in history[m][2]]
            away[root] = min(sum(sizes[before[-1] + 1 : n]), whole) if before else whole
        for kind, value in ((True, found[operator].weights), (False, found[operator].activations)):
            some = [r for r in reads if (graph.buffers[r].kind == "constant") == kind and graph.buffers[r].nbytes]
            if some:
                logs = [math.log2(away[r] / 2**20 + 2**-10) for r in some]
                total = sum(graph.buffers[r].nbytes for r in some)
                mean = sum(x * graph.buffers[r].nbytes for x, r in zip(logs, some)) / total
                assert value == pytest.approx(2**mean, rel=1e-3, abs=1e-3)
            else:
                assert value == 0.0


def test_weights_of_every_step_are_near_and_those_of_a_round_are_not() -> None:
    tenant = suite_tenants("a")[0]["lstm"]
    graph = lower_tenants({"lstm": tenant, "net": convnet(batch=3)}, "cpu", cache=False)[0]
    away = distances(graph)
    shared: dict[int, list[int]] = {}
    for operator in graph.operators:
        for index in operator.reads:
            if graph.buffers[index].kind == "constant" and graph.buffers[index].nbytes > 100_000:
                shared.setdefault(graph.buffers[index].root, []).append(operator.index)
    steps = next(users for users in shared.values() if len(users) > 2)
    assert max(away[n].weights for n in steps[1:]) < away[steps[0]].weights
    assert mean_distance(away[n] for n in steps)[0] < away[steps[0]].weights


def test_of_real_models() -> None:
    graph = lower_tenants({"net": convnet(batch=3), "other": branches(batch=3)}, "cpu", cache=False)[0]
    assert round_bytes(graph) == alive(graph)
