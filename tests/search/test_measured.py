"""Search and measurement in turn, with a device that is not as the prior thinks."""

from __future__ import annotations

import numpy as np
import pytest

from gacer_tvm.cost import AnalyticPrior, Device, Estimates, RecordedCost
from gacer_tvm.graph.synthetic import random_graph
from gacer_tvm.search import InfeasibleError, search
from gacer_tvm.search.measured import rows_of, search_measured
from gacer_tvm.sim import simulate

from ..devices import cpu

GPU = Device.named("nvidia-titan-v")
CPU = cpu(2)


class _Truth:
    """The real times: chunks take nearly as long as the whole, which no prior says."""

    name = "truth"

    def estimate(self, graph, device, rows):
        own = AnalyticPrior().estimate(graph, device, rows)
        batch = [graph.tenants[graph.operators[o].tenant].batch for o, _, _ in rows]
        whole = AnalyticPrior().estimate(graph, device, [(o, n, c) for (o, _, c), n in zip(rows, batch, strict=True)])
        seconds = whole.seconds * [0.9 if i < n else 1.0 for (_, i, _), n in zip(rows, batch, strict=True)]
        # The same bytes and blocks in another time.
        return Estimates(seconds, own.width, np.minimum(own.bandwidth * own.seconds / seconds, device.bandwidth))


@pytest.mark.parametrize("device", [GPU, CPU], ids=["gpu", "cpu"])
def test_chunks_that_do_not_pay_are_found_out(device: Device) -> None:
    graph, truth = random_graph(11, operators=10), _Truth()
    asked: list = []

    def measure(rows):
        asked.extend(rows)
        return dict(zip(rows, truth.estimate(graph, device, rows).seconds.tolist(), strict=True))

    cores = [1, 2] if device.kind == "cpu" else [None]
    known = measure([(o.index, 8, c) for o in graph.operators for c in cores])
    asked.clear()
    budgets = {"time_budget_s": None, "evaluations": 3000}
    result, _ = search_measured(graph, device, measure, known, seed=1, **budgets)
    naive = search(graph, device, RecordedCost(known), seed=1, **budgets)
    # What it promises is what the device does (the schedule rests on measurements alone); the naive one promises
    # too much. Neither search is exhaustive: by luck the naive one may end a little lower.
    assert simulate(result.best, graph, device, truth).makespan == pytest.approx(result.seconds, rel=1e-9)
    assert simulate(naive.best, graph, device, truth).makespan >= naive.seconds * (1 - 1e-9)
    assert simulate(naive.best, graph, device, truth).makespan >= result.seconds * 0.99
    assert len(asked) == len(set(asked)), "measured twice"
    assert asked, "nothing new was tried"


def test_rows_of_a_schedule_are_what_the_simulator_looks_up() -> None:
    from gacer_tvm.schedule import make
    from gacer_tvm.sim import Simulator

    graph = random_graph(2, operators=6)
    for device in (GPU, CPU):
        for seed in range(10):
            schedule = make.random(graph, device.name, seed, cores=device.cores)
            simulator = Simulator(graph, device, AnalyticPrior())
            simulator.score(schedule)
            looked_up = {
                (o, i, device.units if device.kind == "cpu" and c is None else c) for o, i, c in simulator.table._rows
            }
            assert looked_up == set(rows_of(schedule, graph, device))


def test_limits_that_cannot_be_met_are_still_an_error() -> None:
    graph = random_graph(2, operators=6)
    truth = _Truth()

    def measure(rows):
        return dict(zip(rows, truth.estimate(graph, GPU, rows).seconds.tolist(), strict=True))

    with pytest.raises(InfeasibleError):
        search_measured(
            graph, GPU, measure, objective={"slo_ms": {"tenant0": 1e-6}}, time_budget_s=None, evaluations=300
        )
