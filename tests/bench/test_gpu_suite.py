"""The GPU suite without a GPU: its units on a simulated device, its supervision with processes that crash and hang."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from gacer_tvm.bench import gpu  # noqa: E402
from gacer_tvm.bench.gpu_bench import Bench  # noqa: E402
from gacer_tvm.bench.gpu_profile import profile  # noqa: E402
from gacer_tvm.bench.gpu_results import OutOfTime, Results  # noqa: E402
from gacer_tvm.bench.gpu_summary import cells, summary  # noqa: E402
from gacer_tvm.bench.gpu_table import WAYS, one_tenant  # noqa: E402
from gacer_tvm.cost import Device  # noqa: E402
from gacer_tvm.errors import GacerError  # noqa: E402
from gacer_tvm.executable import choose as choose_module  # noqa: E402
from gacer_tvm.kernels.target import make_target  # noqa: E402
from gacer_tvm.models import SETS  # noqa: E402
from gacer_tvm.plan import check_plan, lower  # noqa: E402
from gacer_tvm.runtime.cuda import CudaSession  # noqa: E402
from gacer_tvm.schedule import make  # noqa: E402

from ..runtime.simulated import SimulatedDevice  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")


class Small(torch.nn.Module):
    """A convolution, a mean, a matrix product."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.first, self.last = torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(torch.relu(self.first(x)).mean((2, 3)))


class Words(torch.nn.Module):
    """Tokens to two outputs."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.table, self.mix = torch.nn.Embedding(50, 16), torch.nn.Linear(16, 16)

    def forward(self, tokens: torch.Tensor) -> dict[str, torch.Tensor]:
        x = torch.tanh(self.mix(self.table(tokens)))
        return {"all": x, "mean": x.mean(1)}


def small_nets(which: str, batch: int) -> list[tuple[str, Any, tuple[Any, ...]]]:
    torch.manual_seed(0)
    found = [(f"net{n}", Small(n).eval(), (torch.randn(batch, 3, 8, 8),)) for n in range(1)]
    return [*found, ("words", Words().eval(), (torch.randint(0, 50, (batch, 4)),))]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    device = SimulatedDevice(0)

    def opened(graph: Any, plan: Any, library: Any, *_: Any) -> CudaSession:
        return CudaSession(graph, plan, library, driver=device)

    monkeypatch.setattr(choose_module, "open_session", opened)
    return Bench(
        target=make_target("cpu"),
        device=Device.named("nvidia-h200"),
        torch_device="cpu",
        open=opened,
        nets=small_nets,
        sets={"tiny": ("net0", "words")},
        search_seconds=0.3,
    )


def test_correctness_unit_and_its_resumption(bench: Bench, tmp_path: Path) -> None:
    results = Results(tmp_path)
    gpu.run_unit(lambda: bench, results, "correct/float32/tiny", 600.0, randoms=3)
    lines = list(results.lines("correct"))
    assert [line["schedule"] for line in lines] == ["sequential", "parallel", "auto", *(f"random-{n}" for n in range(3))]
    assert all(line["ok"] and 0 <= line["error"] < 1e-4 for line in lines)
    assert results.done() == {"correct/float32/tiny"}
    gpu.run_unit(lambda: bench, results, "correct/float32/tiny", 600.0, randoms=4)
    assert [line["schedule"] for line in results.lines("correct")][len(lines) :] == ["random-3"]


def test_wrong_answers_are_found(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetch = CudaSession.fetch
    monkeypatch.setattr(CudaSession, "fetch", lambda self, buffer, *a: fetch(self, buffer, *a) * np.float32(1.01))
    results = Results(tmp_path)
    with pytest.raises(GacerError, match="differs from PyTorch under: sequential"):
        gpu.run_unit(lambda: bench, results, "correct/float32/tiny", 600.0, randoms=0)
    assert not results.done() and results.failures() == {"correct/float32/tiny": 1}
    assert "WRONG: sequential" in summary(results)


def test_half_precision_unit(bench: Bench, tmp_path: Path) -> None:
    results = Results(tmp_path)
    gpu.run_unit(lambda: bench, results, "correct/float16/tiny", 600.0, randoms=1)
    assert all(line["ok"] for line in results.lines("correct"))


def test_a_cell_has_every_way_and_every_timing(bench: Bench, tmp_path: Path) -> None:
    results = Results(tmp_path)
    gpu.run_unit(lambda: bench, results, "table/float32/b4/tiny", 600.0)
    timed = cells(results)["float32", 4, "tiny"]
    assert set(timed) == {"a", "b", "c", "d", "e", "f", "g", "h"}, list(results.lines("failed"))
    assert all(len(values) >= 9 and min(values) > 0 for values in timed.values())
    errors = {line["way"]: line["error"] for line in results.lines("error")}
    assert set(errors) == {"a", "b", "c", "d", "e", "f"} and max(errors.values()) < 1e-4
    assert {line["way"] for line in results.lines("schedule")} == {"d", "e", "f"}
    schedules = {line["way"]: line["schedule"] for line in results.lines("schedule")}
    assert not any(tenant.get("splits") for tenant in schedules["e"]["tenants"])
    text = summary(results)
    for way, label in WAYS.items():
        assert f"| {way} {label} |" in text
    assert "f over a, geometric mean of 1 sets" in text


def test_profile_writes_kernels_and_rounds(bench: Bench, tmp_path: Path) -> None:
    profile(bench, Results(tmp_path), "profile", "tiny", "float32", 4, seconds=600.0, schedules=2)
    lines = [json.loads(text) for text in (tmp_path / "measurements.jsonl").read_text().splitlines()]
    alone = [line for line in lines if line["kind"] == "alone"]
    assert {line["items"] for line in alone} >= {4, 2}
    assert all(len(line["seconds"]) == 7 and line["device"] == "nvidia-h200" for line in alone)
    rounds = [line for line in lines if line["kind"] == "round"]
    assert len(rounds) == 2 and all(len(line["spans"]) >= len(alone) / 2 for line in rounds)


def test_tuning_unit(bench: Bench, tmp_path: Path) -> None:
    from gacer_tvm.bench.gpu_tune import tune_set
    from gacer_tvm.tune.provider import database_provider

    results = Results(tmp_path)
    target = {**json.loads(str(bench.target)), "num-cores": 1}
    place = replace(bench, target=make_target(target), nets=lambda which, batch: small_nets(which, batch)[1:])
    less = {"trials": 2, "population": 4, "kernels": 1}
    tune_set(place, results, "tune", "tiny", "float32", 2, seconds=600.0, **less)
    lines = list(results.lines("tuned"))
    assert lines and any(line["trials"] >= 1 and line["best"] > 0 for line in lines)
    assert database_provider(tmp_path / "tuning") is not None
    # What is recorded already is left alone; what is not, waits for another run.
    tune_set(place, results, "tune", "tiny", "float32", 2, seconds=0.0, **{**less, "trials": lines[0]["trials"]})
    with pytest.raises(OutOfTime):
        tune_set(place, results, "tune", "tiny", "float32", 2, seconds=0.0, **{**less, "trials": 50})
    assert results.failures() == {}


def test_one_tenant_of_a_plan_is_a_plan(bench: Bench) -> None:
    graph, _ = bench.lowered(bench.models("tiny", 4, "float32"))
    plan = lower(make.sequential(graph, "x"), graph)
    parts = [one_tenant(plan, graph, n) for n in range(len(graph.tenants))]
    check_plan(plan, graph)
    assert [launch.operator for part in parts for launch in part.launches] == [l.operator for l in plan.launches]
    for number, part in enumerate(parts):
        assert {graph.operators[launch.operator].tenant for launch in part.launches} == {number}
        assert [launch.index for launch in part.launches] == list(range(graph.tenants[number].count))


def test_units_stand_in_order_of_worth() -> None:
    names = [unit.name for unit in gpu.units(tuple(SETS))]
    assert len(set(names)) == len(names) == 1 + 8 + 24 + 4 + 4
    assert [n.split("/")[0] for n in dict.fromkeys(n.split("/")[0] for n in names)] == [
        "doctor", "correct", "table", "profile", "tune",
    ]  # fmt: skip
    assert names[9].startswith("table/float32/b8/")


SCRIPT = """
import os, sys, time
from gacer_tvm.bench.gpu_results import Results
name, seconds = sys.argv[1], sys.argv[2]
results = Results(sys.argv[3])
results.add(name, "begin")
if name == "doctor":
    results.add(name, "doctor", cuda=True)
elif name == "crash":
    os.abort()
elif name == "hang":
    time.sleep(60)
elif name == "error":
    results.add(name, "end", status="failed", reason="it says why", took=0)
    sys.exit(1)
results.add(name, "end", status="done", took=0)
"""


def test_supervision_outlives_crashes_hangs_and_errors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = Results(tmp_path)
    script = tmp_path / "unit.py"
    script.write_text(SCRIPT)

    def command(name: str, seconds: float) -> Sequence[str]:
        return [sys.executable, str(script), name, str(seconds), str(tmp_path)]

    todo = [gpu.Unit("doctor", 0, 60), gpu.Unit("crash", 0, 60), gpu.Unit("error", 0, 60), gpu.Unit("good", 0, 60)]
    gpu.supervise(results, 5, command, todo)
    assert results.done() == {"doctor", "good"} and results.failures() == {"crash": 1, "error": 1}
    gpu.supervise(results, 5, command, [gpu.Unit("hang", 0, 12)])
    reasons = {line["unit"]: line["reason"] for line in results.lines("end") if line["status"] == "failed"}
    assert "ended with -6" in reasons["crash"] and reasons["error"] == "it says why" and "ran past" in reasons["hang"]
    # The next run goes on from there: what is done is left, what failed is tried again, but not for ever.
    for _ in range(3):
        gpu.supervise(results, 5, command, todo)
    assert results.failures()["crash"] == 3
    assert sum(line["unit"] == "good" for line in results.lines("begin")) == 1
    assert "crash: failed 3 times, left out" in capsys.readouterr().out
    assert "- error: failed (it says why)" in summary(results)
    gpu.supervise(results, 0, command, [gpu.Unit("late", 5, 60)])
    assert "late" not in {line["unit"] for line in results.lines()}


def test_without_a_gpu_the_suite_says_so_and_invents_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from gacer_tvm.runtime.doctor import why_no_cuda

    if not why_no_cuda():
        pytest.skip("there is a CUDA device here")
    assert gpu.main(["--out", str(tmp_path), "--minutes", "2"]) == 1
    text = capsys.readouterr().out
    assert "CUDA: not usable here" in text and "No cell of the table has been measured yet" in text
    assert (tmp_path / "doctor.txt").exists() and (tmp_path / "table.md").exists()


def test_a_line_cut_short_is_passed_over(tmp_path: Path) -> None:
    results = Results(tmp_path)
    results.add("one", "end", status="done")
    with results.file.open("a") as stream:
        stream.write('{"unit": "two", "ki')
    again = Results(tmp_path)
    assert again.done() == {"one"}
    again.add("three", "end", status="done")
    assert again.done() == {"one", "three"}
