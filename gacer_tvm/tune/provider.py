"""Schedules from tuning records, for the kernel library to ask before it falls back to the rules."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .._tvm import s_tir
from ..errors import LogError
from ..kernels import rules
from ..kernels.library import Provider
from ..kernels.request import GENERATION
from ..kernels.rules.base import NotApplicable
from .records import FAILED, FILES, KernelNote, open_database, read_notes, workload_key, workload_module
from .shares import shares

__all__ = ["DatabaseProvider", "is_database", "providers"]


def providers(tuning_logs: Any) -> tuple[Provider, ...]:
    """One provider for each source of records, in the order given.

    Parameters
    ----------
    tuning_logs
        A path or a list of paths: folders with a MetaSchedule database (as `gacer_tvm.tune` writes), or files and folders
        of older logs (Ansor, AutoTVM, MetaSchedule before 0.20).

    Raises
    ------
    LogError
        For a path that is not there or holds no records.
    """
    paths = [tuning_logs] if isinstance(tuning_logs, str | Path) else list(tuning_logs)
    found: list[Provider] = []
    old: list[Path] = []
    for entry in paths:
        path = Path(entry)
        if not path.exists():
            raise LogError(f"tuning logs {str(path)!r}: no such file or folder")
        if is_database(path):
            found.append(DatabaseProvider(path))
        else:
            old.append(path)
    if old:
        found.append(_old_logs(old))
    return tuple(found)


def is_database(path: Path) -> bool:
    """Whether a folder holds a MetaSchedule database of today's format."""
    if not path.is_dir() or not all((path / name).is_file() for name in FILES):
        return False
    with (path / FILES[1]).open(errors="replace") as stream:
        first = stream.read(1 << 16)
    # Databases written before 0.20 speak of blocks, today's of s_tir blocks; an empty one is today's.
    return '"GetBlock"' not in first


class DatabaseProvider:
    """Schedules from tuning; kernels whose default was measured to be faster are left to the rules.

    For a share of the cores its own records count where they were compared with the default there, else the whole machine's.

    Parameters
    ----------
    folder
        As `gacer_tvm.tune` writes it.

    Raises
    ------
    LogError
        Where TVM cannot read it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._databases = {
            cores: _Database(path, folder.name if cores is None else f"{folder.name}/{path.name}")
            for cores, path in shares(folder).items()
        }

    def __call__(self, func: Any, target: Any, cores: int | None = None) -> tuple[Any, str] | None:
        """The best schedule of `func` for so many cores and where it is from; None where there is none, or none that pays."""
        return self._of(func, cores)(func, target)

    def refusals(self, func: Any, target: Any, cores: int | None = None) -> tuple[tuple[str, str], ...]:
        """Why records of this kernel are not used: (record, reason) each."""
        return self._of(func, cores).refusals(func, target)

    def _of(self, func: Any, cores: int | None) -> _Database:
        own = self._databases.get(cores)
        return own if own is not None and own.settled(func) else self._databases[None]


class _Database:
    """The records for one share of the machine."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        self._database = open_database(folder)
        self._notes, _ = read_notes(folder)

    def settled(self, func: Any) -> bool:
        """Whether the best of the records was timed in turns with the default."""
        note = self._notes.get(workload_key(func))
        return note is not None and note.default is not None and note.tuned is not None

    def __call__(self, func: Any, target: Any) -> tuple[Any, str] | None:
        note = self._notes.get(workload_key(func))
        if note is not None and not note.pays:
            return None
        if note is not None and note.tiling and note.generation == GENERATION:
            with contextlib.suppress(NotApplicable):
                return rules.retiled(func, target, note.cores or 1, note.tiling), f"tuned tiling: {self.name}"
        if _unsettled(note):
            return None
        record, seconds = self._best(func, target)
        if record is None or seconds >= FAILED or not _for(record, target):
            return None
        schedule = s_tir.Schedule(record.workload.mod)
        with target:
            record.trace.apply_to_schedule(schedule, remove_postproc=False)
        return schedule.mod["main"].with_attr("tirx.is_scheduled", True), f"tuned: {self.name}"

    def refusals(self, func: Any, target: Any) -> tuple[tuple[str, str], ...]:
        record, seconds = self._best(func, target)
        note = self._notes.get(workload_key(func))
        name = f"tuned: {self.name}"
        if record is None:
            return ()
        if not _for(record, target):
            return ((name, f"it is for {record.target.kind.name}"),)
        if seconds >= FAILED:
            return ((name, "no trial of this kernel ran"),)
        if _unsettled(note):
            return ((name, "its tuning was interrupted before it was timed in turns with the default; tune once more"),)
        if note is not None and note.default is not None and note.tuned is not None:
            return ((name, f"{note.tuned * 1e6:.1f} us, by default {note.default * 1e6:.1f} us"),)
        return ()

    def _best(self, func: Any, target: Any) -> tuple[Any, float]:
        record = self._database.query_tuning_record(workload_module(func), target, "main")
        if record is None or not record.run_secs:
            return None, FAILED
        return record, sum(float(s) for s in record.run_secs) / len(record.run_secs)


def _unsettled(note: KernelNote | None) -> bool:
    """Whether tuning was interrupted before record and default were timed in turns: alone, at another time, says too little."""
    return note is not None and note.default is not None and note.tuned is None


def _for(record: Any, target: Any) -> bool:
    return record.target is None or str(record.target.kind.name) == str(target.kind.name)


def _old_logs(paths: Iterable[Path]) -> Provider:
    from ..logs.find import finder

    return finder(paths)
