"""The learned cost model: boosted trees over the prior, for kernels alone and for how they get in each other's way."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from ..errors import DeviceError, LogError
from ..graph.model import MultiTenantGraph
from .base import PRICED, Base
from .device import Device
from .facts import Facts, KernelCounts, ShareFacts
from .features import (
    ALONE_NAMES,
    GROUP_NAMES,
    Members,
    alone_features,
    member_table,
    pair_features,
    prior_of,
    with_base,
)
from .footprint import Distances, distances
from .host import processor
from .model import Estimates, Row
from .recorded import RecordedCost
from .regress import Range, Scores, Trees
from .sane import device_fault
from .tables import width_of

__all__ = ["Card", "LearnedCost", "LearnedModel", "MeasuredAndLearned", "Part", "check_sum", "find_model", "load_model"]

FORMAT = 1
Array = NDArray[np.float64]


class Card(msgspec.Struct, frozen=True):
    """Where a model comes from and how good it is.

    Attributes
    ----------
    trained, versions, measured_with, processors
        When, with what; what the measurements were made with, and on.
    kernels, alone, groups, models, sets
        The data: distinct kernels, measurements, what the models and tenant sets are called.
    skipped
        Lines that could not be read, by kind.
    far
        Measurements left out since cores lay far from each other then (`gacer_tvm.cost.near`).
    scores
        ``kernel`` and ``group``: scores on what was held out whole, of the model and beside it the plain ways.
    repeat_error, repeats
        Mean difference of two measurements of the same thing, the floor of every error, and how many there were.
    by_length
        Scores of the learned kernel times by how long the kernels take.
    reference_us, load, notes
        Conditions: deciles and median of the reference kernel's medians and of the load average, what people noted.
    sources, others
        Where kernel measurements of the device came from, and how many of other devices were learned from.
    seen
        Digests of the rows that it was trained on (`gacer_tvm.cost.seen`); empty in models of before they were kept.
    """

    trained: str
    versions: dict[str, str]
    measured_with: dict[str, str]
    processors: list[str]
    kernels: int
    alone: int
    groups: int
    models: list[str]
    sets: list[str]
    skipped: dict[str, int]
    scores: dict[str, dict[str, Scores]]
    repeat_error: dict[str, float | None]
    repeats: dict[str, int]
    reference_us: list[float]
    load: list[float]
    notes: list[str] = []
    by_length: dict[str, Scores] = {}
    sources: dict[str, int] = {}
    others: dict[str, int] = {}
    seen: str = ""
    far: int = 0

    def as_text(self) -> str:
        """The scores as a table, with the conditions."""
        lines = [
            f"{self.alone} kernel and {self.groups} group measurements of {self.kernels} kernels, {len(self.models)} models, "
            f"{len(self.sets)} tenant sets; measured on {', '.join(self.processors)}"
        ]
        if set(self.sources) - {"profile"} or self.others:
            found = [f"{count} {kind}" for kind, count in self.sources.items()]
            found += [f"{count} of {name} at less weight" for name, count in self.others.items()]
            lines.append(f"kernel measurements by source: {', '.join(found)}; scores are of own measurements only")
        if self.far:
            lines.append(f"{self.far} measurements left out: the host had moved the cores far from each other")
        if self.skipped:
            lines.append("lines skipped: " + ", ".join(f"{count} {kind}" for kind, count in self.skipped.items()))
        for what, held in (("kernel", "models held out whole"), ("group", "tenant sets held out whole")):
            lines.append(f"{what} times, {held}:")
            lines += [f"  {name:13s}{score}" for name, score in self.scores[what].items()]
            if what == "kernel":
                lines += [f"    learned, {name:13s}{score}" for name, score in self.by_length.items()]
            floor = self.repeat_error.get(what)
            if floor is not None and self.repeats.get(what):
                lines.append(f"  measured twice: mean difference {floor:.1%} ({self.repeats[what]} pairs)")
        if self.reference_us:
            low, middle, high = self.reference_us
            lines.append(
                f"conditions: reference kernel {middle:.1f} µs (p10 {low:.1f}, p90 {high:.1f}), load average "
                f"{self.load[1]:.1f} (p10 {self.load[0]:.1f}, p90 {self.load[2]:.1f})"
            )
        lines += [f"note: {note}" for note in self.notes]
        return "\n".join(lines)


NO_BASE = Base(())


@dataclass(frozen=True)
class Part:
    """One of the two regressions: its features, the range it has seen, the median of its target, its trees."""

    names: tuple[str, ...]
    within: Range
    typical: float
    trees: Trees
    base: Base = NO_BASE

    def seconds(self, features: Array, amounts: Array, prior: Array) -> tuple[Array, NDArray[np.bool_]]:
        """Seconds of kernels alone, and which of them are like something in the training data.

        The trees correct the base. What is unlike everything seen is left to the base, and where that knows nothing either,
        to the prior times the typical ratio of measurement and prior.
        """
        base = self.base.seconds(amounts, prior)
        full = with_base(features, amounts, self.base, base)
        inside = self.within.inside(full)
        known = amounts.any(axis=1) & (len(self.base.prices) > 0)
        ratio = np.where(known, 0.0, self.typical)
        if inside.any():
            ratio[inside] = self.trees.predict(full[inside])
        return base * np.exp(ratio), inside


@dataclass(frozen=True)
class LearnedModel:
    """A trained model of one device."""

    device: Device
    card: Card
    kernel: Part
    group: Part

    @property
    def error(self) -> float:
        """Held-out mean error of kernel times."""
        return self.card.scores["kernel"]["learned"].mape

    def save(self, path: str | Path) -> Path:
        """Write the model with its card as JSON, beside `path` first.

        Raises
        ------
        LogError
            Where it cannot be written.
        """
        from ..kernels.store import write_beside

        path = Path(path)
        content = {
            "format": FORMAT,
            "device": msgspec.to_builtins(self.device),
            "card": msgspec.to_builtins(self.card),
            **{name: _part_json(part) for name, part in (("kernel", self.kernel), ("group", self.group))},
        }
        text = json.dumps({**content, "check": check_sum(content)}, allow_nan=False, separators=(",", ":"))
        try:
            write_beside(path, lambda p: p.write_text(text))
        except OSError as error:
            raise LogError(f"the cost model cannot be written to {path}: {error.strerror or error}") from error
        return path

    @property
    def hash(self) -> str:
        """Tells models apart."""
        text = json.dumps([self.card.trained, self.device.name, self.kernel.trees.to_json()], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:8]


def check_sum(content: Mapping[str, Any]) -> str:
    """What tells a damaged file: trees whose children do not exist would not be refused by xgboost, they would crash it."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _part_json(part: Part) -> dict[str, Any]:
    return {
        "features": list(part.names),
        "low": part.within.low.tolist(),
        "high": part.within.high.tolist(),
        "typical": part.typical,
        "prices": dict(zip(PRICED, part.base.prices.tolist(), strict=False)),
        "trees": part.trees.to_json(),
    }


def load_model(path: str | Path) -> LearnedModel:
    """Read a saved model.

    Raises
    ------
    LogError
        Where it cannot be read, or was made by another version whose features differ.
    """
    path = Path(path)
    try:
        content = json.loads(path.read_text())
        if content["format"] != FORMAT:
            raise LogError(f"{path}: cost model of format {content['format']}, expected {FORMAT}; train it again")
        device = msgspec.convert(content["device"], Device)
        card = msgspec.convert(content["card"], Card)
        if fault := device_fault(device):
            raise LogError(f"{path}: the cost model is of {fault}; train it again")
        for what in ("kernel", "group"):
            if "learned" not in card.scores.get(what, {}):
                raise LogError(f"{path}: the cost model's card has no score of {what} times; train it again")
        for what, want in (("kernel", ALONE_NAMES), ("group", GROUP_NAMES)):
            _same_features(path, content[what], want)
        if check_sum({name: value for name, value in content.items() if name != "check"}) != content.get("check"):
            raise LogError(f"{path}: the cost model is damaged (its content does not fit its check sum); train it again")
        parts = {n: _read_part(path, content[n], want) for n, want in (("kernel", ALONE_NAMES), ("group", GROUP_NAMES))}
    except LogError:
        raise
    except (OSError, ValueError, KeyError, DeviceError, TypeError, AttributeError, RecursionError) as error:
        raise LogError(f"{path} is no cost model ({type(error).__name__}: {error}); train one with `gacer-tvm train`") from error
    return LearnedModel(device, card, parts["kernel"], parts["group"])


def _same_features(path: Path, content: Mapping[str, Any], names: tuple[str, ...]) -> None:
    if tuple(content["features"]) != names:
        changed = sorted(set(content["features"]) ^ set(names))
        raise LogError(f"{path}: the cost model has other features than this version ({', '.join(changed[:5])}); train it again")


def _read_part(path: Path, content: Mapping[str, Any], names: tuple[str, ...]) -> Part:
    within = Range(np.array(content["low"], np.float64), np.array(content["high"], np.float64))
    if within.low.shape != (len(names),) or within.high.shape != (len(names),):
        raise LogError(f"{path}: the ranges do not fit the features; train the cost model again")
    try:
        trees = Trees.from_json(content["trees"], len(names))
    except LogError as error:
        raise LogError(f"{path}: {error}") from error
    prices = content["prices"]
    if prices and tuple(prices) != PRICED:
        raise LogError(f"{path}: the cost model prices other things than this version; train it again")
    return Part(names, within, float(content["typical"]), trees, Base([float(v) for v in prices.values()]))


def find_model(device: Device, folders: Sequence[str | Path] = ()) -> tuple[LearnedModel | None, str]:
    """The model of a device with where it was found, or None and why there is none.

    A CPU's must have been measured on a processor of this machine's name: equal extensions do not make equal cores.
    Looked for as ``model.json`` in each of `folders` and in its subfolder of the device's name.
    """
    reasons = []
    for folder in folders:
        for path in (Path(folder) / "model.json", Path(folder) / device.name / "model.json"):
            if not path.is_file():
                continue
            try:
                model = load_model(path)
            except LogError as error:
                reasons.append(str(error))
                continue
            if model.device.name != device.name:
                reasons.append(f"{path} is of device {model.device.name!r}")
            elif device.kind == "cpu" and processor() not in model.card.processors:
                reasons.append(f"{path} was measured on {', '.join(model.card.processors)}, this is {processor()}")
            else:
                return model, str(path)
    return None, "; ".join(reasons) or f"no model.json of device {device.name!r}; make one with `gacer-tvm train`"


class LearnedCost:
    """Costs predicted by a trained model.

    Every `estimate` is one batched prediction; `interference` another. Kernels unlike everything in the training data are
    given the time of the priced sum of what they execute (`gacer_tvm.cost.base`), else the prior's times the typical ratio of
    measurement and prior, and counted in `sources`.

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
        # The same kernels on one core tell how many cores they can keep busy.
        also = [(f, i, 1, d) for f, i, c, d in asked if c > 1] if own.kind == "cpu" else []
        seconds, prior = self._seconds([*asked, *also], own)
        count = len(asked)
        width = prior.width[:count].copy()
        if also:
            several = np.array([c > 1 for _, _, c, _ in asked])
            cores = np.array([float(c) for _, _, c, _ in asked])
            width[several] = width_of(seconds[count:], seconds[:count][several], cores[several])
        mine = seconds[:count]
        bandwidth = np.minimum(prior.bandwidth[:count] * prior.seconds[:count] / mine, device.bandwidth)
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
