"""Training and judging: models held out whole for kernels, tenant sets held out whole for groups."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import __version__, progress
from ..errors import LogError
from .base import Base, fit_base
from .device import Device
from .features import ALONE_NAMES, FLAGS, GROUP_NAMES, with_base
from .learned import NO_BASE, Card, LearnedModel, Part
from .near import near_only
from .regress import Linear, Nearest, Range, Scores, Trees, scores_of
from .rows import Data, read_rows
from .seen import pack
from .sharing import group_seconds
from .sources import OTHER_DEVICE, devices_measured, is_own, level, once, source_counts
from .tables import AloneTable, GroupTable, alone_table, group_table, joined, repeat_error, width_of

__all__ = ["LEAST", "Minimum", "of_device", "train", "train_on", "widths"]

Array = NDArray[np.float64]
# Seconds at which kernels are parted into short and long ones: the card says how far off predictions are for each.
_LENGTHS = (5e-6, 30e-6, 100e-6)


@dataclass(frozen=True)
class Minimum:
    """The least data that a model is trained on."""

    alone: int = 200
    models: int = 4
    groups: int = 200
    sets: int = 3


LEAST = Minimum()


def train(
    paths: str | Path | Iterable[str | Path],
    *,
    device: str | None = None,
    also: Sequence[str] = (),
    least: Minimum = LEAST,
    folds: int = 10,
    rounds: int = 600,
    seed: int = 0,
) -> LearnedModel:
    """Train on measurement files and judge on what was held out; the returned model is of all data.

    Parameters
    ----------
    paths
        Files of measurements, or folders of them.
    device
        Name of the device to learn; needed where the files hold measurements of several.
    also
        Other devices whose kernels alone are learned from too, at less weight (`gacer_tvm.cost.sources.OTHER_DEVICE`).
    least
        Refuse less data than this.
    folds
        How many parts of the models (and of the tenant sets) are held out, one after the other.
    rounds, seed
        Of the trees for kernels; those for groups are a quarter as many.

    Raises
    ------
    LogError
        On too little data; the message says what is missing.
    """
    return train_on(read_rows(paths), device=device, also=also, least=least, folds=folds, rounds=rounds, seed=seed)


def train_on(
    everything: Data,
    *,
    device: str | None = None,
    also: Sequence[str] = (),
    least: Minimum = LEAST,
    folds: int = 10,
    rounds: int = 600,
    seed: int = 0,
) -> LearnedModel:
    """Like `train`, on what was read already."""
    data, figures = of_device(everything, device)
    _enough(data, least)
    others = {name: of_device(everything, name) for name in also if name != figures.name}
    tables = [alone_table(data, figures)]
    for other, other_figures in others.values():
        table = alone_table(other, other_figures)
        tables.append(replace(table, weight=table.weight * OTHER_DEVICE, own=np.zeros_like(table.own)))
    alone = joined(tables)
    groups = group_table(data, figures, widths(data))
    steps = folds * 2 + 2
    scores: dict[str, dict[str, Scores]] = {}
    with progress.update("training", steps) as task:

        def trees() -> Trees:
            return Trees(rounds, seed=seed)

        def few_trees() -> Trees:
            # Of company there is little to learn: more trees were no better.
            return Trees(max(1, rounds // 4), seed=seed)

        scores["kernel"], by_length = _judge_alone(alone, folds, trees, task)
        scores["group"] = _judge_groups(groups, alone, folds, few_trees, task)
        base = fit_base(alone.amounts, alone.seconds, alone.weight)
        features, target = corrected(alone, base)
        kernel_part = _part(ALONE_NAMES, features, target, alone.weight, trees(), alone, base)
        task.advance(1)
        use = groups.usable
        group_part = _part(GROUP_NAMES, groups.features[use], groups.target[use], None, few_trees())
        task.advance(1)
    kernel_noise, kernel_repeats, group_noise, group_repeats = repeat_error(data)
    reference = [n.s[2] for n in data.noise]
    card = Card(
        trained=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        versions={"gacer_tvm": __version__, "xgboost": _xgboost_version(), "numpy": np.__version__},
        measured_with=_merged(s.versions for s in data.sessions.values()),
        processors=sorted({s.processor for s in data.sessions.values()}),
        kernels=len(set(alone.keys) | {key for keys in groups.keys for key in keys}),
        alone=len(alone.seconds),
        groups=len(groups.seconds),
        models=_models(alone),
        sets=sorted(set(groups.sets)),
        skipped=dict(data.skipped),
        far=data.far,
        scores=scores,
        by_length=by_length,
        repeat_error={"kernel": kernel_noise, "group": group_noise},
        repeats={"kernel": kernel_repeats, "group": group_repeats},
        reference_us=[round(float(v), 1) for v in np.quantile(reference, (0.1, 0.5, 0.9))] if reference else [],
        load=[round(float(v), 2) for v in np.quantile([n.load for n in data.noise], (0.1, 0.5, 0.9))] if reference else [],
        notes=sorted({s.note for s in data.sessions.values() if s.note}),
        sources=source_counts(once(data.alone)),
        others={name: len(once(other.alone)) for name, (other, _) in others.items()},
        seen=pack([*data.alone, *data.groups, *(r for other, _ in others.values() for r in other.alone)]),
    )
    return LearnedModel(device=figures, card=card, kernel=kernel_part, group=group_part)


def of_device(data: Data, wanted: str | None) -> tuple[Data, Device]:
    """The rows of one device, and its figures as the last session had them.

    Those that were measured while its cores lay far from each other are left out and counted.

    Raises
    ------
    LogError
        Where there are none, or it is not told which of several devices is meant.
    """
    names = data.devices()
    if not names:
        raise LogError(
            f"no measurements: no session in the files{_damage(data)}; make some with `gacer-tvm profile MODELS --out FOLDER`"
        )
    measured = devices_measured(data)
    if wanted is None and len(measured) > 1:
        raise LogError(f"measurements of several devices: {', '.join(measured)}; name the one to learn (--device)")
    if wanted is None and not measured:
        raise LogError(
            f"only rows from elsewhere (of {', '.join(names)}); a model is judged on own measurements: make some with "
            f"`gacer-tvm profile`"
        )
    name = wanted or measured[0]
    if name not in names:
        raise LogError(f"no measurements of device {name!r}; there are some of {', '.join(names)}")
    mine = {x for x, s in data.sessions.items() if s.device.name == name}
    kept = replace(
        data,
        alone=[r for r in data.alone if r.x in mine],
        groups=[r for r in data.groups if r.x in mine],
        noise=[r for r in data.noise if r.x in mine],
        planned=[r for r in data.planned if r.x in mine],
        sessions={x: s for x, s in data.sessions.items() if x in mine},
    )
    near, far = near_only(kept)
    return replace(near, far=far), max(kept.sessions.values(), key=lambda s: s.began).device


def _damage(data: Data) -> str:
    """What was skipped, where something was: too little data may be data that cannot be read."""
    skipped = [f"{count} lines skipped as {kind}, the first {data.first[kind]}" for kind, count in data.skipped.most_common()]
    return f" ({'; '.join(skipped)})" if skipped else ""


def _models(table: AloneTable) -> list[str]:
    """Models of own measurements."""
    return sorted({m for owners, own in zip(table.models, table.own) if own for m in owners})


def _enough(data: Data, least: Minimum) -> None:
    alone = [r for r in once(data.alone) if is_own(r)]
    groups = [r for r in data.groups if not r.again]
    found = {
        "kernel measurements": (len(alone), least.alone),
        "models": (len({m for r in alone for m in data.owners[r.k]}), least.models),
        "group measurements": (len(groups), least.groups),
        "tenant sets": (len({r.set for r in groups}), least.sets),
    }
    missing = [f"{need - have} more {what} ({have} of {need})" for what, (have, need) in found.items() if have < need]
    if missing:
        raise LogError(
            f"too little data to train on: {', '.join(missing)} needed{_damage(data)}; measure more with `gacer-tvm profile`, "
            f"of other models and sets"
        )


def _judge_alone(
    table: AloneTable, folds: int, trees: Callable[[], Trees], task: Any
) -> tuple[dict[str, Scores], dict[str, Scores]]:
    """Scores of each way to predict, and those of the learned one by the length of the kernels."""
    names = ("learned", "priced sum", "prior", "scaled prior", "linear", "nearest")
    predicted = {name: np.full(len(table.seconds), np.nan) for name in names}
    for out in _folds(_models(table), folds):
        touched = np.array([not owners.isdisjoint(out) for owners in table.models])
        test = touched & table.own
        # A kernel that a held-out model shares with others is held out with it, and so is what others measured of it.
        held = {work for work, tested in zip(table.work, test) if tested}
        fit = ~touched & (table.own | np.array([work not in held for work in table.work]))
        task.advance(1)
        if not test.any() or not fit.any():
            continue
        guess = _fits(table.features, table.target, table.weight, fit, test)
        guess["prior"] = np.zeros(int(test.sum()))
        guess["scaled prior"] = np.full(int(test.sum()), float(np.median(table.target[fit])))
        for name, logs in guess.items():
            predicted[name][test] = table.prior[test] * np.exp(logs)
        base = fit_base(table.amounts[fit], table.seconds[fit], table.weight[fit])
        features, target = corrected(table, base)
        learned = trees().fit(features[fit], target[fit], table.weight[fit]).predict(features[test])
        predicted["priced sum"][test] = base.seconds(table.amounts[test], table.prior[test])
        predicted["learned"][test] = predicted["priced sum"][test] * np.exp(learned)
    by_length = {}
    for low, high in zip((0.0, *_LENGTHS), (*_LENGTHS, float("inf"))):
        some = (table.seconds >= low) & (table.seconds < high) & ~np.isnan(predicted["learned"])
        if some.any():
            name = f"from {low * 1e6:.0f} µs" if high == float("inf") else f"{low * 1e6:.0f} to {high * 1e6:.0f} µs"
            by_length[name] = scores_of(predicted["learned"][some], table.seconds[some])
    return _scores(predicted, table.seconds), by_length


def _judge_groups(
    table: GroupTable, alone: AloneTable, folds: int, trees: Callable[[], Trees], task: Any
) -> dict[str, Scores]:
    sets = sorted(set(table.sets))
    predicted = {name: np.full(len(table.seconds), np.nan) for name in ("learned", "prior", "linear", "nearest")}
    for out in _folds(sets, folds):
        test = np.array([name in out for name in table.sets])
        fit = ~test & table.usable
        task.advance(1)
        if not test.any() or not fit.any():
            continue
        guess = _fits(table.features, table.target, None, fit, test)
        guess["learned"] = trees().fit(table.features[fit], table.target[fit]).predict(table.features[test])
        guess["prior"] = np.zeros(int(test.sum()))
        for name, logs in guess.items():
            friction = np.exp(logs) - 1.0
            predicted[name][test] = group_seconds(table.together[test], table.last[test], friction)
    return _scores(predicted, table.seconds)


def _fits(
    features: Array,
    target: Array,
    weight: Array | None,
    fit: NDArray[np.bool_],
    test: NDArray[np.bool_],
) -> dict[str, Array]:
    """The plain ways to learn, which the trees must beat."""
    found = {}
    for name, model in (("linear", Linear()), ("nearest", Nearest())):
        fitted = model.fit(features[fit], target[fit], None if weight is None else weight[fit])
        found[name] = fitted.predict(features[test])
    return found


def _scores(predicted: dict[str, Array], measured: Array) -> dict[str, Scores]:
    known = ~np.isnan(next(iter(predicted.values())))
    return {name: scores_of(values[known], measured[known]) for name, values in predicted.items()}


def _folds(names: Sequence[str], count: int) -> list[set[str]]:
    """`names` dealt into so many parts."""
    count = max(2, min(count, len(names)))
    return [set(names[n::count]) for n in range(count)]


def _part(
    names: tuple[str, ...],
    features: Array,
    target: Array,
    weight: Array | None,
    trees: Trees,
    alone: AloneTable | None = None,
    base: Base = NO_BASE,
) -> Part:
    flags = np.array([name in FLAGS for name in names])
    within = Range.of(features, flags)
    trees.fit(features, target, weight)
    typical = target if alone is None else alone.target[alone.own]
    return Part(names, within, float(np.median(typical)), trees, base)


def corrected(table: AloneTable, base: Base) -> tuple[Array, Array]:
    """What trees learn that correct a base: features with the base's time, logarithms of measured time over it."""
    seconds = base.seconds(table.amounts, table.prior)
    return with_base(table.features, table.amounts, base, seconds), np.log(table.seconds / seconds)


def widths(data: Data) -> dict[tuple[str, int, int], float]:
    """Cores that kernels keep busy, where they were measured on one core and on more."""
    least = {(r.k, r.i, r.c): level(r) for r in once(data.alone)}
    known = [(k, i, c) for k, i, c in least if c >= 1 and (k, i, 1) in least]
    if not known:
        return {}
    one = np.array([least[(k, i, 1)] for k, i, _ in known])
    some = np.array([least[at] for at in known])
    return dict(zip(known, width_of(one, some, np.array([float(c) for _, _, c in known])).tolist()))


def _merged(versions: Iterable[dict[str, str]]) -> dict[str, str]:
    found: dict[str, set[str]] = {}
    for one in versions:
        for name, version in one.items():
            found.setdefault(name, set()).add(version)
    return {name: ", ".join(sorted(all_of)) for name, all_of in sorted(found.items())}


def _xgboost_version() -> str:
    import xgboost

    return str(xgboost.__version__)
