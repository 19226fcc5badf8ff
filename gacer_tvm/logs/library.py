"""The schedules that logs hold, found for a kernel of ours: by what it computes, not by what it is called."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any

from gacer_tvm._tvm import tvm_ffi

from .ansor_state import ReplayStop
from .dag import Dag
from .dag_match import anchor_form
from .dag_of_tir import NotADag, dag_of_tir
from .identify import Dictionary, identify
from .meta_replay import module_function, replay_meta_onto, same_function
from .reader import read_logs
from .record import LogRecord, MetaTrace
from .replay import NotReplayed, Replayed, replay_onto, stop_of
from .steps import AnsorSchedule
from .timing import time_functions

__all__ = ["ScheduleLibrary", "find_schedule"]

# Of many trials of one workload the best few are worth trying.
_TRIES = 3


@dataclass(frozen=True, slots=True)
class _Logged:
    """A workload of the logs: its good records, the fastest first, and what they compute."""

    records: tuple[LogRecord, ...]
    dag: Dag | None
    how: str
    function: Any = None


class ScheduleLibrary:
    """Schedules out of tuning logs, for whoever compiles kernels.

    An instance is a provider: called with an unscheduled PrimFunc and a target it gives the scheduled function and where it
    comes from, or None. Every schedule that it gives was checked numerically against the unscheduled function.

    Parameters
    ----------
    records
        What `read_logs` read; failures and records without a schedule are passed over.
    dictionary
        Printed computations of your own for Ansor keys, asked before those that ship.
    baseline
        Given a function and a target, the scheduled function that would be used without logs. Where the target's device is
        at hand, a logged schedule must then be faster than it to be given.
    tries
        How many records of a matching workload are tried.
    """

    def __init__(
        self,
        records: Iterable[LogRecord],
        *,
        dictionary: Dictionary | None = None,
        baseline: Callable[[Any, Any], Any] | None = None,
        tries: int = _TRIES,
    ) -> None:
        self.records = tuple(record for record in records if record.ok and record.schedule is not None)
        self.dictionary = dictionary
        self.baseline = baseline
        self.tries = tries
        self.refused: list[NotReplayed] = []
        self._index: dict[str, list[_Logged]] | None = None
        self._opaque: list[_Logged] = []
        self._found: dict[tuple[str, str], Replayed | None] = {}
        self._why: dict[tuple[str, str], tuple[NotReplayed, ...]] = {}
        self._lock = threading.RLock()

    @classmethod
    def from_files(
        cls,
        paths: str | PathLike[str] | Iterable[str | PathLike[str]],
        *,
        dictionary: Dictionary | None = None,
        baseline: Callable[[Any, Any], Any] | None = None,
    ) -> ScheduleLibrary:
        """Read logs and make a library of them."""
        return cls(read_logs(paths).records, dictionary=dictionary, baseline=baseline)

    def __call__(self, function: Any, target: Any, cores: int | None = None) -> tuple[Any, str] | None:
        found = self.find(function, target)
        if found is None:
            return None
        record = found.record
        return found.scheduled, f"{record.source} log {record.place} ({found.how})"

    def find(self, function: Any, target: Any) -> Replayed | None:
        """The best logged schedule of a function for a target, or None.

        Parameters
        ----------
        function
            An unscheduled PrimFunc (one block a formula, as `FuseTIR` leaves it).
        target
            A tvm Target, CPU or GPU.
        """
        with self._lock:
            self._built()
            key = (str(tvm_ffi.structural_hash(function)), str(target))
            if key not in self._found:
                before = len(self.refused)
                self._found[key] = self._find(function, target)
                self._why[key] = tuple(self.refused[before:])
            return self._found[key]

    def refusals(self, function: Any, target: Any, cores: int | None = None) -> tuple[tuple[str, str], ...]:
        """Records that compute what a function computes and were not given for it: (source, reason) each."""
        key = (str(tvm_ffi.structural_hash(function)), str(target))
        with self._lock:
            refused = self._why.get(key, ())
        return tuple((f"{item.record.source} log {item.record.place}", item.reason) for item in refused)

    def _find(self, function: Any, target: Any) -> Replayed | None:
        choices = [
            (record, logged)
            for logged in self._candidates(function)
            for record in logged.records[: 4 * self.tries]
            if not _foreign(record, target)
        ]
        choices.sort(key=lambda choice: _distance(choice[0], target))
        for record, logged in choices[: self.tries]:
            if isinstance(record.schedule, AnsorSchedule):
                assert logged.dag is not None
                outcome = replay_onto(record, logged.dag, logged.how, function, target)
            else:
                outcome = replay_meta_onto(record, logged.function, function, target)
            if isinstance(outcome, Replayed):
                outcome = self._against_baseline(outcome, target)
            if isinstance(outcome, Replayed):
                return outcome
            self.refused.append(outcome)
        return None

    def _against_baseline(self, found: Replayed, target: Any) -> Replayed | NotReplayed:
        if self.baseline is None:
            return found
        plain = self.baseline(found.function, target)
        if plain is None:
            return found
        seconds = time_functions([plain, found.scheduled], target)
        if seconds is None or seconds[1] < seconds[0]:
            return found
        return NotReplayed(
            found.record,
            f"its kernel takes {seconds[1] * 1e6:.0f} us here, the default schedule {seconds[0] * 1e6:.0f} us",
        )

    def _candidates(self, function: Any) -> list[_Logged]:
        index = self._built()
        try:
            return index.get(anchor_form(dag_of_tir(function).dag).key, [])
        except NotADag:
            return [logged for logged in self._opaque if same_function(logged.function, function)]

    def _built(self) -> dict[str, list[_Logged]]:
        """Every workload identified, once; what nobody knows is refused here, before any function is asked for."""
        if self._index is None:
            self._index = {}
            for records in _by_workload(self.records):
                self._add(records)
        return self._index

    def _add(self, records: Sequence[LogRecord]) -> None:
        assert self._index is not None
        first = records[0]
        try:
            if isinstance(first.schedule, AnsorSchedule):
                found = identify(first.workload, first.schedule.steps, self.dictionary)
                logged = _Logged(tuple(records), found.dag, found.how)
            elif isinstance(first.schedule, MetaTrace):
                function = module_function(first.schedule)
                try:
                    dag = dag_of_tir(function).dag
                except NotADag:
                    self._opaque.append(_Logged(tuple(records), None, "module", function))
                    return
                logged = _Logged(tuple(records), dag, "module", function)
            else:
                return
        except ReplayStop as stop:
            self.refused.append(stop_of(first, stop))
            return
        assert logged.dag is not None
        self._index.setdefault(anchor_form(logged.dag).key, []).append(logged)


def find_schedule(function: Any, target: Any, logs: ScheduleLibrary) -> Any | None:
    """The scheduled form of an unscheduled PrimFunc out of `logs`, checked; None if they hold none."""
    found = logs.find(function, target)
    return None if found is None else found.scheduled


def _by_workload(records: Iterable[LogRecord]) -> list[list[LogRecord]]:
    """Records of one computation and device kind together, the fastest first."""
    groups: dict[tuple[str, str, str, str], list[LogRecord]] = {}
    for record in records:
        database = record.schedule.database if isinstance(record.schedule, MetaTrace) else ""
        groups.setdefault((record.source, record.workload, record.target.kind, database), []).append(record)
    return [sorted(group, key=lambda record: record.best_seconds or 0.0) for group in groups.values()]


def _is_gpu(target: Any) -> bool:
    return "gpu" in [str(key) for key in target.keys]


def _foreign(record: LogRecord, target: Any) -> bool:
    """CPU schedules have no threads to bind; accelerators of other kinds have other memories."""
    return record.target.device == "other" or (_is_gpu(target) and record.target.device != "gpu")


def _distance(record: LogRecord, target: Any) -> tuple[bool, bool, bool, float]:
    """Records of the same device first, then of the same kind, then the fastest."""
    arch = str(target.attrs.get("arch", "") or target.attrs.get("mcpu", ""))
    return (
        (record.target.device == "gpu") != _is_gpu(target),
        record.target.kind != str(target.kind.name),
        not arch or record.target.arch != arch,
        record.best_seconds or 0.0,
    )
