"""Logged schedules written as a MetaSchedule database of today, which TVM's own passes read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from gacer_tvm import progress
from gacer_tvm._tvm import s_tir, tvm
from gacer_tvm.errors import LogError

from .identify import Dictionary
from .library import ScheduleLibrary
from .meta_replay import replay_meta
from .record import LogRecord
from .replay import NotReplayed, Replayed, replay_ansor
from .steps import AnsorSchedule

__all__ = ["Conversion", "convert"]

_FILES = ("database_workload.json", "database_tuning_record.json")


@dataclass(frozen=True, slots=True)
class Conversion:
    """What was written and what was not: every record that could hold a schedule stands in one of the two."""

    work_dir: str
    written: tuple[Replayed, ...]
    refused: tuple[NotReplayed, ...]


def convert(
    records: Iterable[LogRecord],
    work_dir: str | PathLike[str],
    target: Any,
    *,
    functions: Mapping[str, Any] | Iterable[Any] | None = None,
    dictionary: Dictionary | None = None,
    best: int = 1,
) -> Conversion:
    """Replay records, check each numerically, and write what replayed into a MetaSchedule database.

    Parameters
    ----------
    records
        What `read_logs` read.
    work_dir
        Folder of the database: ``database_workload.json`` and ``database_tuning_record.json`` are made in it. Databases
        already there are added to.
    target
        The target that the records shall be stored for and are checked on.
    functions
        Unscheduled PrimFuncs of a model: then schedules are written for these, found by what they compute (fused tails may
        differ from the log's). None writes the computations of the log itself.
    dictionary
        Printed computations of your own for Ansor keys.
    best
        How many records of each workload are replayed, the fastest first.

    Raises
    ------
    LogError
        If the folder cannot be written.
    """
    written: list[Replayed] = []
    refused: list[NotReplayed] = []
    if functions is not None:
        library = ScheduleLibrary(records, dictionary=dictionary)
        wanted = list(functions.values()) if isinstance(functions, Mapping) else list(functions)
        for function in progress.track(wanted, "replaying logs"):
            found = library.find(function, target)
            if found is not None:
                written.append(found)
        refused.extend(library.refused)
    else:
        chosen = _best(records, best)
        for record in progress.track(chosen, "replaying logs"):
            if isinstance(record.schedule, AnsorSchedule):
                outcome = replay_ansor(record, target, dictionary=dictionary)
            else:
                outcome = replay_meta(record, target)
            if isinstance(outcome, Replayed):
                written.append(outcome)
            else:
                refused.append(outcome)
    _write(written, Path(work_dir), target)
    return Conversion(str(work_dir), tuple(written), tuple(refused))


def _best(records: Iterable[LogRecord], count: int) -> list[LogRecord]:
    groups: dict[tuple[str, str, str], list[LogRecord]] = {}
    for record in records:
        if record.ok and record.schedule is not None and record.source != "autotvm":
            groups.setdefault((record.source, record.workload, record.target.text), []).append(record)
    chosen: list[LogRecord] = []
    for group in groups.values():
        chosen.extend(sorted(group, key=lambda record: record.best_seconds or 0.0)[:count])
    return chosen


def _write(found: list[Replayed], folder: Path, target: Any) -> None:
    ms = s_tir.meta_schedule
    try:
        folder.mkdir(parents=True, exist_ok=True)
        database = ms.database.JSONDatabase(
            str(folder / _FILES[0]), str(folder / _FILES[1]), allow_missing=True, module_equality="structural"
        )
        for item in found:
            function = item.function.with_attr("global_symbol", "main")
            workload = database.commit_workload(tvm.IRModule({"main": function}))
            seconds = [tvm.tirx.FloatImm("float64", second) for second in item.record.seconds]
            database.commit_tuning_record(
                ms.database.TuningRecord(
                    item.trace, workload, seconds, target, ms.arg_info.ArgInfo.from_prim_func(function)
                )
            )
    except (OSError, RuntimeError) as error:
        lines = str(error).strip().splitlines()
        raise LogError(
            f"the database in {str(folder)!r} cannot be written: {lines[-1] if lines else error!r}"
        ) from error
