"""Cost models: the prior against hand calculations, measurements given back, gaps filled in the prior's shape."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gacer_tvm.cost import AnalyticPrior, Cost, Device, RandomCost, RecordedCost
from gacer_tvm.errors import SearchError
from gacer_tvm.graph.model import LaunchShape
from gacer_tvm.graph.synthetic import Layer, make_graph, random_graph

from ..devices import cpu

H200 = Device.named("nvidia-h200")
CPU = cpu(4)
BATCH = 8


def _one(layer: Layer, batch: int = BATCH):
    return make_graph({"a": (batch, [layer])})


def _seconds(layer: Layer, device: Device, items: int = BATCH, cores: int | None = None) -> float:
    return float(AnalyticPrior().estimate(_one(layer), device, [(0, items, cores)]).seconds[0])


def test_compute_bound_kernels_run_at_the_assumed_share_of_the_peak() -> None:
    blocks = H200.units * 4 * 10
    layer = Layer("dense", 1e12, 1000, 0, launch=LaunchShape(blocks, 256, 64, 0))
    assert _seconds(layer, H200) == pytest.approx(1e12 / (67e12 * H200.compute_efficiency))


def test_memory_bound_kernels_run_at_the_assumed_share_of_the_bandwidth() -> None:
    layer = Layer("add", 1e6, 4_800_000_000, 0, launch=LaunchShape(100_000, 256, 32, 0))
    estimate = AnalyticPrior().estimate(_one(layer), H200, [(0, BATCH, None)])
    assert estimate.seconds[0] == pytest.approx(1e-3 / H200.bandwidth_efficiency)
    assert estimate.bandwidth[0] == pytest.approx(H200.bandwidth * H200.bandwidth_efficiency)


def test_one_block_more_than_the_sms_hold_costs_another_step() -> None:
    def at(blocks: int) -> float:
        return _seconds(Layer("dense", 1e9 * blocks, 1000, 0, launch=LaunchShape(blocks, 256, 255, 0)), H200)

    # 255 registers: one block of 256 threads an SM; a second wave begins with block 133.
    assert at(132) == pytest.approx(at(100)) == pytest.approx(at(1))
    assert at(133) == pytest.approx(2 * at(132)) == pytest.approx(at(264))


def test_small_grids_leave_room_and_saturating_ones_do_not() -> None:
    def width(blocks: int, flops: float) -> float:
        layer = Layer("dense", flops, 1000, 0, launch=LaunchShape(blocks, 128, 64, 0))
        return float(AnalyticPrior().estimate(_one(layer), H200, [(0, BATCH, None)]).width[0])

    assert width(13, 1e9) < 0.1 * H200.units
    assert width(132 * 8, 1e11) == pytest.approx(H200.units)
    # 264 blocks take a quarter of the slots but all of the arithmetic.
    assert width(264, 1e11) == pytest.approx(H200.units)


def test_cpu_loops_are_dealt_out_whole() -> None:
    device = dataclasses.replace(CPU, fork_seconds=0.0)
    layer = Layer("dense", 1e9, 64, 0, launch=LaunchShape(8, 1))
    one, two, three = (_seconds(layer, device, cores=c) for c in (1, 2, 3))
    assert two == pytest.approx(one / 2) and three == pytest.approx(one * 3 / 8)
    estimate = AnalyticPrior().estimate(_one(layer), device, [(0, 1, 4), (0, BATCH, 4), (0, BATCH, None)])
    assert estimate.width.tolist() == [1.0, 4.0, 4.0]  # one item is one task


def test_dtype_decides_the_peak() -> None:
    layer = Layer("dense", 1e12, 1000, 0, launch=LaunchShape(132 * 40, 256, 64, 0))
    graph = _one(layer)
    half = dataclasses.replace(graph, buffers=tuple(dataclasses.replace(b, dtype="float16") for b in graph.buffers))
    seconds = [float(AnalyticPrior().estimate(g, H200, [(0, BATCH, None)]).seconds[0]) for g in (graph, half)]
    assert seconds[0] / seconds[1] == pytest.approx(989 / 67)


@settings(max_examples=50, deadline=None)
@given(
    seed=st.integers(0, 1000),
    name=st.sampled_from([*Device.names(), "cpu"]),
    launches=st.booleans(),
    which=st.sampled_from(["prior", "random"]),
)
def test_estimates_are_sane_everywhere(seed: int, name: str, launches: bool, which: str) -> None:
    device = CPU if name == "cpu" else Device.named(name)
    graph = random_graph(seed, tenants=2, operators=8, launches=launches)
    cost: Cost = AnalyticPrior() if which == "prior" else RandomCost(seed)
    assert isinstance(cost, Cost)
    rows = [(o.index, items, cores) for o in graph.operators for items in (1, 3, 8) for cores in (None, 1, 3)]
    found = cost.estimate(graph, device, rows)
    for values in (found.seconds, found.width, found.bandwidth):
        assert values.shape == (len(rows),) and np.isfinite(values).all() and (values >= 0).all()
        assert (found.seconds > 0).all() and (found.width > 0).all()
    assert (found.width <= device.units).all() and (found.bandwidth <= device.bandwidth).all()
    again = cost.estimate(graph, device, rows)
    assert (again.seconds == found.seconds).all()
    for n, row in enumerate(rows):
        assert cost.estimate(graph, device, [row]).seconds[0] == found.seconds[n]  # rows do not depend on their batch


def test_measurements_come_back() -> None:
    graph = random_graph(1)
    rows = {(0, 8, 2): 1e-3, (0, 4, 2): 7e-4, (3, 8, None): 5e-4}
    cost = RecordedCost(rows)
    found = cost.estimate(graph, CPU, list(rows))
    assert found.seconds.tolist() == list(rows.values())
    assert cost.sources == {"operator measured": 3}


def test_none_stands_for_all_cores() -> None:
    graph = random_graph(1)
    cost = RecordedCost({(0, 8, 4): 1e-3, (1, 8, None): 2e-3})
    assert cost.estimate(graph, CPU, [(0, 8, None), (1, 8, 4)]).seconds.tolist() == [1e-3, 2e-3]


def test_unseen_sizes_follow_the_prior_between_the_neighbours_ratios() -> None:
    graph = random_graph(3)
    prior = AnalyticPrior().estimate(graph, CPU, [(0, n, 1) for n in (2, 4, 8)]).seconds
    cost = RecordedCost({(0, 2, 1): float(prior[0]) * 2, (0, 8, 1): float(prior[2]) * 8})
    seconds = cost.estimate(graph, CPU, [(0, 4, 1), (0, 1, 1)]).seconds
    assert seconds[0] == pytest.approx(prior[1] * 4)  # half-way between 2 and 8 in logarithms
    edge = AnalyticPrior().estimate(graph, CPU, [(0, 1, 1)]).seconds[0]
    assert seconds[1] == pytest.approx(edge * 2)  # the nearest ratio beyond the last measurement
    assert cost.sources["operator interpolated"] == 2


def test_unseen_core_counts_take_the_ratio_of_the_nearest() -> None:
    graph = random_graph(3)
    prior = AnalyticPrior().estimate(graph, CPU, [(0, 8, c) for c in (1, 3, 4)]).seconds
    cost = RecordedCost({(0, 8, 1): float(prior[0]) * 3, (0, 8, 4): float(prior[2]) * 5})
    assert cost.estimate(graph, CPU, [(0, 8, 3)]).seconds[0] == pytest.approx(prior[1] * 5)


def test_equal_kernels_share_measurements_and_the_rest_is_calibrated() -> None:
    layer = Layer("conv", 1e8, 10_000, 0)
    graph = make_graph({"a": (8, [layer, dataclasses.replace(layer, inputs=(0,)), Layer("big", 1e9, 999, 0, (1,))])})
    operators = tuple(dataclasses.replace(o, kernel="shared") if o.index < 2 else o for o in graph.operators)
    graph = dataclasses.replace(graph, operators=operators)
    prior = AnalyticPrior().estimate(graph, CPU, [(o, 8, 1) for o in range(3)]).seconds
    cost = RecordedCost({(0, 8, 1): float(prior[0]) * 10})
    found = cost.estimate(graph, CPU, [(1, 8, 1), (2, 8, 1)]).seconds
    assert found.tolist() == pytest.approx([prior[1] * 10, prior[2] * 10])
    assert cost.sources == {"kernel measured": 1, "prior": 1}
    by_name = RecordedCost(by_kernel={("shared", 8, 1): 0.25}).estimate(graph, CPU, [(0, 8, 1), (1, 8, 1)])
    assert by_name.seconds.tolist() == [0.25, 0.25]


def test_slower_than_the_prior_means_less_bandwidth() -> None:
    graph = random_graph(3)
    prior = AnalyticPrior().estimate(graph, CPU, [(0, 8, 1)])
    found = RecordedCost({(0, 8, 1): float(prior.seconds[0]) * 4}).estimate(graph, CPU, [(0, 8, 1)])
    assert found.bandwidth[0] * found.seconds[0] == pytest.approx(prior.bandwidth[0] * prior.seconds[0])


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
def test_times_that_cannot_be_are_refused(bad: float) -> None:
    with pytest.raises(SearchError, match="expected positive finite seconds"):
        RecordedCost({(0, 8, 1): bad})
