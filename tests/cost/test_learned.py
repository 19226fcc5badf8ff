"""Training on measurements whose rule is known, saving, refusing, and use by simulator and search."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import msgspec
import numpy as np
import pytest

from gacer_tvm.cost import AnalyticPrior, Cost, InterferingCost
from gacer_tvm.cost.base import PRICED
from gacer_tvm.cost.facts import Facts, graph_facts
from gacer_tvm.cost.features import ALONE_NAMES, Members, alone_features, group_features, member_table, prior_of
from gacer_tvm.cost.learned import LearnedModel, find_model, load_model
from gacer_tvm.cost.predicted import LearnedCost, MeasuredAndLearned
from gacer_tvm.cost.rows import Alone, Kernel, read_rows
from gacer_tvm.cost.sharing import friction_of, group_seconds, phases
from gacer_tvm.cost.train import LEAST, train
from gacer_tvm.errors import DeviceError, LogError
from gacer_tvm.graph.synthetic import Layer, make_graph, random_graph
from gacer_tvm.schedule import make
from gacer_tvm.search import search
from gacer_tvm.sim import Simulator
from gacer_tvm.sim.engine import Program, execute

from ..devices import cpu
from . import made


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made.write(tmp_path_factory.mktemp("log") / "profile.jsonl", made.rows())


@pytest.fixture(scope="module")
def model(log: Path) -> LearnedModel:
    return train(log, rounds=120)


def test_a_rule_that_the_prior_lacks_is_learned_for_models_and_sets_held_out(model: LearnedModel) -> None:
    kernel, group = model.card.scores["kernel"], model.card.scores["group"]
    assert kernel["prior"].mape > 0.25  # four times too short for the long reductions
    assert kernel["learned"].mape < 0.15 and kernel["learned"].spearman > 0.98
    assert kernel["learned"].rows == 320 and group["learned"].rows == 240
    assert group["learned"].mape < 0.05 < group["prior"].mape
    assert set(kernel) == {"learned", "priced sum", "prior", "scaled prior", "linear", "nearest"}


def test_no_held_out_kernel_is_trained_on(log: Path, tmp_path: Path) -> None:
    # Times that only the kernel itself could tell: whoever predicts them has seen them.
    rng = np.random.default_rng(0)
    luck = {f"{n:016x}": float(np.exp(rng.normal(0, 1.0))) for n in range(40)}
    rows = [
        msgspec.structs.replace(r, s=tuple(v * luck[r.k] for v in r.s)) if isinstance(r, Alone) else r for r in made.rows()
    ]
    # Every kernel also belongs to a second model: held out with either.
    shared = [Kernel(r.k, f"model{(int(r.k, 16) + 1) % 8}", r.f) for r in rows if isinstance(r, Kernel)]
    judged = train(made.write(tmp_path / "a.jsonl", [*rows, *shared]), rounds=120)
    assert judged.card.scores["kernel"]["learned"].mape > 0.3
    assert judged.card.scores["kernel"]["nearest"].mape > 0.3


def test_the_same_data_gives_the_same_model(log: Path, model: LearnedModel) -> None:
    again = train(log, rounds=120)
    assert again.kernel.trees.to_json() == model.kernel.trees.to_json()
    assert again.card.scores == model.card.scores


def test_a_saved_model_predicts_the_same(model: LearnedModel, tmp_path: Path) -> None:
    loaded = load_model(model.save(tmp_path / "model.json"))
    graph = random_graph(3, tenants=2, operators=12)
    rows = [(o.index, 1, 1) for o in graph.operators]
    first, second = (LearnedCost(m, any_device=True).estimate(graph, model.device, rows) for m in (model, loaded))
    assert np.array_equal(first.seconds, second.seconds)
    assert loaded.card == model.card and loaded.hash == model.hash
    json.loads((tmp_path / "model.json").read_text(), parse_constant=lambda c: pytest.fail(f"{c} is no JSON"))


def test_predictions_follow_the_rule_and_not_the_prior(model: LearnedModel) -> None:
    kernels = [made.facts(n) for n in range(40)]
    long = [f for f in kernels if f.reduction >= 16]
    prior = prior_of(long, [4] * len(long), [2] * len(long), model.device)
    features, amounts = alone_features(long, [4] * len(long), [2] * len(long), prior, model.device, [[0.0] * len(long)] * 4)
    seconds, inside = model.kernel.seconds(features, amounts, prior.seconds)
    assert inside.all() and np.median(seconds / prior.seconds) == pytest.approx(4.0, rel=0.1)


def test_what_kernels_execute_has_prices_that_hold_beyond_the_training_data(tmp_path: Path) -> None:
    prices = {"fused": 2e-10, "vector_loads": 3e-10, "steps": 1e-9}
    rng = np.random.default_rng(3)

    def counted(n: int, scale: float) -> Facts:
        amounts = {name: float(rng.integers(1_000, 100_000)) * scale for name in prices}
        return msgspec.structs.replace(made.facts(n), counted=1, parallel=8, regions=1, **amounts)

    def seconds(mine: Facts, items: int, cores: int) -> float:
        share = items / mine.batch / min(cores, 8 * items / mine.batch)
        return 2e-6 + share * sum(getattr(mine, name) * price for name, price in prices.items())

    kept = [r for r in made.rows(kernels=60) if not isinstance(r, Alone | Kernel)]
    for n in range(60):
        mine = counted(n, 1.0)
        kept.append(Kernel(f"{n:016x}", f"model{n % 8}", mine))
        for i in (1, 2, 4):
            kept += [Alone("s1", f"{n:016x}", i, c, made.spread(seconds(mine, i, c)), 5, 100.0) for c in (1, 2)]
    model = train(made.write(tmp_path / "profile.jsonl", kept), rounds=60)
    assert model.card.scores["kernel"]["priced sum"].mape < 0.02
    huge = [counted(n, 50.0) for n in range(20)]
    prior = prior_of(huge, [4] * 20, [1] * 20, model.device)
    features, amounts = alone_features(huge, [4] * 20, [1] * 20, prior, model.device, [[0.0] * 20] * 4)
    found, inside = model.kernel.seconds(features, amounts, prior.seconds)
    assert not inside.any()
    assert np.allclose(found, [seconds(f, 4, 1) for f in huge], rtol=0.05)


def test_the_facts_give_the_prior_that_the_graph_gives() -> None:
    graph = random_graph(5, tenants=3, operators=20)
    device = cpu(4)
    facts = graph_facts(graph)
    rows = [(o.index, graph.tenants[o.tenant].batch, c) for o in graph.operators for c in (1, 2, 4)]
    expected = AnalyticPrior().estimate(graph, device, rows)
    found = prior_of([facts[o] for o, _, _ in rows], [i for _, i, _ in rows], [c for _, _, c in rows], device)
    assert np.allclose(found.seconds, expected.seconds) and np.allclose(found.width, expected.width)


def test_kernels_unlike_the_data_take_the_typical_ratio_and_are_counted(model: LearnedModel) -> None:
    graph = make_graph({"a": (4, [Layer("huge", 1e15, 1 << 34, 1 << 30), Layer("odd", 1.0, 16, 0, inputs=(0,))])})
    cost = LearnedCost(model)
    rows = [(0, 4, 1), (1, 4, 1)]
    seconds = cost.estimate(graph, model.device, rows).seconds
    prior = prior_of(graph_facts(graph), [4, 4], [1, 1], model.device).seconds
    assert np.allclose(seconds, prior * np.exp(model.kernel.typical))
    assert cost.sources["kernels by the prior"] == 2 and cost.sources["kernels learned"] == 0


def test_rows_asked_for_together_are_predicted_as_each_by_itself(model: LearnedModel) -> None:
    graph = random_graph(5, tenants=3, operators=12)
    rows = [(o.index, i, c) for o in graph.operators for c in (2, 1) for i in {1, graph.tenants[o.tenant].batch}]
    shuffled = [*rows, *rows[::-2], rows[0], rows[0]]
    found = LearnedCost(model, any_device=True).estimate(graph, model.device, shuffled)
    for n, row in enumerate(shuffled):
        single = LearnedCost(model, any_device=True).estimate(graph, model.device, [row])
        assert [v[n] for v in (found.seconds, found.width, found.bandwidth)] == pytest.approx(
            [v[0] for v in (single.seconds, single.width, single.bandwidth)]
        )


def test_another_device_is_refused_unless_asked_for(model: LearnedModel) -> None:
    graph = random_graph(1, tenants=2, operators=6)
    other = cpu(4)
    with pytest.raises(DeviceError, match="any_device"):
        LearnedCost(model).estimate(graph, other, [(0, 1, 1)])
    assert LearnedCost(model, any_device=True).estimate(graph, other, [(0, 1, 1)]).seconds[0] > 0


def test_a_model_is_found_by_its_device_and_nothing_else(model: LearnedModel, tmp_path: Path) -> None:
    model.save(tmp_path / model.device.name / "model.json")
    found, where = find_model(model.device, [tmp_path])
    assert found is not None and found.hash == model.hash and where.endswith("model.json")
    assert find_model(cpu(16), [tmp_path])[0] is None
    other = dataclasses.replace(model.device, name="another")
    found, why = find_model(other, [tmp_path / model.device.name])
    assert found is None and model.device.name in why
    (tmp_path / model.device.name / "model.json").write_text("{")
    found, why = find_model(model.device, [tmp_path])
    assert found is None and "is no cost model" in why


def test_models_of_other_features_or_with_broken_trees_are_refused(model: LearnedModel, tmp_path: Path) -> None:
    path = model.save(tmp_path / "model.json")
    content = json.loads(path.read_text())
    for key, value, word in (("features", ["x"], "other features"), ("trees", {"learner": 1}, "trees"), ("low", [0], "ranges")):
        broken = {**content, "kernel": {**content["kernel"], key: value}}
        path.write_text(made.resealed(broken))
        with pytest.raises(LogError, match=word):
            load_model(path)


def test_too_little_data_is_refused_with_what_is_missing(tmp_path: Path) -> None:
    path = made.write(tmp_path / "a.jsonl", made.rows(kernels=6, models=3, sets=2, groups=5))
    with pytest.raises(LogError, match=rf"{LEAST.alone - 48} more kernel.*1 more models.*190 more group.*1 more tenant sets"):
        train(path)
    with pytest.raises(LogError, match="no session"):
        empty = tmp_path / "b.jsonl"
        empty.write_text("")
        train(empty)


def test_data_of_two_devices_needs_one_named(tmp_path: Path) -> None:
    rows = made.rows()
    other = msgspec.structs.replace(rows[0], x="s2", device=cpu(8))
    path = made.write(tmp_path / "a.jsonl", [*rows, other])
    with pytest.raises(LogError, match="several devices"):
        train(path)
    assert train(path, device=made.DEVICE.name, rounds=10).device.name == made.DEVICE.name
    with pytest.raises(LogError, match="no measurements of device 'x'"):
        train(path, device="x")


def test_groups_share_as_the_simulator_shares() -> None:
    rng = np.random.default_rng(0)
    device = dataclasses.replace(cpu(2), oversubscription_loss=0.1)
    some = made.facts(0)
    for _ in range(50):
        count = int(rng.integers(2, 4))
        seconds = rng.uniform(1e-4, 1e-3, count)
        width = rng.choice([1.0, 2.0], count)
        demand = rng.uniform(0, 0.8, count) * device.bandwidth
        members = Members(
            [0] * count, [1] * count, seconds, range(count), [some] * count, [4] * count, [1] * count, seconds, width, demand
        )  # fmt: skip
        together, last = phases(members, device)
        program = Program(
            seconds.tolist(), width.tolist(), demand.tolist(), list(range(count)), [0] * count, [0] * count,
            list(range(count)), [0] * count, {}, [[n] for n in range(count)], [count], [0] * count, 1,
        )  # fmt: skip
        options = {"leftover": False, "sync_seconds": 0.0, "tenants": 1, "loss": device.oversubscription_loss}
        plain = execute(program, device.units, device.bandwidth, **options).makespan
        assert group_seconds(together, last, 0.0)[0] == pytest.approx(plain)
        if count == 2:
            rough = execute(program, device.units, device.bandwidth, friction=[[0.0, 0.3], [0.3, 0.0]], **options).makespan
            assert group_seconds(together, last, 0.3)[0] == pytest.approx(rough)
            assert friction_of(np.array([rough]), together, last)[0] == pytest.approx(0.3)


def test_the_order_of_a_groups_streams_does_not_matter() -> None:
    kernels = [made.facts(n) for n in range(3)]

    def features(order: list[int]) -> np.ndarray:
        return group_features(
            Members(
                [0] * 3, [1] * 3, [1e-3 * (n + 1) for n in order], range(3), [kernels[n] for n in order], [4] * 3,
                [n + 1 for n in order], [1e-3 * (n + 1) for n in order], [1.0] * 3, [1e9 * (n + 1) for n in order],
            ),
            made.DEVICE,
        )  # fmt: skip

    assert np.allclose(features([0, 1, 2]), features([2, 0, 1]))


def test_a_stream_is_the_mean_of_its_kernels_over_the_time_they_take() -> None:
    one, other = made.facts(1), made.facts(2)

    def members(*runs: tuple[Facts, float, float]) -> Members:
        facts, seconds, width = zip(*runs)
        count = len(runs)
        return Members(
            [0], [1], [sum(seconds)], [0] * count, facts, [4] * count, [1] * count, seconds, width, [0.0] * count
        )  # fmt: skip

    assert members((one, 3e-3, 2.0), (other, 1e-3, 1.0)).width == pytest.approx([1.75])
    table, names = member_table(members((one, 3e-3, 2.0), (other, 1e-3, 1.0)), made.DEVICE)
    alone = [member_table(members((f, 1e-3, 1.0)), made.DEVICE)[0][0, names.index("points")] for f in (one, other)]
    assert table[0, names.index("points")] == pytest.approx(0.75 * alone[0] + 0.25 * alone[1])
    assert table[0, names.index("whole")] == 4e-3


def test_friction_between_operators_is_symmetric_and_reaches_the_simulator(model: LearnedModel) -> None:
    graph = random_graph(4, tenants=2, operators=8)
    cost = LearnedCost(model)
    assert isinstance(cost, Cost) and isinstance(cost, InterferingCost)
    pairs = cost.interference(graph, model.device)
    assert pairs.shape == (len(graph.operators),) * 2
    assert np.array_equal(pairs, pairs.T) and (pairs >= 0).all()

    class Rough(LearnedCost):
        def interference(self, graph, device):  # type: ignore[no-untyped-def]
            return np.full((len(graph.operators),) * 2, 0.5)

    schedule = make.parallel(graph, model.device.name, model.device.cores)
    smooth = Simulator(graph, model.device, cost).score(schedule).makespan
    assert Simulator(graph, model.device, Rough(model)).score(schedule).makespan > smooth


def test_a_model_tells_makespans_apart_the_better_the_more_kernels_share_them(model: LearnedModel) -> None:
    group, cost = model.card.scores["group"]["learned"].mape, LearnedCost(model)
    one, many = (random_graph(3, tenants=1, operators=n, batch=4) for n in (1, 40))
    alone = cost.resolution(one, model.device)
    assert alone == pytest.approx(np.sqrt(2 * model.error**2 + group**2))
    assert group < cost.resolution(many, model.device) < alone


def test_measured_times_stand_and_the_friction_is_the_models(model: LearnedModel) -> None:
    graph = random_graph(4, tenants=2, operators=8)
    learned = LearnedCost(model)
    cost = MeasuredAndLearned({(0, graph.tenants[0].batch, 1): 0.123}, learned)
    assert cost.estimate(graph, model.device, [(0, graph.tenants[0].batch, 1)]).seconds[0] == 0.123
    assert np.array_equal(cost.interference(graph, model.device), learned.interference(graph, model.device))
    assert "held-out error" in cost.name


def test_a_search_names_the_model_and_its_error(model: LearnedModel) -> None:
    graph = random_graph(2, tenants=2, operators=6)
    result = search(graph, model.device, LearnedCost(model), evaluations=50, time_budget_s=None)
    assert "held-out error" in result.as_text() and f"learned:{model.hash}" in result.as_text()


def test_features_hold_no_names(log: Path) -> None:
    data = read_rows(log)
    facts = list(data.kernels.values())[:5]
    prior = prior_of(facts, [4] * 5, [1] * 5, made.DEVICE)
    table, amounts = alone_features(facts, [4] * 5, [1] * 5, prior, made.DEVICE, [[1.0] * 5] * 4)
    assert amounts.shape == (5, len(PRICED))
    assert table.shape == (5, len(ALONE_NAMES)) and np.isfinite(table).all()
    assert not any(isinstance(v, str) for f in facts for v in msgspec.structs.astuple(f))
