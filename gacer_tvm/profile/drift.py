"""Where a trained model has become wrong: its error on what was measured after it was trained, beside its held-out error."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..cost.assess import Misses, News, group_misses, kernel_misses, news
from ..cost.kinds import kind_text
from ..cost.learned import LearnedModel, load_model
from ..cost.rows import Alone, Data, Planned, read_rows
from ..cost.sources import is_own, level, source_kind
from ..cost.train import of_device
from ..errors import LogError
from .verdict import Evidence, verdict_of, wrong

__all__ = ["Drift", "Line", "drift"]

_SESSIONS = 10


@dataclass(frozen=True)
class Line:
    """One line of a table: what it is about, how many rows, their mean relative error and median bias (both shares of one).

    `held_out` is the error to lay beside it (0: none is known), `note` what else there is to say.
    """

    what: str
    rows: int
    error: float
    bias: float
    held_out: float = 0.0
    note: str = ""

    @property
    def wrong(self) -> bool:
        """Whether the error is clearly beyond the one held out."""
        return wrong(self.error, self.held_out, self.rows)

    def as_text(self) -> str:
        """A line of a table."""
        beside = f"{self.held_out:8.1%}" if self.held_out else f"{'':8s}"
        text = f"  {self.what:52.52s} {self.rows:6d} {self.error:8.1%} {self.bias:+8.0%} {beside}"
        return "  ".join([text, *(["WRONG"] if self.wrong else []), *([self.note] if self.note else [])])


@dataclass(frozen=True)
class Drift:
    """What was found.

    Attributes
    ----------
    device, model
        The device, and its model; None where there is none that can be used.
    schedules, sessions
        Predicted makespans by cost model and tenant set; the same by cost model and session, the latest last.
    kinds, models, groups
        Own kernels that the model has not seen, by kind and by model that has them; groups by set.
    read
        What was read and what was skipped.
    verdict, fine
        The sentence at the end; whether all is well (None: nothing to tell by).
    """

    device: str
    model: LearnedModel | None
    schedules: tuple[Line, ...]
    sessions: tuple[Line, ...]
    kinds: tuple[Line, ...]
    models: tuple[Line, ...]
    groups: tuple[Line, ...]
    read: str
    verdict: str
    fine: bool | None

    def as_text(self) -> str:
        """Tables for people, and the sentence."""
        lines = [self.read]
        if self.model is not None:
            card = self.model.card
            kernel, group = (card.scores[what]["learned"].mape for what in ("kernel", "group"))
            lines.append(
                f"model learned:{self.model.hash} of {self.device}, trained {card.trained}; held-out error {kernel:.1%} a "
                f"kernel, {group:.1%} a group"
            )
        head = f"  {'':52s} {'rows':>6s} {'error':>8s} {'bias':>8s} {'held out':>8s}"
        for title, table in (
            ("makespans, predicted against measured, by cost model and set", self.schedules),
            ("the same by session", self.sessions),
            ("kernels measured since the training, by kind", self.kinds),
            ("the same by model", self.models),
            ("groups measured since the training, given their members' times", self.groups),
        ):
            if table:
                lines += [f"{title}:", head, *(line.as_text() for line in table)]
        return "\n".join([*lines, self.verdict])


def drift(paths: str | Path | Iterable[str | Path], *, model: str | Path | None = None, device: str | None = None) -> Drift:
    """Lay a model's predictions beside what was measured since.

    Parameters
    ----------
    paths
        Files of measurements, or folders of them; damaged lines are skipped and counted.
    model
        The model's file; ``model.json`` in the folders by default. Without one, makespans alone are looked at.
    device
        The device; the model's by default, needed where there is no model and the files hold several.

    Raises
    ------
    LogError
        Where a path does not exist, `model` cannot be read, or there is nothing of the device.
    """
    given = [Path(p) for p in ([paths] if isinstance(paths, str | Path) else paths)]
    data = read_rows(given)
    found, why = _model(given, model)
    if found is not None and device is not None and found.device.name != device:
        found, why = None, f"the model is of {found.device.name}, not {device}"
    mine, figures = of_device(data, found.device.name if found is not None else device)
    fresh: News | None = None
    if found is not None:
        try:
            fresh = news(found, mine)
        except LogError as error:
            why = str(error)
    held = found.card.scores["kernel"]["learned"].mape if found is not None else 0.0
    by_kind: tuple[Line, ...] = ()
    by_model: tuple[Line, ...] = ()
    by_set: tuple[Line, ...] = ()
    kernels = groups = Misses(np.empty(0), np.empty(0), ())
    if found is not None and fresh is not None:
        kernels = kernel_misses(found, fresh.data, fresh.alone)
        groups = group_misses(found, fresh.data, fresh.groups)
        facts = fresh.data.kernels
        by_kind = _lines(kernels, lambda key: [kind_text(facts[key])], held)
        by_model = _lines(kernels, lambda key: sorted(mine.owners[key]), held)
        by_set = _lines(groups, lambda key: [key], found.card.scores["group"]["learned"].mape)
    name = f"learned:{found.hash}" if found is not None else ""
    evidence = Evidence(
        place=" ".join(map(str, given)),
        device=figures.name,
        cores=figures.units if figures.kind == "cpu" else 0,
        trained=found.card.trained if found is not None else "",
        why=why,
        held_kernel=held,
        held_group=found.card.scores["group"]["learned"].mape if found is not None else 0.0,
        kernels=(len(kernels), kernels.error, kernels.bias),
        groups=(len(groups), groups.error, groups.bias),
        learned=_figures([r for r in mine.planned if r.model == name]),
        measured=_figures([r for r in mine.planned if r.model.startswith("measured")]),
        planned=len(mine.planned),
        kinds=tuple(line.what for line in by_kind if line.wrong),
        slower=_slower(mine, fresh),
        load=float(np.median([r.load for r in mine.planned])) if mine.planned else -1.0,
        elsewhere=fresh.elsewhere if fresh is not None else 0,
    )
    fine, verdict = verdict_of(evidence)
    planned = _planned(mine, lambda r: (r.model, r.set), name, held)
    return Drift(
        figures.name, found, planned, _sessions(mine, name, held), by_kind, by_model, by_set, data.as_text(), verdict, fine
    )


def _model(paths: Sequence[Path], given: str | Path | None) -> tuple[LearnedModel | None, str]:
    if given is not None:
        return load_model(given), ""
    why = "there is no model.json beside the data"
    for path in paths:
        file = (path if path.is_dir() else path.parent) / "model.json"
        if file.exists():
            try:
                return load_model(file), ""
            except LogError as error:
                why = str(error)
    return None, why


def _lines(misses: Misses, names: Callable[[str], Sequence[str]], held: float) -> tuple[Line, ...]:
    """One line for each name of a row's key: those that are wrong first, then the worst first."""
    of_key = {key: names(key) for key in set(misses.keys)}
    found = []
    for name in sorted({n for names_of in of_key.values() for n in names_of}):
        part = misses.where(np.array([name in of_key[key] for key in misses.keys]))
        found.append(Line(name, len(part), part.error, part.bias, held))
    return tuple(sorted(found, key=lambda line: (not line.wrong, -line.error)))


def _figures(rows: Sequence[Planned]) -> tuple[int, float, float]:
    ratio = np.array([r.predicted / r.measured for r in rows])
    if not rows:
        return 0, float("nan"), float("nan")
    return len(rows), float(np.mean(np.abs(ratio - 1.0))), float(np.median(ratio)) - 1.0


def _planned(
    data: Data, by: Callable[[Planned], tuple[str, ...]], name: str, held: float, label: Callable[[str], str] = str
) -> tuple[Line, ...]:
    parts: dict[tuple[str, ...], list[Planned]] = {}
    for row in data.planned:
        parts.setdefault(by(row), []).append(row)
    lines = []
    for key, rows in sorted(parts.items()):
        beside = held if rows[0].model == name else rows[0].err
        busy = float(np.median([r.load for r in rows]))
        said = f"load {busy:.1f}" if busy >= 0 else ""
        lines.append(Line(f"{key[0]}: {label(key[1])}", *_figures(rows), beside, said))
    return tuple(lines)


def _sessions(data: Data, name: str, held: float) -> tuple[Line, ...]:
    """Of the last sessions that measured makespans, what the model and the measured kernels predicted."""
    began = {x: s.began for x, s in data.sessions.items()}
    last = sorted({r.x for r in data.planned}, key=lambda x: (began[x], x))[-_SESSIONS:]
    if len({r.x for r in data.planned}) < 2:
        return ()
    rank = {x: n for n, x in enumerate(last)}
    kept = Data(planned=[r for r in data.planned if r.x in rank and (r.model == name or r.model.startswith("measured"))])
    return _planned(kept, lambda r: (r.model, f"{rank[r.x]:03d}"), name, held, lambda at: began[last[int(at)]])


def _slower(data: Data, fresh: News | None) -> tuple[int, float]:
    """Of what was measured before and after the training in the same way: how many, and the median ratio of the times."""
    if fresh is None:
        return 0, 1.0
    new = {id(r) for r in fresh.alone}
    before: dict[tuple[str, int, int, str, str], Alone] = {}
    for row in fresh.data.alone:
        if is_own(row) and not row.again and id(row) not in new:
            before[row.k, row.i, row.c, row.set, source_kind(row.source)] = row
    ratios = [
        level(row) / level(before[at])
        for row in fresh.alone
        if (at := (row.k, row.i, row.c, row.set, source_kind(row.source))) in before
    ]
    return len(ratios), float(np.median(ratios)) if ratios else 1.0
