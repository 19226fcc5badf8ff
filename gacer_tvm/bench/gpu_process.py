"""One unit of the GPU suite as a process: started in a group of its own, ended with all that it started, its end written."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from .gpu_results import Results
from .gpu_summary import summary

__all__ = ["PLANNED_TOGETHER", "Process", "Unit"]

# What a unit plans with is less than what it is given: models load and kernels compile besides.
_PLANNED = 0.7
#: The same beside others: with all the time that there is, and every result written as it comes, little is kept back.
PLANNED_TOGETHER = 0.95


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


class Process:
    """A unit under way. At the end nothing of its group is left (PyTorch's compiler has workers).

    Parameters
    ----------
    results, unit
        Where its results go, and which it is.
    seconds
        When it is killed.
    command
        Its command line, of its name and the seconds that it plans with.
    planned
        The share of its seconds that it plans with.
    apart
        Beside others: with a log of its own in ``logs``, and few threads.
    """

    def __init__(
        self, results: Results, unit: Unit, seconds: float, command: Callable[[str, float], Sequence[str]],
        planned: float = _PLANNED, apart: bool = False,
    ) -> None:  # fmt: skip
        print(f"{unit.name}: up to {seconds:.0f} s", flush=True)
        self.unit, self.seconds = unit, seconds
        self._late = False
        self._began = time.monotonic()
        self._lines = len(list(results.lines(unit=unit.name)))
        self._ends = sum(1 for _ in results.lines("end", unit.name))
        log, environment = results.folder / "units.log", None
        if apart:
            log = results.folder / "logs" / f"{unit.name.replace('/', '-')}.log"
            log.parent.mkdir(exist_ok=True)
            # Each would start threads for all cores.
            environment = {"OMP_NUM_THREADS": "1", **os.environ}
        # A group of its own; the older way is not safe in a process with threads.
        group: dict[str, Any] = {"process_group": 0} if sys.version_info >= (3, 11) else {"preexec_fn": os.setpgrp}
        with log.open("a") as stream:
            stream.write(f"\n=== {unit.name}\n")
            stream.flush()
            self._process = subprocess.Popen(
                list(command(unit.name, planned * seconds)), stdout=stream, stderr=subprocess.STDOUT, env=environment, **group
            )

    def wait(self) -> None:
        """Return when it has ended or its time is up."""
        try:
            self._process.wait(max(0.0, self._began + self.seconds - time.monotonic()))
        except subprocess.TimeoutExpired:
            self._late = True
        except BaseException:
            self.kill()
            raise

    def over(self) -> bool:
        """Whether it has ended or its time is up."""
        self._late = self._process.poll() is None and time.monotonic() - self._began > self.seconds
        return self._late or self._process.returncode is not None

    def kill(self) -> None:
        """End all of its group."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def ended(self, results: Results) -> str:
        """Clear up after it and write its end where it could not; its status."""
        self.kill()
        name = self.unit.name
        took = round(time.monotonic() - self._began, 1)
        if sum(1 for _ in results.lines("end", name)) == self._ends:
            # It was killed before it could say so itself. One that had got somewhere goes on from there.
            further = len(list(results.lines(unit=name))) > self._lines + 1
            status = "unfinished" if self._late and further else "failed"
            reason = f"ran past {self.seconds:.0f} s" if self._late else f"the process ended with {self._process.returncode}"
            results.add(name, "end", status=status, reason=reason, took=took)
        last = list(results.lines("end", name))[-1]
        print(f"{name}: {last['status']} in {last['took']} s {last.get('reason', '')[:300]}", flush=True)
        (results.folder / "table.md").write_text(summary(results))
        return str(last["status"])
