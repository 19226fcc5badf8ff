"""Old tuning logs read, whatever they are: line by line, each line judged by its form, bad ones counted with the reason.

Nothing in a log is ever evaluated, unpickled or executed: lines are JSON, and JSON is data.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path

from gacer_tvm.errors import LogError

from .ansor import is_ansor, read_ansor
from .autotvm import is_autotvm, read_autotvm
from .metaschedule import is_meta_record, is_workload_line, read_meta_record, workload_file_of, workload_hashes
from .record import LogRecord
from .result import BadRecord

__all__ = ["BadLines", "LogFile", "LogSet", "read_line", "read_logs"]

_MAX_LINE = 64 << 20
_PICKLE = re.compile(r"^[A-Za-z0-9+/=]{16,}\t[A-Za-z0-9+/=]{4,}(\t[A-Za-z0-9+/=.]*)*$")
_SUFFIXES = (".json", ".log", ".jsonl", ".txt")
# Suffix of a packed file: what packed it, and how it begins.
_PACKED = {
    ".gz": ("gzip", b"\x1f\x8b"),
    ".xz": ("xz", b"\xfd7zXZ"),
    ".bz2": ("bzip2", b"BZh"),
    ".zip": ("zip", b"PK\x03\x04"),
    ".zst": ("zstd", b"\x28\xb5\x2f\xfd"),
}


@dataclass(frozen=True, slots=True)
class BadLines:
    """Lines that gave nothing, for one reason."""

    reason: str
    count: int
    first_line: int


@dataclass(frozen=True, slots=True)
class LogFile:
    """What one file gave.

    Attributes
    ----------
    path
        The file.
    lines
        Its lines, blank ones and comments included.
    records
        What was read.
    comments
        Blank lines and ``#`` comments.
    workloads
        Lines of a MetaSchedule workload file: modules, no measurements.
    bad
        Lines that gave nothing, by reason, the commonest first.
    """

    path: str
    lines: int
    records: tuple[LogRecord, ...] = field(repr=False)
    comments: int = 0
    workloads: int = 0
    bad: tuple[BadLines, ...] = ()


@dataclass(frozen=True, slots=True)
class LogSet:
    """Everything that was read."""

    files: tuple[LogFile, ...]

    @property
    def records(self) -> tuple[LogRecord, ...]:
        """All records, file by file."""
        return tuple(record for file in self.files for record in file.records)


def read_logs(paths: str | PathLike[str] | Iterable[str | PathLike[str]]) -> LogSet:
    """Read tuning logs: Ansor v0.1 to v0.6, AutoTVM and TopHub 0.1 and 0.2, MetaSchedule databases before 0.20.

    Parameters
    ----------
    paths
        Files, or folders (searched for ``.json``, ``.jsonl``, ``.log`` and ``.txt``), in any mixture of formats; one file
        may mix formats too.

    Raises
    ------
    LogError
        If a path does not exist or cannot be read. Lines that cannot be used are counted, not raised.
    """
    if isinstance(paths, str | PathLike):
        paths = [paths]
    files: list[LogFile] = []
    for path in paths:
        files.extend(_read_file(file) for file in _expand(Path(path)))
    return LogSet(tuple(files))


def _expand(path: Path) -> list[Path]:
    if path.is_dir():
        found = sorted(file for file in path.rglob("*") if _is_log(file))
        if not found:
            raise LogError(f"folder {str(path)!r} holds no tuning logs ({', '.join(_SUFFIXES)})")
        return found
    if not path.exists():
        raise LogError(f"tuning log {str(path)!r} does not exist; give a log file, a database or a folder of them")
    if path.is_block_device() or path.is_char_device():
        raise LogError(f"tuning log {str(path)!r} is a device; give a log file, a database or a folder of them")
    return [path]


def _is_log(path: Path) -> bool:
    """By its name; a packed log counts, so that it is named among what could not be read."""
    name = path.with_suffix("") if path.suffix in _PACKED else path
    return name.suffix in _SUFFIXES and path.is_file()


def _refused_whole(start: bytes) -> str:
    """Why a file is not worth reading line by line, told from its first line; or ""."""
    for packer, magic in _PACKED.values():
        if start.startswith(magic):
            return f"packed with {packer}: unpack it first"
    return "binary, not a text log" if b"\x00" in start else ""


def _read_file(path: Path) -> LogFile:
    workload_file = workload_file_of(path)
    hashes: list[str] | None = None
    records: list[LogRecord] = []
    bad: dict[str, list[int]] = {}
    lines = comments = workloads = 0
    try:
        with path.open("rb") as file:
            while raw := file.readline(_MAX_LINE):
                lines += 1
                whole = _refused_whole(raw) if lines == 1 else ""
                if whole:
                    bad[whole] = [1, 1]
                    break
                if len(raw) == _MAX_LINE and not raw.endswith(b"\n"):
                    while raw and not raw.endswith(b"\n"):
                        raw = file.readline(_MAX_LINE)
                    bad.setdefault("a line longer than any record", [0, lines])[0] += 1
                    continue
                text = raw.decode("utf-8", errors="replace").strip()
                if lines == 1:
                    text = text.removeprefix("\ufeff")
                if not text or text.startswith("#"):
                    comments += 1
                    continue
                if hashes is None and workload_file is not None and text.startswith("["):
                    hashes = workload_hashes(workload_file)
                try:
                    record = read_line(text, str(path), lines, str(workload_file or ""), hashes or ())
                except BadRecord as reason:
                    entry = bad.setdefault(str(reason), [0, lines])
                    entry[0] += 1
                    continue
                if record is None:
                    workloads += 1
                else:
                    records.append(record)
    except OSError as error:
        raise LogError(f"tuning log {str(path)!r} cannot be read: {error.strerror or error}") from error
    reasons = sorted(bad.items(), key=lambda item: -item[1][0])
    return LogFile(
        str(path),
        lines,
        tuple(records),
        comments,
        workloads,
        tuple(BadLines(reason, count, first) for reason, (count, first) in reasons),
    )


def read_line(
    text: str, file: str = "", line: int = 0, database: str = "", hashes: Sequence[str] = ()
) -> LogRecord | None:
    """Read one line; None for a line of a workload file (a module, no measurement).

    Raises
    ------
    BadRecord
        With the reason.
    """
    if "\x00" in text:
        raise BadRecord("binary, not a text log (unpack it first if it is compressed)")
    if _PICKLE.match(text):
        raise BadRecord("a pickled record, which is never opened")
    try:
        value = json.loads(text)
    except RecursionError as error:
        raise BadRecord("JSON nested too deeply") from error
    except ValueError as error:
        raise BadRecord("not JSON (cut off?)" if text[:1] in "{[" else "not JSON") from error
    try:
        if isinstance(value, dict):
            if is_ansor(value):
                return read_ansor(value, file, line)
            if is_autotvm(value):
                return read_autotvm(value, file, line)
        elif is_workload_line(value):
            return None
        elif is_meta_record(value):
            return read_meta_record(value, file, line, database, hashes)
    except RecursionError as error:
        raise BadRecord("JSON nested too deeply") from error
    raise BadRecord("JSON, but no tuning record of a known kind")
