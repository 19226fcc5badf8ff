"""Runs the units of the GPU suite, each as a process, within a time; whatever one of them does, the others have their turn."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .gpu_results import Results
from .gpu_summary import summary

__all__ = ["Unit", "supervise", "units"]

_ATTEMPTS = 3
# What a unit plans with is less than what it is given: models load and kernels compile besides.
_PLANNED = 0.7


@dataclass(frozen=True)
class Unit:
    """One piece of the suite.

    Attributes
    ----------
    name
        ``table/float32/b8/light`` and the like; the first word says what it is.
    least
        Seconds below which it is not worth starting.
    most
        Seconds that it may take at its first turn; those that ran out of time share the rest when all have had theirs.
    always
        Runs every time, also where it is done already.
    """

    name: str
    least: float
    most: float
    always: bool = False


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
    found += [Unit(f"profile/float32/b8/{which}", 45, turn(60, 0.05, 400)) for which in sets]
    found += [Unit(f"tune/float32/b8/{which}", 90, turn(120, 0.2, 3600)) for which in sets]
    return found


def supervise(
    results: Results, minutes: float, command: Callable[[str, float], Sequence[str]], todo: Sequence[Unit], only: str = ""
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
        Only units whose names contain this (and those that always run).
    """
    end = time.monotonic() + 60 * minutes
    chosen = [unit for unit in todo if only in unit.name or unit.always]
    # What is owed first, its unfinished units included; then what could go on for ever.
    endless = [unit for unit in chosen if unit.name.startswith(("profile", "tune"))]
    turns: list[list[Unit]] = [[unit for unit in chosen if unit not in endless], [], endless, []]
    for turn, part in enumerate(turns):
        again = turn % 2 == 1
        for unit in part:
            left = end - time.monotonic()
            if unit.name in results.done() and not unit.always:
                continue
            failed = results.failures().get(unit.name, 0)
            if failed >= _ATTEMPTS and not unit.always:
                print(f"{unit.name}: failed {failed} times, left out", flush=True)
                continue
            if left < unit.least:
                continue
            status = _one(results, unit, left if again else min(unit.most, left), command)
            (results.folder / "table.md").write_text(summary(results))
            if not again and status == "unfinished":
                turns[turn + 1].append(unit)
            if unit.name == "doctor" and not usable(results):
                with contextlib.suppress(OSError):
                    print((results.folder / "doctor.txt").read_text(), flush=True)
                return


def usable(results: Results) -> bool:
    """Whether the last look at the machine found a CUDA device that can be used."""
    found = list(results.lines("doctor"))
    return bool(found and found[-1]["cuda"])


def _one(results: Results, unit: Unit, seconds: float, command: Callable[[str, float], Sequence[str]]) -> str:
    print(f"{unit.name}: up to {seconds:.0f} s", flush=True)
    began = time.monotonic()
    lines = len(list(results.lines(unit=unit.name)))
    ends = sum(1 for _ in results.lines("end", unit.name))
    with (results.folder / "units.log").open("a") as stream:
        stream.write(f"\n=== {unit.name}\n")
        stream.flush()
        late, code = _run(list(command(unit.name, _PLANNED * seconds)), seconds, stream)
    if sum(1 for _ in results.lines("end", unit.name)) == ends:
        # It was killed before it could say so itself. One that had got somewhere goes on from there.
        status = "unfinished" if late and len(list(results.lines(unit=unit.name))) > lines + 1 else "failed"
        reason = f"ran past {seconds:.0f} s" if late else f"the process ended with {code}"
        results.add(unit.name, "end", status=status, reason=reason, took=round(time.monotonic() - began, 1))
    last = list(results.lines("end", unit.name))[-1]
    print(f"{unit.name}: {last['status']} in {last['took']} s {last.get('reason', '')[:300]}", flush=True)
    return str(last["status"])


def _run(command: list[str], seconds: float, stream: Any) -> tuple[bool, int]:
    """Run a process with all that it starts; whether it was killed for the time, and its status."""
    # A group of its own; the older way is not safe in a process with threads.
    apart: dict[str, Any] = {"process_group": 0} if sys.version_info >= (3, 11) else {"preexec_fn": os.setpgrp}
    with _group(subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT, **apart)) as process:
        try:
            return False, process.wait(seconds)
        except subprocess.TimeoutExpired:
            return True, -1


@contextlib.contextmanager
def _group(process: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """A process that leads a group: at the end nothing of the group is left (PyTorch's compiler has workers)."""
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def die_with_parent() -> None:
    """End this process when the one that started it ends, however that happens (Linux; elsewhere nothing)."""
    if Path("/proc/self").exists():
        import ctypes

        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(1, signal.SIGKILL)
