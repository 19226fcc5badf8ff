"""What databases of tuning records hold, and making them small enough to review: coverage, pruning, merging.

Works on the lines of the files, so that what is kept stays as it was, byte for byte, and a diff shows only what went.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import LogError
from ..kernels.library import KernelLibrary
from ..kernels.store import write_beside
from .records import FAILED, FILES, KernelNote, Records, repair, workload_key

__all__ = ["Coverage", "coverage", "coverage_of", "merge", "prune"]


@dataclass(frozen=True)
class Coverage:
    """One kernel and what is known of it.

    Attributes
    ----------
    name
        An operator that it belongs to; its key where no name is known.
    made_by
        ``"tuned"`` where `build` takes the record, ``"default"`` where the default rules were faster, for kernels of models
        the rule or record that makes them.
    trials, failed
        Trials on record, and how many of them did not run.
    default, tuned
        Seconds; None where not measured.
    cores
        The share of the device that it was tuned for.
    """

    name: str
    made_by: str
    trials: int = 0
    failed: int = 0
    default: float | None = None
    tuned: float | None = None
    cores: int | None = None

    def __str__(self) -> str:
        words = [f"{self.name}: {self.made_by}"]
        if self.trials:
            words.append(f"{self.trials} trials" + (f" ({self.failed} failed)" if self.failed else ""))
        if self.tuned is not None:
            words.append(f"{self.tuned * 1e6:.1f} us")
        if self.default is not None:
            words.append(f"{self.default * 1e6:.1f} us by default")
        if self.cores is not None:
            words.append(f"on {self.cores} cores")
        return ", ".join(words)


def coverage(folder: str | Path) -> list[Coverage]:
    """What a database holds, the kernels with most trials first.

    Raises
    ------
    LogError
        Where there is no database, or it cannot be read.
    """
    records = Records.open(_existing(folder))
    found = []
    for key in records.trials.keys() | records.kernels.keys():
        note = records.kernels.get(key, KernelNote())
        best = records.best(key)
        made_by = "tuned" if best is not None and note.pays else "default"
        found.append(_line(key, note, records, made_by, best))
    return sorted(found, key=lambda c: (-c.trials, c.name))


def coverage_of(library: KernelLibrary, folder: str | Path) -> list[Coverage]:
    """Each whole kernel of a graph: which rule or record makes it under a database.

    Parameters
    ----------
    library
        Lowered with the database as its tuning logs.
    folder
        The database.
    """
    records = Records.open(_existing(folder))
    graph = library.graph
    found: dict[str, Coverage] = {}
    for operator in graph.operators:
        batch = graph.tenants[operator.tenant].batch
        key = workload_key(library.request(operator.index, batch).func)
        if key not in found:
            _, rule, _ = library.scheduled(operator.index, batch)
            note = replace(records.kernels.get(key, KernelNote()), name=operator.name)
            found[key] = _line(key, note, records, rule, records.best(key))
    return list(found.values())


def _line(key: str, note: KernelNote, records: Records, made_by: str, best: float | None) -> Coverage:
    failed = sum(1 for s in records.trials.get(key, {}).values() if s and min(s) >= FAILED)
    tuned = note.tuned if note.tuned is not None else best
    return Coverage(note.name or key, made_by, records.count(key), failed, note.default, tuned, note.cores)


def prune(folder: str | Path, keep: int = 1) -> tuple[int, int]:
    """Keep the best `keep` records of each kernel.

    Returns
    -------
    kept, dropped
        Records. The notes remember how many trials there were, so that tuning does not begin again.

    Raises
    ------
    LogError
        Where there is no database, or it cannot be read.
    """
    if keep < 1:
        raise LogError(f"prune: expected to keep at least one record, found {keep}")
    records = Records.open(_existing(folder))
    workloads, lines = _lines(records.folder)
    held: dict[int, list[tuple[float, int, str]]] = {}
    for number, (workload, seconds, text) in enumerate(lines):
        held.setdefault(workload, []).append((seconds, number, text))
    best: dict[int, list[tuple[float, int, str]]] = {}
    for workload, entries in held.items():
        entries.sort()
        best[workload] = [e for e in entries[:keep] if e[0] < FAILED] or entries[:1]
    kept = sorted(e[1:] for entries in best.values() for e in entries)
    before = {key: records.count(key) for key in records.trials}
    _write(records.folder, workloads, [text for _, text in kept])
    again = Records.open(records.folder)
    for key, count in before.items():
        note = again.kernels.setdefault(key, KernelNote())
        note.pruned = count - len(again.trials.get(key, {}))
    again.save_notes()
    return len(kept), len(lines) - len(kept)


def merge(sources: Sequence[str | Path], output: str | Path) -> tuple[int, int]:
    """Write the records of several databases of one device into one; what is there twice is kept as the first has it.

    Returns
    -------
    records, repeated
        Records written, and records left out because an earlier database has the same schedule of the same kernel.

    Raises
    ------
    LogError
        Where a database is missing or damaged, the output exists, or they are for different devices.
    """
    target = Path(output)
    if any((target / name).exists() for name in FILES):
        raise LogError(f"merge: {target} holds a database already; choose another folder")
    numbers: dict[str, int] = {}
    seen: set[str] = set()
    workloads: list[str] = []
    kept: list[str] = []
    repeated = 0
    device: tuple[Any, Path] | None = None
    notes: dict[str, KernelNote] = {}
    runs: list[dict[str, Any]] = []
    for source in map(_existing, sources):
        opened = Records.open(source)
        texts, lines = _lines(source)
        for workload, _, text in lines:
            entry = json.loads(text)
            found = {k: v for k, v in _target(entry).items() if k != "num-cores"}
            if device is None:
                device = (found, source)
            elif found != device[0]:
                raise LogError(
                    f"merge: {source} was measured for {found}, {device[1]} for {device[0]}; keep one folder a device"
                )
            if texts[workload] not in numbers:
                numbers[texts[workload]] = len(workloads)
                workloads.append(texts[workload])
            number = numbers[texts[workload]]
            identity = json.dumps([number, entry[1][0]])
            if identity in seen:
                repeated += 1
                continue
            seen.add(identity)
            kept.append(f"[{number}{text[text.index(',') :]}")
        for key, note in opened.kernels.items():
            notes.setdefault(key, note)
        runs.extend(r for r in opened.runs if r not in runs)
    target.mkdir(parents=True, exist_ok=True)
    _write(target, workloads, kept)
    made = Records.open(target)
    made.kernels, made.runs = notes, runs
    made.save_notes()
    return len(kept), repeated


def _existing(folder: str | Path) -> Path:
    path = Path(folder)
    if not (path / FILES[1]).is_file():
        raise LogError(f"{path}: no database of tuning records there (expected {FILES[1]})")
    return path


def _lines(folder: Path) -> tuple[list[str], list[tuple[int, float, str]]]:
    """Lines of the workloads; of each record its workload, mean seconds and line."""
    repair(folder)
    workloads = (folder / FILES[0]).read_text().splitlines()
    records = []
    for text in (folder / FILES[1]).read_text().splitlines():
        number, (_, seconds, *_) = json.loads(text)
        mean = sum(float(s) for s in seconds) / len(seconds) if seconds else FAILED
        records.append((int(number), mean, text))
    return workloads, records


def _target(entry: Any) -> dict[str, Any]:
    found = entry[1][2]
    return dict(json.loads(found) if isinstance(found, str) else found)


def _write(folder: Path, workloads: Iterable[str], records: Iterable[str]) -> None:
    for name, lines in zip(FILES, (workloads, records)):
        text = "".join(f"{line}\n" for line in lines)
        write_beside(folder / name, lambda p, text=text: p.write_text(text))
