"""What the GPU suite has found so far: one file of JSON lines, appended to as results come, read again on resuming.

Several processes may append to it at once.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import GacerError

__all__ = ["OutOfTime", "Results"]


class OutOfTime(GacerError):
    """A unit's time was up before it was through; what it has is kept, and the next run goes on from there."""


class Results:
    """The folder of one suite.

    Parameters
    ----------
    folder
        Made if it is not there.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.file = self.folder / "results.jsonl"

    def add(self, unit: str, kind: str, **values: Any) -> None:
        """Append one line; it is on disk when this returns."""
        self._append(self.file, {"unit": unit, "kind": kind, "time": round(time.time(), 3), **values})

    def measurement(self, **values: Any) -> None:
        """Append one line to ``measurements.jsonl``, the data of the cost model."""
        self._append(self.folder / "measurements.jsonl", values)

    def lines(self, kind: str | None = None, unit: str | None = None) -> Iterator[dict[str, Any]]:
        """Lines so far, those of one kind or unit; a line cut short by a crash is passed over."""
        if not self.file.exists():
            return
        for text in self.file.read_text().splitlines():
            try:
                line = json.loads(text)
            except ValueError:
                continue
            if isinstance(line, dict) and kind in (None, line.get("kind")) and unit in (None, line.get("unit")):
                yield line

    def done(self) -> set[str]:
        """Units that ended well."""
        return {line["unit"] for line in self.lines("end") if line.get("status") == "done"}

    def failures(self) -> dict[str, int]:
        """How often each unit failed or was killed; running out of time is no failure."""
        counts: dict[str, int] = {}
        for line in self.lines("end"):
            if line.get("status") == "failed":
                counts[line["unit"]] = counts.get(line["unit"], 0) + 1
        return counts

    def latest(self, unit: str, kind: str) -> list[dict[str, Any]]:
        """Lines of one kind from the last attempt at a unit."""
        found: list[dict[str, Any]] = []
        for line in self.lines(unit=unit):
            if line["kind"] == "begin":
                found = []
            elif line["kind"] == kind:
                found.append(line)
        return found

    @staticmethod
    def _append(file: Path, line: dict[str, Any]) -> None:
        data = (json.dumps(line) + "\n").encode()
        with file.open("a+b", buffering=0) as stream:
            # One process at a time: a long line may take several writes.
            fcntl.flock(stream, fcntl.LOCK_EX)
            if end := stream.seek(0, os.SEEK_END):
                stream.seek(end - 1)
                # A process that was killed while it wrote leaves half a line: nothing may be appended to that.
                if stream.read(1) != b"\n":
                    data = b"\n" + data
            while data:
                data = data[stream.write(data) :]
            os.fsync(stream.fileno())
