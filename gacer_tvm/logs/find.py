"""Old logs as a provider of schedules for the kernel library."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from os import PathLike
from typing import Any

from .library import ScheduleLibrary

__all__ = ["finder"]


def finder(
    paths: str | PathLike[str] | Iterable[str | PathLike[str]], baseline: Callable[[Any, Any], Any] | None = None
) -> ScheduleLibrary:
    """A provider over logs and folders of logs: ``provider(function, target)`` gives (scheduled, source) or None.

    Raises
    ------
    LogError
        If a path does not exist or cannot be read.
    """
    return ScheduleLibrary.from_files(paths, baseline=baseline)
