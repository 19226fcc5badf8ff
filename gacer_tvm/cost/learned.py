"""The learned cost model as a value: boosted trees over a priced sum, its card, and its file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from ..errors import DeviceError, LogError
from .base import PRICED, Base
from .device import Device
from .features import ALONE_NAMES, GROUP_NAMES, with_base
from .host import processor
from .regress import Range, Scores, Trees
from .sane import device_fault

__all__ = ["Card", "LearnedModel", "Part", "check_sum", "find_model", "load_model"]

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
