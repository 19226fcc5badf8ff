"""Lower bounds on what any schedule of a space can reach under a cost model, with the arguments why."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..sim import Simulator
from .space import Space

__all__ = ["Bounds", "Modes", "lower_bounds", "modes_of"]

# Weights tried between critical path and energy; the bound is concave in the weight, so a grid comes close.
_WEIGHTS = tuple(n / 40 for n in range(41))


@dataclass(frozen=True, slots=True)
class Bounds:
    """Seconds that no schedule of the space can beat.

    Attributes
    ----------
    critical_path
        For each tenant its longest chain of dependent operators, each with its shortest chunk: every item of the batch
        has to pass it.
    energy
        For each tenant the least unit-seconds of its operators, divided by the device's units.
    traffic
        For each tenant the least bytes over the bandwidth.
    choice
        For each tenant: an operator cannot take its fastest and its thriftiest way at once. For any weight l,
        ``makespan >= (1 - l) path + l energy``, and each operator takes the way that makes its part of that sum least
        (all tenants' energy counts).
    window
        Operators that cannot begin before h and have at least q to follow: ``h + q + energy(them) / units``, greatest
        over all h and q.
    """

    critical_path: tuple[float, ...]
    energy: tuple[float, ...]
    traffic: tuple[float, ...]
    choice: tuple[float, ...]
    window: float

    @property
    def makespan(self) -> float:
        """The best bound on the makespan."""
        return max(
            max(self.critical_path, default=0.0),
            sum(self.energy),
            sum(self.traffic),
            max(self.choice, default=0.0),
            self.window,
        )

    @property
    def mean_latency(self) -> float:
        """The best bound on the mean latency: each tenant's own, or one shared machine with the shortest first."""
        count = max(1, len(self.critical_path))
        found = sum(self.latency(tenant) for tenant in range(len(self.critical_path))) / count
        for shares in (self.energy, self.traffic):
            passed = total = 0.0
            for share in sorted(shares):
                passed += share
                total += passed
            found = max(found, total / count)
        return found

    def latency(self, tenant: int) -> float:
        """The best bound on one tenant's latency."""
        return max(self.critical_path[tenant], self.energy[tenant], self.traffic[tenant])


@dataclass(frozen=True, slots=True)
class Modes:
    """The ways to run one operator, for the whole batch, by chunk size and cores.

    Attributes
    ----------
    seconds
        Of one chunk, with its launch.
    energy
        Unit-seconds of all chunks over the device's units, in seconds.
    traffic
        Bytes of all chunks over the bandwidth, in seconds.
    """

    seconds: NDArray[np.float64]
    energy: NDArray[np.float64]
    traffic: NDArray[np.float64]


def modes_of(space: Space, simulator: Simulator) -> list[Modes]:
    """The modes of every operator, from the simulator's cost table (all rows of the space are looked up)."""
    table, graph, launch = simulator.table, space.graph, space.device.launch_seconds
    table.prefetch(space.rows())
    found = []
    for operator in graph.operators:
        batch = graph.tenants[operator.tenant].batch
        rows = [(size, *table[(operator.index, size, c)]) for size in space.sizes(operator.index) for c in space.cores]
        size, seconds, width, bandwidth = np.array(rows).T
        times = seconds * batch / size
        found.append(Modes(seconds + launch, times * width / simulator.units, times * bandwidth / simulator.bandwidth))
    return found


def lower_bounds(space: Space, simulator: Simulator) -> Bounds:
    """Compute the bounds."""
    graph = space.graph
    modes = modes_of(space, simulator)
    fastest = [float(m.seconds.min()) for m in modes]
    thrift = [float(m.energy.min()) for m in modes]
    tenants = range(len(graph.tenants))
    energy = [0.0 for _ in tenants]
    traffic = [0.0 for _ in tenants]
    for operator, mode in zip(graph.operators, modes, strict=True):
        energy[operator.tenant] += thrift[operator.index]
        traffic[operator.tenant] += float(mode.traffic.min())
    heads = _heads(space, fastest)
    path = [0.0 for _ in tenants]
    for operator in graph.operators:
        path[operator.tenant] = max(path[operator.tenant], heads[operator.index] + fastest[operator.index])
    choice = [0.0 for _ in tenants]
    total = sum(energy)
    for weight in _WEIGHTS:
        extra = [
            float(((1 - weight) * m.seconds + weight * m.energy).min()) - weight * t
            for m, t in zip(modes, thrift, strict=True)
        ]
        ends = _heads(space, extra)
        for operator in graph.operators:
            found = weight * total + ends[operator.index] + extra[operator.index]
            choice[operator.tenant] = max(choice[operator.tenant], found)
    return Bounds(
        tuple(path), tuple(energy), tuple(traffic), tuple(choice), _window(heads, _tails(space, fastest), thrift)
    )


def _heads(space: Space, weights: list[float]) -> list[float]:
    """For each operator the longest chain before it."""
    heads: list[float] = []
    for operator in space.graph.operators:
        heads.append(max((heads[p] + weights[p] for p in operator.predecessors), default=0.0))
    return heads


def _tails(space: Space, weights: list[float]) -> list[float]:
    """For each operator the longest chain after it."""
    tails = [0.0] * len(weights)
    for operator in reversed(space.graph.operators):
        tails[operator.index] = max(
            (tails[s] + weights[s] for s in space.graph.successors[operator.index]), default=0.0
        )
    return tails


def _window(heads: list[float], tails: list[float], energy: list[float]) -> float:
    """Greatest ``h + q + sum of energy of operators with head >= h and tail >= q``."""
    head, work = np.array(heads), np.array(energy)
    by_tail = np.argsort(-np.array(tails), kind="stable")
    head, work, tail = head[by_tail], work[by_tail], np.array(tails)[by_tail]
    best = 0.0
    for start in np.unique(head):
        best = max(best, float((start + tail + np.cumsum(np.where(head >= start, work, 0.0)))[head >= start].max()))
    return best
