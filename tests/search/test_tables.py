"""The ablation table and the benchmark's rows say what the searches found."""

from __future__ import annotations

import pytest

from gacer_tvm.bench.schedules import SETS, Ablation, ablate, as_markdown
from gacer_tvm.bench.search import growth, optimality, speed
from gacer_tvm.cost import Device, RandomCost
from gacer_tvm.graph.synthetic import random_graph
from gacer_tvm.graph.synthetic_models import MODEL_SETS, model_set
from gacer_tvm.sim import simulate

GPU = Device.named("nvidia-titan-v")


def test_each_part_can_only_add() -> None:
    graph = random_graph(3, operators=8)
    cost = RandomCost(3, 1e-4)
    row, result = ablate(graph, GPU, "three", cost, time_budget_s=None, evaluations=600)
    slack = 1.0011
    assert row.spatial <= row.plain and row.temporal <= row.plain
    assert row.both <= min(row.spatial, row.temporal) * slack and row.beyond <= row.both * slack
    assert row.bound <= row.beyond * (1 + 1e-9)
    assert row.beyond == simulate(result.best, graph, GPU, cost).makespan
    assert 0 <= row.idle_after <= 1 and row.cost_model == "random:3"


def _row(**changes: float) -> Ablation:
    figures = {
        "sequential": 4e-3,
        "parallel": 2e-3,
        "spatial": 1.9e-3,
        "temporal": 1.8e-3,
        "both": 1.7e-3,
        "beyond": 1.6e-3,
        "bound": 1.5e-3,
        "idle_before": 0.25,
        "idle_after": 0.125,
        "seconds": 3.0,
    }
    return Ablation(
        models="a+b", device="nvidia-x", cost_model="prior", pointers=2, cut=3, streams=4, **{**figures, **changes}
    )


def test_the_table_is_marked_simulated_and_explains_missing_gains() -> None:
    good, poor = _row(), _row(beyond=1.995e-3, both=2e-3, spatial=2e-3, temporal=2e-3, bound=1.98e-3)
    assert good.gain == pytest.approx(0.2) and good.gap == pytest.approx(1.6 / 1.5 - 1) and good.remark() == ""
    assert "parallel is within 1.0% of the bound" in poor.remark()
    text = as_markdown([good, poor], "Batch 8.")
    assert "**simulated**" in text and "Batch 8." in text and "## nvidia-x" in text
    assert "| [a+b](nvidia-x/a+b.json) | 4.000 | 2.000 | 1.900 | 1.800 | 1.700 | 1.600 | 1.500 | 20.0% | 6.7% |" in text
    assert text.count("Little to gain") == 1


def test_benchmark_rows() -> None:
    (row,) = speed([0], [GPU], time_budget_s=0.3)
    assert row.operators == len(model_set(0).operators) and row.per_second > 0 and row.gap >= 0
    small, large = growth([(2, 4), (2, 8)], GPU, time_budget_s=1.0)
    assert (small.operators, large.operators) == (8, 16) and small.stopped_by == "converged"
    for found in optimality(1, ("gacer",)):
        assert found.cases == 1 and found.worst_gap <= 0.03


def test_sets_are_those_of_the_paper_kind() -> None:
    assert [tuple(models) for models in SETS.values()] == list(MODEL_SETS)
    counts = [len(model_set(n, batch=2).tenants) for n in range(4)]
    assert counts == [3, 3, 3, 3]


@pytest.mark.parametrize(
    ("model", "gflops"),
    # Multiply-adds of one image counted twice, as the models' papers and torchvision's tables have them.
    [
        ("alexnet", 1.43),
        ("vgg16", 30.9),
        ("resnet18", 3.63),
        ("resnet50", 8.2),
        ("resnet101", 15.6),
        ("mobilenet_v3", 0.45),
        ("densenet121", 5.7),
    ],
)
def test_hand_made_models_do_the_published_work(model: str, gflops: float) -> None:
    from gacer_tvm.graph.synthetic_models import model_graph

    graph = model_graph((model,), batch=4)
    assert sum(o.work.flops for o in graph.operators) / 4e9 == pytest.approx(gflops, rel=0.06)
