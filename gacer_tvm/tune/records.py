"""The records of tuning: a MetaSchedule database in a folder, and beside it what gacer_tvm knows of each kernel.

``database_workload.json`` and ``database_tuning_record.json`` are TVM's, one JSON line a kernel and a trial.
``kernels.json`` and ``tilings.json`` are ours: for each kernel its name, the time of the default rule on the same runner, and
whether its space of schedules is exhausted; and the trials of our own rule's tilings. All of it is text that git can show.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from .._tvm import s_tir, tvm, tvm_ffi
from ..errors import LogError
from ..graph.tir_blocks import shape_of
from ..kernels.store import write_beside
from .tilings import FAILED, Tilings, best

__all__ = ["FAILED", "FILES", "KernelNote", "Records", "read_notes", "repair", "workload_key", "workload_module"]

FILES = ("database_workload.json", "database_tuning_record.json")
_NOTES = "kernels.json"
# A kernel is left alone after half of its trials, and at least so many, if the best is this many times as slow as the default.
_FAIR, _FAR = 32, 2.0
_INCIDENTAL = ("global_symbol", "op_pattern", "tirx.is_scheduled")


def workload_key(func: Any) -> str:
    """What identifies a kernel among records: its structure and shapes, not its name."""
    for name in _INCIDENTAL:
        if name in (func.attrs or {}):
            func = func.without_attr(name)
    shapes = [(shape_of(p), str(p.ty.dtype)) for p in func.params]
    return hashlib.sha256(f"{tvm_ffi.structural_hash(func)} {shapes}".encode()).hexdigest()[:16]


def workload_module(func: Any) -> Any:
    """A kernel as MetaSchedule's databases hold it: a module with one function ``main``."""
    return tvm.IRModule({"main": func.with_attr("global_symbol", "main")})


@dataclass
class KernelNote:
    """What is known of a kernel besides its trials.

    Attributes
    ----------
    name
        An operator that it belongs to, with the tenant.
    default
        Seconds of the kernel that the default rules make, on the same runner; None where it was not measured.
    tuned
        Seconds of the best record or tiling, measured in turns with the default; None before the last trial.
    tiling
        The tiling of our own rule that won; "" where a record or the default did.
    generation
        Of the rules that made the tiling; others may not know it.
    cores
        Cores (a share of the device) that it was timed on.
    exhausted
        Whether the search found no further schedule.
    too_large
        Trials recorded as failed without being compiled, because they would have become too much code.
    pruned
        Trials whose records were dropped (see `gacer_tvm.tune.databases.prune`).
    """

    name: str = ""
    default: float | None = None
    tuned: float | None = None
    cores: int | None = None
    exhausted: bool = False
    too_large: int = 0
    pruned: int = 0
    tiling: str = ""
    generation: int = 0

    @property
    def pays(self) -> bool:
        """Whether the best record beats the default kernel, as far as both were measured."""
        return self.default is None or self.tuned is None or self.tuned < self.default


@dataclass
class Records:
    """An open database with its notes.

    Attributes
    ----------
    folder
        Where the files are.
    database
        TVM's JSONDatabase.
    kernels
        Workload key → note.
    runs
        Finished runs (see `gacer_tvm.tune.tune`): what was asked for, for the next call to compare.
    notices
        What had to be repaired.
    tilings
        Trials of our own rule's tilings.
    trials
        MetaSchedule's: workload key → trace (as text) → seconds of each timing.
    """

    folder: Path
    database: Any
    tilings: Tilings
    kernels: dict[str, KernelNote] = field(default_factory=dict)
    runs: list[dict[str, Any]] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    trials: dict[str, dict[str, list[float]]] = field(default_factory=dict)

    @staticmethod
    def open(folder: str | Path) -> Records:
        """Open or make the database of a folder; a line cut short by a killed process is cut off.

        Raises
        ------
        LogError
            Where the folder cannot be made, or a file is damaged otherwise.
        """
        folder = Path(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LogError(f"work_dir {str(folder)!r}: cannot be made a folder: {error}") from error
        notices = repair(folder)
        database = open_database(folder)
        kernels, runs = read_notes(folder)
        tilings = Tilings(folder)
        records = Records(folder, database, tilings, kernels, runs, [*notices, *tilings.notices])
        keys: dict[Any, str] = {}
        for record in database.get_all_tuning_records():
            module = record.workload.mod
            if module not in keys:
                keys[module] = workload_key(module["main"])
            seconds = [float(s) for s in record.run_secs or [FAILED]]
            records.trials.setdefault(keys[module], {})[str(record.trace)] = seconds
        return records

    def commit(self, key: str, module: Any, candidate: Any, seconds: list[float], target: Any) -> None:
        """Append one trial to the files; it is there when this returns."""
        ms = s_tir.meta_schedule
        workload = self.database.commit_workload(module)
        record = ms.database.TuningRecord(candidate.sch.trace, workload, seconds, target, candidate.args_info)
        self.database.commit_tuning_record(record)
        self.trials.setdefault(key, {})[str(candidate.sch.trace)] = seconds

    def count(self, key: str) -> int:
        """Trials made for a kernel, of both kinds, failed and pruned ones included."""
        note = self.kernels.get(key)
        made = len(self.trials.get(key, {})) + len(self.tilings.trials.get(key, {}))
        return made + (note.pruned if note is not None else 0)

    def best(self, key: str) -> float | None:
        """Mean seconds of MetaSchedule's best record of a kernel; None where none ran."""
        return best(self.trials.get(key, {}))

    def least(self, key: str) -> float | None:
        """Mean seconds of the best trial of either kind; None where none ran."""
        return min((b for b in (self.best(key), self.tilings.best(key)) if b is not None), default=None)

    def enough(self, key: str, trials: int) -> bool:
        """Whether a kernel has its `trials`, its whole space, or half of them and nothing near the default."""
        note, count = self.kernels.get(key, KernelNote()), self.count(key)
        if count >= trials or (note.exhausted and count > 0):
            return True
        if note.default is None or note.pruned or count < max(_FAIR, trials // 2):
            return False
        found = self.least(key)
        return found is None or found > _FAR * note.default

    def save_notes(self) -> None:
        """Write ``kernels.json``."""
        held = {
            "kernels": {
                k: {n: v for n, v in vars(note).items() if v not in (None, "", False, 0, {})}
                for k, note in self.kernels.items()
            },
            "runs": self.runs,
        }
        text = json.dumps(held, indent=1, sort_keys=True) + "\n"
        write_beside(self.folder / _NOTES, lambda p: p.write_text(text))


def open_database(folder: Path) -> Any:
    """TVM's database over a folder's files.

    Raises
    ------
    LogError
        Where TVM cannot read them.
    """
    try:
        return s_tir.meta_schedule.database.JSONDatabase(
            str(folder / FILES[0]), str(folder / FILES[1]), module_equality="structural"
        )
    except (RuntimeError, ValueError, TypeError, KeyError) as error:
        lines = str(error).strip().splitlines()
        raise LogError(
            f"{folder}: not a MetaSchedule database of TVM {tvm.__version__}: {lines[-1] if lines else error!r}"
        ) from error


def read_notes(folder: Path) -> tuple[dict[str, KernelNote], list[dict[str, Any]]]:
    """The notes of a folder; none where there are none.

    Raises
    ------
    LogError
        Where the file is damaged.
    """
    path = folder / _NOTES
    if not path.is_file():
        return {}, []
    try:
        held = json.loads(path.read_text())
        # Notes of earlier versions say more.
        names = {f.name for f in fields(KernelNote)}
        kernels = {str(k): KernelNote(**{n: x for n, x in v.items() if n in names}) for k, v in held["kernels"].items()}
        return kernels, list(held["runs"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise LogError(
            f"{path}: not the notes of a tuning run ({error}); restore it, or remove it to measure again"
        ) from error


def repair(folder: Path) -> list[str]:
    """Cut a truncated last line off a database's files, as a killed process leaves it.

    Returns
    -------
    notes
        One for each file that was cut.

    Raises
    ------
    LogError
        Where a line before the last is damaged, or a line is something else: that is no interruption.
    """
    notes = []
    workloads = 0
    for name in FILES:
        path = folder / name
        if not path.is_file():
            continue
        lines = path.read_bytes().splitlines(keepends=True)
        for number, line in enumerate(lines, 1):
            try:
                entry = json.loads(line)
            except ValueError as error:
                if number < len(lines):
                    raise LogError(f"{path}, line {number}: not JSON ({error}); restore the file") from error
                write_beside(path, lambda p, kept=lines[:-1]: p.write_bytes(b"".join(kept)))
                notes.append(f"{path}: the last line was truncated and has been cut off")
                lines = lines[:-1]
                break
            # TVM itself dies of a line of another form.
            if not (_is_workload(entry) if name == FILES[0] else _is_record(entry, workloads)):
                raise LogError(
                    f"{path}, line {number}: not a line of a MetaSchedule database (or of a kernel that "
                    f"{FILES[0]} does not have); restore the file"
                )
        workloads = len(lines)
        if lines and not lines[-1].endswith(b"\n"):
            # A whole line without its end: the next record would be written onto it.
            write_beside(path, lambda p, kept=lines: p.write_bytes(b"".join(kept) + b"\n"))
    return notes


def _is_workload(entry: Any) -> bool:
    return isinstance(entry, list) and len(entry) == 2 and all(isinstance(part, str) for part in entry)


def _is_record(entry: Any, workloads: int) -> bool:
    if (
        not isinstance(entry, list)
        or len(entry) != 2
        or not isinstance(entry[0], int)
        or not isinstance(entry[1], list)
    ):
        return False
    return 0 <= entry[0] < workloads and len(entry[1]) == 4 and isinstance(entry[1][0], list)
