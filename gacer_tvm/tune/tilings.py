"""Trials of our own rule's tilings: ``tilings.json`` beside the MetaSchedule database, one JSON line a trial.

A line holds the kernel's key, the generation of the rules, the tiling and the seconds of each timing. Lines are only ever
appended, and those of another generation are left alone: other rules may not know their tilings.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..errors import LogError
from ..kernels.request import GENERATION
from ..kernels.store import write_beside

__all__ = ["FAILED", "FILE", "Tilings", "best", "read_lines", "write_lines"]

# What TVM itself writes for the seconds of a candidate that could not be built or run.
FAILED = 1e10
FILE = "tilings.json"


class Tilings:
    """The trials of a folder.

    Attributes
    ----------
    trials
        Workload key → tiling (as text) → seconds of each timing.
    notices
        What had to be repaired.

    Raises
    ------
    LogError
        Where the file is damaged other than by a killed process.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        self.trials: dict[str, dict[str, list[float]]] = {}
        lines, self.notices = read_lines(folder)
        for key, generation, tiling, seconds in map(json.loads, lines):
            if generation == GENERATION:
                self.trials.setdefault(key, {})[json.dumps(tiling, sort_keys=True)] = seconds

    def commit(self, key: str, tiling: str, seconds: list[float]) -> None:
        """Append one trial; it is in the file when this returns."""
        with self._path.open("a") as stream:
            stream.write(json.dumps([key, GENERATION, json.loads(tiling), seconds]) + "\n")
        self.trials.setdefault(key, {})[tiling] = seconds

    def best(self, key: str) -> float | None:
        """Mean seconds of the best tiling of a kernel; None where none ran."""
        return best(self.trials.get(key, {}))


def best(trials: Mapping[str, list[float]]) -> float | None:
    """Mean seconds of the best of a kernel's trials; None where all failed."""
    least = min((sum(s) / len(s) for s in trials.values() if s), default=FAILED)
    return least if least < FAILED else None


def read_lines(folder: Path) -> tuple[list[str], list[str]]:
    """The lines of a folder's file, a last one cut short by a killed process cut off, and notices of that.

    Raises
    ------
    LogError
        Where another line is damaged.
    """
    path = folder / FILE
    if not path.is_file():
        return [], []
    lines, notices = path.read_text().splitlines(), []
    for number, line in enumerate(lines, 1):
        try:
            whole = _is_trial(json.loads(line))
        except ValueError:
            if number == len(lines):
                notices.append(f"{path}: the last line was truncated and has been cut off")
                write_lines(folder, lines := lines[:-1])
                return lines, notices
            whole = False
        if not whole:
            raise LogError(f"{path}, line {number}: not a trial of a tiling; restore the file")
    if lines and not path.read_bytes().endswith(b"\n"):
        # A whole line without its end: the next one would be written onto it.
        write_lines(folder, lines)
    return lines, notices


def write_lines(folder: Path, lines: Iterable[str]) -> None:
    """Write a folder's file anew, in one step."""
    text = "".join(f"{line}\n" for line in lines)
    write_beside(folder / FILE, lambda p: p.write_text(text))


def _is_trial(entry: Any) -> bool:
    return (
        isinstance(entry, list)
        and [type(part) for part in entry] == [str, int, dict, list]
        and bool(entry[3])
        and all(isinstance(s, float | int) for s in entry[3])
    )
