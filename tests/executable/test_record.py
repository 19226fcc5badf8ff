"""What a build measures flows back as data: rows that a model learns from, predictions beside makespans; never unasked."""

from __future__ import annotations

import multiprocessing
import re
from types import SimpleNamespace

import msgspec
import pytest

import gacer_tvm
from gacer_tvm.bench.compare import compare
from gacer_tvm.cli import main
from gacer_tvm.cost import AnalyticPrior, Device
from gacer_tvm.cost.assess import news
from gacer_tvm.cost.footprint import distances
from gacer_tvm.cost.learned import load_model
from gacer_tvm.cost.predicted import LearnedCost, MeasuredAndLearned
from gacer_tvm.cost.rows import kernel_key, read_rows
from gacer_tvm.cost.train import train
from gacer_tvm.errors import LogError
from gacer_tvm.executable.build import assemble, lower_tenants
from gacer_tvm.executable.record import FILE, Recorder, cost_name, schedule_hash
from gacer_tvm.schedule import Provenance, make

from ..cost import made

QUICK = {"search_seconds": 0.3, "measure_seconds": 0.3}


@pytest.fixture(scope="module")
def lowered(modules, cache):
    return lower_tenants(modules, cache=cache)


@pytest.fixture
def place(lowered, tmp_path):
    """A device's folder with a learned model in it."""
    model = train(made.write(tmp_path / "data" / "profile.jsonl", made.rows(device=lowered[2])), rounds=10)
    model.save(tmp_path / "data" / "model.json")
    return tmp_path / "data"


def test_a_build_keeps_every_way_it_measured_under_every_model(lowered, place):
    device = lowered[2]
    with assemble(*lowered, "auto", record=place, **QUICK) as executable:
        decision = executable.decision
        text = executable.recorder.as_text()
    data = read_rows(place / FILE)
    assert not data.skipped
    (session,) = data.sessions.values()
    assert session.device.name == device.name and session.processor and session.versions["tvm"]
    assert {r.way for r in data.planned} == set(decision.measured)
    learned = f"learned:{load_model(place / 'model.json').hash}"
    assert {r.model for r in data.planned} == {"prior", learned, f"measured+{learned}"}
    assert {r.set for r in data.planned} == {"ranker+vision"}
    for row in data.planned:
        q = decision.measured[row.way]
        assert row.measured == pytest.approx(q.median * 1e6, abs=0.01)
        assert row.low <= row.measured <= row.high and row.n == len(q.seconds) and row.load >= 0
        assert (row.err > 0) == ("learned" in row.model)
    # The search's own prediction of the plain ways stands beside what was measured.
    for way, score in decision.search.baselines.items():
        (row,) = [r for r in data.planned if r.way == way and r.model.startswith("measured")]
        assert row.predicted == pytest.approx(score.makespan * 1e6, rel=1e-3)
    assert len({r.plan for r in data.planned}) == len(decision.measured)
    assert re.search(rf"{len(data.alone)} kernel measurements and {len(data.planned)} predictions", text)


def test_the_kernels_it_measured_are_data_for_training(lowered, place):
    graph, library, device = lowered
    before = train(place, rounds=10)
    with assemble(*lowered, "auto", record=place, **QUICK):
        pass
    data = read_rows(place)
    rows = [r for r in data.alone if r.source == "build"]
    keys = {kernel_key(library, o.index, graph.tenants[o.tenant].batch) for o in graph.operators}
    assert {r.k for r in rows} == keys and {r.c for r in rows} == {1, device.units}
    assert all(r.n >= 7 and r.s[0] <= r.s[1] <= r.s[2] <= r.s[3] for r in rows)
    assert set().union(*(data.owners[k] for k in keys)) == {"vision", "ranker"}
    # Like the profile's rows they tell the set, what a round of it touches, and what their kernels execute.
    away = {d.weights for d in distances(graph)}
    assert {r.set for r in rows} == {"ranker+vision"} and 0 < max(r.w for r in rows) <= max(away)
    assert all(data.kernels[k].counted for k in keys)
    assert len(news(before, data).alone) == len(rows)
    assert train(place, rounds=10).card.sources == {"profile": 320, "build": len(rows)}
    # A second build adds measurements, but no facts that are there already.
    with assemble(*lowered, "auto", record=place, **QUICK):
        pass
    again = read_rows(place)
    assert len([r for r in again.alone if r.source == "build"]) == 2 * len(rows)
    assert (place / FILE).read_text().count('"t":"k"') == len(keys)
    assert train(place, rounds=10).card.sources == {"profile": 320, "build": len(rows)}


def test_a_benchmark_is_kept_too_and_only_where_asked(modules, lowered, cache, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with gacer_tvm.build(modules, schedule="parallel", cache=cache, record=tmp_path / "d") as executable:
        timed = executable.benchmark(repeats=5, warmup=1)
    (row,) = read_rows(tmp_path / "d").planned
    assert (row.model, row.way, row.n) == ("prior", "parallel", 5)
    assert row.measured == pytest.approx(timed.median * 1e6, abs=0.01)
    graph, _, device = lowered
    assert row.plan == schedule_hash(make.parallel(graph, device.name, device.cores))
    with gacer_tvm.build(modules, cache=cache, **QUICK) as executable:
        executable.benchmark(repeats=3)
    assert {p.name for p in tmp_path.iterdir()} == {"d"}


def test_nothing_measured_is_said(lowered, tmp_path):
    with assemble(*lowered, "auto", record=tmp_path / "d", measure=False, **QUICK) as executable:
        assert "nothing was measured" in executable.recorder.as_text()
    data = read_rows(tmp_path / "d")
    assert not data.planned and not data.alone


def test_a_comparison_keeps_the_ways_it_compared(modules, cache, tmp_path):
    result = compare(modules, cache=cache, repeats=3, search_seconds=0.3, record=tmp_path / "d")
    assert "added to" in result.as_text()
    assert {"sequential", "parallel", "gacer"} <= {r.way for r in read_rows(tmp_path / "d").planned}


def test_another_devices_folder_is_refused_before_anything_is_searched(lowered, tmp_path):
    graph, library, device = lowered
    made.write(tmp_path / "profile.jsonl", made.rows(kernels=2, models=2, sets=1, groups=1))
    with pytest.raises(LogError, match=r"holds measurements of made-up, this is .*folder of its own"):
        assemble(graph, library, device, "auto", record=tmp_path, **QUICK)
    (tmp_path / "file").write_text("x")
    with pytest.raises(LogError, match="cannot be written"):
        Recorder(tmp_path / "file" / "d", graph, library, device)


def test_a_schedule_is_known_by_what_it_does(lowered):
    graph, _, device = lowered
    plain = make.sequential(graph, device.name)
    told = plain.replace(provenance=Provenance(strategy="other", seed=7, measured_seconds=1.0))
    assert schedule_hash(plain) == schedule_hash(told)
    assert schedule_hash(plain) != schedule_hash(make.parallel(graph, device.name, device.cores))


def test_models_are_named_without_their_error(place):
    learned = LearnedCost(place / "model.json")
    assert cost_name(learned) == f"learned:{learned.model.hash}"
    assert cost_name(MeasuredAndLearned({}, learned)) == f"measured+learned:{learned.model.hash}"
    assert cost_name(AnalyticPrior()) == "prior"


def _record(path, lowered, times):
    graph, library, device = lowered
    for _ in range(times):
        recorder = Recorder(path, graph, library, device)
        recorder.alone({(0, graph.tenants[0].batch, 1): [1e-4, 2e-4]})


def test_two_builds_may_record_into_one_file(lowered, tmp_path):
    lowered[1].key(0, lowered[0].tenants[0].batch)
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_record, args=(tmp_path / "d.jsonl", lowered, 20)) for _ in range(2)]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        if (tmp_path / "d.jsonl").exists():
            assert not read_rows(tmp_path / "d.jsonl").skipped
    for writer in writers:
        writer.join()
    data = read_rows(tmp_path / "d.jsonl")
    assert len(data.alone) == 40 and len(data.sessions) == 40 and not data.skipped


def test_the_command_line_records(tmp_path, capsys, monkeypatch):
    from gacer_tvm import relay
    from gacer_tvm.relay import testing

    monkeypatch.setenv("GACER_TVM_CACHE", str(tmp_path / "kernels"))
    files = []
    for name, size in (("left", 8), ("right", 6)):
        module, params = testing.mlp.get_workload(2, image_shape=(1, size, size))
        (tmp_path / f"{name}.relay").write_text(relay.astext(module))
        (tmp_path / f"{name}.params").write_bytes(relay.save_params(params))
        files += [str(tmp_path / f"{name}.relay"), "--params", f"{name}={tmp_path / name}.params"]
    ordered = [f for f in files if f.endswith(".relay")] + [f for f in files if not f.endswith(".relay")]
    out = tmp_path / "data"
    for command in ("build", "search", "bench"):
        before = len(read_rows(out).planned) if out.exists() else 0
        assert main([command, *ordered, "--seconds", "0.3", "--record", str(out)]) == 0
        assert f"added to {out / FILE}" in capsys.readouterr().out
        assert len(read_rows(out).planned) > before
    assert Device.host_cpu().name in {s.device.name for s in read_rows(out).sessions.values()}


def test_a_damaged_place_is_added_to_and_another_processors_is_refused(lowered, tmp_path):
    path = tmp_path / "d" / FILE
    path.parent.mkdir()
    path.write_bytes(b'{"t":"a","x":"s1"}\n\xff\xfe\nnot a row\n{"t":"k","k":"00')
    with assemble(*lowered, "auto", record=tmp_path / "d", **QUICK) as executable:
        assert "added to" in executable.recorder.as_text()
    data = read_rows(tmp_path / "d")
    assert sum(data.skipped.values()) == 4 and data.first["corrupted"].line == 1 and data.planned and data.alone
    rows = made.rows(kernels=2, models=2, sets=1, groups=1, device=lowered[2])
    made.write(tmp_path / "e" / FILE, [msgspec.structs.replace(rows[0], processor="Another CPU"), *rows[1:]])
    with pytest.raises(LogError, match=r"measurements of Another CPU, this is .*every machine a folder of its own"):
        Recorder(tmp_path / "e", *lowered)


def test_a_kernel_that_several_operators_share_is_one_row_of_its_mean(lowered, tmp_path):
    graph, library, device = lowered
    recorder = Recorder(tmp_path / "d", graph, library, device)
    batch = graph.tenants[0].batch
    recorder.alone({(0, batch, 1): [1e-4, 2e-4, 3e-4]})
    recorder.library = SimpleNamespace(key=lambda operator, items, cores: "0123456789abcdef", counts=library.counts)
    recorder.alone({(0, batch, 1): [1e-4, 2e-4, 3e-4], (1, batch, 1): [3e-4, 2e-4, 1e-4]})
    first, second = read_rows(tmp_path / "d").alone
    # Deciles and quartile of three rounds, half-way values interpolated.
    assert first.s == pytest.approx((120.0, 150.0, 200.0, 280.0)) and first.n == 3
    assert second.s == (200.0,) * 4 and second.n == 3
