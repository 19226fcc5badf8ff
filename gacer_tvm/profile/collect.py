"""The collection: kernels alone and in groups, in turns that interleave, into a file that can be added to at any time."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from .. import __version__, progress
from .._tvm import tvm
from ..cost.device import Device
from ..cost.facts import Facts, graph_facts
from ..cost.host import processor
from ..cost.rows import Alone, Failure, Group, Kernel, Member, Noise, Session, Spread, Writer, read_rows
from ..errors import DeviceError, GacerError
from ..graph.model import MultiTenantGraph
from ..kernels.library import KernelLibrary
from .cpu import Buffers, CpuBench, Job, reference_kernel
from .select import Chunk, chunks_of, groups_of

__all__ = ["Collected", "collect", "data_file"]

T = TypeVar("T")
_TURN = 12
_GROUP_TURN = 4
# A timed call of a kernel alone lasts at least this long, the streams of a group about that long.
_ALONE_SECONDS = 2e-4
_GROUP_SECONDS = 1e-3
_MOST_TIMES = 500
# The two fastest timings of a thing agree within this share, or it is timed up to `_MOST_REPEATS` times as often.
_AGREE = 0.03
_MOST_REPEATS = 3
# Every so many measurements one is made twice: what a perfect model could still not predict.
_AGAIN = 20
_LARGEST_BYTES = 1 << 28


@dataclass
class Collected:
    """What a call of `collect` added, and what was there: `alone` and `groups` are new, `known` was measured before."""

    path: Path
    alone: int = 0
    groups: int = 0
    known: int = 0
    failures: int = 0
    seconds: float = 0.0
    reference: list[float] = field(default_factory=list)
    stopped_by: str = "finished"

    def as_text(self) -> str:
        """A few lines for people."""
        noise = ""
        if self.reference:
            low, middle, high = np.quantile(self.reference, (0.1, 0.5, 0.9))
            noise = f"; reference kernel {middle:.1f} µs, p10 {low:.1f}, p90 {high:.1f}"
        return (
            f"{self.alone} kernel and {self.groups} group measurements added to {self.path} in {self.seconds:.0f} s, "
            f"{self.known} were known, {self.failures} failed; {self.stopped_by}{noise}"
        )


def data_file(folder: str | Path) -> Path:
    """The file of measurements in a device's folder; a path that ends in ``.jsonl`` is taken as it is."""
    folder = Path(folder)
    return folder if folder.suffix == ".jsonl" else folder / "profile.jsonl"


def collect(
    graph: MultiTenantGraph,
    library: KernelLibrary,
    device: Device,
    out: str | Path,
    *,
    models: Sequence[str] | None = None,
    name: str | None = None,
    seconds: float | None = None,
    most_alone: int = 400,
    most_groups: int = 400,
    repeats: int = 11,
    seed: int = 0,
    note: str = "",
) -> Collected:
    """Measure kernels of a tenant set alone and in groups; what `out` has already is not measured again.

    Parameters
    ----------
    graph, library, device
        The tenants, lowered; their kernels are compiled as they are needed.
    out
        A folder (made if need be) or a ``.jsonl`` file.
    models
        What each tenant's model is called in the data, by which splits are made; the tenants' names by default.
    name
        Of the tenant set; the models' names by default.
    seconds
        Time to measure; half of it is for kernels alone. None: until everything is measured.
    most_alone, most_groups
        How many measurements to have of this set at most, known ones included.
    repeats
        Timings of each, taken in turn with others'.
    seed
        Of the selection. The same seed continues the same selection.
    note
        Stands in the session's line: conditions of the machine that no program can see.

    Raises
    ------
    DeviceError
        Where the device is no CPU of this machine.
    """
    if device.kind != "cpu":
        raise DeviceError(f"device {device.name!r}: profiling drives CPU kernels so far; measure a GPU's with `bench`")
    path = data_file(out)
    known = read_rows(path) if path.exists() else None
    result = Collected(path)
    began = time.perf_counter()
    facts = graph_facts(graph)
    labels = list(models or [t.name for t in graph.tenants])
    label = name or "+".join(sorted(labels))
    with Writer(path) as writer, CpuBench() as bench:
        state = _State(graph, library, device, facts, labels, label, writer, bench, repeats, result)
        if known is not None:
            state.known_alone = {(r.k, r.i, r.c) for r in known.alone}
            state.known_groups = {_identity([(m.k, m.i, m.c) for m in r.g]) for r in known.groups}
            state.bad = {(r.k, r.i) for r in known.failures}
            state.written = {(k, m) for k, owners in known.owners.items() for m in owners}
        writer.write(
            Session(
                state.session,
                device,
                processor(),
                {"gacer_tvm": __version__, "tvm": str(tvm.__version__), "numpy": np.__version__},
                datetime.now(timezone.utc).isoformat(timespec="seconds"),
                note=note,
            )
        )
        try:
            chunks = [c for c in chunks_of(graph, facts, seed) if state.fits(c[0])]
            counts = sorted({1, device.units} | {1 << n for n in range(device.units.bit_length()) if 1 << n <= device.units})
            rows = [(o, i, c) for o, i in chunks[: max(1, most_alone // len(counts))] for c in counts]
            limit = None if seconds is None else began + 0.5 * seconds
            if not state.alone(rows, limit):
                result.stopped_by = "the time for kernels alone was up"
            measured = [c for c in dict.fromkeys((o, i) for o, i, _ in rows) if state.has(c)]
            if len({graph.operators[o].tenant for o, _ in measured}) > 1:
                groups = groups_of(graph, facts, measured, device.units, most_groups, seed)
                limit = None if seconds is None else began + seconds
                if not state.groups(groups, limit):
                    result.stopped_by = "the time was up"
        except KeyboardInterrupt:
            result.stopped_by = "interrupted"
    result.seconds = time.perf_counter() - began
    return result


class _State:
    """A collection under way."""

    def __init__(
        self,
        graph: MultiTenantGraph,
        library: KernelLibrary,
        device: Device,
        facts: Sequence[Facts],
        labels: Sequence[str],
        label: str,
        writer: Writer,
        bench: CpuBench,
        repeats: int,
        result: Collected,
    ) -> None:
        self.graph, self.library, self.device, self.facts = graph, library, device, facts
        self.labels, self.label = labels, label
        self.writer, self.bench, self.repeats, self.result = writer, bench, repeats, result
        self.session = uuid.uuid4().hex[:8]
        self.known_alone: set[tuple[str, int, int]] = set()
        self.known_groups: set[tuple[tuple[str, int, int], ...]] = set()
        self.bad: set[tuple[str, int]] = set()
        self.written: set[tuple[str, str]] = set()
        self.began = time.perf_counter()
        self.reference = reference_kernel(library.target)
        self.count = 0

    def fits(self, operator: int) -> bool:
        found = self.graph.operators[operator]
        return sum(self.graph.buffers[b].nbytes for b in (*found.reads, *found.writes)) <= _LARGEST_BYTES

    def key(self, operator: int) -> str:
        """The kernel's key at the whole batch; a model that has it is written once."""
        found = self.graph.operators[operator]
        key = self.library.key(operator, self.graph.tenants[found.tenant].batch)[:16]
        model = self.labels[found.tenant]
        if (key, model) not in self.written:
            self.written.add((key, model))
            self.writer.write(Kernel(key, model, self.facts[operator]))
        return key

    def has(self, chunk: Chunk) -> bool:
        key = self.key(chunk[0])
        return any((key, chunk[1], c) in self.known_alone for c in range(1, self.device.units + 1))

    def alone(self, rows: Sequence[tuple[int, int, int]], limit: float | None) -> bool:
        """Measure rows; False where the time was up before the last."""
        todo = []
        for row in rows:
            at = (self.key(row[0]), row[1], row[2])
            if at in self.known_alone:
                self.result.known += 1
            elif at[:2] not in self.bad:
                todo.append((row, at))
        with progress.update(f"kernels alone, {self.label}", len(todo)) as task:
            for part in _parts(todo, _TURN):
                if limit is not None and time.perf_counter() >= limit:
                    return False
                self._compile(dict.fromkeys(row[:2] for row, _ in part))
                jobs = self._jobs([row for row, _ in part])
                level = self._noise()
                again = self._again()
                for turn in range(2 if again else 1):
                    for (_, at), job, times in zip(part, jobs, self._timed(jobs)):
                        if job is not None:
                            spread = _spread(np.asarray(times) / job.times)
                            self.writer.write(
                                Alone(self.session, *at, spread, len(times), level, again=bool(turn))
                            )
                            if not turn:
                                self.known_alone.add(at)
                                self.result.alone += 1
                task.advance(len(part))
        return True

    def groups(self, groups: Sequence[tuple[tuple[int, int, int], ...]], limit: float | None) -> bool:
        """Measure groups, the members alone in the same turn; False where the time was up before the last."""
        todo = []
        for group in groups:
            at = [(self.key(o), i, c) for o, i, c in group]
            if _identity(at) in self.known_groups:
                self.result.known += 1
            else:
                todo.append((group, at))
        with progress.update(f"groups, {self.label}", len(todo)) as task:
            for part in _parts(todo, _GROUP_TURN):
                if limit is not None and time.perf_counter() >= limit:
                    return False
                self._compile({row[:2] for group, _ in part for row in group})
                teams = [self._jobs(list(group), _GROUP_SECONDS) for group, _ in part]
                level = self._noise()
                again = self._again()
                for turn in range(2 if again else 1):
                    self._group_turn(part, teams, level, bool(turn))
                task.advance(len(part))
        return True

    def _group_turn(self, part: Sequence[Any], teams: Sequence[Sequence[Job | None]], level: float, again: bool) -> None:
        # (whole, end of each stream, each stream alone) of every run
        runs: list[list[tuple[float, list[float], list[float]]]] = [[] for _ in part]
        for turn in range(1 + self.repeats * _MOST_REPEATS):
            for n, team in enumerate(teams):
                jobs = [job for job in team if job is not None]
                if len(jobs) < len(team) or (turn > self.repeats and self._enough(runs[n])):
                    continue
                solo = [self.bench.run([job])[0] for job in jobs]
                took, each = self.bench.run(jobs)
                if turn:  # the first warms up
                    runs[n].append((took, each, solo))
        for (_, at), team, mine in zip(part, teams, runs):
            if not mine:
                continue
            solo = np.min([alone for _, _, alone in mine], axis=0) * 1e6
            end = np.array(min(mine)[1]) * 1e6
            members = tuple(
                Member(k, i, c, job.times, round(float(a), 2), round(float(e), 2))
                for (k, i, c), job, a, e in zip(at, team, solo, end)
                if job is not None
            )
            spread = _spread(np.array([took for took, _, _ in mine]))
            self.writer.write(Group(self.session, self.label, members, spread, len(mine), level, again))
            if not again:
                self.known_groups.add(_identity(at))
                self.result.groups += 1

    @staticmethod
    def _enough(runs: Sequence[tuple[float, list[float], list[float]]]) -> bool:
        return all(map(_settled, [[took for took, _, _ in runs], *zip(*(alone for _, _, alone in runs))]))

    def _timed(self, jobs: Sequence[Job | None]) -> list[list[float]]:
        times: list[list[float]] = [[] for _ in jobs]
        for turn in range(1 + self.repeats * _MOST_REPEATS):
            for mine, job in zip(times, jobs):
                if job is None or (turn > self.repeats and _settled(mine)):
                    continue
                took = self.bench.run([job])[0]
                if turn:
                    mine.append(took)
        return times

    def _compile(self, wanted: Any) -> None:
        missing = [(o, i) for o, i in wanted if (self.key(o), i) not in self.bad]
        try:
            self.library.ensure(missing)
        except GacerError:
            for one in missing:
                try:
                    self.library.ensure([one])
                except GacerError as error:
                    self._failed(one, str(error))

    def _failed(self, chunk: Chunk, why: str) -> None:
        key = self.key(chunk[0])
        self.bad.add((key, chunk[1]))
        self.result.failures += 1
        self.writer.write(Failure(self.session, key, chunk[1], why[:300]))

    def _jobs(self, rows: Sequence[tuple[int, int, int]], lasting: float = _ALONE_SECONDS) -> list[Job | None]:
        """Jobs of about the same length: each kernel as often as it takes."""
        buffers = Buffers(self.graph)
        jobs: list[Job | None] = []
        for operator, items, cores in rows:
            if (self.key(operator), items) in self.bad:
                jobs.append(None)
                continue
            job = buffers.job(self.library, operator, items, cores)
            try:
                self.bench.run([job])
                took = min(self.bench.run([job])[0] for _ in range(2))
            except Exception as error:  # whatever a kernel raises; the others are still worth measuring
                self._failed((operator, items), f"{type(error).__name__}: {error}")
                jobs.append(None)
                continue
            times = max(1, min(_MOST_TIMES, round(lasting / max(took, 1e-7))))
            jobs.append(Job(job.call, job.arguments, cores, times))
        return jobs

    def _noise(self) -> float:
        times = [self.bench.run([self.reference])[0] for _ in range(8)][1:]
        spread = _spread(np.asarray(times))
        load = os.getloadavg()[0] if hasattr(os, "getloadavg") else -1.0
        self.writer.write(Noise(self.session, spread, round(load, 2), round(time.perf_counter() - self.began, 1)))
        self.result.reference.append(spread[1])
        return spread[1]

    def _again(self) -> bool:
        self.count += 1
        return self.count % _AGAIN == 0


def _identity(members: Sequence[tuple[str, int, int]]) -> tuple[tuple[str, int, int], ...]:
    return tuple(sorted(members))


def _parts(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for first in range(0, len(items), size):
        yield items[first : first + size]


def _spread(seconds: np.ndarray) -> Spread:
    least, low, middle, high = (round(float(v), 3) for v in np.quantile(seconds, (0.0, 0.1, 0.5, 0.9)) * 1e6)
    return least, low, middle, high


def _settled(seconds: Sequence[float]) -> bool:
    """Whether the two fastest agree: then nothing disturbed them."""
    first, second = sorted(seconds)[:2]
    return second <= first * (1 + _AGREE)
