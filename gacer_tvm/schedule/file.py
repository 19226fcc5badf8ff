"""Schedules on disk: JSON that a person can review, read back strictly, replaced as a whole or not at all."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any

import msgspec

from ..errors import ScheduleError
from .schedule import FORMAT, Schedule

__all__ = ["from_json", "load", "save", "to_json"]

_WIDTH = 110


def to_json(schedule: Schedule) -> str:
    """A schedule as JSON text; equal schedules give equal text."""
    return _lay_out(msgspec.to_builtins(schedule, str_keys=True), 0) + "\n"


def from_json(text: str | bytes, where: str = "schedule") -> Schedule:
    """Read a schedule from JSON text.

    Parameters
    ----------
    text
        What `to_json` wrote, or a person.
    where
        How messages call it (the file).

    Raises
    ------
    ScheduleError
        Naming `where` and the field, for text that is not JSON, a field that is missing, unknown or of the wrong
        type, and another format.
    """
    try:
        found = msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise ScheduleError(f"{where}: not JSON ({error}); expected a schedule as Schedule.save writes it") from error
    version = found.get("format") if isinstance(found, dict) else None
    if version is not None and version != FORMAT:
        raise ScheduleError(
            f"{where}: at `$.format`: found {version!r}, expected {FORMAT}; write it anew with this version's search()"
        )
    try:
        return msgspec.json.decode(text, type=Schedule)
    except msgspec.ValidationError as error:
        raise ScheduleError(f"{where}: {error}; expected a schedule of format {FORMAT}") from error


def save(schedule: Schedule, path: str | os.PathLike[str]) -> Path:
    """Write a schedule to `path`: beside it first, then renamed, so that a failure leaves an older file as it was.

    Raises
    ------
    ScheduleError
        If it cannot be written.
    """
    target = Path(path)
    beside = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with beside.open("w", encoding="utf-8") as file:
            file.write(to_json(schedule))
            file.flush()
            os.fsync(file.fileno())
        beside.replace(target)
    except OSError as error:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)
        raise ScheduleError(f"{target}: cannot write the schedule: {error.strerror or error}") from error
    return target


def load(path: str | os.PathLike[str]) -> Schedule:
    """Read a schedule from a file.

    Raises
    ------
    ScheduleError
        If there is no such file, or it holds no schedule (see `from_json`).
    """
    source = Path(path)
    try:
        text = source.read_bytes()
    except OSError as error:
        raise ScheduleError(f"{source}: cannot read the schedule: {error.strerror or error}") from error
    return from_json(text, str(source))


def _lay_out(value: Any, indent: int, label: str = "") -> str:
    """JSON that fills lines: a schedule has long lists of small numbers, which one a line would be unreadable."""
    line = label + json.dumps(value, ensure_ascii=False)
    if indent + len(line) <= _WIDTH or not isinstance(value, dict | list | tuple) or not value:
        return line
    inside = " " * (indent + 1)
    if isinstance(value, dict):
        opening, closing = "{", "}"
        rows = [_lay_out(item, indent + 1, f"{json.dumps(key, ensure_ascii=False)}: ") for key, item in value.items()]
    else:
        opening, closing = "[", "]"
        rows = []
        filling = False
        for item in value:
            text = _lay_out(item, indent + 1)
            # Objects get lines of their own, and so does what takes several.
            small = not isinstance(item, dict) and "\n" not in text
            if filling and small and indent + len(rows[-1]) + len(text) + 4 <= _WIDTH:
                rows[-1] += f", {text}"
            else:
                rows.append(text)
            filling = small
    return f"{label}{opening}\n" + ",\n".join(inside + row for row in rows) + f"\n{' ' * indent}{closing}"
