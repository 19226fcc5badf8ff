"""Timing: several sides in one run, taken in turn, with medians and spread."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from .. import progress

__all__ = ["Quantiles", "interleave", "settled_seconds"]

# Seconds of untimed calls, one at the least, before one that is timed.
_SETTLED = 0.004


@dataclass(frozen=True)
class Quantiles:
    """Timings of one thing.

    Attributes
    ----------
    seconds
        Every timing, in the order taken.
    """

    seconds: tuple[float, ...] = field(repr=False)

    @property
    def median(self) -> float:
        """Median, seconds."""
        return float(np.median(self.seconds))

    def at(self, q: float) -> float:
        """Quantile `q` in [0, 1], seconds."""
        return float(np.quantile(self.seconds, q))

    def __str__(self) -> str:
        return (
            f"median {self.median * 1e3:.3f} ms, p10 {self.at(0.1) * 1e3:.3f}, p90 {self.at(0.9) * 1e3:.3f} "
            f"({len(self.seconds)} rounds)"
        )


def settled_seconds(call: Callable[[], object], settled: float) -> float:
    """Seconds of a call after untimed ones, one at the least, that take `settled` seconds together.

    Whoever ran before left other data in the caches, and threads that still wait in a loop for work, on the same cores.
    """
    until = time.perf_counter() + settled
    call()
    while time.perf_counter() < until:
        call()
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def interleave(
    sides: Mapping[str, Callable[[], object]],
    *,
    repeats: int = 20,
    warmup: int = 2,
    budget_seconds: float | None = None,
    task: str = "measuring",
) -> dict[str, Quantiles]:
    """Time every side in turn, `repeats` times over, so that a drift of the machine hits all of them alike.

    Each call that is timed follows untimed ones of the same side: what runs round after round is to be measured, not the
    change from one side to the other.

    Parameters
    ----------
    sides
        What to time, by name.
    repeats, warmup
        Rounds timed, and rounds before them.
    budget_seconds
        Ends early (after at least three rounds) when this much time has passed.
    task
        What the progress bar says.
    """
    timings: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(warmup):
        for call in sides.values():
            call()
    began = time.perf_counter()
    with progress.update(task, repeats * len(sides)) as bar:
        for turn in range(repeats):
            if budget_seconds is not None and turn >= 3 and time.perf_counter() - began > budget_seconds:
                break
            # Whoever runs right after a heavy side inherits its caches: turn the order round every time.
            names = list(sides) if turn % 2 == 0 else list(sides)[::-1]
            for name in names:
                timings[name].append(settled_seconds(sides[name], _SETTLED))
                bar.advance(note=name)
    return {name: Quantiles(tuple(values)) for name, values in timings.items()}
