"""Schedules and kernels prepared without a GPU, and a suite that uses them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

pytest.importorskip("torch", reason="PyTorch is not installed")

from gacer_tvm._tvm import tvm
from gacer_tvm.bench import gpu, gpu_prepare, gpu_schedules, gpu_ways
from gacer_tvm.bench.gpu_bench import Bench
from gacer_tvm.bench.gpu_correct import random_schedules
from gacer_tvm.bench.gpu_profile import profile
from gacer_tvm.bench.gpu_results import Results
from gacer_tvm.bench.gpu_summary import cells, summary
from gacer_tvm.cost import AnalyticPrior, Device, RecordedCost
from gacer_tvm.cost.of_target import device_called
from gacer_tvm.errors import DeviceError, ScheduleError
from gacer_tvm.executable import choose as choose_module
from gacer_tvm.kernels.library import KernelLibrary
from gacer_tvm.kernels.target import make_target
from gacer_tvm.plan import lower
from gacer_tvm.schedule import Schedule

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("schedules")


@pytest.fixture
def prepared(bench: Bench, folder: Path) -> gpu_schedules.Prepared:
    """Of the small set at the suite's batch of correctness; kept between tests as between runs."""
    return gpu_prepare.prepare(bench, folder, "small", "float32", 8, seconds=0.3, randoms=2)


def no_search(*_: Any, **__: Any) -> Any:
    raise AssertionError("the schedules were prepared: nothing is to be searched for")


def test_what_is_prepared_is_read_back_and_kept(
    bench: Bench, folder: Path, prepared: gpu_schedules.Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert gpu_schedules.read(folder / "small-float32-b8.json") == prepared
    assert set(prepared.ways) == {"d", "e", "f"} and all(prepared.ways.values())
    assert (prepared.device, prepared.cost) == ("nvidia-h200", "analytic prior")
    assert not any(tenant.splits for schedule in prepared.ways["e"] for tenant in schedule.tenants)
    monkeypatch.setattr(gpu_prepare, "search", no_search)
    said: list[str] = []
    again = gpu_prepare.prepare(bench, folder, "small", "float32", 8, randoms=2, say=said.append)
    assert again == prepared and said[0] == "schedules of small-float32-b8.json kept: analytic prior"
    assert said[1].startswith("0 kernels compiled")


def test_every_kernel_of_the_units_is_in_the_store(bench: Bench, prepared: gpu_schedules.Prepared) -> None:
    graph, library = bench.lowered(bench.models("small", 8, "float32"))
    schedules = [*random_schedules(bench, graph, 8, 2), *(s for found in prepared.ways.values() for s in found)]
    assert library.ensure({at for schedule in schedules for at in lower(schedule, graph).kernels}) == 0
    divisible = [o.index for o in graph.operators if o.chunking.divisible]
    assert divisible and library.ensure((number, items) for number in divisible for items in (8, 4, 2, 1, 3, 5)) == 0
    assert isinstance(library, KernelLibrary) and library.compiled == 0


def test_the_suite_takes_prepared_schedules(
    bench: Bench, folder: Path, prepared: gpu_schedules.Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_ways, "search", no_search)
    monkeypatch.setattr(choose_module, "search", no_search)
    monkeypatch.setattr(choose_module, "measure_alone", no_search)
    monkeypatch.setattr(gpu_ways.Ways, "_alone", no_search)
    place = replace(bench, schedules=folder)
    results = Results(tmp_path)
    gpu.run_unit(lambda: place, results, "table/float32/b8/small", 600.0, rehearse=True, without="i")
    assert set(cells(results)["float32", 8, "small"]) == set("abcdefgh"), list(results.lines("failed"))
    used = {line["way"]: line for line in results.lines("schedule")}
    for way in ("d", "e"):
        assert msgspec.convert(used[way]["schedule"], Schedule, strict=False) in prepared.ways[way]
    assert "search: schedules found beforehand" in used["f"]["decision"]
    assert "measured sequential" in used["f"]["decision"] and "measured parallel" in used["f"]["decision"]
    gpu.run_unit(lambda: place, results, "correct/float32/small", 600.0, randoms=2)
    assert [line["schedule"] for line in results.lines("correct") if line["ok"]][2] == "auto"
    assert [line["ways"] for line in results.lines("prepared")] == [{way: len(s) for way, s in prepared.ways.items()}] * 2
    assert not list(results.lines("note"))


def test_schedules_of_other_models_or_devices_are_refused_with_a_note(
    bench: Bench, folder: Path, prepared: gpu_schedules.Prepared, tmp_path: Path
) -> None:
    graph, _ = bench.lowered(bench.models("small", 8, "float32"))
    path = tmp_path / "small-float32-b8.json"
    results = Results(tmp_path / "out")
    place = replace(bench, schedules=tmp_path)

    def reason() -> str:
        assert gpu_schedules.prepared_ways(place, results, "unit", graph, "small", "float32", 8) == {}
        return str(list(results.lines("note"))[-1]["note"])

    assert reason() == "searched here: small-float32-b8.json: no schedules prepared (No such file or directory)"
    foreign = {way: tuple(s.replace(graph="0123") for s in found) for way, found in prepared.ways.items()}
    gpu_schedules.write(msgspec.structs.replace(prepared, graph="0123", ways=foreign), path)
    assert "searched here: small-float32-b8.json: schedule was made for graph 0123, these tenants are graph" in reason()
    gpu_schedules.write(prepared, path)
    assert gpu_schedules.prepared_ways(place, results, "unit", graph, "small", "float32", 8) == prepared.ways
    place = replace(place, device=Device.named("nvidia-h100"))
    assert "made for device 'nvidia-h200', expected 'nvidia-h100'" in reason()
    path.write_text("[]")
    assert "expected schedules as gpu_prepare writes them" in reason()
    with pytest.raises(ScheduleError):
        gpu_schedules.read(path)
    assert "- searched here: small-float32-b8.json" in summary(results)


def test_measurements_of_the_cell_are_the_cost_model(bench: Bench, tmp_path: Path) -> None:
    profile(bench, Results(tmp_path), "profile", "small", "float32", 4, seconds=600.0, schedules=0)
    lines = [json.loads(text) for text in (tmp_path / "measurements.jsonl").read_text().splitlines()]
    graph, _ = bench.lowered(bench.models("small", 4, "float32"))
    cost, told = gpu_prepare.measured_cost(graph, bench.device, lines, "small", "float32", 4)
    assert isinstance(cost, RecordedCost)
    alone = [line for line in lines if line["kind"] == "alone"]
    assert told == f"{len(alone)} operators and sizes measured on nvidia-h200, the rest by the prior"
    index = {operator.name: operator.index for operator in graph.operators}
    rows = [(index[line["operator"]], line["items"], None) for line in alone]
    medians = [max(sorted(line["seconds"])[len(line["seconds"]) // 2], 1e-7) for line in alone]
    assert cost.estimate(graph, bench.device, rows).seconds == pytest.approx(medians)
    for change in ({"device": "nvidia-a100"}, {"operator": "nobody/0_add"}, {"batch": 8}):
        other, told = gpu_prepare.measured_cost(
            graph, bench.device, [{**line, **change} for line in lines], "small", "float32", 4
        )
        assert isinstance(other, AnalyticPrior) and told.startswith("analytic prior")
        assert ("nvidia-a100 do not count" in told) == ("device" in change)
        assert ("do not have" in told) == ("operator" in change)


def test_without_the_cuda_runtime_nothing_is_prepared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tvm.runtime, "enabled", lambda kind: False)
    with pytest.raises(DeviceError, match=r"needs libcuda\.so\.1 and libcudart\.so\.13 to load"):
        gpu_prepare.preparing_bench(str(tmp_path), "nvidia-h100")
    with pytest.raises(SystemExit) as ended:
        gpu_prepare.main(["--out", str(tmp_path), "--cache", str(tmp_path)])
    assert ended.value.code == 1 and "LD_LIBRARY_PATH" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "arch", "model"),
    [
        ("NVIDIA H100 80GB HBM3", "sm_90", "nvidia-h100"),
        ("NVIDIA H200", "sm_90", "nvidia-h200"),
        ("NVIDIA A100-SXM4-80GB", "sm_80", "nvidia-a100"),
        ("Tesla V100-SXM2-16GB", "sm_70", "nvidia-v100"),
        ("NVIDIA TITAN V", "sm_70", "nvidia-titan-v"),
        ("something new", "sm_90", "nvidia-h200"),
    ],
)
def test_a_device_is_known_by_its_name(name: str, arch: str, model: str) -> None:
    assert device_called(name, make_target(arch)).name == model
