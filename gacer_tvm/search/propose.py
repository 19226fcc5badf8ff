"""Random actions that make sense: where the device lies idle, at branches, between neighbours."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import numpy as np

from ..schedule import Schedule
from ..sim import Simulator, Timeline
from .actions import (
    Action,
    AddPointer,
    AddWait,
    MergeOperator,
    MovePointer,
    PlaceBranch,
    PlaceChunk,
    RelaxPointer,
    RemovePointer,
    RemoveWait,
    Reorder,
    SetCores,
    SetPriority,
    SetStream,
    SplitOperator,
)
from .branches import chains
from .space import Space

__all__ = ["Proposer"]

_TEMPORAL = ("move", "move", "move", "add", "add", "remove", "relax", "wait", "unwait")
_SPATIAL = ("split", "split", "split", "merge", "chunk", "branch", "tenant")
_BOTH = ("reorder", "device", "device")


@dataclass
class Proposer:
    """Draws actions for a schedule.

    Attributes
    ----------
    space, simulator
        Where it searches.
    rng
        The only source of chance.
    spatial, temporal
        Which kinds of action are wanted; with both also order, cores and priorities.
    max_pointers
        Most pointers of a tenant.
    """

    space: Space
    simulator: Simulator
    rng: random.Random
    spatial: bool = True
    temporal: bool = True
    max_pointers: int = 6
    _chains: list[list[tuple[int, ...]]] = field(init=False, repr=False)
    _seen: tuple[Schedule, Timeline, list[float]] | None = field(init=False, default=None, repr=False)

    def __post_init__(self) -> None:
        graph = self.space.graph
        self._chains = [chains(graph, t) for t in range(len(graph.tenants))]

    def __call__(self, schedule: Schedule) -> Action | None:
        """One action, or None where the kind that was drawn has nothing to do here."""
        kinds = (
            (_TEMPORAL if self.temporal else ())
            + (_SPATIAL if self.spatial else ())
            + (_BOTH if self.spatial and self.temporal else ())
        )
        kind = self.rng.choice(kinds)
        return {
            "move": self._move,
            "add": self._add,
            "remove": self._remove,
            "relax": self._relax,
            "wait": self._wait,
            "unwait": self._unwait,
            "split": self._split,
            "merge": self._merge,
            "chunk": self._chunk,
            "branch": self._branch,
            "tenant": self._tenant,
            "reorder": self._reorder,
            "device": self._cores if self.space.device.kind == "cpu" else self._priority,
        }[kind](schedule)

    def _tenant_index(self) -> int:
        return self.rng.randrange(len(self.space.graph.tenants))

    def _busy_operator(self, schedule: Schedule) -> tuple[int, int]:
        """An operator, more likely one with much residue beside it."""
        operators = self.space.graph.operators
        if self.rng.random() < 0.3:
            chosen = self.rng.randrange(len(operators))
        else:
            timeline, cumulated = self._timeline(schedule)
            goal = self.rng.random() * cumulated[-1]
            chosen = int(timeline.operator[int(np.searchsorted(cumulated, goal))])
        return operators[chosen].tenant, operators[chosen].position

    def _timeline(self, schedule: Schedule) -> tuple[Timeline, list[float]]:
        if self._seen is None or self._seen[0] is not schedule:
            timeline = self.simulator.run(schedule)
            weights = np.cumsum(
                np.maximum(timeline.idle_during(), 0.0) + 1e-12 + 0.05 * (timeline.end - timeline.start)
            )
            self._seen = (schedule, timeline, weights.tolist())
        return self._seen[1], self._seen[2]

    def _move(self, schedule: Schedule) -> Action | None:
        if schedule.clusters == 1:
            return None
        tenant, column = self._tenant_index(), self.rng.randrange(schedule.clusters - 1)
        pointers = schedule.tenants[tenant].pointers
        low = pointers[column - 1] if column else 0
        high = pointers[column + 1] if column + 1 < len(pointers) else self.space.graph.tenants[tenant].count
        if self.rng.random() < 0.6:
            target = pointers[column] + self.rng.choice((-3, -2, -1, 1, 2, 3))
        else:
            target = self.rng.randint(low, high)
        return MovePointer(tenant, column, min(high, max(low, target)))

    def _add(self, schedule: Schedule) -> Action | None:
        if schedule.clusters > self.max_pointers:
            return None
        # A pointer at one moment of the time line cuts every tenant where it is then.
        timeline, _ = self._timeline(schedule)
        moment = self.rng.random() * timeline.makespan
        cluster = self.rng.randrange(schedule.clusters)
        positions = []
        for tenant, info in enumerate(self.space.graph.tenants):
            pointers = schedule.tenants[tenant].pointers
            low = pointers[cluster - 1] if cluster else 0
            high = pointers[cluster] if cluster < len(pointers) else info.count
            mine = timeline.tenant == tenant
            later = timeline.operator[mine & (timeline.start >= moment)]
            place = int(later.min()) - info.first if len(later) else info.count
            positions.append(min(high, max(low, place)))
        return AddPointer(cluster, tuple(positions))

    def _remove(self, schedule: Schedule) -> Action | None:
        return RemovePointer(self.rng.randrange(schedule.clusters - 1)) if schedule.clusters > 1 else None

    def _relax(self, schedule: Schedule) -> Action | None:
        count = len(schedule.tenants)
        if schedule.clusters == 1 or count < 2:
            return None
        pairs = [(a, b) for a in range(count) for b in range(count) if a != b and self.rng.random() < 0.5]
        return RelaxPointer(self.rng.randrange(schedule.clusters - 1), tuple(pairs)) if pairs else None

    def _wait(self, schedule: Schedule) -> Action | None:
        if len(schedule.tenants) < 2 or len(schedule.waits) >= 8:
            return None
        before, after = self.rng.sample(range(len(schedule.tenants)), 2)
        timeline, _ = self._timeline(schedule)
        moment = self.rng.random() * timeline.makespan
        ended = timeline.operator[(timeline.tenant == before) & (timeline.end <= moment)]
        coming = timeline.operator[(timeline.tenant == after) & (timeline.start >= moment * 0.8)]
        if not len(ended) or not len(coming):
            return None
        tenants = self.space.graph.tenants
        return AddWait(
            (before, int(ended.max()) - tenants[before].first), (after, int(coming.min()) - tenants[after].first)
        )

    def _unwait(self, schedule: Schedule) -> Action | None:
        return RemoveWait(self.rng.randrange(len(schedule.waits))) if schedule.waits else None

    def _split(self, schedule: Schedule) -> Action | None:
        tenant, position = self._busy_operator(schedule)
        ways = self.space.splits[self.space.graph.tenants[tenant].first + position]
        return SplitOperator(tenant, position, self.rng.choice(ways)) if ways else None

    def _merge(self, schedule: Schedule) -> Action | None:
        cut = [(t, p) for t, part in enumerate(schedule.tenants) for p in part.splits]
        return MergeOperator(*self.rng.choice(cut)) if cut else None

    def _stream(self, schedule: Schedule) -> int:
        return self.rng.randrange(len(schedule.streams) + 1)

    def _chunk(self, schedule: Schedule) -> Action | None:
        cut = [(t, p, len(s)) for t, part in enumerate(schedule.tenants) for p, s in part.splits.items()]
        if not cut:
            return None
        tenant, position, count = self.rng.choice(cut)
        return PlaceChunk(tenant, position, self.rng.randrange(count), self._stream(schedule))

    def _branch(self, schedule: Schedule) -> Action | None:
        tenant = self._tenant_index()
        chain = self.rng.choice(self._chains[tenant]) if self._chains[tenant] else ()
        if not chain:
            return None
        if self.rng.random() < 0.5 and len(chain) > 1:
            # A part of the chain: the rest stays, as when one tenant is continued on a stream that has become free.
            begin, end = sorted(self.rng.sample(range(len(chain) + 1), 2))
            chain = chain[begin:end]
        return PlaceBranch(tenant, chain, self._stream(schedule))

    def _tenant(self, schedule: Schedule) -> Action | None:
        return SetStream(self._tenant_index(), self._stream(schedule))

    def _reorder(self, schedule: Schedule) -> Action | None:
        count = len(self.space.graph.operators)
        source = self.rng.randrange(count)
        return Reorder(source, min(count - 1, max(0, source + self.rng.choice((-1, 1)) * self.rng.randint(1, 12))))

    def _cores(self, schedule: Schedule) -> Action | None:
        budgets = [c for c in self.space.cores if c is not None]
        return SetCores(
            self.rng.randrange(len(schedule.streams)), self.rng.randrange(schedule.clusters), self.rng.choice(budgets)
        )

    def _priority(self, schedule: Schedule) -> Action | None:
        return SetPriority(self.rng.randrange(len(schedule.streams)), self.rng.randrange(3))
