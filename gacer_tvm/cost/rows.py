"""Measurements as JSON lines: what the cost model learns from. One object a line, short keys, microseconds.

A file belongs to one device. Several processes may append to it; each begins with a `Session` line and marks its lines with
the session's number. Readers skip what they cannot use and count it, so that a damaged or growing file is never fatal.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from ..errors import DeviceError, LogError
from .device import Device
from .facts import Facts
from .sane import device_fault, facts_fault

__all__ = [
    "Alone",
    "Bad",
    "Data",
    "Failure",
    "Group",
    "Kernel",
    "LEARNED",
    "Noise",
    "Planned",
    "Row",
    "Run",
    "Session",
    "Stream",
    "Writer",
    "computation",
    "encode",
    "kernel_key",
    "read_rows",
    "spread_of",
]

FORMAT = 2
Spread = tuple[float, float, float, float]
"""Lower decile, lower quartile, median, upper decile; microseconds.

The lower quartile is learned from: what disturbs only makes longer, and the least would be luck.
"""
LEARNED = 1
"""The place in a `Spread` of what is learned from."""


def kernel_key(library: Any, operator: int, batch: int, cores: int | None = None) -> str:
    """What `Kernel.k` is: first digits of the library's key of the kernel at the whole batch, for so many cores; and the batch.

    A product over 4 x 32 rows is the same kernel as one over 1 x 128, but its chunks are others.
    """
    return f"{library.key(operator, batch, cores)[:12]}.{batch}"


def computation(key: str) -> str:
    """The part of a kernel's key that it shares with the same computation over another batch."""
    return key.partition(".")[0]


def spread_of(seconds: Sequence[float] | NDArray[np.float64]) -> Spread:
    """The spread of timings in seconds; microseconds, never zero."""
    low, quarter, middle, high = (round(max(float(v) * 1e6, 1e-3), 3) for v in np.quantile(seconds, (0.1, 0.25, 0.5, 0.9)))
    return low, quarter, middle, high


class Session(msgspec.Struct, tag="session", tag_field="t", frozen=True, omit_defaults=True):
    """A run of the profiler: `x` its number (random, unique in the file), where and with what it measured."""

    x: str
    device: Device
    processor: str
    versions: dict[str, str]
    began: str
    format: int = FORMAT
    note: str = ""


class Kernel(msgspec.Struct, tag="k", tag_field="t", frozen=True, omit_defaults=True):
    """A kernel: key `k` (`kernel_key`), facts `f`; `m` is a model that has it, for splits only."""

    k: str
    m: str
    f: Facts


class Alone(msgspec.Struct, tag="a", tag_field="t", frozen=True, omit_defaults=True):
    """Kernel `k` alone at `i` items on `c` cores (0: a device without core budgets): time `s` of one call, of `n` rounds.

    It was timed inside rounds of tenant set `set`, one kernel after the other, between the kernels that run beside it in
    real life: what a kernel finds in the caches is part of its time. `w`, `a` and `o` are how far away its weights, its
    activations and its last run were, in mebibytes, and `f` its last run in millions of operations
    (`gacer_tvm.cost.footprint.Distances`; the mean where several operators share the kernel); 0 where it was timed by
    itself, over and over. `r` is the reference kernel's median in the same turn, `e` the rate at which cores exchanged data
    then (see `gacer_tvm.cost.near`); `again` marks a second measurement: the two tell the noise. `source` says where it
    comes from, "" for `profile` (see `gacer_tvm.cost.sources`), `weight` how much it counts.
    """

    x: str
    k: str
    i: int
    c: int
    s: Spread
    n: int
    r: float
    set: str = ""
    w: float = 0.0
    a: float = 0.0
    o: float = 0.0
    f: float = 0.0
    e: float = 0.0
    again: bool = False
    source: str = ""
    weight: float = 1.0


class Run(msgspec.Struct, array_like=True, frozen=True):
    """A kernel in a stream: key, items, how often, and what all these calls take without company, microseconds."""

    k: str
    i: int
    times: int
    us: float


class Stream(msgspec.Struct, array_like=True, frozen=True):
    """One stream of a group: cores, time without company and in company, microseconds; its kernels."""

    c: int
    alone: float
    company: float
    runs: tuple[Run, ...]


class Group(msgspec.Struct, tag="g", tag_field="t", frozen=True, omit_defaults=True):
    """Streams `g` of tenant set `set` that met in a cluster of a schedule: time `s` of the longest, of `n` rounds.

    Each stream is timed from its own start: how late a sleeping thread wakes up is the runtime's cost, not company's.
    `d` names the schedule that was drawn, and the cluster in it; `e` is as for `Alone`.
    """

    x: str
    set: str
    d: str
    g: tuple[Stream, ...]
    s: Spread
    n: int
    r: float
    e: float = 0.0
    again: bool = False


class Noise(msgspec.Struct, tag="n", tag_field="t", frozen=True, omit_defaults=True):
    """The reference kernel in one turn, the machine's load average, and seconds since the session began.

    `e` is the rate at which cores exchange data, GB/s; 0 where it is not told or there is one core.
    """

    x: str
    s: Spread
    load: float
    at: float
    e: float = 0.0


class Planned(msgspec.Struct, tag="p", tag_field="t", frozen=True, omit_defaults=True):
    """The makespan of a schedule as `model` predicted it and as it was measured (the median), always together; microseconds.

    `err` is the model's held-out error of kernel times, where it has one; `way` what the schedule is called and `plan` its
    hash; `low` and `high` are the deciles of the `n` rounds measured, `load` the machine's load average then (-1: not told).
    """

    x: str
    set: str
    model: str
    predicted: float
    measured: float
    err: float = 0.0
    way: str = ""
    plan: str = ""
    low: float = 0.0
    high: float = 0.0
    n: int = 1
    load: float = -1.0


class Failure(msgspec.Struct, tag="f", tag_field="t", frozen=True, omit_defaults=True):
    """A kernel that could not be measured, and why; it is not tried again."""

    x: str
    k: str
    i: int
    why: str


Row = Session | Kernel | Alone | Group | Noise | Planned | Failure
_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Row)
_TAGS = frozenset(str(kind.__struct_config__.tag) for kind in Row.__args__)


@dataclass(frozen=True, slots=True)
class Bad:
    """A line that was skipped: file, line from 1, and why."""

    file: str
    line: int
    why: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.why}"


@dataclass
class Data:
    """What was read.

    Attributes
    ----------
    sessions
        By number.
    kernels
        Facts by key.
    owners
        Models that have a kernel, by its key.
    alone, groups, noise, planned, failures
        The rows.
    skipped
        Kind of bad line (``corrupted``, ``foreign``, ``orphan``: of a session or kernel that the files do not tell) to count.
    first
        The first bad line of each kind.
    far
        Rows left out since cores lay far from each other (`gacer_tvm.cost.train.of_device`).
    unfinished
        Files whose last line is still being written.
    """

    sessions: dict[str, Session] = field(default_factory=dict)
    kernels: dict[str, Facts] = field(default_factory=dict)
    owners: dict[str, set[str]] = field(default_factory=dict)
    alone: list[Alone] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)
    noise: list[Noise] = field(default_factory=list)
    planned: list[Planned] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    first: dict[str, Bad] = field(default_factory=dict)
    far: int = 0
    unfinished: list[str] = field(default_factory=list)

    def having(self) -> dict[str, frozenset[str]]:
        """Models that have each kernel, or the same computation over another batch."""
        models: dict[str, set[str]] = {}
        for key, owners in self.owners.items():
            models.setdefault(computation(key), set()).update(owners)
        return {key: frozenset(models[computation(key)]) for key in self.owners}

    def devices(self) -> tuple[str, ...]:
        """Names of the devices measured on."""
        return tuple(sorted({s.device.name for s in self.sessions.values()}))

    def as_text(self) -> str:
        """A few lines for people."""
        models = {m for owners in self.owners.values() for m in owners}
        lines = [
            f"{len(self.alone)} kernel and {len(self.groups)} group measurements of {len(self.kernels)} kernels of "
            f"{len(models)} models on {', '.join(self.devices()) or 'no device'}, {len(self.sessions)} sessions"
        ]
        if self.planned:
            lines.append(f"{len(self.planned)} makespans predicted and measured")
        for kind, count in self.skipped.most_common():
            lines.append(f"{count} lines skipped as {kind}, the first {self.first[kind]}")
        lines += [f"{name}: the last line is unfinished (another process may be writing it)" for name in self.unfinished]
        return "\n".join(lines)

    def bad(self, kind: str, file: str, line: int, why: str) -> None:
        """Count a bad line."""
        self.skipped[kind] += 1
        self.first.setdefault(kind, Bad(file, line, why))


def read_rows(paths: str | Path | Iterable[str | Path]) -> Data:
    """Read measurement files (or the ``*.jsonl`` files of folders).

    Only whole lines count: of a file that another process is appending to, what it has finished is read.

    Raises
    ------
    LogError
        Where a path does not exist.
    """
    given = [paths] if isinstance(paths, str | Path) else list(paths)
    data = Data()
    placed: list[tuple[str, int, Alone | Group | Noise | Planned | Failure]] = []
    for path in map(Path, given):
        if not path.exists():
            raise LogError(f"no measurements at {path}; make them with `gacer-tvm profile MODELS --out {path}`")
        for file in sorted(path.glob("*.jsonl")) if path.is_dir() else [path]:
            try:
                lines = file.read_bytes().split(b"\n")
            except OSError as error:
                raise LogError(f"measurements in {file} cannot be read: {error.strerror or error}") from error
            if lines[-1]:
                data.unfinished.append(str(file))
            for number, line in enumerate(lines[:-1], 1):
                if line.strip():
                    _take(data, placed, str(file), number, line)
    # Sorted out at the end: a kernel may stand in another file than what was measured of it.
    for name, number, row in placed:
        parts = [r for m in row.g for r in m.runs] if isinstance(row, Group) else [row] if isinstance(row, Alone) else []
        keys = [part.k for part in parts]
        if row.x not in data.sessions:
            data.bad("orphan", name, number, f"no session {row.x!r}")
        elif any(key not in data.kernels for key in keys):
            data.bad("orphan", name, number, f"no facts of kernel {next(k for k in keys if k not in data.kernels)!r}")
        elif any(part.i > data.kernels[part.k].batch for part in parts):
            data.bad("corrupted", name, number, "more items than the kernel's batch has")
        elif isinstance(row, Alone):
            data.alone.append(row)
        elif isinstance(row, Group):
            data.groups.append(row)
        elif isinstance(row, Noise):
            data.noise.append(row)
        elif isinstance(row, Planned):
            data.planned.append(row)
        else:
            data.failures.append(row)
    return data


def _take(
    data: Data, placed: list[tuple[str, int, Alone | Group | Noise | Planned | Failure]], name: str, number: int, line: bytes
) -> None:
    try:
        row = _decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, DeviceError) as error:
        data.bad("foreign" if _is_foreign(line) else "corrupted", name, number, str(error))
        return
    if isinstance(row, Session):
        if row.format != FORMAT:
            data.bad("foreign", name, number, f"format {row.format}, expected {FORMAT}")
        elif fault := device_fault(row.device):
            data.bad("corrupted", name, number, fault)
        else:
            data.sessions[row.x] = row
    elif isinstance(row, Kernel):
        if fault := facts_fault(row.f):
            data.bad("corrupted", name, number, fault)
        else:
            data.kernels[row.k] = row.f
            data.owners.setdefault(row.k, set()).add(row.m)
    elif not _sensible(row):
        data.bad("corrupted", name, number, "times must be positive and finite, items and repeats at least 1, cores at least 0")
    else:
        placed.append((name, number, row))


def _is_foreign(line: bytes) -> bool:
    """Whether it is whole JSON of something else."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return False
    return not (isinstance(value, dict) and value.get("t") in _TAGS)


def _sensible(row: Alone | Group | Noise | Planned | Failure) -> bool:
    times: Sequence[float]
    if isinstance(row, Alone):
        times, counts = row.s, [row.i, row.n, row.c + 1]
        if not 0 < row.weight <= 1 or not all(0 <= away < 1e9 for away in (row.w, row.a, row.o, row.f)):
            return False
    elif isinstance(row, Group):
        runs = [r for m in row.g for r in m.runs]
        times = [*row.s, *(v for m in row.g for v in (m.alone, m.company)), *(r.us for r in runs)]
        counts = [row.n, *(m.c + 1 for m in row.g), *(v for r in runs for v in (r.i, r.times))]
        if len(row.g) < 2 or not all(m.runs for m in row.g):
            return False
    elif isinstance(row, Noise):
        times, counts = row.s, []
    elif isinstance(row, Planned):
        times, counts = [row.predicted, row.measured, *(v for v in (row.low, row.high, row.err) if v)], [row.n]
    else:
        times, counts = [], []
    return all(0 < t < 1e12 for t in times) and all(c >= 1 for c in counts)


def encode(row: Row) -> bytes:
    """A row as it stands in a file, without the line's end; equal rows give equal bytes."""
    return _encoder.encode(row)


class Writer:
    """Appends rows to a file, each with one write, so that readers and other writers see whole lines.

    A line that a killed process left unfinished is ended first; it will be skipped as corrupted.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
        except OSError as error:
            raise LogError(f"measurements cannot be written to {self.path}: {error.strerror}") from error
        size = os.lseek(self._file, 0, os.SEEK_END)
        if size and os.pread(self._file, 1, size - 1) != b"\n":
            os.write(self._file, b"\n")

    def write(self, row: Row) -> None:
        """Append one row.

        Raises
        ------
        LogError
            Where it cannot be written as a whole; the next writer ends the line.
        """
        line = encode(row) + b"\n"
        try:
            written = os.write(self._file, line)
        except OSError as error:
            raise LogError(f"measurements cannot be written to {self.path}: {error.strerror}") from error
        if written < len(line):
            raise LogError(f"a row of {len(line)} bytes was cut off at {written} in {self.path}; is the disk full?")

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
