"""MetaSchedule records replayed: the module rebuilt from the database, the trace translated, the result checked."""

from __future__ import annotations

import json
import threading
from functools import lru_cache
from pathlib import Path
from typing import Any

from gacer_tvm._tvm import s_tir, tir, tvm_ffi

from .ansor_state import ReplayStop
from .dag_match import match
from .dag_of_tir import NotADag, dag_of_tir
from .old_tir import OldTirError, decode_module, rebuild_function
from .record import LogRecord, MetaTrace
from .replay import NotReplayed, Replayed, checked, crosses, stop_of
from .trace_replay import replay_trace

__all__ = ["module_function", "replay_meta", "replay_meta_onto"]

_LOCK = threading.Lock()


def module_function(trace: MetaTrace) -> Any:
    """The unscheduled function that a trace was recorded for.

    Raises
    ------
    ReplayStop
        If the database has no module for it, or the module cannot be rebuilt.
    """
    if not trace.database:
        raise ReplayStop("no workload file stands beside the records, so that the function is not known")
    with _LOCK:
        found = _function(trace.database, _stamp(trace.database), trace.workload_index)
    if isinstance(found, str):
        raise ReplayStop(found)
    return found


def _stamp(path: str) -> tuple[int, int]:
    """What changes when a database is tuned on while this process runs."""
    try:
        held = Path(path).stat()
    except OSError:
        return 0, 0
    return held.st_mtime_ns, held.st_size


@lru_cache(maxsize=8)
def _lines(path: str, stamp: tuple[int, int]) -> tuple[str, ...]:
    with Path(path).open("r", encoding="utf-8", errors="replace") as file:
        return tuple(file)


@lru_cache(maxsize=1024)
def _function(path: str, stamp: tuple[int, int], index: int) -> Any:
    try:
        lines = _lines(path, stamp)
    except OSError as error:
        return f"the workload file cannot be read: {error.strerror}"
    if index >= len(lines):
        return "the workload file has no such line"
    try:
        value = json.loads(lines[index])
        text = value[1] if isinstance(value, list) and len(value) == 2 else None
        if not isinstance(text, str):
            return "the workload line is not [hash, module]"
        return rebuild_function(decode_module(text))
    except (OldTirError, ValueError, RecursionError) as error:
        return str(error)


def replay_meta(record: LogRecord, target: Any, *, verify: bool = True) -> Replayed | NotReplayed:
    """Replay a MetaSchedule record on its own function, rebuilt."""
    assert isinstance(record.schedule, MetaTrace)
    try:
        function = module_function(record.schedule)
        schedule = s_tir.Schedule(function)
        replay_trace(schedule, record.schedule, on_cpu=crosses(record, target))
    except ReplayStop as stop:
        return stop_of(record, stop)
    return checked(record, "module", function, schedule, target, verify)


def replay_meta_onto(
    record: LogRecord, logged: Any, function: Any, target: Any, *, verify: bool = True
) -> Replayed | NotReplayed:
    """Replay a MetaSchedule record on a function that computes the same as its own function `logged`."""
    assert isinstance(record.schedule, MetaTrace)
    try:
        names = _names(logged, function)
        schedule = s_tir.Schedule(function)
        replay_trace(schedule, record.schedule, names, on_cpu=crosses(record, target))
    except ReplayStop as stop:
        return stop_of(record, stop)
    return checked(record, "module", function, schedule, target, verify)


def _names(logged: Any, function: Any) -> dict[str, str]:
    """Block names of the logged function → block names of the other, stage by stage."""
    try:
        mine, theirs = dag_of_tir(logged), dag_of_tir(function)
    except NotADag as reason:
        if same_function(logged, function):
            return {}
        raise ReplayStop(f"the function is {reason}, and differs from the logged one") from reason
    matched = match(mine.dag, theirs.dag)
    if matched is None or matched.tails[0] != matched.tails[1]:
        raise ReplayStop("the function computes something else")
    names: dict[str, str] = {}
    for place, to in zip(mine.places, matched.stages, strict=True):
        if isinstance(place, str) and to is not None:
            names[place] = str(theirs.places[to])
    if len(names) != len([place for place in theirs.places if isinstance(place, str)]):
        raise ReplayStop("the function has other stages")
    return names


def same_function(a: Any, b: Any) -> bool:
    """Whether two functions are structurally equal, names and attributes aside."""
    bare = [tir.PrimFunc(function.params, function.body) for function in (a, b)]
    return bool(tvm_ffi.structural_equal(bare[0], bare[1]))
