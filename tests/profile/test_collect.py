"""Profiling: a real profile of two tiny models on this CPU, resumed and interrupted; and what is selected."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from gacer_tvm.profile.cpu import Buffers, CpuBench, Job

from gacer_tvm import progress, relay
from gacer_tvm.cli import main
from gacer_tvm.cost import Device
from gacer_tvm.cost.facts import graph_facts
from gacer_tvm.cost.learned import load_model
from gacer_tvm.cost.rows import read_rows
from gacer_tvm.cost.train import train
from gacer_tvm.errors import DeviceError, TenantError
from gacer_tvm.executable.build import assemble, lower_tenants
from gacer_tvm.graph.synthetic import random_graph
from gacer_tvm.profile import SUITE, collect, suite_tenants
from gacer_tvm.profile.select import budgets, chunks_of, groups_of, in_turn
from gacer_tvm.relay import testing

from ..cost import made
from ..models import branches, convnet

QUICK = {"most_alone": 24, "most_groups": 6, "repeats": 2}


@pytest.fixture(scope="module")
def lowered(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any, Any]:
    tenants = {"net": convnet(batch=2), "other": branches(batch=2)}
    return lower_tenants(tenants, "cpu", cache=tmp_path_factory.mktemp("kernels"))


def test_a_real_profile_has_rows_of_both_kinds_and_never_measures_twice(lowered: Any, tmp_path: Path) -> None:
    graph, library, device = lowered
    first = collect(graph, library, device, tmp_path, **QUICK)
    data = read_rows(tmp_path)
    assert first.alone > 0 and first.groups > 0 and first.failures == 0
    assert not data.skipped and data.devices() == (device.name,)
    assert len([r for r in data.alone if not r.again]) == first.alone
    assert {m for owners in data.owners.values() for m in owners} == {"net", "other"}
    assert {r.set for r in data.groups} == {"net+other"}
    for group in data.groups:
        assert len({m.k for m in group.g}) == len(group.g) == 2
        assert group.s[0] >= 0.5 * min(m.alone for m in group.g)
        assert group.s[0] == pytest.approx(max(m.end for m in group.g), abs=0.02)
    assert data.noise and data.kernels == {k: f for k, f in data.kernels.items() if f in graph_facts(graph)}
    before = (tmp_path / "profile.jsonl").read_text()
    second = collect(graph, library, device, tmp_path, **QUICK)
    added = (tmp_path / "profile.jsonl").read_text()[len(before) :].splitlines()
    assert (second.alone, second.groups, second.known) == (0, 0, first.alone + first.groups)
    assert len(added) == 1 and '"t":"session"' in added[0]
    assert all(n == 1 for n in Counter((r.k, r.i, r.c) for r in read_rows(tmp_path).alone if not r.again).values())


def test_what_was_interrupted_is_continued(lowered: Any, tmp_path: Path) -> None:
    graph, library, device = lowered

    class Stop:
        def start(self, task: str, total: int | None) -> str:
            return task

        def advance(self, handle: str, steps: int, note: str) -> None:
            if handle.startswith("groups"):
                raise KeyboardInterrupt

        def finish(self, handle: str) -> None:
            return None

    with progress.listen(Stop()):
        cut = collect(graph, library, device, tmp_path, **QUICK)
    assert cut.stopped_by == "interrupted" and cut.alone > 0 and 0 < cut.groups < 6
    rest = collect(graph, library, device, tmp_path, **QUICK)
    assert rest.stopped_by == "finished"
    assert (rest.alone, rest.groups, rest.known) == (0, 6 - cut.groups, cut.alone + cut.groups)


def test_no_time_measures_nothing(lowered: Any, tmp_path: Path) -> None:
    graph, library, device = lowered
    result = collect(graph, library, device, tmp_path, seconds=0.0, **QUICK)
    assert result.alone == result.groups == 0 and "up" in result.stopped_by


def test_a_gpu_is_refused(lowered: Any, tmp_path: Path) -> None:
    graph, library, _ = lowered
    with pytest.raises(DeviceError, match="nvidia-h200"):
        collect(graph, library, Device.named("nvidia-h200"), tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_bench_runs_what_it_is_told_and_hands_errors_on(lowered: Any) -> None:
    graph, library, _ = lowered
    calls: Counter[str] = Counter()

    def fail() -> None:
        raise ValueError("bad kernel")

    with CpuBench() as bench:
        whole, ends = bench.run([Job(lambda: calls.update("a"), (), 1, 5), Job(lambda: calls.update("b"), (), 2, 3)])
        assert calls == {"a": 5, "b": 3}
        assert whole == max(ends) > 0
        with pytest.raises(ValueError, match="bad kernel"):
            bench.run([Job(fail, (), 1)])
        job = Buffers(graph).job(library, 0, graph.tenants[0].batch, 1)
        assert bench.run([job])[0] > 0


def test_strata_take_turns() -> None:
    order = in_turn([("a", n) for n in range(50)] + [("b", 0), ("c", 0)], lambda item: item[0])
    assert {kind for kind, _ in order[:3]} == {"a", "b", "c"} and sorted(order) == sorted(set(order)) and len(order) == 52
    assert order == in_turn([("a", n) for n in range(50)] + [("b", 0), ("c", 0)], lambda item: item[0])


def test_every_kernel_at_every_legal_chunk_size_is_offered_once() -> None:
    graph = random_graph(3, tenants=3, operators=10, batch=4)
    found = chunks_of(graph, graph_facts(graph))
    legal = {
        (o.kernel, graph.tenants[o.tenant].batch, items)
        for o in graph.operators
        for items in (range(1, graph.tenants[o.tenant].batch + 1) if o.chunking.divisible else (graph.tenants[o.tenant].batch,))
    }
    offered = [(graph.operators[o].kernel, graph.tenants[graph.operators[o].tenant].batch, i) for o, i in found]
    assert len(offered) == len(legal) and set(offered) == legal


def test_groups_are_of_different_tenants_and_cover_sizes_and_budgets() -> None:
    graph = random_graph(3, tenants=3, operators=10, batch=4)
    facts = graph_facts(graph)
    groups = groups_of(graph, facts, chunks_of(graph, facts), 4, 200)
    assert len(groups) == len(set(groups)) == 200
    assert {len(g) for g in groups} == {2, 3}
    assert all(len({graph.operators[o].tenant for o, _, _ in g}) == len(g) for g in groups)
    for size in (2, 3):
        seen = {tuple(sorted(c for _, _, c in g)) for g in groups if len(g) == size}
        assert seen == {tuple(sorted(b)) for b in budgets(4, size)}


def test_the_suite_has_twelve_architectures_and_refuses_other_names() -> None:
    assert len({name for members in SUITE.values() for name, _, _ in members}) >= 12
    with pytest.raises(TenantError, match="'z'"):
        suite_tenants("z")


def test_profile_and_train_on_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GACER_TVM_CACHE", str(tmp_path / "kernels"))
    files = []
    for name, size in (("left", 8), ("right", 6)):
        module, params = testing.mlp.get_workload(2, image_shape=(1, size, size))
        (tmp_path / f"{name}.relay").write_text(relay.astext(module))
        (tmp_path / f"{name}.params").write_bytes(relay.save_params(params))
        files += [str(tmp_path / f"{name}.relay"), "--params", f"{name}={tmp_path / name}.params"]
    ordered = [f for f in files if f.endswith(".relay")] + [f for f in files if not f.endswith(".relay")]
    out = tmp_path / "data"
    assert main(["profile", *ordered, "--out", str(out), "--alone", "8", "--groups", "3", "--repeats", "2"]) == 0
    assert "3 group measurements added" in capsys.readouterr().out
    assert main(["profile", "--out", str(out)]) == 2
    assert main(["train", str(out)]) == 2
    assert "too little data" in capsys.readouterr().err
    made.write(tmp_path / "made" / "profile.jsonl", made.rows())
    assert main(["train", str(tmp_path / "made"), "--rounds", "20", "--evaluate"]) == 0
    assert not (tmp_path / "made" / "model.json").exists()
    assert main(["train", str(tmp_path / "made"), "--rounds", "20"]) == 0
    printed = capsys.readouterr().out
    assert "tenant sets held out whole" in printed and "nearest" in printed
    assert load_model(tmp_path / "made" / "model.json").device.name == made.DEVICE.name


def test_a_build_takes_the_model_that_lies_beside_its_logs_and_says_so(
    lowered: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph, library, device = lowered
    monkeypatch.chdir(tmp_path)
    options = {"search_seconds": 0.2, "measure_seconds": 0.2}
    with assemble(graph, library, device, "auto", measure=False, **options) as executable:
        assert "cost model: prior; no model.json" in executable.report().as_text()
    model = train(made.write(tmp_path / "profile.jsonl", made.rows(device=device)), rounds=20)
    model.save(tmp_path / "tuning_logs" / device.name / "model.json")
    for measure in (False, True):
        with assemble(graph, library, device, "auto", measure=measure, **options) as executable:
            text = executable.report().as_text()
            assert f"learned:{model.hash}, held-out error" in text and "model.json" in text
            assert f"learned:{model.hash}" in executable.decision.search.cost_model
