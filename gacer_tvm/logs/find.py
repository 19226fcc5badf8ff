"""Old logs as a provider of schedules for the kernel library."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from os import PathLike
from typing import Any

from gacer_tvm.errors import LogError

from .library import ScheduleLibrary
from .reader import LogFile, read_logs

__all__ = ["finder"]


def finder(
    paths: str | PathLike[str] | Iterable[str | PathLike[str]], baseline: Callable[[Any, Any], Any] | None = None
) -> ScheduleLibrary:
    """A provider over logs and folders of logs: ``provider(function, target)`` gives (scheduled, source) or None.

    Parameters
    ----------
    paths
        As for `read_logs`.
    baseline
        As for `ScheduleLibrary`. By default the project's own rules: a logged schedule was the best of its search on its
        own device, and on another one the rules may well be faster.

    Raises
    ------
    LogError
        If a path does not exist, cannot be read, or holds no record at all.
    """
    logs = read_logs(paths)
    empty = [file for file in logs.files if not file.records and not file.workloads]
    if not logs.records:
        raise LogError(
            "; ".join(_why(file) for file in empty[:5])
            or "the tuning logs hold no records; give Ansor, AutoTVM or MetaSchedule logs"
        )
    return ScheduleLibrary(logs.records, baseline=baseline or _rule)


def _why(file: LogFile) -> str:
    reasons = ", ".join(f"{bad.count} x {bad.reason}" for bad in file.bad[:3]) or "empty"
    return f"tuning log {file.path!r} holds no records ({file.lines} lines: {reasons})"


def _rule(function: Any, target: Any) -> Any:
    """What the kernel library would make of a function without logs; only asked for where it can be timed."""
    from gacer_tvm.kernels import rules

    if str(target.kind.name) != "llvm":
        return None
    return rules.schedule(function, target, os.cpu_count() or 1).func
