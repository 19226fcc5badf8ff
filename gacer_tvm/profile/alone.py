"""Kernels alone: rounds in which one kernel runs after the other, at every chunk size and core budget."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from ..cost.rows import LEARNED, Alone, spread_of
from ..plan import LaunchPlan
from .rounds import chunked
from .select import sizes_in_turn
from .setting import Setting

__all__ = ["AloneTurns", "Measured"]

At = tuple[str, int, int]
Measured = dict[At, float]
"""(kernel key, items, cores) → microseconds."""
Plan = tuple[int, int]
"""(items, cores) of a round."""

# Plans of (items, cores) take turns: what disturbs the machine for a while hits some rounds of all, not all rounds of some.
_TOGETHER = 6
_TURNS = 4
# Of every so many such parts two plans are timed twice: what a perfect model could still not predict.
_AGAIN = 2


class AloneTurns:
    """Measures a tenant set's kernels alone."""

    def __init__(self, setting: Setting) -> None:
        self._at, self._kernels, self._device = setting, setting.kernels, setting.device
        known = [r for r in setting.known.alone if r.set == setting.label and not r.again]
        self.measured: Measured = {(r.k, r.i, r.c): r.s[LEARNED] for r in known}
        self.known, self.added = len(self.measured), 0

    def total(self, most: int) -> int:
        """Measurements still to be made, at most."""
        all_of = {at for plan in self._plans() for at in self._wanted(*plan)}
        return max(0, min(len(all_of), most) - self.known)

    def run(self, most: int, limit: float | None, advance: Callable[[int], None]) -> bool:
        """Measure until `most` are known; False where the time was up before."""
        todo = [p for p in self._plans() if not all(at in self.measured for at in self._wanted(*p))]
        for number, first in enumerate(range(0, len(todo), _TOGETHER)):
            if len(self.measured) >= most:
                break
            if limit is not None and time.perf_counter() >= limit:
                return False
            part = todo[first : first + _TOGETHER]
            self._measure(part, most, advance)
            if number % _AGAIN == 0:
                self._measure(part[:2], most, advance, again=True)
        return True

    def _plans(self) -> list[Plan]:
        """(items, cores), in an order that visits sizes far from each other early."""
        graph, units = self._kernels.graph, self._device.units
        batch = max(t.batch for t in graph.tenants)
        counts = sorted({1, units} | {1 << n for n in range(units.bit_length()) if 1 << n <= units})
        return [(items, cores) for items in sizes_in_turn(batch) for cores in counts]

    def _wanted(self, items: int, cores: int) -> list[At]:
        graph = self._kernels.graph
        found = {}
        for o in graph.operators:
            batch = graph.tenants[o.tenant].batch
            size = batch if items >= batch else items
            # A chunk that does not compile is in no round, nor one whose rest does not: to want it would be never to finish.
            fails = any(self._kernels.failed(o.index, s, cores) for s in _parts(size, batch))
            if size in self._kernels.sizes(o.index) and not fails:
                found[self._kernels.key(o.index, cores), size, cores] = None
        return list(found)

    def _measure(
        self, plans: Sequence[Plan], most: int, advance: Callable[[int], None], *, again: bool = False
    ) -> None:
        kernels = self._kernels
        schedules = [chunked(kernels.graph, self._device, *p, frozenset(o for o, _, _ in self._compile(*p))) for p in plans]
        level = self._at.noise()
        added = 0
        timed, near = self._at.steady(lambda: self._at.rounds.timed(schedules, -(-self._at.repeats // _TURNS), _TURNS))
        for (items, cores), (plan, spans) in zip(plans, timed, strict=True):
            wanted = set(self._wanted(items, cores))
            for (key, size), (times, operators) in self._times(plan, spans, cores).items():
                at = (key, size, cores)
                if at not in wanted or (at in self.measured) != again or (not again and len(self.measured) >= most):
                    continue
                spread = spread_of(times)
                kernels.writer.write(
                    Alone(
                        kernels.session, *at, spread, len(times), round(level, 1), self._at.label,
                        *kernels.away(operators), round(near, 1), again=again,
                    )
                )  # fmt: skip
                if not again:
                    self.measured[at] = spread[LEARNED]
                    added += 1
        self.added += added
        advance(added)

    def _compile(self, items: int, cores: int) -> frozenset[tuple[int, int, int]]:
        """Compile the chunks of a plan; those that cannot be."""
        graph = self._kernels.graph
        batches = [graph.tenants[o.tenant].batch for o in graph.operators]
        return self._kernels.compile(
            (o.index, size, cores)
            for o, batch in zip(graph.operators, batches, strict=True)
            if o.chunking.divisible and items < batch
            for size in _parts(items, batch)
        )

    def _times(
        self, plan: LaunchPlan, spans: NDArray[np.float64], cores: int
    ) -> dict[tuple[str, int], tuple[NDArray[np.float64], list[int]]]:
        """By kernel and items: seconds of a call in each round, the mean of several calls; and the operators that call it."""
        calls: dict[tuple[str, int], list[int]] = {}
        for n, launch in enumerate(plan.launches):
            calls.setdefault((self._kernels.key(launch.operator, cores), launch.items), []).append(n)
        taken = spans[:, :, 1] - spans[:, :, 0]
        return {
            at: (taken[:, which].mean(axis=1), [plan.launches[n].operator for n in which]) for at, which in calls.items()
        }


def _parts(items: int, batch: int) -> set[int]:
    """Sizes of the chunks of `items` that a batch is cut into."""
    return {items, batch % items or items}
