"""The GPU suite in one command: ``python -m gacer_tvm.bench.gpu --out DIR --minutes N``.

In order of worth, within its time: the report of the machine; correctness of all model sets against PyTorch on the same
GPU; the table with every baseline; measurements for the cost model; tuning. Each unit is a process of its own, so that one
that crashes, hangs or poisons the device ends alone. Results are written to DIR as they come; a later run goes on from
there. The short table comes last (``DIR/table.md``). With a few minutes only, ``--rehearse`` first: the same units on two
tiny models.

With a short time on a machine with many cores, ``--jobs`` units run at once: they prepare side by side and time in turn.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from .gpu_bench import Bench, gpu_bench
from .gpu_candidates import MOST
from .gpu_correct import BATCH, RANDOMS, correct
from .gpu_results import OutOfTime, Results
from .gpu_summary import summary
from .gpu_supervise import Unit, die_with_parent, supervise, units, usable, wanted
from .gpu_turns import Turns

__all__ = ["main", "run_unit"]

# Share of the time of units that run side by side in which one of them times, unless told otherwise.
_TIMED = 0.5


def run_unit(
    bench: Callable[[], Bench], results: Results, name: str, seconds: float, randoms: int = RANDOMS, **options: Any
) -> None:
    """Run one unit in this process and write its end, whatever it is."""
    began = time.monotonic()
    results.add(name, "begin", seconds=seconds)
    try:
        _run(bench, results, name, seconds, randoms, **options)
    except OutOfTime as error:
        results.add(name, "end", status="unfinished", reason=str(error), took=round(time.monotonic() - began, 1))
        return
    except BaseException as error:
        reason = f"{type(error).__name__}: {str(error)[:1000]}"
        results.add(name, "end", status="failed", reason=reason, took=round(time.monotonic() - began, 1))
        raise
    results.add(name, "end", status="done", took=round(time.monotonic() - began, 1))


def _run(
    bench: Callable[[], Bench], results: Results, name: str, seconds: float, randoms: int, cache: str | None = None,
    rehearse: bool = False, without: Sequence[str] = (), rounds: int = 60,
) -> None:  # fmt: skip
    what, *rest = name.split("/")
    if what == "doctor":
        from ..runtime.doctor import doctor
        from .gpu_state import gpu_state

        health = doctor()
        (results.folder / "doctor.txt").write_text(health.as_text() + "\n")
        results.add(name, "doctor", cuda=health.cuda, problems=[f.name for f in health.problems], **gpu_state())
        return
    if what == "sanitize":
        from .gpu_sanitize import sanitize

        sanitize(results, name, rest[0], seconds=seconds, cache=cache)
        return
    place = bench()
    if what == "correct":
        dtype, which = rest
        correct(place, results, name, which, dtype, batch=BATCH, randoms=randoms, seconds=seconds)
        return
    dtype, batch, which = rest[0], int(rest[1][1:]), rest[2]
    if what == "table":
        from .gpu_table import cell

        few: dict[str, Any] = {"passes": 2, "repeats": 5} if rehearse else {}
        cell(place, results, name, which, dtype, batch, seconds=seconds, without=without, **few)
    elif what == "profile":
        from .gpu_profile import profile

        profile(place, results, name, which, dtype, batch, seconds=seconds, schedules=min(2, rounds) if rehearse else rounds)
    elif what == "tilings":
        from .gpu_tilings import time_tilings

        time_tilings(place, results, name, which, dtype, batch, most=2 if rehearse else MOST)
    else:
        from .gpu_tune import tune_set

        less = {"trials": 2, "population": 4, "kernels": 1} if rehearse else {}
        tune_set(place, results, name, which, dtype, batch, seconds=seconds, **less)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the suite, or (``--unit``) one unit of it in this process."""
    parser = argparse.ArgumentParser(prog="python -m gacer_tvm.bench.gpu", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the results; an earlier run is continued")
    parser.add_argument("--minutes", type=float, default=30.0, help="time for everything")
    parser.add_argument(
        "--only", action="append", default=[], metavar="TEXT", help="only units whose names contain TEXT (repeatable)"
    )
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="so many units at once; they are timed one at a time")
    parser.add_argument(
        "--timing-seconds", type=float, default=None, metavar="S", help="most seconds of a unit in which it times, alone"
    )
    parser.add_argument("--cache", default=None, metavar="DIR", help="compiled kernels (the user's cache folder)")
    parser.add_argument("--tuning-logs", action="append", default=[], metavar="PATH", help="tuning records (repeatable)")
    parser.add_argument(
        "--schedules", type=Path, default=None, metavar="DIR", help="schedules from gacer_tvm.bench.gpu_prepare"
    )
    parser.add_argument("--device", default=None, metavar="NAME", help="device model, by default that of the GPU's name")
    parser.add_argument("--size", type=int, default=224, help="image size")
    parser.add_argument(
        "--rehearse", action="store_true", help="two tiny models in place of the sets: does everything work? (a few minutes)"
    )
    parser.add_argument("--torch", choices=("cpu", "cuda"), default=None, help="where PyTorch computes the references")
    parser.add_argument(
        "--without", action="append", default=[], choices=tuple("abcdefghi"), metavar="WAY",
        help="leave a way out of the table, by its letter; i is torch.compile (repeatable)",
    )  # fmt: skip
    parser.add_argument(
        "--rounds", type=int, default=60, metavar="N", help="random schedules that a profile measures after the kernels alone"
    )
    parser.add_argument("--list", action="store_true", help="list the units and what is done")
    parser.add_argument("--unit", default=None, help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, default=300.0, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    results = Results(given.out)
    if given.unit is not None:
        die_with_parent()
        turns = Turns(given.out if given.jobs > 1 else None, given.timing_seconds)
        try:
            with turns:
                run_unit(
                    lambda: gpu_bench(
                        given.cache, given.size, given.tuning_logs, rehearse=given.rehearse, torch_device=given.torch,
                        turns=turns, device=given.device, schedules=given.schedules,
                    ),
                    results,
                    given.unit,
                    given.seconds,
                    randoms=3 if given.rehearse else RANDOMS,
                    cache=given.cache,
                    rehearse=given.rehearse,
                    without=given.without,
                    rounds=given.rounds,
                )  # fmt: skip
        except Exception:
            traceback.print_exc()
            return 1
        return 0
    todo = _todo(given.rehearse, 60 * given.minutes)
    if given.list:
        for unit in todo:
            print(f"{'done' if unit.name in results.done() else '    '} {unit.name}")
        return 0

    timing = given.timing_seconds
    if timing is None and given.jobs > 1:
        left = [unit for unit in wanted(todo, given.only) if unit.name not in results.done()]
        timing = _TIMED * 60 * given.minutes / max(1, len(left))

    def command(name: str, seconds: float) -> list[str]:
        options = ["--out", str(given.out), "--unit", name, "--seconds", f"{seconds:.1f}", "--size", str(given.size)]
        cache = ["--cache", given.cache] if given.cache else []
        logs = [word for path in given.tuning_logs for word in ("--tuning-logs", path)]
        rest = (["--rehearse"] if given.rehearse else []) + (["--torch", given.torch] if given.torch else [])
        rest += ["--schedules", str(given.schedules)] if given.schedules else []
        rest += ["--device", given.device] if given.device else []
        rest += [word for way in given.without for word in ("--without", way)]
        rest += ["--rounds", str(given.rounds)]
        rest += ["--jobs", str(given.jobs)] + (["--timing-seconds", f"{timing:.1f}"] if timing is not None else [])
        return [sys.executable, "-m", "gacer_tvm.bench.gpu", *options, *cache, *logs, *rest]

    # Ended from outside, the suite still ends its unit and prints what it has.
    before = signal.signal(signal.SIGTERM, _ended)
    try:
        supervise(results, given.minutes, command, todo, given.only, given.jobs)
    finally:
        signal.signal(signal.SIGTERM, before)
        text = summary(results)
        (results.folder / "table.md").write_text(text)
        print(text, flush=True)
    return 0 if usable(results) else 1


def _todo(rehearse: bool, seconds: float) -> list[Unit]:
    if not rehearse:
        from ..models import SETS

        return units(tuple(SETS), seconds)
    dtypes = ("float32", "float16")
    return [
        Unit("doctor", 1, 120, always=True),
        *(Unit(f"correct/{dtype}/small", 1, 300) for dtype in dtypes),
        *(Unit(f"table/{dtype}/b4/small", 1, 300) for dtype in dtypes),
        *(Unit(f"sanitize/{tool}", 1, 300) for tool in ("memcheck", "racecheck")),
        *(Unit(f"tilings/{dtype}/b4/small", 1, 300) for dtype in dtypes),
        Unit("profile/float32/b4/small", 1, 300),
        Unit("tune/float32/b4/small", 1, 300),
    ]


def _ended(signum: int, frame: Any) -> None:
    raise SystemExit(128 + signum)


if __name__ == "__main__":
    sys.exit(main())
