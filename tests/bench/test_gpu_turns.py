"""Units of the GPU suite side by side: who prepares and who times, and a supervisor that outlives what they do."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gacer_tvm.bench import gpu_supervise, gpu_turns
from gacer_tvm.bench.gpu_results import Results
from gacer_tvm.bench.gpu_turns import Turns

from .test_gpu_suite import SCRIPT, units_of

# Without the package: a process of this takes a moment, not seconds.
WORKER = """
import runpy, sys
from pathlib import Path
file, folder, name = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
Turns = runpy.run_path(file)["Turns"]
def event(text):
    with (folder / "events").open("a") as stream:
        stream.write(text + " " + name + "\\n")
with Turns(folder) as turns:
    for _ in range(40):
        event("prepare")
        event("prepared")
        with turns.timed():
            event("time")
            with turns.timed():
                event("timed")
"""


def events(folder: Path) -> list[list[str]]:
    return [line.split() for line in (folder / "events").read_text().splitlines()]


def test_a_timed_section_overlaps_nothing_of_another_process(tmp_path: Path) -> None:
    command = [sys.executable, "-S", "-E", "-c", WORKER, gpu_turns.__file__, str(tmp_path)]
    processes = [subprocess.Popen([*command, name]) for name in "abc"]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    found = events(tmp_path)
    assert len(found) == 3 * 40 * 4
    preparing: set[str] = set()
    for (what, who), (after, next_) in zip(found, [*found[1:], ["", ""]]):
        if what == "prepare":
            preparing.add(who)
        elif what == "prepared":
            preparing.discard(who)
        elif what == "time":
            assert (after, next_) == ("timed", who) and not preparing


def test_units_prepare_together_and_wait_for_each_other_to_time(tmp_path: Path) -> None:
    """All prepare at once; those that want to time wait for the one that still prepares, though it began no later."""
    order: list[str] = []
    met = threading.Barrier(3, timeout=30)
    asked = threading.Event()

    def unit(name: str) -> None:
        with Turns(tmp_path) as turns:
            met.wait()
            if name == "slow":
                asked.wait(30)
                order.append("slow is prepared")
            asked.set()
            with turns.timed():
                order.append(f"{name} times")
            order.append(f"{name} prepares again")

    threads = [threading.Thread(target=unit, args=(name,)) for name in ("one", "two", "slow")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert order[0] == "slow is prepared" and len(order) == 7
    for name in ("one", "two", "slow"):
        assert order.index(f"{name} times") < order.index(f"{name} prepares again")


def test_a_killed_process_loses_its_lock(tmp_path: Path) -> None:
    script = WORKER.replace('event("time")', 'event("time"); import time; time.sleep(60)')
    process = subprocess.Popen([sys.executable, "-S", "-E", "-c", script, gpu_turns.__file__, str(tmp_path), "held"])
    wait_for(lambda: (tmp_path / "events").exists() and "time held" in (tmp_path / "events").read_text())
    process.kill()
    process.wait()
    with Turns(tmp_path) as turns, turns.timed():
        pass


def test_alone_nothing_is_locked_and_seconds_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([10.0, 11.0, 12.0])
    monkeypatch.setattr(gpu_turns.time, "monotonic", lambda: next(clock))
    assert Turns().left(3.5) == 3.5 and not Turns().shared
    with Turns(None, 5.0) as turns:
        with turns.timed():
            assert turns.left(0.0) == 4.0
        assert turns.left(0.0) == 3.0
    assert not list(tmp_path.iterdir())


@pytest.fixture
def command(tmp_path: Path) -> Any:
    script = tmp_path / "unit.py"
    script.write_text(SCRIPT)
    return lambda name, seconds: [sys.executable, "-S", "-E", str(script), name, str(tmp_path)]


def test_side_by_side_all_units_run_whatever_one_of_them_does(tmp_path: Path, command: Any) -> None:
    results = Results(tmp_path)
    todo = units_of("doctor", "hang", "crash", "error", "good", "profile/one", "table/two")
    gpu_supervise.supervise(results, 3 / 60, command, todo, jobs=3)
    assert results.done() == {"doctor", "good", "profile/one", "table/two"}
    reasons = {line["unit"]: line["reason"] for line in results.lines("end") if line["status"] == "failed"}
    assert "ended with -6" in reasons["crash"] and reasons["error"] == "it says why" and "ran past" in reasons["hang"]
    begun = [line["unit"] for line in results.lines("begin")]
    # The doctor alone, then in order of worth; the hanging one keeps one place of three.
    assert begun[0] == "doctor" and begun[-1] == "profile/one" and "hang" in begun[1:4]
    assert (tmp_path / "logs" / "table-two.log").exists() and (tmp_path / "units.log").read_text().count("===") == 1
    state = Path(f"/proc/{(tmp_path / 'child').read_text()}/stat")
    wait_for(lambda: not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z")
    assert (tmp_path / "table.md").exists()


def test_units_that_only_check_leave_time_to_those_that_wait_for_them(
    tmp_path: Path, command: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    todo = units_of("correct/one", "table/two")
    gpu_supervise.supervise(Results(tmp_path), 5, command, todo, jobs=2)
    gpu_supervise.supervise(Results(tmp_path / "alone"), 5, command, units_of("correct/one"), jobs=2)
    assert [line for line in capsys.readouterr().out.splitlines() if "up to" in line] == [
        "correct/one: up to 180 s",
        "table/two: up to 300 s",
        "correct/one: up to 300 s",
    ]


def test_only_some_units(tmp_path: Path, command: Any) -> None:
    results = Results(tmp_path)
    gpu_supervise.supervise(results, 1, command, units_of("doctor", "aa", "ab", "cc", "ad"), ["b", "cc"], jobs=2)
    assert results.done() == {"doctor", "ab", "cc"}


def test_processes_append_whole_lines(tmp_path: Path) -> None:
    """Lines far longer than a buffer, from several processes at once; half a line is closed before the next."""
    results = Results(tmp_path)
    with results.file.open("a") as stream:
        stream.write('{"unit": "cut", "ki')
    threads = [
        threading.Thread(target=lambda n=n: [Results(tmp_path).add(str(n), "long", text=str(n) * 100_000) for _ in range(5)])
        for n in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    first, *rest = results.file.read_text().splitlines()
    assert first == '{"unit": "cut", "ki' and len(rest) == 20
    assert all(set(json.loads(text)["text"]) == {json.loads(text)["unit"]} for text in rest)


def wait_for(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not true() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert true()
