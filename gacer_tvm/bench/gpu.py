"""The GPU suite in one command: ``python -m gacer_tvm.bench.gpu --out DIR --minutes N``.

In order of worth, within its time: the report of the machine; correctness of all model sets against PyTorch on the same
GPU; the table with every baseline; measurements for the cost model; tuning. Each unit is a process of its own, so that one
that crashes, hangs or poisons the device ends alone. Results are written to DIR as they come; a later run goes on from
there. The short table comes last.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from .gpu_bench import Bench, gpu_bench
from .gpu_results import OutOfTime, Results
from .gpu_summary import summary

__all__ = ["Unit", "main", "run_unit", "supervise", "units"]

_ATTEMPTS = 3
_RANDOMS = 20
_CORRECT_BATCH = 8


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
        Seconds that it may take.
    """

    name: str
    least: float
    most: float


def units(sets: Sequence[str]) -> list[Unit]:
    """All units, in order of worth."""
    found = [Unit("doctor", 5, 120)]
    for dtype in ("float32", "float16"):
        found += [Unit(f"correct/{dtype}/{which}", 60, 900) for which in sets]
    for batch in (8, 1, 32):
        for dtype in ("float32", "float16"):
            found += [Unit(f"table/{dtype}/b{batch}/{which}", 90, 900) for which in sets]
    found += [Unit(f"profile/float32/b8/{which}", 60, 400) for which in sets]
    found += [Unit(f"tune/float32/b8/{which}", 120, 3600) for which in sets]
    return found


def run_unit(bench: Callable[[], Bench], results: Results, name: str, seconds: float, randoms: int = _RANDOMS) -> None:
    """Run one unit in this process and write its end, whatever it is."""
    began = time.monotonic()
    results.add(name, "begin", seconds=seconds)
    try:
        _run(bench, results, name, seconds, randoms)
    except OutOfTime as error:
        results.add(name, "end", status="unfinished", reason=str(error), took=round(time.monotonic() - began, 1))
        return
    except BaseException as error:
        reason = f"{type(error).__name__}: {str(error)[:1000]}"
        results.add(name, "end", status="failed", reason=reason, took=round(time.monotonic() - began, 1))
        raise
    results.add(name, "end", status="done", took=round(time.monotonic() - began, 1))


def _run(bench: Callable[[], Bench], results: Results, name: str, seconds: float, randoms: int) -> None:
    what, *rest = name.split("/")
    if what == "doctor":
        from ..runtime.doctor import doctor
        from .gpu_state import gpu_state

        health = doctor()
        (results.folder / "doctor.txt").write_text(health.as_text() + "\n")
        results.add(name, "doctor", cuda=health.cuda, problems=[f.name for f in health.problems], **gpu_state())
        return
    place = bench()
    if what == "correct":
        from .gpu_correct import correct

        dtype, which = rest
        correct(place, results, name, which, dtype, batch=_CORRECT_BATCH, randoms=randoms, seconds=seconds)
        return
    dtype, batch, which = rest[0], int(rest[1][1:]), rest[2]
    if what == "table":
        from .gpu_table import cell

        cell(place, results, name, which, dtype, batch, seconds=seconds)
    elif what == "profile":
        from .gpu_profile import profile

        profile(place, results, name, which, dtype, batch, seconds=seconds)
    else:
        from .gpu_tune import tune_set

        tune_set(place, results, name, which, dtype, batch, seconds=seconds)


def supervise(
    results: Results, minutes: float, command: Callable[[str, float], Sequence[str]], todo: Sequence[Unit], only: str = ""
) -> None:
    """Run what is left of `todo` until the time is up, each unit as a process.

    Parameters
    ----------
    results
        What is done already, and where results go.
    minutes
        Time for everything.
    command
        The command line of a unit: its name and seconds.
    todo
        In order of worth.
    only
        Only units whose names contain this.
    """
    end = time.monotonic() + 60 * minutes
    log = results.folder / "units.log"
    for unit in todo:
        left = end - time.monotonic()
        if only not in unit.name or unit.name in results.done():
            continue
        failed = results.failures().get(unit.name, 0)
        if failed >= _ATTEMPTS:
            print(f"{unit.name}: failed {failed} times, left out", flush=True)
            continue
        if left < unit.least:
            continue
        seconds = min(unit.most, left)
        # What the unit plans with is less than what it is given: models load and kernels compile besides.
        budget = 0.75 * seconds
        print(f"{unit.name}: up to {seconds:.0f} s", flush=True)
        began = time.monotonic()
        before = sum(1 for _ in results.lines("end", unit.name))
        with log.open("a") as stream:
            stream.write(f"\n=== {unit.name}\n")
            stream.flush()
            try:
                code = subprocess.run(
                    list(command(unit.name, budget)), stdout=stream, stderr=subprocess.STDOUT, timeout=seconds, check=False
                ).returncode
                reason = f"the process ended with {code}"
            except subprocess.TimeoutExpired:
                reason = f"ran past {seconds:.0f} s"
        if sum(1 for _ in results.lines("end", unit.name)) == before:
            # It was killed before it could say so itself.
            results.add(unit.name, "end", status="failed", reason=reason, took=round(time.monotonic() - began, 1))
        last = list(results.lines("end", unit.name))[-1]
        print(f"{unit.name}: {last['status']} in {last['took']} s {last.get('reason', '')[:300]}", flush=True)
        if unit.name == "doctor" and not any(line["cuda"] for line in results.lines("doctor")):
            print((results.folder / "doctor.txt").read_text(), flush=True)
            return


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the suite, or (``--unit``) one unit of it in this process."""
    parser = argparse.ArgumentParser(prog="python -m gacer_tvm.bench.gpu", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the results; an earlier run is continued")
    parser.add_argument("--minutes", type=float, default=30.0, help="time for everything")
    parser.add_argument("--only", default="", metavar="TEXT", help="only units whose names contain TEXT")
    parser.add_argument("--cache", default=None, metavar="DIR", help="compiled kernels (the user's cache folder)")
    parser.add_argument("--tuning-logs", action="append", default=[], metavar="PATH", help="tuning records (repeatable)")
    parser.add_argument("--size", type=int, default=224, help="image size")
    parser.add_argument("--list", action="store_true", help="list the units and what is done")
    parser.add_argument("--unit", default=None, help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, default=300.0, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    results = Results(given.out)
    if given.unit is not None:
        try:
            run_unit(
                lambda: gpu_bench(given.cache, given.size, given.tuning_logs), results, given.unit, given.seconds
            )
        except Exception:
            traceback.print_exc()
            return 1
        return 0
    from ..models import SETS

    todo = units(tuple(SETS))
    if given.list:
        for unit in todo:
            print(f"{'done' if unit.name in results.done() else '    '} {unit.name}")
        return 0

    def command(name: str, seconds: float) -> list[str]:
        options = ["--out", str(given.out), "--unit", name, "--seconds", f"{seconds:.1f}", "--size", str(given.size)]
        cache = ["--cache", given.cache] if given.cache else []
        logs = [word for path in given.tuning_logs for word in ("--tuning-logs", path)]
        return [sys.executable, "-m", "gacer_tvm.bench.gpu", *options, *cache, *logs]

    supervise(results, given.minutes, command, todo, given.only)
    text = summary(results)
    (results.folder / "table.md").write_text(text)
    print(text)
    return 0 if any(line["cuda"] for line in results.lines("doctor")) or given.only else 1


if __name__ == "__main__":
    sys.exit(main())
