"""Rows of measurements as training tables: features, targets, and what is held out together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .device import Device
from .features import Members, alone_features, group_features, prior_of
from .rows import LEARNED, Alone, Data, Group
from .sharing import friction_of, phases
from .sources import is_own, once

__all__ = ["AloneTable", "GroupTable", "alone_table", "group_table", "joined", "repeat_error", "width_of"]

Array = NDArray[np.float64]
# Where the shorter stream is less than this share of the longer one, the group's time says little of their friction.
_BALANCE = 0.3


@dataclass(frozen=True)
class AloneTable:
    """Kernels alone: features, priced amounts, prior and measured seconds, weight; the kernel and the models of each row.

    `own` marks rows that this package measured, `work` is FLOPs and outputs an item, by which the same computation is known.
    """

    features: Array
    amounts: Array
    prior: Array
    seconds: Array
    weight: Array
    keys: tuple[str, ...]
    models: tuple[frozenset[str], ...]
    own: NDArray[np.bool_]
    work: tuple[tuple[float, float], ...]

    @property
    def target(self) -> Array:
        """Logarithm of measured over prior."""
        result: Array = np.log(self.seconds / self.prior)
        return result


@dataclass(frozen=True)
class GroupTable:
    """Groups: features, seconds in which several streams run and in which one does, measured seconds; set and kernels."""

    features: Array
    together: Array
    last: Array
    seconds: Array
    sets: tuple[str, ...]
    keys: tuple[frozenset[str], ...]
    members: Members

    @property
    def target(self) -> Array:
        """Logarithm of one plus the friction."""
        result: Array = np.log(np.maximum(1.0 + friction_of(self.seconds, self.together, self.last), 0.05))
        return result

    @property
    def usable(self) -> NDArray[np.bool_]:
        """Groups whose streams last about as long: the others say little and are only predicted, not learned from."""
        result: NDArray[np.bool_] = self.together >= _BALANCE * self.seconds
        return result


def alone_table(data: Data, device: Device) -> AloneTable:
    """Kernels alone, each once (see `gacer_tvm.cost.sources.once`)."""
    rows, having = once(data.alone), data.having()
    facts = [data.kernels[row.k] for row in rows]
    items, cores = [row.i for row in rows], [row.c for row in rows]
    prior = prior_of(facts, items, cores, device)
    away = [[getattr(row, of) for row in rows] for of in ("w", "a", "o", "f")]
    features, amounts = alone_features(facts, items, cores, prior, device, away)
    return AloneTable(
        features,
        amounts,
        prior.seconds,
        np.array([_seconds(row) for row in rows]),
        np.array([row.weight for row in rows]),
        tuple(row.k for row in rows),
        tuple(having[row.k] for row in rows),
        np.array([is_own(row) for row in rows], np.bool_),
        tuple((f.flops / f.batch, f.elements / f.batch) for f in facts),
    )


def joined(tables: Sequence[AloneTable]) -> AloneTable:
    """Several tables as one."""
    return AloneTable(
        np.concatenate([t.features for t in tables]),
        np.concatenate([t.amounts for t in tables]),
        np.concatenate([t.prior for t in tables]),
        np.concatenate([t.seconds for t in tables]),
        np.concatenate([t.weight for t in tables]),
        tuple(k for t in tables for k in t.keys),
        tuple(m for t in tables for m in t.models),
        np.concatenate([t.own for t in tables]),
        tuple(w for t in tables for w in t.work),
    )


def group_table(data: Data, device: Device, widths: dict[tuple[str, int, int], float]) -> GroupTable:
    """Groups, each measured once; `widths` as `width_of` makes them, the prior's where there is none."""
    rows = [row for row in data.groups if not row.again]
    streams = [(n, stream) for n, row in enumerate(rows) for stream in row.g]
    runs = [(n, stream.c, run) for n, (_, stream) in enumerate(streams) for run in stream.runs]
    facts = [data.kernels[run.k] for _, _, run in runs]
    items, cores = [run.i for _, _, run in runs], [c for _, c, _ in runs]
    prior = prior_of(facts, items, cores, device)
    seconds = np.array([run.us * 1e-6 for _, _, run in runs])
    times = np.array([run.times for _, _, run in runs], np.float64)
    members = Members(
        [n for n, _ in streams],
        [stream.c for _, stream in streams],
        [stream.alone * 1e-6 for _, stream in streams],
        [n for n, _, _ in runs],
        facts,
        items,
        times.tolist(),
        seconds.tolist(),
        [widths.get((run.k, run.i, c), w) for (_, c, run), w in zip(runs, prior.width, strict=True)],
        np.minimum(prior.bandwidth * prior.seconds * times / seconds, device.bandwidth),
    )
    together, last = phases(members, device)
    return GroupTable(
        group_features(members, device),
        together,
        last,
        np.array([_seconds(row) for row in rows]),
        tuple(row.set for row in rows),
        tuple(frozenset(run.k for stream in row.g for run in stream.runs) for row in rows),
        members,
    )


def width_of(one: Array, some: Array, cores: Array) -> Array:
    """Cores that a kernel keeps busy, from its seconds on one core and on `cores`: one where more cores do not help."""
    gain = np.clip((one / some - 1.0) / (0.7 * np.maximum(cores - 1.0, 1e-9)), 0.0, 1.0)
    result: Array = np.where(cores > 1, 1.0 + (cores - 1.0) * gain, 1.0)
    return result


def repeat_error(data: Data) -> tuple[float | None, int, float | None, int]:
    """How far two measurements of the same thing lie apart: mean relative difference and number, for kernels and groups.

    Single ones: of kernels alone the less of two is learned from and judged on, which lies nearer to the truth.
    """
    first = {(r.set, r.k, r.i, r.c): r for r in data.alone if not r.again and not r.source}
    groups = {(r.set, r.d): r for r in data.groups if not r.again}
    kernel, group = [], []
    for row in data.alone:
        before = first.get((row.set, row.k, row.i, row.c))
        if row.again and before is not None:
            kernel.append(abs(_seconds(row) / _seconds(before) - 1.0))
    for twice in data.groups:
        once = groups.get((twice.set, twice.d))
        if twice.again and once is not None:
            group.append(abs(_seconds(twice) / _seconds(once) - 1.0))
    return _mean(kernel), len(kernel), _mean(group), len(group)


def _mean(values: list[float]) -> float | None:
    return round(float(np.mean(values)), 4) if values else None


def _seconds(row: Alone | Group) -> float:
    return row.s[LEARNED] * 1e-6
