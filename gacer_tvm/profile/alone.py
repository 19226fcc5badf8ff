"""Kernels alone: rounds in which one kernel runs after the other, at every chunk size and core budget, each timed twice.

The second time comes when everything was timed once: what disturbed the machine then is over. The two tell how far off a perfect
model would be, and the less of them is learned from (`gacer_tvm.cost.sources.once`).
"""

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


class AloneTurns:
    """Measures a tenant set's kernels alone."""

    def __init__(self, setting: Setting) -> None:
        self._at, self._kernels, self._device = setting, setting.kernels, setting.device
        self._legal = {at for plan in self._plans() for at in self._wanted(*plan)}
        mine = [r for r in setting.known.alone if r.set == setting.label and not r.source and (r.k, r.i, r.c) in self._legal]
        # First timings only, whatever the second ones say: groups are drawn by them, in this session and when it goes on.
        self.measured: Measured = {(r.k, r.i, r.c): r.s[LEARNED] for r in mine if not r.again}
        self._twice = {(r.k, r.i, r.c) for r in mine if r.again}
        self.known, self.added, self.again = len(self.measured), 0, 0

    def total(self, most: int) -> int:
        """Measurements still to be made, at most, second ones included."""
        count = max(self.known, min(len(self._legal), most))
        return count - self.known + max(0, min(count, most) - len(self._twice))

    def run(self, most: int, limit: float | None, advance: Callable[[int], None]) -> bool:
        """Measure until `most` are known, and as many a second time; False where the time was up before."""
        for again in (False, True):
            todo = [p for p in self._plans() if any(self._lacks(at, again) for at in self._wanted(*p))]
            for first in range(0, len(todo), _TOGETHER):
                if self._enough(most, again):
                    break
                if limit is not None and time.perf_counter() >= limit:
                    return False
                self._measure(todo[first : first + _TOGETHER], most, advance, again)
        return True

    def _lacks(self, at: At, again: bool) -> bool:
        return at in self.measured and at not in self._twice if again else at not in self.measured

    def _enough(self, most: int, again: bool) -> bool:
        return len(self._twice if again else self.measured) >= most

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

    def _measure(self, plans: Sequence[Plan], most: int, advance: Callable[[int], None], again: bool) -> None:
        kernels = self._kernels
        schedules = [chunked(kernels.graph, self._device, *p, frozenset(o for o, _, _ in self._compile(*p))) for p in plans]
        level = self._at.noise()
        added = 0
        timed, near = self._at.steady(lambda: self._at.rounds.timed(schedules, -(-self._at.repeats // _TURNS), _TURNS))
        for (items, cores), (plan, spans) in zip(plans, timed, strict=True):
            wanted = set(self._wanted(items, cores))
            for (key, size), (times, operators) in self._times(plan, spans, cores).items():
                at = (key, size, cores)
                if at not in wanted or not self._lacks(at, again) or self._enough(most, again):
                    continue
                spread = spread_of(times)
                kernels.writer.write(
                    Alone(
                        kernels.session, *at, spread, len(times), round(level, 1), self._at.label,
                        *kernels.away(operators), round(near, 1), again=again,
                    )
                )  # fmt: skip
                if again:
                    self._twice.add(at)
                else:
                    self.measured[at] = spread[LEARNED]
                added += 1
        if again:
            self.again += added
        else:
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
