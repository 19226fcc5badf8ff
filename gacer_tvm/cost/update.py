"""Training again when there is something new: the old model is judged on it first, and replaced unless the new one is worse."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ..errors import LogError
from .assess import Misses, News, group_misses, kernel_misses, news
from .learned import LearnedModel, load_model
from .rows import read_rows
from .seen import unseen
from .train import of_device, train_on

__all__ = ["Comparison", "Update", "update"]

# Scores of the same model on other parts of the data differ by about this much: less is not "worse".
_CLEARLY = 1.15
_WHAT = {"kernel": "kernel times", "group": "group times"}


@dataclass(frozen=True)
class Comparison:
    """Mean errors of one kind of prediction, each of rows that the model in question was not trained on.

    Attributes
    ----------
    misses
        The old model on the new rows.
    old
        The old model on old and new rows together: its held-out score on what it was trained on, and on kernels (sets)
        that it has not seen its error now, weighted by their numbers.
    new
        The new model's held-out score, which is over the same rows.
    """

    misses: Misses
    old: float
    new: float

    @property
    def worse(self) -> bool:
        """Whether the new model is clearly worse."""
        return self.new > self.old * _CLEARLY


@dataclass(frozen=True)
class Update:
    """The outcome.

    Attributes
    ----------
    outcome
        ``first`` (there was no model), ``unchanged`` (nothing new), ``better`` (or no worse: to be written), ``worse`` (the
        old one stays), ``forced`` (worse, to be written all the same).
    model
        The one to use.
    old, news, compared
        The model that was there, what it had not seen, and how the two do; None and empty for ``first``.
    why
        Why the file that was there could not be used.
    """

    outcome: Literal["first", "unchanged", "better", "worse", "forced"]
    model: LearnedModel
    old: LearnedModel | None = None
    news: News | None = None
    compared: dict[str, Comparison] | None = None
    why: str = ""

    @property
    def write(self) -> bool:
        """Whether the model is another than the file's."""
        return self.outcome not in ("unchanged", "worse")

    def as_text(self) -> str:
        """A few lines for people."""
        lines = [f"the model that was there is not used: {self.why}"] if self.why else []
        if self.old is None or self.news is None:
            return "\n".join([*lines, "trained for the first time"])
        card = self.old.card
        if self.outcome == "unchanged":
            return f"nothing new since {card.trained}: the model has seen all {card.alone} kernel and {card.groups} group rows"
        known = set(card.models), set(card.sets)
        models = [m if m in known[0] else f"{m} (new)" for m in self.news.models]
        sets = [s if s in known[1] else f"{s} (new)" for s in self.news.sets]
        lines.append(
            f"new since {card.trained}: {len(self.news.alone)} kernel measurements ({len(self.news.fresh)} of kernels not seen "
            f"before) of {', '.join(models) or 'no model'}; {len(self.news.groups)} groups of {', '.join(sets) or 'no set'}"
            + (f"; {self.news.elsewhere} rows from elsewhere" if self.news.elsewhere else "")
        )
        for what, found in (self.compared or {}).items():
            if len(found.misses):
                lines.append(
                    f"the old model on the new {_WHAT[what]}, before learning from them: mean error {found.misses.error:.1%}, "
                    f"typically {found.misses.bias:+.0%} (held out it was {card.scores[what]['learned'].mape:.1%})"
                )
            lines.append(
                f"{_WHAT[what]}, old and new rows together: {found.old:.1%} with the old model, {found.new:.1%} held out with "
                f"the new one{' - clearly worse' if found.worse else ''}"
            )
        if self.outcome == "worse":
            lines.append("the old model is kept; look at the new data (`gacer-tvm logs --drift`), or write it with --force")
        elif self.outcome == "forced":
            lines.append("the new model is taken although it is worse (--force)")
        return "\n".join(lines)


def update(
    paths: str | Path | Iterable[str | Path],
    path: str | Path,
    *,
    device: str | None = None,
    also: Sequence[str] = (),
    force: bool = False,
    **options: Any,
) -> Update:
    """Train again where the data has rows that the model at `path` was not trained on; nothing is written.

    Parameters
    ----------
    paths, device, also, options
        As for `gacer_tvm.cost.train.train`; `device` is the old model's by default.
    path
        The old model; where there is none, or none that this version can use, one is trained.
    force
        Take the new model although it is worse.

    Raises
    ------
    LogError
        On too little data, or where the old model is of another device than `device`.
    """
    data = read_rows(paths)
    path, why = Path(path), ""
    old = None
    if path.exists():
        try:
            old = load_model(path)
        except LogError as error:
            why = str(error)
    if old is None:
        return Update("first", train_on(data, device=device, also=also, **options), why=why)
    if device is not None and device != old.device.name:
        raise LogError(f"{path} is of device {old.device.name!r}, not {device!r}; name another file (--out)")
    found = news(old, data)
    # A model that learned from other devices goes on doing so.
    also = also or [name for name in old.card.others if name in data.devices()]
    elsewhere = [row for name in also for row in of_device(data, name)[0].alone]
    if not found and not unseen(elsewhere, old.card.seen):
        return Update("unchanged", old, old, found)
    new = train_on(data, device=old.device.name, also=also, **options)
    compared = {
        "kernel": _compared("kernel", old, new, kernel_misses(old, found.data, found.alone), {r.k for r in found.fresh}),
        "group": _compared(
            "group", old, new, group_misses(old, found.data, found.groups), set(found.sets) - set(old.card.sets)
        ),
    }
    if not any(c.worse for c in compared.values()):
        return Update("better", new, old, found, compared)
    return Update("forced" if force else "worse", new if force else old, old, found, compared)


def _compared(what: str, old: LearnedModel, new: LearnedModel, misses: Misses, fresh: set[str]) -> Comparison:
    """Both models over the same rows; of what the old one knows, its held-out score tells more than its error now."""
    before = old.card.scores[what]["learned"]
    unknown = [abs(p / m - 1.0) for p, m, key in zip(misses.predicted, misses.measured, misses.keys) if key in fresh]
    together = (before.mape * before.rows + float(sum(unknown))) / max(1, before.rows + len(unknown))
    return Comparison(misses, together, new.card.scores[what]["learned"].mape)
