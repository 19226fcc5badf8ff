"""Costs that the learned model predicts: of kernels alone, and of how they get in each other's way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import DeviceError
from ..graph.model import MultiTenantGraph
from .device import Device
from .facts import Facts, KernelCounts, ShareFacts
from .features import Members, alone_features, member_table, pair_features, prior_of
from .footprint import Distances, distances
from .learned import LearnedModel, load_model
from .model import Estimates, Row
from .recorded import RecordedCost
from .tables import width_of

__all__ = ["LearnedCost", "MeasuredAndLearned"]

Array = NDArray[np.float64]


class LearnedCost:
    """Costs predicted by a trained model.

    Every `estimate` is one batched prediction; `interference` another. Kernels unlike everything in the training data are
    given the time of the priced sum of what they execute (`gacer_tvm.cost.base`), else the prior's times the typical ratio of
    measurement and prior, and counted in `sources`, each prediction once.

    Parameters
    ----------
    model
        A model or the path of one.
    any_device
        Use it although it is of another device.
    counts
        What an operator's kernel executes (`gacer_tvm.kernels.library.KernelLibrary.counts`), of the graph that is asked
        about. Without it kernels are unlike those of the training data, and given the prior's time.
    """

    def __init__(
        self,
        model: LearnedModel | str | Path,
        *,
        any_device: bool = False,
        counts: KernelCounts | None = None,
    ) -> None:
        self._counts = counts
        self.model = model if isinstance(model, LearnedModel) else load_model(model)
        self.any_device = any_device
        card = self.model.card
        group = card.scores["group"]["learned"].mape
        self.name = f"learned:{self.model.hash}, held-out error {self.model.error:.0%} a kernel, {group:.0%} a group"
        self.sources: Counter[str] = Counter()
        self._facts: tuple[MultiTenantGraph, ShareFacts] | None = None
        self._away: tuple[Distances, ...] = ()

    def estimate(self, graph: MultiTenantGraph, device: Device, rows: Sequence[Row]) -> Estimates:
        """Estimate every row; see `gacer_tvm.cost.model.Cost`."""
        own = self._own(device)
        full = own.units if own.kind == "cpu" else 0
        on = [full if c is None else min(c, own.units) for _, _, c in rows]
        facts = {cores: self._facts_of(graph, cores) for cores in set(on)}
        away = self._away
        asked = [(facts[c][o], i, c, away[o]) for (o, i, _), c in zip(rows, on, strict=True)]
        # The same kernels on one core tell how many cores they can keep busy; often they are asked about too.
        also = [(f, i, 1, d) for f, i, c, d in asked if c > 1] if own.kind == "cpu" else []
        every = [*asked, *also]
        places: dict[tuple[int, int, int, Distances], int] = {}
        at = np.array([places.setdefault((id(f), i, c, d), len(places)) for f, i, c, d in every], np.int64)
        _, some = np.unique(at, return_index=True)
        seconds, prior = self._seconds([every[n] for n in some], own)
        count = len(asked)
        seconds, width = seconds[at], prior.width[at[:count]]
        if also:
            several = np.array([c > 1 for _, _, c, _ in asked])
            cores = np.array([float(c) for _, _, c, _ in asked])
            width[several] = width_of(seconds[count:], seconds[:count][several], cores[several])
        mine = seconds[:count]
        bandwidth = np.minimum((prior.bandwidth * prior.seconds)[at[:count]] / mine, device.bandwidth)
        return Estimates(mine, np.minimum(width, float(device.units)), bandwidth)

    def interference(self, graph: MultiTenantGraph, device: Device) -> Array:
        """Friction of each pair of operators; see `gacer_tvm.cost.model.InterferingCost`."""
        own = self._own(device)
        cores = max(1, own.units // 2) if own.kind == "cpu" else 0
        facts = self._facts_of(graph, cores)
        # Operators that share a kernel meet others alike: each kernel stands for all of them.
        batches = [graph.tenants[o.tenant].batch for o in graph.operators]
        places: dict[int, int] = {}
        at = np.array([places.setdefault(id(f), len(places)) for f in facts], np.int64)
        _, some = np.unique(at, return_index=True)
        found = self.estimate(graph, device, [(int(n), batches[n], cores or None) for n in some])
        count = len(some)
        members = Members(
            range(count), [cores] * count, found.seconds.tolist(), range(count), [facts[n] for n in some],
            [batches[n] for n in some], [1] * count, found.seconds.tolist(), found.width, found.bandwidth,
        )  # fmt: skip
        table, names = member_table(members, own)
        first, second = np.triu_indices(count)
        features = pair_features(table, names, first, second, own)
        part = self.model.group
        inside = part.within.inside(features)
        friction = np.zeros(len(features))
        if inside.any():
            friction[inside] = np.exp(part.trees.predict(features[inside])) - 1.0
        self.sources["pairs learned"] += int(inside.sum())
        self.sources["pairs by the prior"] += int((~inside).sum())
        pairs = np.zeros((count, count))
        pairs[first, second] = pairs[second, first] = np.maximum(friction, 0.0)
        result: Array = pairs[np.ix_(at, at)]
        return result

    def resolution(self, graph: MultiTenantGraph, device: Device) -> float:
        """How far apart two makespans must be predicted for the model to tell which is less.

        The held-out errors e of kernels are taken as independent, so those of two sums are ``sqrt(2 sum (e w)^2)`` for
        kernels that take the shares w of a round; the error of groups is one of company as a whole, which one of the two
        schedules may have and the other not. A search that picks the least of many predictions picks what is predicted
        too low; a difference below this is most likely that.
        """
        whole = [(o.index, graph.tenants[o.tenant].batch, None) for o in graph.operators]
        shares = self.estimate(graph, device, whole).seconds
        shares = shares / shares.sum()
        group = self.model.card.scores["group"]["learned"].mape
        return float(np.sqrt(2.0 * self.model.error**2 * np.square(shares).sum() + group**2))

    def _seconds(
        self, rows: Sequence[tuple[Facts, int, int, Distances]], device: Device
    ) -> tuple[Array, Estimates]:
        facts, items, cores = [r[0] for r in rows], [r[1] for r in rows], [r[2] for r in rows]
        away = [[r[3][n] for r in rows] for n in range(len(Distances._fields))]
        prior = prior_of(facts, items, cores, device)
        features, amounts = alone_features(facts, items, cores, prior, device, away)
        seconds, inside = self.model.kernel.seconds(features, amounts, prior.seconds)
        self.sources["kernels learned"] += int(inside.sum())
        self.sources["kernels by the prior"] += int((~inside).sum())
        return seconds, prior

    def _own(self, device: Device) -> Device:
        """The device figures that the model was trained with: its ratios are over the prior of these."""
        own = self.model.device
        if device.name != own.name and not self.any_device:
            raise DeviceError(
                f"the cost model is of device {own.name!r}, but the search is for {device.name!r}; train one on that device "
                f"(`gacer-tvm profile`, `gacer-tvm train`), or allow it with any_device=True"
            )
        if device.kind != own.kind:
            raise DeviceError(f"the cost model is of a {own.kind} device ({own.name!r}), {device.name!r} is a {device.kind}")
        return own

    def _facts_of(self, graph: MultiTenantGraph, cores: int) -> tuple[Facts, ...]:
        if self._facts is None or self._facts[0] is not graph:
            self._facts = graph, ShareFacts(graph, self._counts)
            self._away = distances(graph)
        return self._facts[1].on(cores)


class MeasuredAndLearned(RecordedCost):
    """Kernels measured alone, the gaps and the friction between kernels from a learned model."""

    def __init__(self, by_operator: Mapping[Row, float], learned: LearnedCost) -> None:
        super().__init__(by_operator, prior=learned, name=f"measured, and {learned.name}")
        self.learned = learned

    def interference(self, graph: MultiTenantGraph, device: Device) -> Array:
        """As the learned model has it."""
        return self.learned.interference(graph, device)
