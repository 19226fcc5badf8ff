"""What databases of tuning records hold, and making them small enough to review: coverage, pruning, merging.

Works on the lines of the files, so that the trials that are kept stay as they were, and a diff shows only what went.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .._tvm import s_tir
from ..errors import LogError
from ..kernels.library import KernelLibrary
from ..kernels.store import write_beside
from .records import FAILED, FILES, KernelNote, Records, repair, workload_key
from .shares import share_folder, shares
from .tilings import read_lines, write_lines

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
    found = []
    for path in shares(_existing(folder)).values():
        records = Records.open(path)
        for key in records.trials.keys() | records.kernels.keys():
            note = records.kernels.get(key, KernelNote())
            best = records.least(key)
            made_by = "tuned" if (best is not None or note.tiling) and note.pays else "default"
            found.append(_line(key, note, records, made_by, best))
    return sorted(found, key=lambda c: (-c.trials, c.name))


def coverage_of(library: KernelLibrary, folder: str | Path) -> list[Coverage]:
    """Each whole kernel of a graph: which rule or record makes it under a database, for each share that was tuned for.

    Parameters
    ----------
    library
        Lowered with the database as its tuning logs.
    folder
        The database.
    """
    graph = library.graph
    found: dict[tuple[str, int | None], Coverage] = {}
    for cores, path in shares(_existing(folder)).items():
        records = Records.open(path)
        for operator in graph.operators:
            batch = graph.tenants[operator.tenant].batch
            key = workload_key(library.request(operator.index, batch).func)
            if (key, cores) not in found and (cores is None or key in records.kernels):
                _, rule, _ = library.scheduled(operator.index, batch, cores)
                note = replace(records.kernels.get(key, KernelNote()), name=operator.name)
                found[key, cores] = _line(key, note, records, rule, records.least(key))
    return list(found.values())


def _line(key: str, note: KernelNote, records: Records, made_by: str, best: float | None) -> Coverage:
    trials = [*records.trials.get(key, {}).values(), *records.tilings.trials.get(key, {}).values()]
    failed = sum(1 for s in trials if s and min(s) >= FAILED)
    tuned = note.tuned if note.tuned is not None else best
    return Coverage(note.name or key, made_by, records.count(key), failed, note.default, tuned, note.cores)


def prune(folder: str | Path, keep: int = 1) -> tuple[int, int]:
    """Keep the best `keep` trials of each kernel; where the end was compared, only those of the kind that won.

    Returns
    -------
    kept, dropped
        Trials. The notes remember how many there were, so that tuning does not begin again.

    Raises
    ------
    LogError
        Where there is no database, or it cannot be read.
    """
    if keep < 1:
        raise LogError(f"prune: expected to keep at least one record, found {keep}")
    done = [_prune(path, keep) for path in shares(_existing(folder)).values()]
    return sum(kept for kept, _ in done), sum(dropped for _, dropped in done)


def _prune(folder: Path, keep: int) -> tuple[int, int]:
    records = Records.open(folder)
    workloads, lines = _lines(records.folder)
    keys = [_key(line) for line in workloads]
    kinds = {key: _kind(note) for key, note in records.kernels.items()}
    sampled = [
        (keys[workload], seconds, text) for workload, seconds, text in lines if kinds.get(keys[workload]) in (None, "record")
    ]
    own, _ = read_lines(records.folder)
    tilings = [(key, _mean(s), text) for text in own for key, _, _, s in [json.loads(text)] if kinds.get(key) in (None, "tiling")]
    kept, kept_tilings = _best(sampled, keep), _best(tilings, keep)
    used = sorted({json.loads(text)[0] for text in kept})
    again = {number: place for place, number in enumerate(used)}
    before = {key: records.count(key) for key in records.kernels.keys() | records.trials.keys()}
    _write(records.folder, [_minified(workloads[n]) for n in used], [_numbered(text, again) for text in kept])
    if own:
        write_lines(records.folder, kept_tilings)
    after = Records.open(records.folder)
    for key, count in before.items():
        note = after.kernels.setdefault(key, KernelNote())
        note.pruned = 0
        note.pruned = count - after.count(key)
    after.save_notes()
    left = len(kept) + len(kept_tilings)
    return left, len(lines) + len(own) - left


def _kind(note: KernelNote) -> str | None:
    """What `build` takes of a kernel that was compared with the default: a record, a tiling or neither; None before that."""
    if note.tuned is None or note.default is None:
        return None
    return "neither" if not note.pays else "tiling" if note.tiling else "record"


def _best(entries: Iterable[tuple[str, float, str]], keep: int) -> list[str]:
    """The texts of the best `keep` entries (kernel, seconds, text) of each kernel, in the order in which they were."""
    held: dict[str, list[tuple[float, int, str]]] = {}
    for number, (key, seconds, text) in enumerate(entries):
        held.setdefault(key, []).append((seconds, number, text))
    best: list[tuple[int, str]] = []
    for of_kernel in map(sorted, held.values()):
        best += [e[1:] for e in of_kernel[:keep] if e[0] < FAILED] or [of_kernel[0][1:]]
    return [text for _, text in sorted(best)]


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
    found = [shares(_existing(source)) for source in sources]
    done = [
        _merge([of[cores] for of in found if cores in of], share_folder(target, cores))
        for cores in sorted({cores for of in found for cores in of}, key=lambda c: c or 0)
    ]
    return sum(records for records, _ in done), sum(repeated for _, repeated in done)


def _merge(sources: Sequence[Path], target: Path) -> tuple[int, int]:
    numbers: dict[str, int] = {}
    seen: set[str] = set()
    workloads: list[str] = []
    kept: list[str] = []
    tilings: list[str] = []
    repeated = 0
    device: tuple[Any, Path] | None = None
    notes: dict[str, KernelNote] = {}
    runs: list[dict[str, Any]] = []
    for source in sources:
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
            kept.append(_numbered(text, {workload: number}))
        for text in read_lines(source)[0]:
            identity = json.dumps(json.loads(text)[:3])
            if identity in seen:
                repeated += 1
            else:
                seen.add(identity)
                tilings.append(text)
        for key, note in opened.kernels.items():
            notes.setdefault(key, note)
        runs.extend(r for r in opened.runs if r not in runs)
    target.mkdir(parents=True, exist_ok=True)
    _write(target, workloads, kept)
    if tilings:
        write_lines(target, tilings)
    made = Records.open(target)
    made.kernels, made.runs = notes, runs
    made.save_notes()
    return len(kept) + len(tilings), repeated


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
        records.append((int(number), _mean(seconds), text))
    return workloads, records


def _mean(seconds: Sequence[float]) -> float:
    return sum(float(s) for s in seconds) / len(seconds) if seconds else FAILED


def _numbered(text: str, numbers: Mapping[int, int]) -> str:
    """A record's line under another number of its workload."""
    return f"[{numbers[json.loads(text)[0]]}{text[text.index(',') :]}"


def _key(line: str) -> str:
    """The workload key of a line of the workloads."""
    workload = s_tir.meta_schedule.database.Workload.from_json(json.loads(line))
    return workload_key(workload.mod["main"])


def _minified(line: str) -> str:
    """A workload's line in half the bytes: TVM writes the module as indented JSON, behind eight bytes that hold its length."""
    digest, encoded = json.loads(line)
    module = json.loads(base64.b64decode(encoded)[8:])
    text = json.dumps(module, separators=(",", ":")).encode()
    return json.dumps([digest, base64.b64encode(len(text).to_bytes(8, "little") + text).decode()])


def _target(entry: Any) -> dict[str, Any]:
    found = entry[1][2]
    return dict(json.loads(found) if isinstance(found, str) else found)


def _write(folder: Path, workloads: Iterable[str], records: Iterable[str]) -> None:
    for name, lines in zip(FILES, (workloads, records)):
        text = "".join(f"{line}\n" for line in lines)
        write_beside(folder / name, lambda p, text=text: p.write_text(text))
