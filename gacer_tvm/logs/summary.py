"""What each log file gave, and what it could not give, by reason, with the place to look at first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from os import PathLike
from typing import Any

from gacer_tvm import progress

from .ansor_state import ReplayStop
from .identify import Dictionary, identify
from .meta_replay import module_function, replay_meta
from .reader import BadLines, LogFile, read_logs
from .record import LogRecord, MetaTrace
from .replay import NotReplayed, replay_ansor
from .steps import AnsorSchedule

__all__ = ["FileSummary", "LogSummary", "Reason", "summarize"]


_HOW = {
    "name": "by registered name",
    "dictionary": "by dictionary",
    "hash": "by hash",
    "module": "with their module",
}


@dataclass(frozen=True, slots=True)
class Reason:
    """Records for which something could not be done, and the first of them (``file:line``)."""

    reason: str
    count: int
    first: str


@dataclass(frozen=True, slots=True)
class FileSummary:
    """One file.

    Attributes
    ----------
    path, lines
        The file and its length.
    formats
        (format and version, records), as ``("ansor v0.6", 24)``.
    measured
        Records with a time.
    failed
        (error, records) of candidates that failed when they were tuned.
    classes, targets
        (operator class, records) and (target, records), the commonest first.
    workloads
        Distinct computations.
    modules
        Lines of a MetaSchedule workload file.
    schedules
        (how, workloads): computations whose schedules can be used, by how the computation was found (``name``,
        ``dictionary``, ``hash``, ``module``), or ``replayed`` where replaying was asked for.
    unusable
        Computations that are read only as data, by reason.
    bad
        Lines that gave nothing, by reason.
    """

    path: str
    lines: int
    formats: tuple[tuple[str, int], ...]
    measured: int
    failed: tuple[tuple[str, int], ...]
    classes: tuple[tuple[str, int], ...]
    targets: tuple[tuple[str, int], ...]
    workloads: int
    modules: int
    schedules: tuple[tuple[str, int], ...]
    unusable: tuple[Reason, ...]
    bad: tuple[BadLines, ...]

    @property
    def records(self) -> int:
        """Records read."""
        return sum(count for _, count in self.formats)

    def as_text(self) -> str:
        """A few lines for a terminal."""
        formats = ", ".join(f"{count} {name}" for name, count in self.formats) or "no records"
        parts = [f"{self.path}: {formats} in {self.lines} lines"]
        if self.modules:
            parts.append(f"  {self.modules} modules (a workload file; its records stand beside it)")
        if self.formats:
            failed = "".join(f", {count} {name}" for name, count in self.failed)
            parts.append(f"  {self.measured} measured{failed}; {self.workloads} workloads")
            parts.append("  operators: " + ", ".join(f"{name} {count}" for name, count in self.classes))
            parts.append("  targets: " + ", ".join(f"{name} ({count})" for name, count in self.targets[:4]))
            if self.schedules:
                parts.append(
                    "  schedules: " + ", ".join(f"{count} {_HOW.get(name, name)}" for name, count in self.schedules)
                )
        parts.extend(
            f"  read, not replayed: {item.count} x {item.reason} (first {item.first})" for item in self.unusable
        )
        parts.extend(f"  not read: {item.count} x {item.reason} (first line {item.first_line})" for item in self.bad)
        return "\n".join(parts)


@dataclass(frozen=True, slots=True)
class LogSummary:
    """All files."""

    files: tuple[FileSummary, ...]

    @property
    def records(self) -> int:
        """Records read, over all files."""
        return sum(file.records for file in self.files)

    def as_text(self) -> str:
        """One paragraph a file."""
        return "\n".join(file.as_text() for file in self.files)


def summarize(
    paths: str | PathLike[str] | Iterable[str | PathLike[str]],
    *,
    dictionary: Dictionary | None = None,
    target: Any = None,
    verify: bool = False,
) -> LogSummary:
    """Read logs and say what they hold.

    Parameters
    ----------
    paths
        As for `read_logs`.
    dictionary
        Printed computations of your own for Ansor keys.
    target
        A tvm Target: then the best record of every workload is replayed for it, and `unusable` names the step that stopped
        a replay. None only asks whether the computation is known.
    verify
        Whether replays are also checked numerically.

    Raises
    ------
    LogError
        If a path does not exist or cannot be read.
    """
    logs = read_logs(paths)
    return LogSummary(
        tuple(_summarize(file, dictionary, target, verify) for file in progress.track(logs.files, "logs"))
    )


def _summarize(file: LogFile, dictionary: Dictionary | None, target: Any, verify: bool) -> FileSummary:
    records = file.records
    schedules: Counter[str] = Counter()
    unusable: dict[str, list[Any]] = {}
    best = _best_of_each(records)
    for record in best:
        how, reason = _usable(record, dictionary, target, verify)
        if how:
            schedules[how] += 1
        else:
            unusable.setdefault(reason, [0, record.place])[0] += 1
    return FileSummary(
        path=file.path,
        lines=file.lines,
        formats=tuple(Counter(f"{record.source} {record.version}".strip() for record in records).most_common()),
        measured=sum(record.ok for record in records),
        failed=tuple(Counter(record.error_name for record in records if not record.ok).most_common()),
        classes=tuple(Counter(record.op_class for record in records).most_common()),
        targets=tuple(Counter(_target_name(record) for record in records).most_common()),
        workloads=len(best),
        modules=file.workloads,
        schedules=tuple(schedules.most_common()),
        unusable=tuple(
            Reason(reason, count, first)
            for reason, (count, first) in sorted(unusable.items(), key=lambda item: -item[1][0])
        ),
        bad=file.bad,
    )


def _target_name(record: LogRecord) -> str:
    target = record.target
    detail = target.model or target.arch
    return f"{target.kind or 'unknown'} {detail}".strip()


def _best_of_each(records: Iterable[LogRecord]) -> list[LogRecord]:
    best: dict[str, LogRecord] = {}
    for record in records:
        known = best.get(record.workload)
        if known is None or (record.best_seconds or float("inf")) < (known.best_seconds or float("inf")):
            best[record.workload] = record
    return list(best.values())


def _usable(record: LogRecord, dictionary: Dictionary | None, target: Any, verify: bool) -> tuple[str, str]:
    """How the schedule of a record can be used, or "" and why not."""
    if isinstance(record.schedule, AnsorSchedule):
        if target is not None:
            return _outcome(replay_ansor(record, target, dictionary=dictionary, verify=verify))
        try:
            return identify(record.workload, record.schedule.steps, dictionary).how, ""
        except ReplayStop as stop:
            return "", stop.reason
    if isinstance(record.schedule, MetaTrace):
        if target is not None:
            return _outcome(replay_meta(record, target, verify=verify))
        try:
            module_function(record.schedule)
        except ReplayStop as stop:
            return "", stop.reason
        return "module", ""
    if record.source == "autotvm":
        return "", "AutoTVM's templates left TVM: measurements only"
    return "", "the record has no schedule"


def _outcome(outcome: Any) -> tuple[str, str]:
    if isinstance(outcome, NotReplayed):
        step = f" at step {outcome.step}: {outcome.step_text}" if outcome.step is not None else ""
        return "", outcome.reason + step
    return "replayed", ""
