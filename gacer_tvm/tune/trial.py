"""Candidates of one kernel measured one after the other, each on disk before the next begins."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from .measure import Measurer
from .records import FAILED, Records
from .size import TooMuchCode

__all__ = ["Candidate", "Trials"]

# A candidate that a process died with this often is recorded as failed.
_CRASHES = 2
_MARKER = "in_flight.json"


@dataclass(frozen=True)
class Candidate:
    """What may be tried.

    Attributes
    ----------
    text
        Says which it is, among those of its kernel.
    module
        Scheduled, with one function ``main``.
    arguments
        What it takes, as MetaSchedule describes it.
    keep
        Writes its seconds down; they are on disk when it returns.
    """

    text: str
    module: Any
    arguments: list[Any]
    keep: Callable[[list[float]], None]


@dataclass(frozen=True)
class Trials:
    """Measures candidates of the kernel `key`.

    Parameters
    ----------
    key, name
        The kernel, and what people call it.
    records, measurer, target, stopped
        As for `gacer_tvm.tune.kernel.KernelRun`.
    """

    key: str
    name: str
    records: Records
    measurer: Measurer
    target: Any
    stopped: Callable[[], bool]

    def measured(
        self,
        candidates: list[Candidate],
        known: Mapping[str, list[float]],
        trials: int,
        hopeless: Callable[[], float | None],
        told: Callable[[int, str], None],
    ) -> list[list[float]]:
        """Seconds of each candidate, from the `known` or measured now; fewer than asked where it was stopped.

        Parameters
        ----------
        candidates
            In this order.
        known
            Text → seconds of those that have been measured.
        trials
            That the kernel may have in all.
        hopeless
            Seconds that a candidate need not be timed more than once for.
        told
            Called with 1 and a line for people after each trial.
        """
        waiting: list[tuple[int, Callable[[], list[float]]]] = []
        found: dict[int, list[float]] = {}

        def finish() -> None:
            number, wait = waiting.pop(0)
            found[number] = wait() or [FAILED]
            candidates[number].keep(found[number])
            (self.records.folder / _MARKER).unlink(missing_ok=True)
            best = self.records.least(self.key)
            shown = f"{best * 1e3:.3g} ms" if best is not None else "none runs"
            told(1, f"{self.name}: {shown} after {self.records.count(self.key)}")

        for number, candidate in enumerate(candidates):
            if candidate.text in known:
                found[number] = known[candidate.text]
                continue
            if self.stopped() or self.records.count(self.key) + len(waiting) >= trials:
                break
            waiting.append((number, self._submitted(candidate, hopeless())))
            if len(waiting) >= self.measurer.parallel:
                finish()
        while waiting:
            finish()
        return [found[n] for n in range(len(candidates)) if n in found]

    def _submitted(self, candidate: Candidate, hopeless: float | None) -> Callable[[], list[float]]:
        if self.measurer.parallel == 1 and self._crashed(candidate.text):
            return list
        try:
            return self.measurer.submit(candidate.module, self.target, candidate.arguments, hopeless)
        except TooMuchCode:
            self.records.kernels[self.key].too_large += 1
            return list

    def _crashed(self, text: str) -> bool:
        """Mark a candidate as under way; whether earlier processes have died with it."""
        name = sha256(f"{self.key} {text}".encode()).hexdigest()[:16]
        path = self.records.folder / _MARKER
        tries = 0
        try:
            held = json.loads(path.read_text())
            tries = int(held["tries"]) if held["candidate"] == name else 0
        except (OSError, ValueError, KeyError, TypeError):
            pass
        path.write_text(json.dumps({"candidate": name, "tries": tries + 1}))
        return tries >= _CRASHES
