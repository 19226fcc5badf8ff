"""Measuring only while the machine's cores lie near each other, as far as patience goes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from .. import progress
from ..cost.near import best_rate, is_near

__all__ = ["Steady"]

T = TypeVar("T")
_PAUSE = 1.0


class Steady:
    """Repeats what was measured while the cores were far from each other.

    Parameters
    ----------
    probe
        Returns the rate at which cores exchange data, GB/s; 0 where that has no meaning.
    known
        Rates noted of the machine before.
    patience
        Seconds that may be lost by waiting and by measuring once more, in all. What is measured after that is taken as it is:
        its rate tells.
    clock, sleep
        Time in seconds, and how to let it pass.

    Attributes
    ----------
    lost
        Seconds waited or measured in vain.
    """

    def __init__(
        self,
        probe: Callable[[], float],
        known: Sequence[float] = (),
        patience: float = 120.0,
        clock: Callable[[], float] = time.perf_counter,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._probe, self._patience, self._clock, self._sleep = probe, patience, clock, sleep
        self._rates, self.lost = [*known], 0.0

    def __call__(self, measure: Callable[[], T]) -> tuple[T, float]:
        """What `measure` returned, and the lower of the rates just before and just after it, GB/s."""
        while True:
            before = self._rate()
            if not self._near(before):
                before = self._wait(before)
            started = self._clock()
            found = measure()
            rate = min(before, self._rate())
            if self._near(rate) or self.lost >= self._patience:
                return found, rate
            self.lost += self._clock() - started

    def _wait(self, rate: float) -> float:
        """Wait until the cores are near each other, or patience is at its end; the last rate."""
        with progress.update("the cores lie far from each other, waiting", None) as task:
            while not self._near(rate) and self.lost < self._patience:
                began = self._clock()
                self._sleep(_PAUSE)
                rate = self._rate()
                self.lost += self._clock() - began
                task.advance(1)
        return rate

    def _near(self, rate: float) -> bool:
        return is_near(rate, best_rate(self._rates))

    def _rate(self) -> float:
        self._rates.append(self._probe())
        return self._rates[-1]
