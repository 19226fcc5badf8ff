"""How far a trained model is off on rows that it was not trained on: its honest error, before it learns from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..errors import LogError
from .learned import LearnedModel
from .rows import Alone, Data, Group
from .seen import unseen
from .sharing import group_seconds
from .sources import is_own
from .tables import alone_table, group_table
from .train import of_device, widths

__all__ = ["Misses", "News", "group_misses", "kernel_misses", "news"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Misses:
    """Predictions beside measurements, seconds; `keys` is what each row is about (a kernel, or a tenant set)."""

    predicted: Array
    measured: Array
    keys: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.measured)

    @property
    def error(self) -> float:
        """Mean relative error; NaN without rows."""
        return float(np.mean(np.abs(self.predicted / self.measured - 1.0))) if len(self) else float("nan")

    @property
    def bias(self) -> float:
        """Median of predicted over measured, less one: below zero where predictions are too short; NaN without rows."""
        return float(np.median(self.predicted / self.measured)) - 1.0 if len(self) else float("nan")

    def where(self, wanted: NDArray[np.bool_]) -> Misses:
        """Some of the rows."""
        return Misses(self.predicted[wanted], self.measured[wanted], tuple(k for k, take in zip(self.keys, wanted) if take))


@dataclass(frozen=True)
class News:
    """What a model has not seen of its device: own kernels alone and groups, and `data`, all rows of the device.

    `fresh` are the rows of kernels of which it has seen no row at all.
    """

    data: Data
    alone: tuple[Alone, ...]
    groups: tuple[Group, ...]
    fresh: tuple[Alone, ...]
    elsewhere: int

    def __bool__(self) -> bool:
        return bool(self.alone or self.groups or self.elsewhere)

    @property
    def models(self) -> tuple[str, ...]:
        """Models that have the kernels, known ones included."""
        return tuple(sorted({m for r in self.alone for m in self.data.owners[r.k]}))

    @property
    def sets(self) -> tuple[str, ...]:
        """Tenant sets of the groups."""
        return tuple(sorted({r.set for r in self.groups}))


def news(model: LearnedModel, data: Data) -> News:
    """The rows of the model's device that it was not trained on.

    A model of before digests were kept is taken to have seen all sessions that began before it was trained.

    Raises
    ------
    LogError
        Where `data` has nothing of the model's device, or the model's digests are damaged.
    """
    mine, _ = of_device(data, model.device.name)
    if model.card.seen:
        try:
            alone, groups = unseen(mine.alone, model.card.seen), unseen(mine.groups, model.card.seen)
        except ValueError as error:
            raise LogError(f"the cost model does not tell what it was trained on ({error}); train it again") from error
    else:
        late = {x for x, s in mine.sessions.items() if s.began > model.card.trained}
        alone, groups = [r for r in mine.alone if r.x in late], [r for r in mine.groups if r.x in late]
    new = {id(r) for r in alone}
    known = {r.k for r in mine.alone if id(r) not in new}
    own = tuple(r for r in alone if is_own(r))
    return News(
        mine,
        own,
        tuple(r for r in groups if not r.again),
        tuple(r for r in own if r.k not in known),
        sum(not is_own(r) for r in alone),
    )


def kernel_misses(model: LearnedModel, data: Data, rows: Sequence[Alone]) -> Misses:
    """Kernels alone: what the model says of `rows` (whose facts stand in `data`), what was measured."""
    table = alone_table(replace(data, alone=list(rows)), model.device)
    if not rows:
        return Misses(np.empty(0), np.empty(0), ())
    predicted, _ = model.kernel.seconds(table.features, table.amounts, table.prior)
    return Misses(predicted, table.seconds, table.keys)


def group_misses(model: LearnedModel, data: Data, rows: Sequence[Group]) -> Misses:
    """Groups, given their members' measured times."""
    if not rows:
        return Misses(np.empty(0), np.empty(0), ())
    table = group_table(replace(data, groups=list(rows)), model.device, widths(data))
    part = model.group
    friction = np.zeros(len(table.seconds))
    inside = part.within.inside(table.features)
    if inside.any():
        friction[inside] = np.exp(part.trees.predict(table.features[inside])) - 1.0
    return Misses(group_seconds(table.together, table.last, friction), table.seconds, table.sets)
