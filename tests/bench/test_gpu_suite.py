"""The GPU suite without a GPU: its units on a simulated device, its supervision with processes that crash and hang."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from gacer_tvm.bench import gpu, gpu_sanitize, gpu_supervise  # noqa: E402
from gacer_tvm.bench.gpu_bench import Bench, Net, small_nets, torch_inputs  # noqa: E402
from gacer_tvm.bench.gpu_profile import profile  # noqa: E402
from gacer_tvm.bench.gpu_results import OutOfTime, Results  # noqa: E402
from gacer_tvm.bench.gpu_summary import WAYS, cells, readme_table, summary  # noqa: E402
from gacer_tvm.bench.gpu_torch import TorchWays  # noqa: E402
from gacer_tvm.bench.gpu_turns import Turns  # noqa: E402
from gacer_tvm.bench.gpu_ways import Ways, one_tenant  # noqa: E402
from gacer_tvm.errors import GacerError  # noqa: E402
from gacer_tvm.executable.measure import interleave  # noqa: E402
from gacer_tvm.kernels.target import make_target  # noqa: E402
from gacer_tvm.models import SETS  # noqa: E402
from gacer_tvm.plan import check_plan, lower  # noqa: E402
from gacer_tvm.runtime.cuda import CudaSession  # noqa: E402
from gacer_tvm.schedule import make  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")


def test_correctness_unit_and_its_resumption(bench: Bench, tmp_path: Path) -> None:
    results = Results(tmp_path)
    gpu.run_unit(lambda: bench, results, "correct/float32/small", 600.0, randoms=3)
    lines = list(results.lines("correct"))
    assert [line["schedule"] for line in lines] == ["sequential", "parallel", "auto", *(f"random-{n}" for n in range(3))]
    assert all(line["ok"] and 0 <= line["error"] < 1e-4 for line in lines)
    assert results.done() == {"correct/float32/small"}
    gpu.run_unit(lambda: bench, results, "correct/float32/small", 600.0, randoms=4)
    assert [line["schedule"] for line in results.lines("correct")][len(lines) :] == ["random-3"]


def test_wrong_answers_are_found(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetch = CudaSession.fetch
    monkeypatch.setattr(CudaSession, "fetch", lambda self, buffer, *a: fetch(self, buffer, *a) * np.float32(1.01))
    results = Results(tmp_path)
    with pytest.raises(GacerError, match="differs from PyTorch under: sequential"):
        gpu.run_unit(lambda: bench, results, "correct/float32/small", 600.0, randoms=0)
    assert not results.done() and results.failures() == {"correct/float32/small": 1}
    assert "WRONG: sequential" in summary(results)


def test_half_precision_unit(bench: Bench, tmp_path: Path) -> None:
    results = Results(tmp_path)
    gpu.run_unit(lambda: bench, results, "correct/float16/small", 600.0, randoms=1)
    assert all(line["ok"] for line in results.lines("correct"))


def test_a_cell_has_every_way_and_every_timing(bench: Bench, tmp_path: Path) -> None:
    results = Results(tmp_path)
    gpu.run_unit(lambda: bench, results, "table/float32/b4/small", 600.0, rehearse=True)
    timed = cells(results)["float32", 4, "small"]
    assert set(timed) == {"a", "b", "c", "d", "e", "f", "g", "h"}, list(results.lines("failed"))
    # No CUDA here to capture what torch.compile makes: said, not left out in silence.
    assert {line["way"] for line in results.lines("failed")} == {"i1", "i2"} and results.done()
    about = next(results.lines("conditions"))
    assert {"gpu", "torch", "tvm", "python", "tf32", "connections", "size"} <= set(about) and about["tf32"] is False
    assert all(len(values) >= 6 and min(values) > 0 for values in timed.values())
    errors = {line["way"]: line["error"] for line in results.lines("error")}
    assert set(errors) == {"a", "b", "c", "d", "e", "f"} and max(errors.values()) < 1e-4
    assert {line["way"] for line in results.lines("schedule")} == {"d", "e", "f"}
    schedules = {line["way"]: line["schedule"] for line in results.lines("schedule")}
    assert not any(tenant.get("splits") for tenant in schedules["e"]["tenants"])
    text = summary(results)
    for way, label in WAYS.items():
        assert f"| {way} {label} |" in text
    assert "f over a, geometric mean of 1 sets" in text and "A rehearsal on tiny models" in text


def test_ways_that_fail_or_are_wrong_leave_the_others(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Any, *_: Any, **__: Any) -> None:
        raise RuntimeError("CUDA error 700")

    monkeypatch.setattr(Ways, "_gacer", broken)
    monkeypatch.setattr(TorchWays, "compile", broken)
    monkeypatch.setattr("gacer_tvm.bench.gpu_ways._COMPILING", 0.0)
    error = iter([5.0, 0.0, float("nan"), 0.0, 0.0, 0.0])
    monkeypatch.setattr("gacer_tvm.bench.gpu_ways.largest_error", lambda *_: next(error, 0.0))
    results = Results(tmp_path)
    gpu.run_unit(lambda: bench, results, "table/float32/b4/small", 600.0, rehearse=True)
    reasons = {line["way"]: line["reason"] for line in results.lines("failed")}
    assert reasons["a"].startswith("WRONG") and reasons["f"] == "RuntimeError: CUDA error 700"
    assert reasons["i1"] == reasons["i2"] == "torch.compile of image: RuntimeError: CUDA error 700"
    assert set(cells(results)["float32", 4, "small"]) == {"b", "c", "d", "e", "g", "h"} - {"b" if "b" in reasons else ""}
    assert "Speed-ups of f: nothing to compare yet" in summary(results)


def test_timings_stand_when_torch_compile_takes_the_unit_down(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(self: Any, number: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(TorchWays, "compile", killed)
    monkeypatch.setattr(Results, "add", _forgetful(Results.add, "compiled"))
    results = Results(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        gpu.run_unit(lambda: bench, results, "table/float32/b4/small", 600.0, rehearse=True)
    assert set(cells(results)["float32", 4, "small"]) == set("abcdefgh")
    # The next attempt does without it.
    gpu.run_unit(lambda: bench, results, "table/float32/b4/small", 600.0, rehearse=True)
    assert results.done()
    assert "torch.compile of image did not end" in {line["way"]: line["reason"] for line in results.lines("failed")}["i1"]


def _forgetful(add: Any, kind: str) -> Any:
    """As when the process is killed before it can write that line."""
    return lambda self, unit, what, **values: None if what == kind else add(self, unit, what, **values)


def test_a_cell_without_time_for_torch_compile_is_taken_up_again(bench: Bench, tmp_path: Path) -> None:
    results = Results(tmp_path)
    gpu.run_unit(lambda: bench, results, "table/float32/b4/small", 1.0, rehearse=True)
    assert set(cells(results)["float32", 4, "small"]) == set("abcdefgh")
    assert not results.done() and not results.failures()
    assert "unfinished (no time left for torch.compile of image" in summary(results)


def test_a_cell_beside_other_units_times_in_turns(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every measurement is in a timed section, torch.compile in none; its ways are interleaved with all others."""
    turns = Turns(tmp_path, 20.0)
    alone = turns.timed
    order: list[str] = []
    inside: list[bool] = [False]

    @contextmanager
    def timed() -> Iterator[None]:
        with alone():
            order.append("timed")
            inside[0] = True
            yield
            inside[0] = False

    def measured(*given: Any, **options: Any) -> Any:
        assert inside[0]
        return interleave(*given, **options)

    def compiled(self: Any, number: int) -> Any:
        assert not inside[0]
        order.append("compile")
        return None

    monkeypatch.setattr(turns, "timed", timed)
    for module in ("bench.gpu_table", "bench.gpu_ways", "executable.choose"):
        monkeypatch.setattr(f"gacer_tvm.{module}.interleave", measured)
    monkeypatch.setattr(TorchWays, "compile", compiled)
    monkeypatch.setattr(TorchWays, "compiled", lambda self, graphs: (lambda: None, lambda: None))
    results = Results(tmp_path)
    with turns:
        place = replace(bench, turns=turns)
        gpu.run_unit(lambda: place, results, "table/float32/b4/small", 600.0, rehearse=True, without=["g"])
    assert order == ["timed"] * 5 + ["compile"] * 2 + ["timed"]
    by_turn: dict[int, set[str]] = {}
    for line in results.lines("timing"):
        by_turn.setdefault(line["turn"], set()).add(line["way"])
    assert by_turn == {0: set("abcdefh"), 1: {*"abcdefh", "i1", "i2"}}
    assert {line["way"]: line["reason"] for line in results.lines("failed")} == {"g": "left out, as it was told (--without)"}
    assert "torch.compile measured its candidates while other units were at work" in summary(results)


def test_ways_left_out_are_said_and_not_made(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TorchWays, "compile", lambda *_: pytest.fail("was to be left out"))
    monkeypatch.setattr(Ways, "_alone", lambda *_: pytest.fail("nothing needs it"))
    results = Results(tmp_path)
    gpu.run_unit(lambda: bench, results, "table/float32/b4/small", 600.0, rehearse=True, without="defi")
    assert set(cells(results)["float32", 4, "small"]) == set("abcgh") and results.done()
    assert {line["way"] for line in results.lines("failed")} == {"d", "e", "f", "i1", "i2"}


def test_pytorch_without_cuda_is_the_reference_but_no_way(bench: Bench, tmp_path: Path) -> None:
    results = Results(tmp_path)
    place = replace(bench, torch_timed="PyTorch is built without CUDA")
    gpu.run_unit(lambda: place, results, "table/float16/b4/small", 20.0, rehearse=True)
    assert set(cells(results)["float16", 4, "small"]) == set("abcdef")
    assert {line["way"] for line in results.lines("failed")} == {"g", "h", "i1", "i2"}


def test_the_model_stays_on_the_host_when_pytorch_runs_a_copy() -> None:
    """`Module.to` works in place: an export of what is on the GPU already, with inputs on the host, fails."""
    (name, module, inputs), *_ = small_nets("small", 2)
    copy, moved = torch_inputs(Net(name, module, inputs), "meta")
    assert {p.device.type for p in copy.parameters()} == {x.device.type for x in moved} == {"meta"}
    assert {p.device.type for p in module.parameters()} == {x.device.type for x in inputs} == {"cpu"}


def test_a_schedule_that_kills_the_process_has_its_turn_last(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    feed = Bench.feed
    turns = iter([False, True])

    def fed(self: Any, *given: Any) -> None:
        if next(turns, False):
            raise Killed
        feed(self, *given)

    monkeypatch.setattr(Bench, "feed", fed)
    results = Results(tmp_path)
    for attempt in range(2):
        with pytest.raises(Killed) if attempt == 0 else nullcontext():
            gpu.run_unit(lambda: bench, results, "correct/float32/small", 600.0, randoms=1)
    right = [line["schedule"] for line in results.lines("correct")]
    assert right == ["sequential", "auto", "random-0", "parallel"] and results.done()


def test_out_of_time_is_no_failure(bench: Bench, tmp_path: Path) -> None:
    results = Results(tmp_path)
    gpu.run_unit(lambda: bench, results, "correct/float32/small", 0.0, randoms=1)
    assert not results.failures() and not results.done()
    assert "unfinished (out of time before schedule 'sequential')" in summary(results)


def test_profile_writes_kernels_and_rounds(bench: Bench, tmp_path: Path) -> None:
    profile(bench, Results(tmp_path), "profile", "small", "float32", 4, seconds=600.0, schedules=2)
    lines = [json.loads(text) for text in (tmp_path / "measurements.jsonl").read_text().splitlines()]
    alone = [line for line in lines if line["kind"] == "alone"]
    assert list(dict.fromkeys(line["items"] for line in alone)) == [4, 2, 1]
    assert all(len(line["seconds"]) == 7 and line["device"] == "nvidia-h200" for line in alone)
    rounds = [line for line in lines if line["kind"] == "round"]
    assert len(rounds) == 2 and all(len(line["spans"]) >= len(alone) / 3 for line in rounds)


def test_profile_ends_with_its_time_alone_on_the_device(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns = Turns(None, 100.0)
    left = iter([100.0, 50.0, 20.0, 20.0, 20.0, 5.0])
    monkeypatch.setattr(turns, "left", lambda otherwise: next(left))
    results = Results(tmp_path)
    profile(replace(bench, turns=turns), results, "profile", "small", "float32", 4, seconds=6000.0)
    lines = [json.loads(text) for text in (tmp_path / "measurements.jsonl").read_text().splitlines()]
    assert {line["items"] for line in lines if line["kind"] == "alone"} == {4, 2}
    assert "no time to measure chunks of 1 or less alone" in summary(results)
    assert sum(line["kind"] == "round" for line in lines) == 2


def test_tuning_unit(bench: Bench, tmp_path: Path) -> None:
    from gacer_tvm.bench.gpu_tune import tune_set
    from gacer_tvm.tune.provider import DatabaseProvider

    results = Results(tmp_path)
    target = {**json.loads(str(bench.target)), "num-cores": 1}
    place = replace(bench, target=make_target(target), nets=lambda which, batch: small_nets(which, batch)[1:])
    less = {"trials": 1, "population": 4, "kernels": 1}
    tune_set(place, results, "tune", "small", "float32", 2, seconds=600.0, **less)
    lines = list(results.lines("tuned"))
    assert lines and any(line["trials"] >= 1 and line["best"] > 0 for line in lines)
    assert DatabaseProvider(tmp_path / "tuning") is not None
    # What is recorded already is left alone; what is not, waits for another run.
    tune_set(place, results, "tune", "small", "float32", 2, seconds=0.0, **{**less, "trials": lines[0]["trials"]})
    with pytest.raises(OutOfTime):
        tune_set(place, results, "tune", "small", "float32", 2, seconds=0.0, **{**less, "trials": 50})
    assert results.failures() == {}


def test_one_tenant_of_a_plan_is_a_plan(bench: Bench) -> None:
    graph, _ = bench.lowered(bench.models("small", 4, "float32"))
    plan = lower(make.sequential(graph, "x"), graph)
    parts = [one_tenant(plan, graph, n) for n in range(len(graph.tenants))]
    check_plan(plan, graph)
    assert [launch.operator for part in parts for launch in part.launches] == [launch.operator for launch in plan.launches]
    for number, part in enumerate(parts):
        assert {graph.operators[launch.operator].tenant for launch in part.launches} == {number}
        assert [launch.index for launch in part.launches] == list(range(graph.tenants[number].count))


def test_units_stand_in_order_of_worth() -> None:
    todo = gpu_supervise.units(tuple(SETS), 25 * 60)
    names = [unit.name for unit in todo]
    assert len(set(names)) == len(names) == 1 + 8 + 24 + 2 + 8 + 8 + 4
    kinds = ["doctor", "correct", "table", "sanitize", "tilings", "profile", "tune"]
    assert list(dict.fromkeys(n.split("/")[0] for n in names)) == kinds
    assert names[9].startswith("table/float32/b8/")
    # Whatever takes all of its turn, the table at batch 8 has one within 25 minutes.
    assert sum(unit.most for unit in todo[1:9]) + todo[9].most <= 25 * 60
    assert all(unit.least <= unit.most for unit in todo)


# Without the package: a process of this takes a moment, not seconds.
SCRIPT = """
import json, os, sys, time
name, folder = sys.argv[1], sys.argv[2]
def add(kind, **values):
    with open(folder + "/results.jsonl", "a") as stream:
        stream.write(json.dumps({"unit": name, "kind": kind, **values}) + "\\n")
add("begin")
if name == "doctor":
    add("doctor", cuda=True)
elif name == "crash":
    os.abort()
elif name == "hang" or name == "slow" and not os.path.exists(folder + "/slept"):
    if name == "slow":
        open(folder + "/slept", "w").close()
        add("correct", schedule="sequential", ok=True, error=0.0)
    if os.fork() == 0:
        with open(folder + "/child", "w") as stream:
            stream.write(str(os.getpid()))
    time.sleep(60)
elif name == "error":
    add("end", status="failed", reason="it says why", took=0)
    sys.exit(1)
add("end", status="done", took=0)
"""


def units_of(*names: str, most: float = 60) -> list[gpu_supervise.Unit]:
    return [gpu_supervise.Unit(name, 0, most, always=name == "doctor") for name in names]


@pytest.fixture
def command(tmp_path: Path) -> Any:
    script = tmp_path / "unit.py"
    script.write_text(SCRIPT)
    return lambda name, seconds: [sys.executable, "-S", "-E", str(script), name, str(tmp_path)]


def test_supervision_outlives_crashes_hangs_and_errors(
    tmp_path: Path, command: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    results = Results(tmp_path)
    todo = units_of("doctor", "crash", "error", "good")
    gpu_supervise.supervise(results, 5, command, todo)
    assert results.done() == {"doctor", "good"} and results.failures() == {"crash": 1, "error": 1}
    gpu_supervise.supervise(results, 5, command, units_of("hang", most=1.5))
    reasons = {line["unit"]: line["reason"] for line in results.lines("end") if line["status"] == "failed"}
    assert "ended with -6" in reasons["crash"] and reasons["error"] == "it says why" and "ran past" in reasons["hang"]
    # Nothing that a unit started outlives it.
    state = Path(f"/proc/{(tmp_path / 'child').read_text()}/stat")
    deadline = time.monotonic() + 10
    while state.exists() and state.read_text().rpartition(")")[2].split()[0] != "Z" and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z"
    # The next run goes on from there: what is done is left, what failed is tried again, but not for ever.
    for _ in range(3):
        gpu_supervise.supervise(results, 5, command, todo)
    assert results.failures()["crash"] == 3
    assert sum(line["unit"] == "good" for line in results.lines("begin")) == 1
    assert "crash: failed 3 times, left out" in capsys.readouterr().out
    assert "- error: failed (it says why)" in summary(results) == (tmp_path / "table.md").read_text()
    gpu_supervise.supervise(results, 0, command, [gpu_supervise.Unit("late", 5, 60)])
    assert "late" not in {line["unit"] for line in results.lines()}


def test_what_ran_out_of_its_turn_has_the_rest_of_the_time(tmp_path: Path, command: Any) -> None:
    results = Results(tmp_path)
    gpu_supervise.supervise(results, 5, command, units_of("slow", "good", most=1.5))
    assert [line["status"] for line in results.lines("end", "slow")] == ["unfinished", "done"]
    order = [line["unit"] for line in results.lines("begin")]
    assert order == ["slow", "good", "slow"] and not results.failures()


def test_a_machine_without_a_gpu_ends_the_run_even_where_one_was_found_before(
    tmp_path: Path, command: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = Results(tmp_path)
    gpu_supervise.supervise(results, 5, command, units_of("doctor", "good"))
    assert gpu_supervise.usable(results)
    (tmp_path / "unit.py").write_text(SCRIPT.replace("cuda=True", "cuda=False"))
    gpu_supervise.supervise(results, 5, command, units_of("doctor", "another"))
    assert not gpu_supervise.usable(results) and "another" not in {line["unit"] for line in results.lines()}
    # A doctor that dies is no GPU either.
    (tmp_path / "unit.py").write_text("raise SystemExit(3)")
    other = Results(tmp_path / "other")
    gpu_supervise.supervise(other, 5, command, units_of("doctor", "another"))
    assert other.failures() == {"doctor": 1}


def test_ended_from_outside_it_ends_its_unit_and_keeps_what_it_has(tmp_path: Path) -> None:
    """SIGTERM in the middle of a unit: the unit's process goes, the table is written, the next run can go on."""
    (tmp_path / "unit.py").write_text(SCRIPT)
    unit = str(tmp_path / "unit.py")
    driver = (
        "import sys; from gacer_tvm.bench import gpu, gpu_supervise as g\n"
        f"command = lambda name, seconds: [sys.executable, '-S', {unit!r}, name, {str(tmp_path)!r}]\n"
        "todo = [g.Unit('good', 0, 60), g.Unit('hang', 0, 60)]\n"
        "gpu.supervise = lambda results, *_: g.supervise(results, 5, command, todo)\n"
        f"gpu.main(['--out', {str(tmp_path)!r}, '--minutes', '5'])"
    )
    process = subprocess.Popen([sys.executable, "-c", driver], stdout=subprocess.PIPE, text=True)
    results = Results(tmp_path)
    deadline = time.monotonic() + 60
    while not (tmp_path / "child").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.terminate()
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + 15 and "# GPU suite" in out
    assert results.done() == {"good"} and (tmp_path / "table.md").exists()


def test_a_dead_supervisor_takes_its_unit_along(tmp_path: Path) -> None:
    """Killed without a chance to clean up, it must not leave a process on the GPU beside the next run."""
    inner = (
        "from gacer_tvm.bench.gpu_supervise import die_with_parent; die_with_parent(); import time\n"
        f"open({str(tmp_path / 'up')!r}, 'w'); time.sleep(60)"
    )
    outer = f"import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', {inner!r}]); print(p.pid, flush=True); p.wait()"
    process = subprocess.Popen([sys.executable, "-c", outer], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    child = int(process.stdout.readline())
    deadline = time.monotonic() + 60
    while not (tmp_path / "up").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.kill()
    process.wait()
    while Path(f"/proc/{child}").exists() and time.monotonic() < deadline:
        if Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
            break
        time.sleep(0.05)
    else:
        assert not Path(f"/proc/{child}").exists()


def test_without_a_gpu_the_suite_says_so_and_invents_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from gacer_tvm.runtime.doctor import why_no_cuda

    if not why_no_cuda():
        pytest.skip("there is a CUDA device here")
    assert gpu.main(["--out", str(tmp_path), "--minutes", "2"]) == 1
    text = capsys.readouterr().out
    assert "CUDA: not usable here" in text and "No cell of the table has been measured yet" in text
    assert {line["unit"] for line in Results(tmp_path).lines()} == {"doctor"}
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


def test_the_readme_shows_what_was_measured_and_nothing_else(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[2]
    results, text = Results(root / "tuning_logs" / "h100"), (root / "README.md").read_text()
    table = readme_table(results, tuple(SETS))
    assert table in text
    assert cells(results) or table.count("not yet measured") == 2 * len(SETS)
    lines = list(results.lines("correct"))
    right = [line for line in lines if line["ok"]]
    assert len(right) == len(lines) and f"{len(right)} of {len(lines)}" in text
    for dtype, said in (("float32", "7.5e-06"), ("float16", "8.3e-03")):
        worst = max(line["error"] for line in right if f"/{dtype}/" in line["unit"])
        assert f"{worst:.1e}" == said and said in text
    timed = list(results.lines("tiling"))
    assert f"{len(timed):,} timings of {len({(line['unit'].split('/')[1], line['key']) for line in timed})} kernels" in text


def test_the_tables_hold_medians_spread_and_ratios(tmp_path: Path) -> None:
    """On made-up timings whose quantiles are known; of two attempts the one with more timings counts."""
    results = Results(tmp_path)
    unit = "table/float32/b8/light"
    for repeat, ways in ((1, "a"), (2, "abcdef"), (1, "ab")):
        results.add(unit, "begin")
        results.add(unit, "conditions", dtype="float32", batch=8, set="light", gpu={"name": "stand-in"}, tf32=False)
        for way in ways:
            median = {"a": 3.0, "b": 2.0, "c": 2.4, "f": 1.5}.get(way, 1.0) * 1e-3
            for _ in range(repeat):
                results.add(unit, "timing", way=way, turn=0, seconds=[median * (0.5 + n / 10) for n in range(11)])
    (row,) = [line for line in readme_table(results, ("light",)).splitlines() if line.startswith("| light, float32")]
    parts = [part.strip() for part in row.strip("|").split("|")]
    assert parts[1] == "3.000 (1.800 to 4.200)" and parts[6] == "1.500 (0.900 to 2.100)"
    assert parts[7:11] == ["", "", "", ""] and parts[11:] == ["2.000", "1.333"]
    text = summary(results)
    assert readme_table(results, tuple(SETS)) in text and "rehearsal" not in text
    assert "f over a, geometric mean of 1 sets: 2.000 (goal at batch 8: 1.5)" in text
    assert "f over the best of a to c, worst set: 1.333" in text
    assert text.count("not yet measured") == 2 * len(SETS) - 1


def test_sanitizer_is_asked_and_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "compute-sanitizer"
    monkeypatch.setattr(gpu_sanitize, "sanitizer", lambda: None)
    results = Results(tmp_path / "out")
    gpu.run_unit(lambda: pytest.fail("needs no bench"), results, "sanitize/memcheck", 60.0)
    assert "compute-sanitizer memcheck: not run, compute-sanitizer is neither on the path" in summary(results)
    monkeypatch.setattr(gpu_sanitize, "sanitizer", lambda: str(tool))
    found = 'while [ "$1" != --out ]; do echo "$1" >> given; shift; done; echo "$@" >> given\n'
    right = '\'{"unit": "correct/float32/small", "kind": "correct", "schedule": "sequential", "ok": true}\''
    for script, message in (
        (
            f'echo {right} > "$2/results.jsonl"; echo "========= ERROR SUMMARY: 0 errors"',
            "memcheck: clean (ERROR SUMMARY: 0 errors)",
        ),
        ('echo "========= Invalid __global__ write"; echo "========= ERROR SUMMARY: 1 error"; exit 86', "memcheck: ERRORS"),
        ('echo "========= Device not supported. Please refer to the manual"; exit 1', "memcheck: not run, Device not supported"),
        ('echo "========= ERROR SUMMARY: 0 errors"', "memcheck: ERRORS"),  # nothing ran under it
    ):
        tool.write_text(f"#!/bin/sh\ncd {tmp_path}\n{found}{script}\n")
        tool.chmod(0o755)
        failing = "ERRORS" in message
        with pytest.raises(GacerError, match="compute-sanitizer --tool memcheck ended with") if failing else nullcontext():
            gpu.run_unit(lambda: pytest.fail("needs no bench"), results, "sanitize/memcheck", 60.0)
        assert message in summary(results)
    given = (tmp_path / "given").read_text()
    assert "--tool\nmemcheck\n--error-exitcode\n86\n" in given and "--rehearse --torch cpu" in given
