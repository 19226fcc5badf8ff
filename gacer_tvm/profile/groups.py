"""Groups: what streams that meet take together, beside what each takes alone in the twin of the same schedule."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..cost.prior import AnalyticPrior
from ..cost.rows import LEARNED, Group, Run, Stream, spread_of
from ..plan import LaunchPlan
from .alone import Measured
from .company import Company, draw
from .setting import Setting

__all__ = ["GroupTurns"]

# Schedule and twin take turns: a drift of the machine then hits both.
_TURNS = 4
_AGAIN = 12


class GroupTurns:
    """Measures groups of a tenant set; `seed` is that of the schedules that are drawn."""

    def __init__(self, setting: Setting, seed: int) -> None:
        self._at, self._kernels, self._device, self._seed = setting, setting.kernels, setting.device, seed
        self._done = {r.d for r in setting.known.groups if r.set == setting.label and not r.again}
        self.known, self.added = len(self._done), 0

    def run(
        self, most: int, alone: Mapping[tuple[str, int, int], float], limit: float | None, advance: Callable[[int], None]
    ) -> bool:
        """Measure until `most` are known; False where the time was up before."""
        seconds = self._seconds(alone)
        number = 0
        while len(self._done) < most:
            drawn = draw(
                self._kernels.graph, self._device, seconds, number, self._seed, sizes=lambda o: self._sizes(o, alone)
            )
            if not drawn.met:  # tenants of one operator each, at the least, meet
                return True
            names = [self._name(number, cluster) for cluster, _ in drawn.met]
            if any(name not in self._done for name in names):
                if limit is not None and time.perf_counter() >= limit:
                    return False
                advance(self._measure(drawn, number, most, again=False))
                if number % _AGAIN == _AGAIN - 1:
                    self._measure(drawn, number, most, again=True)
            number += 1
        return True

    def _name(self, number: int, cluster: int) -> str:
        return f"{self._seed}.{number}.{cluster}"

    def _measure(self, drawn: Company, number: int, most: int, again: bool) -> int:
        graph, kernels = self._kernels.graph, self._kernels
        level = self._at.noise()
        each = max(1, -(-self._at.repeats // _TURNS))
        timed, near = self._at.steady(lambda: self._at.rounds.timed([drawn.schedule, drawn.twin], each, _TURNS))
        (plan, together), (twin, apart) = timed
        clusters, single = _clusters(plan), _clusters(twin)
        count = len(graph.tenants)
        added = 0
        for cluster, members in drawn.met:
            name = self._name(number, cluster)
            if (name in self._done) != again or (not again and len(self._done) >= most):
                continue
            whole = clusters[cluster]
            streams, lasting = [], []
            for tenant in members:
                mine = single[cluster * count + tenant][tenant]
                # Each from its own start: how late a sleeping thread wakes up is not what company costs.
                lasting.append(together[:, whole[tenant], 1].max(axis=1) - together[:, whole[tenant], 0].min(axis=1))
                streams.append(
                    Stream(
                        plan.launches[whole[tenant][0]].cores or self._device.units,
                        _microseconds(apart[:, mine, 1].max(axis=1) - apart[:, mine, 0].min(axis=1)),
                        _microseconds(lasting[-1]),
                        self._runs(twin, apart, mine),
                    )
                )
            took = np.max(lasting, axis=0)
            kernels.writer.write(
                Group(
                    kernels.session, self._at.label, name, tuple(streams), spread_of(took), len(took), round(level, 1),
                    round(near, 1), again,
                )
            )  # fmt: skip
            if not again:
                self._done.add(name)
                added += 1
        self.added += added
        return added

    def _runs(self, twin: LaunchPlan, spans: NDArray[np.float64], which: list[int]) -> tuple[Run, ...]:
        taken: dict[tuple[str, int], list[float]] = {}
        for n in which:
            launch = twin.launches[n]
            at = self._kernels.key(launch.operator, launch.cores or self._device.units), launch.items
            taken.setdefault(at, []).append(_microseconds(spans[:, n, 1] - spans[:, n, 0]))
        return tuple(Run(k, i, len(each), round(sum(each), 2)) for (k, i), each in taken.items())

    def _sizes(self, operator: int, alone: Measured | Mapping[Any, float]) -> list[int]:
        key = self._kernels.key(operator, 1)
        return [size for size in self._kernels.sizes(operator) if (key, size, 1) in alone]

    def _seconds(self, alone: Mapping[tuple[str, int, int], float]) -> Callable[[int, int, int], float]:
        prior: dict[tuple[int, int, int], float] = {}

        def seconds(operator: int, items: int, cores: int) -> float:
            known = alone.get((self._kernels.key(operator, cores), items, cores))
            if known is not None:
                return known * 1e-6
            at = (operator, items, cores)
            if at not in prior:
                prior[at] = float(AnalyticPrior().estimate(self._kernels.graph, self._device, [at]).seconds[0])
            return prior[at]

        return seconds


def _clusters(plan: LaunchPlan) -> dict[int, dict[int, list[int]]]:
    """Cluster → tenant → indices of its launches."""
    found: dict[int, dict[int, list[int]]] = {}
    tenants = [tenant for tenant, position in plan.schedule.issue() for _ in _chunks(plan, tenant, position)]
    for n, (tenant, cluster) in enumerate(zip(tenants, plan.clusters(), strict=True)):
        found.setdefault(cluster, {}).setdefault(tenant, []).append(n)
    return found


def _chunks(plan: LaunchPlan, tenant: int, position: int) -> tuple[int, ...]:
    return plan.schedule.tenants[tenant].splits.get(position, (0,))


def _microseconds(seconds: NDArray[np.float64]) -> float:
    return spread_of(seconds)[LEARNED]
