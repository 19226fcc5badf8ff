"""A search among our own rule's tilings that follows the clock: where the estimate begins, then neighbours of the best.

What it proposes depends on what was measured and on the seed, and on nothing else, so that a run that goes on where another
stopped proposes what that one would have.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from ..kernels import rules
from ..kernels.rules.base import NotApplicable

__all__ = ["Climb"]

# Tilings this close to the best have their neighbours tried too, once those of the best are known.
_CLOSE = 1.25


class Climb:
    """The tilings of one kernel.

    Parameters
    ----------
    func
        The kernel, unscheduled.
    target, cores
        What it is for.
    seed
        Decides which neighbour is tried first.

    Attributes
    ----------
    starts
        The tilings that the rule's estimate ranks first, its own choice at the front; none for kernels of other rules.
    """

    def __init__(self, func: Any, target: Any, cores: int, seed: int) -> None:
        self._func, self._target, self._cores, self._seed = func, target, cores, seed
        self._refused: set[str] = set()
        self._near: dict[str, list[str]] = {}
        self.starts = rules.tilings(func, target, cores)

    def next(self, known: Mapping[str, list[float]], count: int) -> list[tuple[str, Any]]:
        """Up to `count` tilings that are not among the `known`, with their kernels; none where nothing is left to try."""
        found: list[tuple[str, Any]] = []
        for text in self._ranked(known):
            if text in known or text in self._refused or any(text == other for other, _ in found):
                continue
            try:
                found.append((text, rules.retiled(self._func, self._target, self._cores, text)))
            except NotApplicable:
                self._refused.add(text)
            if len(found) == count:
                break
        return found

    def _ranked(self, known: Mapping[str, list[float]]) -> Any:
        yield from self.starts
        means = {text: sum(s) / len(s) for text, s in known.items()}
        least = min(means.values(), default=0.0)
        for text in sorted(means, key=lambda t: (means[t], t)):
            if means[text] > _CLOSE * least:
                return
            if text not in self._near:
                near = rules.near(self._func, self._target, self._cores, text)
                self._near[text] = sorted(near, key=lambda t: sha256(f"{self._seed} {t}".encode()).digest())
            yield from self._near[text]
