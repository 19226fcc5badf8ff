"""Company: drawn schedules are legal, their twins run the same parts one after the other, and every kind is visited."""

from __future__ import annotations

import bisect
import math
from collections import defaultdict
from collections.abc import Callable, Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gacer_tvm.cost import Device
from gacer_tvm.graph.model import MultiTenantGraph
from gacer_tvm.graph.synthetic import Layer, make_graph, random_graph
from gacer_tvm.plan import LaunchPlan, check_plan, lower
from gacer_tvm.profile.company import Company, draw
from gacer_tvm.profile.select import budgets
from gacer_tvm.schedule import Schedule, check

from ..devices import cpu

Seconds = Callable[[int, int, int], float]


def rising(graph: MultiTenantGraph) -> Seconds:
    """Times between 20 µs and 5 ms, by operator; they scale with the items and a little with the cores."""

    def seconds(operator: int, items: int, cores: int) -> float:
        batch = graph.tenants[graph.operators[operator].tenant].batch
        return 2e-5 * 250 ** (operator * 0.618 % 1) * items / batch / cores**0.5

    return seconds


def any_size(graph: MultiTenantGraph) -> Callable[[int], Sequence[int]]:
    """Every legal size of an operator."""

    def sizes(operator: int) -> Sequence[int]:
        found = graph.operators[operator]
        return range(1, graph.tenants[found.tenant].batch + 1) if found.chunking.divisible else ()

    return sizes


def drawn(graph: MultiTenantGraph, device: Device, number: int, seed: int = 0) -> Company:
    return draw(graph, device, rising(graph), number, seed, sizes=any_size(graph))


def clusters(schedule: Schedule, graph: MultiTenantGraph) -> dict[int, set[int]]:
    """Cluster → the tenants that have operators in it, from the pointers."""
    found = defaultdict(set)
    for tenant, part in enumerate(schedule.tenants):
        for position in range(graph.tenants[tenant].count):
            found[bisect.bisect_right(part.pointers, position)].add(tenant)
    return found


def streams(plan: LaunchPlan) -> dict[int, list[tuple[int, int, int, int | None]]]:
    """Stream → what it runs, in order, and with how many cores."""
    found = defaultdict(list)
    for launch in plan.launches:
        found[launch.stream].append((launch.operator, launch.first, launch.items, launch.cores))
    return found


def happens_before(plan: LaunchPlan) -> list[set[int]]:
    """For each launch all that have finished when it starts: those of its stream and those that it waits for, and theirs."""
    before: list[set[int]] = []
    last: dict[int, int] = {}
    for launch in plan.launches:
        direct = [*launch.waits, *([last[launch.stream]] if launch.stream in last else [])]
        before.append(set(direct).union(*(before[n] for n in direct)))
        last[launch.stream] = launch.index
    return before


graphs = st.builds(
    lambda seed, tenants, operators, batch: random_graph(seed, tenants=tenants, operators=operators, batch=batch),
    st.integers(0, 10**6), st.integers(2, 4), st.integers(1, 12), st.integers(1, 6),
)  # fmt: skip
relaxed = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@relaxed
@given(graphs, st.integers(1, 8), st.integers(0, 200), st.integers(0, 3))
def test_a_drawn_schedule_and_its_twin(graph: MultiTenantGraph, units: int, number: int, seed: int) -> None:
    device = cpu(units)
    company = drawn(graph, device, number, seed)
    plans = []
    for schedule in (company.schedule, company.twin):
        check(schedule, graph, device.name)
        plans.append(lower(schedule, graph, device=device.name))
        check_plan(plans[-1], graph)
    plan, twin = plans

    # The same launches in the same order with the same cores, on a stream a tenant.
    assert streams(plan) == streams(twin)
    assert {graph.operators[launch.operator].tenant for launch in plan.launches} == set(range(len(graph.tenants)))
    assert all(launch.stream == graph.operators[launch.operator].tenant for launch in plan.launches)
    assert all(1 <= (launch.cores or units) <= units for launch in plan.launches)

    # Who meets is told; in the twin the same parts have clusters of their own.
    together, apart = clusters(company.schedule, graph), clusters(company.twin, graph)
    assert dict(company.met) == {c: tuple(sorted(who)) for c, who in together.items() if len(who) > 1}
    count = len(graph.tenants)
    assert apart == {c * count + tenant: {tenant} for c, who in together.items() for tenant in who}

    # Nothing runs beside anything in the twin.
    assert [len(before) for before in happens_before(twin)] == list(range(len(twin.launches)))


@relaxed
@given(graphs, st.integers(1, 8), st.integers(0, 200))
def test_chunks_are_of_sizes_that_are_offered(graph: MultiTenantGraph, units: int, number: int) -> None:
    def odd(operator: int) -> Sequence[int]:
        found = graph.operators[operator]
        return [s for s in (1, 3) if s < graph.tenants[found.tenant].batch] if operator % 2 else []

    company = draw(graph, cpu(units), rising(graph), number, sizes=odd)
    for tenant, part in zip(graph.tenants, company.schedule.tenants, strict=True):
        for position, sizes in part.splits.items():
            assert graph.operators[tenant.first + position].chunking.divisible
            assert sum(sizes) == tenant.batch and set(sizes) <= set(odd(tenant.first + position))
    assert not any(part.splits for part in draw(graph, cpu(units), rising(graph), number).schedule.tenants)


@relaxed
@given(graphs, st.integers(1, 8), st.integers(0, 200), st.integers(0, 3))
def test_the_same_numbers_draw_the_same(graph: MultiTenantGraph, units: int, number: int, seed: int) -> None:
    assert drawn(graph, cpu(units), number, seed) == drawn(graph, cpu(units), number, seed)


def test_other_numbers_and_seeds_draw_something_else() -> None:
    graph = random_graph(5, tenants=3, operators=20, batch=4)
    found = [drawn(graph, cpu(4), number, seed).schedule for seed in (0, 1) for number in range(20)]
    assert not any(a == b for n, a in enumerate(found) for b in found[:n])


@pytest.mark.parametrize("units", [1, 2, 4, 7])
@pytest.mark.parametrize("tenants", [2, 3])
def test_every_combination_of_tenants_and_every_budget_is_visited(units: int, tenants: int) -> None:
    graph = random_graph(3, tenants=tenants, operators=30, batch=4)
    met, shares = set(), set()
    for number in range(40):
        company = drawn(graph, cpu(units), number)
        for cluster, who in company.met:
            met.add(who)
            cores = [company.schedule.streams[tenant].cores_in(cluster) or units for tenant in who]
            shares.add((len(who), tuple(sorted(cores))))
    most = min(tenants, units + 1)
    pairs = {(a, b) for b in range(tenants) for a in range(b)}
    assert met == pairs | ({(0, 1, 2)} if most == 3 else set())
    assert shares == {(n, tuple(sorted(b))) for n in range(2, most + 1) for b in budgets(units, n)}


def test_streams_that_meet_last_about_as_long() -> None:
    """Of equal operators no stream takes more than a few times as many as another, however many are left."""
    layers = [Layer("conv", 1e6, 1 << 10, 0, (n - 1,) if n else ()) for n in range(60)]
    graph = make_graph({"a": (1, layers), "b": (1, layers[:20]), "c": (1, layers[:5])})
    for number in range(60):
        company = draw(graph, cpu(4), lambda operator, items, cores: 1e-4, number)
        for cluster, who in company.met:
            taken = [
                sum(bisect.bisect_right(part.pointers, p) == cluster for p in range(graph.tenants[t].count))
                for t, part in enumerate(company.schedule.tenants)
                if t in who
            ]
            # 1.6 times longer or shorter than what was drawn each, and half an operator more or less.
            assert max(taken) <= math.ceil(1.6 * 1.6 * min(taken)) + 1.6


def test_tenants_of_one_operator_meet() -> None:
    graph = random_graph(1, tenants=2, operators=1, batch=4)
    for number in range(20):
        assert drawn(graph, cpu(2), number).met == ((0, (0, 1)),)
