"""Evaluations counted, remembered, ranked and cut off when the budget is spent."""

from __future__ import annotations

import heapq
import time
from dataclasses import dataclass
from typing import Any

from ..schedule import Schedule
from ..sim import Score, Simulator
from .objective import Objective

__all__ = ["BudgetSpent", "Evaluator", "Improvement", "family"]

_Identity = tuple[object, ...]


def _identity(schedule: Schedule) -> _Identity:
    """What two schedules must share to run alike (their provenance does not count)."""
    return (
        tuple(
            (t.stream, t.pointers, tuple(sorted(t.splits.items())), tuple(sorted(t.placement.items())))
            for t in schedule.tenants
        ),
        tuple((s.cores, s.priority) for s in schedule.streams),
        schedule.order,
        schedule.waits,
    )


def family(schedule: Schedule) -> _Identity:
    """What variations of one idea have in common: where tenants run, how often they meet, who is cut.

    The best few of a search differ by a pointer's last step or by one chunk; measuring those tells nothing. One of each
    family does.
    """
    return (
        tuple(t.stream for t in schedule.tenants),
        len(schedule.streams),
        schedule.clusters,
        tuple(bool(t.splits) for t in schedule.tenants),
        tuple(bool(t.placement) for t in schedule.tenants),
        tuple(s.cores for s in schedule.streams) if schedule.clusters == 1 else (),
        bool(schedule.waits),
    )


class BudgetSpent(Exception):
    """The budget is spent; `reason` says which."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Improvement:
    """A better schedule was found.

    Attributes
    ----------
    evaluations, elapsed
        Evaluations and seconds since the start of the search.
    seconds
        The objective.
    what
        What was done.
    """

    evaluations: int
    elapsed: float
    seconds: float
    what: str


class Evaluator:
    """Scores schedules under an objective.

    Parameters
    ----------
    simulator, objective
        How a schedule is scored and judged.
    time_budget_s, evaluations
        Budgets; None for no limit. The seeds of a search are scored whatever the budget.
    top
        How many schedules to rank, each of another family.
    """

    def __init__(
        self,
        simulator: Simulator,
        objective: Objective,
        *,
        time_budget_s: float | None,
        evaluations: int | None,
        top: int,
        task: Any = None,
    ) -> None:
        self.simulator = simulator
        self.objective = objective
        self.trace: list[Improvement] = []
        self.count = 0
        self._begin = time.monotonic()
        self._evaluations = evaluations
        self._time = time_budget_s
        self._share = 1.0
        self._top = top
        # By hash: the identities of large graphs would take hundreds of MB, and 64 bits do not collide in a search.
        self._known: dict[int, Score] = {}
        self._families: dict[_Identity, tuple[tuple[float, float], int, Schedule, Score]] = {}
        self._task = task
        self.best: Schedule | None = None
        self.best_score: Score | None = None
        self.best_key: tuple[float, float] = (float("inf"), float("inf"))

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._begin

    def spent(self) -> str | None:
        """Which budget is spent, if any."""
        if self._evaluations is not None and self.count >= self._evaluations * self._share:
            return "evaluations"
        if self._time is not None and self.elapsed >= self._time * self._share:
            return "time"
        return None

    def allow(self, share: float) -> None:
        """Let the budgets be used up to this share of them from now on."""
        self._share = share

    def __call__(self, schedule: Schedule, what: object, *, always: bool = False) -> tuple[float, float]:
        """The objective's key of `schedule`; kept if it is among the best.

        Raises
        ------
        BudgetSpent
            Where a budget is spent and `always` is not set.
        """
        if not always:
            reason = self.spent()
            if reason is not None:
                raise BudgetSpent(reason)
        identity = hash(_identity(schedule))
        score = self._known.get(identity)
        if score is not None:
            return self.objective.key(score)
        score = self.simulator.score(schedule)
        self.count += 1
        if self._task is not None:
            self._task.advance(1)
        self._known[identity] = score
        key = self.objective.key(score)
        kind = family(schedule)
        known = self._families.get(kind)
        if known is None or key < known[0]:
            self._families[kind] = (key, self.count, schedule, score)
        if key < self.best_key:
            self.best, self.best_score, self.best_key = schedule, score, key
            self.trace.append(Improvement(self.count, self.elapsed, self.objective.seconds(score), str(what)))
        return key

    def ranked(self) -> list[tuple[Schedule, Score]]:
        """The best schedule of each family, best first."""
        found = heapq.nsmallest(self._top, self._families.values(), key=lambda entry: entry[:2])
        return [(schedule, score) for _, _, schedule, score in found]
