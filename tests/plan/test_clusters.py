"""The cluster of every launch of a plan."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from gacer_tvm.graph.synthetic import random_graph
from gacer_tvm.plan import lower
from gacer_tvm.schedule import make


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(1, 12))
def test_a_launch_is_in_the_cluster_of_its_operator(seed: int, tenants: int, operators: int) -> None:
    graph = random_graph(seed, tenants=tenants, operators=operators)
    plan = lower(make.random(graph, "cpu", seed, cores=4), graph)
    expected = []
    for launch in plan.launches:
        operator = graph.operators[launch.operator]
        marks = [0, *plan.schedule.tenants[operator.tenant].pointers, operators]
        # Clusters may be empty: the last one that begins at or before the operator.
        expected.append(max(n for n in range(len(marks) - 1) if marks[n] <= operator.position))
    assert list(plan.clusters()) == expected
