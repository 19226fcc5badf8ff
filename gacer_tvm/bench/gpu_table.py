"""One cell of the table: a set at one dtype and batch, every way to run it in one process, taken in turn."""

from __future__ import annotations

import time
from collections.abc import Collection
from contextlib import nullcontext

import numpy as np

from ..errors import GacerError
from ..executable.measure import interleave
from .gpu_bench import Bench, Net
from .gpu_correct import TOLERANCE
from .gpu_results import OutOfTime, Results
from .gpu_schedules import prepared_ways
from .gpu_state import gpu_state
from .gpu_torch import references, settings
from .gpu_ways import Ways

__all__ = ["cell"]


def cell(
    bench: Bench, results: Results, unit: str, which: str, dtype: str, batch: int, *, seconds: float, passes: int = 3,
    repeats: int = 30, without: Collection[str] = (),
) -> None:  # fmt: skip
    """Measure one cell and write every timing; a way that cannot run is a line that says why.

    The ways that take a minute or more to make (i1, i2) are made after the first pass over the others, whose timings are
    written by then, and take part in those that follow. Ways whose letters are in `without` are left out.
    """
    began = time.monotonic()
    nets = bench.models(which, batch, dtype)
    expected = references(nets, bench.torch_device)
    graph, library = bench.lowered(nets)
    results.add(unit, "conditions", **gpu_state(), **settings(), set=which, dtype=dtype, batch=batch, size=_size(nets))
    prepared = prepared_ways(bench, results, unit, graph, which, dtype, batch)
    side = Ways(bench, results, unit, graph, library, nets, without, prepared)

    def left() -> float:
        return seconds - (time.monotonic() - began)

    try:
        side.plain()
        side.eager()
        # Where nothing is left to search, one turn on the device is enough: each further one waits for all other units.
        with nullcontext() if side.searches else bench.turns.timed():
            side.regulated(seconds)
            side.compare(expected, TOLERANCE[dtype])
            if not side.rounds:
                raise GacerError(f"{which} in {dtype} at batch {batch}: no way runs; the lines of kind `failed` say why")
            first = 1 if side.compiles else passes
            with bench.turns.timed():
                for turn in range(first):
                    if turn and left() < 5:
                        break
                    _pass(bench, results, unit, side, turn, passes, repeats, left())
                if not side.compiles:
                    _spans(results, unit, side)
        if side.compiles:
            side.compiled(left)
            with bench.turns.timed():
                for turn in range(first, passes):
                    if left() < 5:
                        break
                    _pass(bench, results, unit, side, turn, passes, repeats, left())
                _spans(results, unit, side)
        results.add(unit, "after", **gpu_state())
        if side.short:
            raise OutOfTime(side.short)
    finally:
        side.close()


def _pass(
    bench: Bench, results: Results, unit: str, side: Ways, turn: int, passes: int, repeats: int, left: float
) -> None:
    """All ways once more in turn, each timing written."""
    usual = max(5.0, 0.5 * left / (passes - turn))
    budget = usual if bench.turns.seconds is None else bench.turns.left(left) / (passes - turn)
    timed = interleave(side.rounds, repeats=repeats, warmup=5, budget_seconds=budget)
    for name, quantiles in timed.items():
        results.add(unit, "timing", way=name, turn=turn, seconds=[round(s, 9) for s in quantiles.seconds])


def _spans(results: Results, unit: str, side: Ways) -> None:
    """When each launch of our ways began and ended, for the time lines."""
    for name, session in side.profiled.items():
        spans = np.median(np.array(session.timed_rounds(3)), axis=0)
        results.add(unit, "spans", way=name, spans=[[round(float(a), 9), round(float(b), 9)] for a, b in spans])


def _size(nets: list[Net]) -> list[list[int]]:
    return [list(x.shape) for net in nets for x in net.inputs]
