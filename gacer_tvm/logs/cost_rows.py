"""Old logs as data for the learned cost model: kernel seconds with the facts of what was computed, marked and weighted.

Of each workload and target the fastest record counts: features describe what is computed, not how, and our own kernels are
what rules and tuning make of it, which the best of a search is nearest to.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timezone
from os import PathLike
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from gacer_tvm import __version__, progress
from gacer_tvm.cost.device import Device
from gacer_tvm.cost.facts import Facts
from gacer_tvm.cost.function import function_facts, shape_facts
from gacer_tvm.cost.host import processor
from gacer_tvm.cost.rows import Alone, Data, Kernel, Row, Session, Writer, read_rows
from gacer_tvm.cost.sane import facts_fault
from gacer_tvm.errors import LogError

from .ansor_context import attempt
from .ansor_state import ReplayStop
from .dag_te import prim_func_of
from .data_rows import BYTES
from .identify import Dictionary, identify
from .log_device import log_device
from .meta_replay import module_function
from .record import LogRecord, MetaTrace
from .steps import AnsorSchedule
from .summary import Reason

__all__ = ["FILE", "LOG_WEIGHT", "RowsWritten", "write_rows"]

FILE = "logs.jsonl"
"""The file in a device's folder of measurements."""

LOG_WEIGHT = 0.2
"""What a row of a log counts beside one of our own: another compiler's kernel, under a clock that nobody knows.

Five of them outvote one measurement of the same sort of kernel, so that they tell of kernels nobody measured here and hardly
bend what was. Where only shapes are known it is half of that: two computations of the same shapes may differ.
"""


@dataclass(frozen=True, slots=True)
class RowsWritten:
    """What became of the records.

    Attributes
    ----------
    path
        The file.
    records, workloads
        Good records given, and distinct workloads and targets among them: at most that many rows.
    rows, known
        Rows added, and rows that the file had.
    kernels
        Distinct computations of the added rows.
    by_device, by_how
        Rows added by device, and by what is known of the computation (``ansor``, ``metaschedule``, ``shapes only``).
    refused
        Workloads that gave no row, by reason.
    """

    path: str
    records: int
    workloads: int
    rows: int
    known: int
    kernels: int
    by_device: dict[str, int]
    by_how: dict[str, int]
    refused: tuple[Reason, ...]

    def as_text(self) -> str:
        """A few lines for people."""
        lines = [
            f"{self.rows} rows of {self.kernels} kernels added to {self.path} (the best of {self.workloads} workloads in "
            f"{self.records} good records{f'; {self.known} were there' if self.known else ''})"
        ]
        if self.rows:
            lines.append("devices: " + ", ".join(f"{name} {count}" for name, count in self.by_device.items()))
            lines.append("computation: " + ", ".join(f"{name} {count}" for name, count in self.by_how.items()))
        lines += [f"no row: {r.count} x {r.reason} (first {r.first})" for r in self.refused]
        return "\n".join(lines)


def write_rows(
    records: Iterable[LogRecord],
    place: str | PathLike[str],
    *,
    device: Device | None = None,
    weight: float = LOG_WEIGHT,
    dictionary: Dictionary | None = None,
) -> RowsWritten:
    """Append rows of old logs to a folder of measurements; those that are there are not written again.

    Parameters
    ----------
    records
        What `read_logs` read.
    place
        A folder (made if need be) or a ``.jsonl`` file.
    device
        What the logs were measured on, where the caller knows; by default what each record's target tells, one session for
        each. Training takes rows of another device only when it is asked to.
    weight
        What a row counts beside an own measurement, in (0, 1].
    dictionary
        Printed computations of your own for Ansor keys.

    Raises
    ------
    LogError
        For a weight out of range, or a place that cannot be written.
    """
    if not 0 < weight <= 1:
        raise LogError(f"weight {weight}: expected more than 0 and at most 1, the weight of an own measurement")
    path = Path(place) if Path(place).suffix == ".jsonl" else Path(place) / FILE
    good = [record for record in records if record.ok]
    best = _best(good)
    held = read_rows(path) if path.exists() else Data()
    known = {(row.k, row.source, held.sessions[row.x].device.name) for row in held.alone}
    sessions: dict[str, tuple[Device, str, list[Alone]]] = {}
    facts_of_key: dict[str, tuple[Facts, str]] = {}
    refused: dict[str, tuple[int, str]] = {}
    count_known = 0
    by_how: dict[str, int] = {}
    for record in progress.track(best, "logs"):
        try:
            found = _device(record, device)
            facts, how = _facts(record, dictionary)
            if fault := facts_fault(facts):
                raise ReplayStop(f"its facts are those of {fault}")
        except ReplayStop as stop:
            count, first = refused.get(stop.reason, (0, record.place))
            refused[stop.reason] = (count + 1, first)
            continue
        key = hashlib.sha256(b"log" + msgspec.json.encode(facts)).hexdigest()[:16]
        source = f"{record.source}:{record.place}"
        if (key, source, found.name) in known:
            count_known += 1
            continue
        facts_of_key[key] = facts, f"log:{Path(record.file).name}"
        by_how[how] = by_how.get(how, 0) + 1
        text = processor() if device is not None and device.kind == "cpu" else record.target.text[:120]
        session = sessions.setdefault(found.name, (found, text, []))
        spread = [max(round(float(v), 3), 1e-3) for v in np.quantile(record.seconds, (0.0, 0.1, 0.5, 0.9)) * 1e6]
        session[2].append(
            Alone(
                "", key, facts.batch, found.units if found.kind == "cpu" else 0, (spread[0], spread[1], spread[2], spread[3]),
                len(record.seconds), 0.0, source=source, weight=weight if how != "shapes only" else weight / 2,
            )
        )  # fmt: skip
    rows: list[Row] = [Kernel(key, owner, facts) for key, (facts, owner) in facts_of_key.items()]
    began = datetime.now(timezone.utc).isoformat(timespec="seconds")
    for found, text, measured in sessions.values():
        number = uuid.uuid4().hex[:8]
        rows.append(Session(number, found, text, {"gacer_tvm": __version__}, began))
        rows += [msgspec.structs.replace(row, x=number) for row in measured]
    if rows:
        with Writer(path) as writer:
            for row in rows:
                writer.write(row)
    by_device = {name: len(measured) for name, (_, _, measured) in sessions.items()}
    return RowsWritten(
        str(path), len(good), len(best), sum(by_device.values()), count_known, len(facts_of_key), by_device, by_how,
        tuple(Reason(why, n, first) for why, (n, first) in sorted(refused.items(), key=lambda item: -item[1][0])),
    )  # fmt: skip


def _best(records: Iterable[LogRecord]) -> list[LogRecord]:
    """The fastest record of each workload on each target."""
    best: dict[tuple[str, str, str], LogRecord] = {}
    for record in records:
        at = (record.source, record.target.text, record.workload)
        known = best.get(at)
        if known is None or (record.best_seconds or 0.0) < (known.best_seconds or 0.0):
            best[at] = record
    return list(best.values())


def _device(record: LogRecord, given: Device | None) -> Device:
    if given is not None:
        if record.target.device != {"cpu": "cpu", "cuda": "gpu"}[given.kind]:
            raise ReplayStop(f"a record of a {record.target.device} target cannot be of {given.name}")
        return given
    found = log_device(record)
    if isinstance(found, str):
        raise ReplayStop(found)
    return found


def _facts(record: LogRecord, dictionary: Dictionary | None) -> tuple[Facts, str]:
    """What is known of the computation: its function where it can be rebuilt, else its shapes."""
    try:
        return attempt(-1, function_facts, _function(record, dictionary)), record.source
    except ReplayStop as stop:
        if not record.flops or record.outputs < 1 or len(record.tensors) <= record.outputs:
            raise stop
    dtype = record.dtype or "float32"
    sizes = [(tensor.size, BYTES.get(tensor.dtype or dtype, 4)) for tensor in record.tensors]
    floating = dtype.startswith(("float", "bfloat"))
    return attempt(-1, shape_facts, record.flops, sizes, record.outputs, floating), "shapes only"


def _function(record: LogRecord, dictionary: Dictionary | None) -> Any:
    if isinstance(record.schedule, AnsorSchedule):
        return attempt(-1, prim_func_of, identify(record.workload, record.schedule.steps, dictionary).dag)
    if isinstance(record.schedule, MetaTrace):
        return module_function(record.schedule)
    raise ReplayStop("AutoTVM's templates left TVM, and the shapes do not tell the work")
