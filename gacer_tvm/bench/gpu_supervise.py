"""Runs the units of the GPU suite, each as a process, within a time; whatever one of them does, the others have their turn.

One after another, or several at once (`jobs`): most of a unit is work on the host, and `gacer_tvm.bench.gpu_turns` keeps the
timed part of each apart from all others.
"""

from __future__ import annotations

import contextlib
import math
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from .gpu_process import PLANNED_TOGETHER, Process, Unit
from .gpu_results import Results

__all__ = ["Unit", "die_with_parent", "supervise", "units", "usable", "wanted"]

_ATTEMPTS = 3
# Units that never have the device to themselves, and the share of the time that they have beside others: nobody can time
# before they have ended.
_UNTIMED, _UNTIMED_SHARE = ("correct", "sanitize"), 0.6
# Seconds between looks at processes that run side by side.
_POLLED = 0.1


def units(sets: Sequence[str], seconds: float) -> list[Unit]:
    """All units, in order of worth, with turns that fit a suite of so many seconds."""

    def turn(least: float, share: float, most: float) -> float:
        return min(most, max(least, share * seconds))

    found = [Unit("doctor", 5, 120, always=True)]
    for dtype in ("float32", "float16"):
        found += [Unit(f"correct/{dtype}/{which}", 45, turn(75, 0.06, 900)) for which in sets]
    for batch in (8, 1, 32):
        for dtype in ("float32", "float16"):
            found += [Unit(f"table/{dtype}/b{batch}/{which}", 60, turn(120, 0.12, 1200)) for which in sets]
        if batch == 8:
            found += [Unit(f"sanitize/{tool}", 45, turn(90, 0.06, 400)) for tool in ("memcheck", "racecheck")]
    for dtype in ("float32", "float16"):
        found += [Unit(f"tilings/{dtype}/b8/{which}", 45, turn(60, 0.05, 400)) for which in sets]
        found += [Unit(f"profile/{dtype}/b8/{which}", 45, turn(60, 0.05, 400)) for which in sets]
    found += [Unit(f"tune/float32/b8/{which}", 90, turn(120, 0.2, 3600)) for which in sets]
    return found


def supervise(
    results: Results,
    minutes: float,
    command: Callable[[str, float], Sequence[str]],
    todo: Sequence[Unit],
    only: Sequence[str] = (),
    jobs: int = 1,
) -> None:
    """Run what is left of `todo` until the time is up.

    Parameters
    ----------
    results
        What is done already, and where results go; ``table.md`` is written anew after each unit.
    minutes
        Time for everything.
    command
        The command line of a unit: its name and seconds.
    todo
        In order of worth.
    only
        Only units whose names contain one of these (and those that always run).
    jobs
        So many units at once. Each then has all the time that is left, since it also waits for others; those that only
        check leave the others a part of it.
    """
    end = time.monotonic() + 60 * minutes
    chosen = wanted(todo, only)
    # What is owed first, its unfinished units included; then what could go on for ever.
    endless = [unit for unit in chosen if unit.name.startswith(("tilings", "profile", "tune"))]
    owed = [unit for unit in chosen if unit not in endless]
    if jobs > 1:
        for unit in [unit for unit in owed if unit.always]:
            if not _in_turn(results, unit, end, unit.most, command):
                return
        _side_by_side(results, [unit for unit in [*owed, *endless] if not unit.always], end, command, jobs)
        return
    turns: list[list[Unit]] = [owed, [], endless, []]
    for turn, part in enumerate(turns):
        again = turn % 2 == 1
        for unit in part:
            status = _in_turn(results, unit, end, math.inf if again else unit.most, command)
            if status is None:
                return
            if not again and status == "unfinished":
                turns[turn + 1].append(unit)


def wanted(todo: Sequence[Unit], only: Sequence[str]) -> list[Unit]:
    """Those of `todo` whose names contain one of `only`, all without any; and those that always run."""
    return [unit for unit in todo if unit.always or not only or any(text in unit.name for text in only)]


def _in_turn(
    results: Results, unit: Unit, end: float, most: float, command: Callable[[str, float], Sequence[str]]
) -> str | None:
    """Run one unit to its end; its status, "" where it is left out, None where nothing else may follow."""
    if not _due(results, unit, end):
        return ""
    process = Process(results, unit, min(most, end - time.monotonic()), command)
    process.wait()
    status = process.ended(results)
    if unit.name == "doctor" and not usable(results):
        with contextlib.suppress(OSError):
            print((results.folder / "doctor.txt").read_text(), flush=True)
        return None
    return status


def _side_by_side(
    results: Results, todo: Sequence[Unit], end: float, command: Callable[[str, float], Sequence[str]], jobs: int
) -> None:
    waiting = list(todo)
    running: list[Process] = []
    timed = any(not unit.name.startswith(_UNTIMED) for unit in todo)
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                unit = waiting.pop(0)
                if _due(results, unit, end):
                    seconds = end - time.monotonic()
                    if timed and unit.name.startswith(_UNTIMED):
                        seconds *= _UNTIMED_SHARE
                    running.append(Process(results, unit, seconds, command, planned=PLANNED_TOGETHER, apart=True))
            for process in [process for process in running if process.over()]:
                running.remove(process)
                process.ended(results)
            time.sleep(_POLLED)
    finally:
        for process in running:
            process.kill()


def _due(results: Results, unit: Unit, end: float) -> bool:
    """Whether a unit is left to do and there is time for it."""
    if unit.name in results.done() and not unit.always:
        return False
    if results.failures().get(unit.name, 0) >= _ATTEMPTS and not unit.always:
        print(f"{unit.name}: failed {_ATTEMPTS} times, left out", flush=True)
        return False
    return end - time.monotonic() >= max(unit.least, 0.0)


def usable(results: Results) -> bool:
    """Whether the last look at the machine found a CUDA device that can be used."""
    found = list(results.lines("doctor"))
    return bool(found and found[-1]["cuda"])


def die_with_parent() -> None:
    """End this process when the one that started it ends, however that happens (Linux; elsewhere nothing)."""
    if Path("/proc/self").exists():
        import ctypes

        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(1, signal.SIGKILL)
