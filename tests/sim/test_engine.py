"""The event loop against a plain second implementation, and the invariants that every run must keep."""

from __future__ import annotations

import dataclasses
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gacer_tvm.cost import AnalyticPrior, Cost, Device, InterferingCost, RandomCost
from gacer_tvm.errors import ScheduleError
from gacer_tvm.graph.synthetic import Layer, make_graph, random_graph
from gacer_tvm.schedule import Schedule, Stream, TenantSchedule, Wait, check, make
from gacer_tvm.search.edit import issue_order
from gacer_tvm.sim import Simulator, simulate

from ..devices import cpu
from .naive import naive

CPU = cpu(3)
GPU = Device.named("nvidia-titan-v")

DEVICES = {"cpu": CPU, "gpu": GPU}
kinds = st.sampled_from(sorted(DEVICES))
seeds = st.integers(0, 10_000)


class _Rubbing:
    """A cost model whose kernels slow each other by given amounts."""

    def __init__(self, cost: Cost, pairs: np.ndarray) -> None:
        self.name = "rubbing"
        self._cost = cost
        self._pairs = pairs

    def estimate(self, graph, device, rows):
        return self._cost.estimate(graph, device, rows)

    def interference(self, graph, device):
        return self._pairs


def _case(kind: str, seed: int, operators: int = 7) -> tuple:
    device = DEVICES[kind]
    graph = random_graph(seed, tenants=1 + seed % 4, operators=operators, batch=1 + seed % 8)
    schedule = make.random(graph, device.name, seed, cores=device.cores)
    rng = random.Random(seed)
    if device.kind == "cuda":
        streams = tuple(Stream(priority=rng.randrange(3)) for _ in schedule.streams)
        schedule = schedule.replace(streams=streams)
    if len(graph.tenants) > 1 and rng.random() < 0.5:
        waits = (Wait((0, rng.randrange(operators)), (1, rng.randrange(operators))),)
        order = issue_order(graph, [t.pointers for t in schedule.tenants], waits)
        if order is not None:
            schedule = schedule.replace(waits=waits, order=order)
    return graph, check(schedule, graph)


@settings(max_examples=150, deadline=None)
@given(kind=kinds, seed=seeds, real=st.booleans())
def test_agrees_with_the_plain_implementation(kind: str, seed: int, real: bool) -> None:
    device = DEVICES[kind]
    graph, schedule = _case(kind, seed)
    pairs = None
    cost = AnalyticPrior() if real else RandomCost(seed, scale=1e-4)
    if seed % 3 == 0:
        half = np.triu(np.random.default_rng(seed).random((len(graph.operators),) * 2), 1)
        pairs = (half + half.T).tolist()
        cost = _Rubbing(cost, np.array(pairs))
    simulator = Simulator(graph, device, cost)
    timeline = simulator.run(schedule)
    rows = {}
    for operator, low, high, stream, cluster in zip(
        timeline.operator, timeline.first_item, timeline.last_item, timeline.stream, timeline.cluster, strict=True
    ):
        cores = schedule.streams[stream].cores_in(cluster) if device.kind == "cpu" else None
        rows[(int(operator), int(high - low), cores)] = simulator.table[(int(operator), int(high - low), cores)]
    expected = naive(
        schedule,
        graph,
        device,
        rows,
        leftover=device.kind == "cuda",
        units=device.units,
        bandwidth=device.bandwidth,
        pairs=pairs,
    )
    found = {
        (int(o), int(low), int(high)): (s, e)
        for o, low, high, s, e in zip(
            timeline.operator, timeline.first_item, timeline.last_item, timeline.start, timeline.end, strict=True
        )
    }
    assert found.keys() == expected.keys()
    for key, times in expected.items():
        assert found[key] == pytest.approx(times, rel=1e-7, abs=1e-12)
    assert timeline.makespan == pytest.approx(max(e for _, e in expected.values()), rel=1e-7)


@settings(max_examples=100, deadline=None)
@given(kind=kinds, seed=seeds)
def test_never_below_critical_path_nor_work_over_capacity(kind: str, seed: int) -> None:
    device = DEVICES[kind]
    graph, schedule = _case(kind, seed, operators=12)
    simulator = Simulator(graph, device, RandomCost(seed))
    timeline = simulator.run(schedule)
    alone: dict[int, float] = {}
    for operator, low, high, stream, cluster in zip(
        timeline.operator, timeline.first_item, timeline.last_item, timeline.stream, timeline.cluster, strict=True
    ):
        cores = schedule.streams[stream].cores_in(cluster) if device.kind == "cpu" else None
        seconds = simulator.table[(int(operator), int(high - low), cores)][0]
        alone[int(operator)] = min(alone.get(int(operator), np.inf), seconds)
    path: dict[int, float] = {}
    for operator in graph.operators:
        path[operator.index] = alone[operator.index] + max((path[p] for p in operator.predecessors), default=0.0)
    slack = 1 + 1e-9
    assert timeline.makespan * slack >= max(path.values())
    assert timeline.makespan * slack * device.units >= timeline.score.work
    assert timeline.residue >= -1e-9 * timeline.score.work
    traffic = 0.0
    for operator, low, high, stream, cluster in zip(
        timeline.operator, timeline.first_item, timeline.last_item, timeline.stream, timeline.cluster, strict=True
    ):
        cores = schedule.streams[stream].cores_in(cluster) if device.kind == "cpu" else None
        seconds, _, demand = simulator.table[(int(operator), int(high - low), cores)]
        traffic += seconds * demand
    assert timeline.makespan * slack * device.bandwidth >= traffic


@settings(max_examples=60, deadline=None)
@given(kind=kinds, seed=seeds)
def test_streams_dependences_and_pointers_are_kept(kind: str, seed: int) -> None:
    device = DEVICES[kind]
    graph, schedule = _case(kind, seed, operators=10)
    timeline = Simulator(graph, device, RandomCost(seed)).run(schedule)
    eps = 1e-12 + 1e-9 * timeline.makespan
    count = len(timeline.start)
    assert (timeline.end >= timeline.start).all()
    for n in range(count):
        for m in range(n):
            if timeline.stream[m] == timeline.stream[n]:
                assert timeline.start[n] >= timeline.end[m] - eps
            if timeline.cluster[m] < timeline.cluster[n]:
                assert timeline.start[n] >= timeline.end[m] + device.sync_seconds - eps
            reader, writer = int(timeline.operator[n]), int(timeline.operator[m])
            if writer in graph.operators[reader].predecessors:
                disjoint = (
                    timeline.last_item[m] <= timeline.first_item[n] or timeline.last_item[n] <= timeline.first_item[m]
                )
                both_cut = graph.operators[reader].chunking.divisible and graph.operators[writer].chunking.divisible
                if not (disjoint and both_cut):
                    assert timeline.start[n] >= timeline.end[m] - eps
    for tenant in range(len(graph.tenants)):
        assert timeline.latencies[tenant] == pytest.approx(timeline.end[timeline.tenant == tenant].max())
    for operator in graph.operators:
        mine = timeline.operator == operator.index
        items = (timeline.last_item - timeline.first_item)[mine].sum()
        assert items == graph.tenants[operator.tenant].batch


@settings(max_examples=60, deadline=None)
@given(seed=seeds, more=st.floats(1.0, 8.0), which=st.sampled_from(["units", "bandwidth"]), kind=kinds)
def test_proportional_sharing_is_monotone_in_capacity(seed: int, more: float, which: str, kind: str) -> None:
    device = DEVICES[kind]
    graph, schedule = _case(kind, seed, operators=12)
    cost = RandomCost(seed)

    def makespan(units: float, bandwidth: float) -> tuple[float, ...]:
        simulator = Simulator(graph, device, cost, units=units, bandwidth=bandwidth, sharing="proportional")
        score = simulator.score(schedule)
        return (score.makespan, *score.latencies)

    units, bandwidth = device.units * 0.5, device.bandwidth * 0.4
    small = makespan(units, bandwidth)
    large = makespan(units * (more if which == "units" else 1), bandwidth * (more if which == "bandwidth" else 1))
    for less, much in zip(small, large, strict=True):
        assert much <= less * (1 + 1e-9)


@settings(max_examples=40, deadline=None)
@given(seed=seeds, more=st.floats(1.0, 8.0))
def test_one_stream_on_a_gpu_is_monotone_in_capacity(seed: int, more: float) -> None:
    graph = random_graph(seed, operators=10)
    schedule = make.sequential(graph, GPU.name)
    small = Simulator(graph, GPU, RandomCost(seed), units=GPU.units / 2).score(schedule)
    large = Simulator(graph, GPU, RandomCost(seed), units=GPU.units / 2 * more).score(schedule)
    assert large.makespan <= small.makespan * (1 + 1e-9)


@settings(max_examples=30, deadline=None)
@given(kind=kinds, seed=seeds)
def test_same_schedule_same_timeline(kind: str, seed: int) -> None:
    device = DEVICES[kind]
    graph, schedule = _case(kind, seed)
    one = Simulator(graph, device, RandomCost(seed)).run(schedule)
    other = Simulator(graph, device, RandomCost(seed)).run(schedule)
    assert (one.start == other.start).all() and (one.end == other.end).all()
    assert one.score == other.score == Simulator(graph, device, RandomCost(seed)).score(schedule)


def _two(width: float, blocks: int = 80) -> tuple:
    """Two tenants of one kernel each that takes one second and `width` of the units."""

    class Fixed:
        name = "fixed"

        def estimate(self, graph, device, rows):
            from gacer_tvm.cost import Estimates

            return Estimates(
                np.array([float(items) / 8 for _, items, _ in rows]),
                np.full(len(rows), width * device.units),
                np.zeros(len(rows)),
            )

    layer = Layer("conv", 1e9, 1000, 0)
    graph = make_graph({"a": (8, [layer]), "b": (8, [layer])})
    return graph, Fixed()


def _free(device: Device) -> Device:
    return dataclasses.replace(
        device, launch_seconds=0.0, sync_seconds=0.0, event_seconds=0.0, oversubscription_loss=0.0
    )


def test_kernels_that_fill_the_device_serialize_and_halves_do_not() -> None:
    # What gpu-util-interference measured on an H100: full pairs take twice as long, pairs at half occupancy do not.
    for width, seconds in ((1.0, 2.0), (0.5, 1.0), (0.75, 1 + 2 / 3)):
        graph, cost = _two(width)
        device = _free(GPU)
        timeline = simulate(make.parallel(graph, device.name), graph, device, cost)
        assert timeline.makespan == pytest.approx(seconds)
        if width == 1.0:
            assert timeline.latencies == pytest.approx((1.0, 2.0))  # first come, first served
    graph, cost = _two(1.0)
    device = dataclasses.replace(_free(CPU), units=2)
    timeline = simulate(make.parallel(graph, device.name), graph, device, cost)
    assert timeline.latencies == pytest.approx((2.0, 2.0))  # threads share in proportion


def test_priority_overtakes() -> None:
    graph, cost = _two(1.0)
    device = _free(GPU)
    schedule = make.parallel(graph, device.name)
    schedule = schedule.replace(streams=(Stream(priority=0), Stream(priority=1)))
    assert simulate(schedule, graph, device, cost).latencies == pytest.approx((2.0, 1.0))


def test_oversubscribed_cores_lose_what_the_device_says() -> None:
    graph, cost = _two(1.0)
    device = dataclasses.replace(_free(CPU), units=2, oversubscription_loss=0.25)
    assert simulate(make.parallel(graph, device.name), graph, device, cost).makespan == pytest.approx(2.25)


def test_bandwidth_is_shared() -> None:
    graph, cost = _two(0.25)
    device = _free(GPU)

    class Hungry(type(cost)):
        def estimate(self, graph, device, rows):
            found = super().estimate(graph, device, rows)
            found.bandwidth[:] = 0.75 * device.bandwidth
            return found

    timeline = simulate(make.parallel(graph, device.name), graph, device, Hungry())
    assert timeline.makespan == pytest.approx(1.5)


def test_chunks_pipeline_where_rows_are_local_and_not_where_they_are_not() -> None:
    for divisible, seconds in ((True, 1.5), (False, 2.0)):
        graph = make_graph(
            {"a": (8, [Layer("conv", 1e9, 1000, 0), Layer("conv", 1e9, 1000, 0, (0,), divisible=divisible)])}
        )
        cost = _two(0.5)[1]
        device = _free(GPU)
        schedule = Schedule(
            graph=graph.fingerprint,
            device=device.name,
            tenants=(
                TenantSchedule(
                    "a",
                    splits={0: (4, 4), **({1: (4, 4)} if divisible else {})},
                    placement={1: (1, 1) if divisible else (1,)},
                ),
            ),
            streams=(Stream(), Stream()),
            order=((0, 2),),
        )
        assert simulate(schedule, graph, device, cost).makespan == pytest.approx(seconds)


def test_waits_in_a_circle_are_found() -> None:
    # Not reachable through check(): streams cross each other in the wrong order.
    from gacer_tvm.sim.engine import Program, execute

    program = Program(
        seconds=[1.0] * 2,
        width=[1.0] * 2,
        bandwidth=[0.0] * 2,
        stream=[0, 1],
        tenant=[0, 0],
        cluster=[0, 0],
        operator=[0, 1],
        pending=[1, 1],
        successors={0: [1], 1: [0]},
        queues=[[0], [1]],
        left=[2],
        priority=[0, 0],
        clusters=1,
    )
    with pytest.raises(ScheduleError, match="deadlock: 2 of 2 chunks"):
        execute(program, 4.0, 1.0, leftover=False, sync_seconds=0.0, tenants=1)


def test_illegal_schedules_are_refused() -> None:
    graph = random_graph(1)
    with pytest.raises(ScheduleError, match="was made for graph"):
        simulate(make.sequential(random_graph(2), "x"), graph, CPU, AnalyticPrior())


def test_idle_time_is_attributed_in_full() -> None:
    graph, schedule = _case("cpu", 7, operators=12)
    timeline = Simulator(graph, CPU, RandomCost(3)).run(schedule)
    edges, used = timeline.usage()
    present = np.zeros(len(used))
    for start, end in zip(timeline.start, timeline.end, strict=True):
        present += (edges[:-1] >= start) & (edges[1:] <= end)
    idle = float((((timeline.units - used) * np.diff(edges))[present > 0]).sum())
    assert float(timeline.idle_during().sum()) == pytest.approx(idle)


def test_first_come_first_served_has_grahams_anomaly() -> None:
    # Stated in the engine's documentation: on more SMs a wide kernel comes first where on fewer the narrow one did,
    # and what depends on the narrow one is later. Kernels of no width are pure latency.
    thin = 0.0
    times = {0: (1.0, 3.0), 1: (1.0, thin), 2: (10.0, 3.0), 3: (2.2, thin), 4: (1.0, 1.0), 5: (20.0, thin)}

    class Fixed:
        name = "fixed"

        def estimate(self, graph, device, rows):
            from gacer_tvm.cost import Estimates

            return Estimates(
                np.array([times[o][0] for o, _, _ in rows]),
                np.array([times[o][1] for o, _, _ in rows]),
                np.zeros(len(rows)),
            )

    chain = [Layer("conv", 1.0, 64, 0), Layer("conv", 1.0, 64, 0, (0,)), Layer("conv", 1.0, 64, 0, (1,))]
    graph = make_graph({"wide": (1, chain), "narrow": (1, chain)})
    device = dataclasses.replace(_free(GPU), units=3)
    schedule = make.parallel(graph, device.name)
    few = Simulator(graph, device, Fixed(), units=2).score(schedule).makespan
    many = Simulator(graph, device, Fixed(), units=3).score(schedule).makespan
    assert few == pytest.approx(2.2 + 1 + 20, rel=1e-4)
    assert many == pytest.approx(2 + 10 + 1 + 20, rel=1e-4)
    fair = [Simulator(graph, device, Fixed(), units=u, sharing="proportional").score(schedule).makespan for u in (2, 3)]
    assert fair[1] <= fair[0]


def test_a_host_that_launches_slowly_is_the_limit() -> None:
    # Eight kernels of 125 ms on two streams, launched one after the other every 300 ms: kernel n starts at 0.3 (n + 1).
    layers = [Layer("conv", 1e9, 1000, 0, (n - 1,) if n else ()) for n in range(4)]
    graph = make_graph({"a": (1, layers), "b": (1, layers)})
    cost = _two(0.25)[1]
    device = dataclasses.replace(_free(GPU), issue_seconds=0.3)
    timeline = simulate(make.parallel(graph, device.name), graph, device, cost)
    assert timeline.start.tolist() == pytest.approx([0.3 * (n + 1) for n in range(8)])
    assert timeline.makespan == pytest.approx(8 * 0.3 + 0.125)
    assert len(timeline.stream) == 8 and timeline.stream.max() == 1
    # Pointers do not hold the host up.
    schedule = check(make.random(graph, device.name, 3), graph)
    fast, slow = (simulate(schedule, graph, d, cost).makespan for d in (_free(GPU), device))
    assert fast <= slow <= fast + 8 * 4 * 0.3 + 1e-9


def test_kernels_that_get_in_each_others_way() -> None:
    graph, cost = _two(0.25)
    device = _free(GPU)
    schedule = make.parallel(graph, device.name)
    for extra, seconds in ((0.5, 1.5), (0.0, 1.0), (-0.5, 1.0)):
        rubbing = _Rubbing(cost, np.array([[0.0, extra], [extra, 0.0]]))
        assert isinstance(rubbing, InterferingCost) and not isinstance(cost, InterferingCost)
        assert simulate(schedule, graph, device, rubbing).makespan == pytest.approx(seconds)
    one_by_one = make.sequential(graph, device.name)
    assert simulate(one_by_one, graph, device, _Rubbing(cost, np.ones((2, 2)))).makespan == pytest.approx(2.0)
