"""One record's schedule on a function: its own computation rebuilt, or a function of ours that computes the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gacer_tvm._tvm import s_tir

from .ansor_context import attempt
from .ansor_replay import replay_steps
from .ansor_state import ReplayStop
from .dag import Dag, Placeholder
from .dag_match import match
from .dag_of_tir import NotADag, TirDag, dag_of_tir
from .dag_te import block_names, prim_func_of
from .identify import Dictionary, dag_axes, identify
from .limits import too_much_code
from .record import LogRecord, MetaTrace
from .steps import AnsorSchedule
from .verify import Check, verify_schedule

__all__ = ["NotReplayed", "Replayed", "checked", "crosses", "replay_ansor", "replay_onto", "stop_of"]


@dataclass(frozen=True, slots=True)
class NotReplayed:
    """Read, not replayed: the reason, and the step that stopped it where one did."""

    record: LogRecord
    reason: str
    step: int | None = None
    step_text: str = ""

    def __str__(self) -> str:
        where = f" (step {self.step}: {self.step_text})" if self.step is not None and self.step_text else ""
        return f"{self.record.place}: read, not replayed: {self.reason}{where}"


@dataclass(frozen=True, slots=True)
class Replayed:
    """A record whose schedule stands on a function.

    Attributes
    ----------
    record
        The record.
    how
        How its computation was found: ``name``, ``dictionary``, ``hash`` or ``module``.
    function, scheduled
        The function before and after.
    trace
        The trace of the replay, which MetaSchedule can store and repeat.
    check
        The numerical check, or None if it was not asked for.
    """

    record: LogRecord
    how: str
    function: Any
    scheduled: Any
    trace: Any
    check: Check | None


def replay_ansor(
    record: LogRecord, target: Any, *, dictionary: Dictionary | None = None, verify: bool = True
) -> Replayed | NotReplayed:
    """Replay an Ansor record on its own computation, rebuilt.

    Parameters
    ----------
    record
        A good or failed record; its steps are what counts.
    target
        What the function is checked on (see `verify_schedule`).
    dictionary
        Printed computations of your own, asked before those that ship.
    verify
        Whether to check the result numerically; a record that fails the check is `NotReplayed`.
    """
    assert isinstance(record.schedule, AnsorSchedule)
    try:
        found = identify(record.workload, record.schedule.steps, dictionary)
        function = attempt(-1, prim_func_of, found.dag)
        schedule = s_tir.Schedule(function)
        axes, steps = dag_axes(found.dag), record.schedule.steps
        replay_steps(schedule, _places(found.dag), axes, steps, on_cpu=crosses(record, target))
    except ReplayStop as stop:
        return stop_of(record, stop)
    return checked(record, found.how, function, schedule, target, verify)


def replay_onto(
    record: LogRecord, logged: Dag, how: str, function: Any, target: Any, *, verify: bool = True
) -> Replayed | NotReplayed:
    """Replay an Ansor record on a function that computes the same anchor as its computation `logged`."""
    assert isinstance(record.schedule, AnsorSchedule)
    try:
        other = dag_of_tir(function)
        schedule = s_tir.Schedule(function)
        places, epilogue = _lay(schedule, logged, other)
        axes, steps = dag_axes(logged), record.schedule.steps
        replay_steps(schedule, places, axes, steps, epilogue, on_cpu=crosses(record, target))
    except NotADag as reason:
        return NotReplayed(record, f"the function is {reason}")
    except ReplayStop as stop:
        return stop_of(record, stop)
    return checked(record, how, function, schedule, target, verify)


def crosses(record: LogRecord, target: Any) -> bool:
    """Whether a GPU's record is to become a CPU schedule. The other way round there is nothing to bind."""
    gpu = "gpu" in [str(key) for key in target.keys]
    if gpu and record.target.device == "cpu":
        raise ReplayStop("a CPU record has no thread bindings for a GPU")
    return not gpu and record.target.device == "gpu"


def stop_of(record: LogRecord, stop: ReplayStop) -> NotReplayed:
    """What stopped a replay, with the step in words."""
    steps: tuple[object, ...] = ()
    if isinstance(record.schedule, AnsorSchedule):
        steps = record.schedule.steps
    elif isinstance(record.schedule, MetaTrace):
        steps = record.schedule.instructions
    text = ""
    if stop.step is not None and 0 <= stop.step < len(steps):
        text = str(steps[stop.step])[:200]
    return NotReplayed(record, stop.reason, stop.step if text else None, text)


def _places(dag: Dag) -> list[str | int]:
    places: list[str | int] = []
    inputs = 0
    for stage, name in zip(dag.stages, block_names(dag), strict=True):
        if isinstance(stage, Placeholder):
            places.append(inputs)
            inputs += 1
        else:
            places.append(name)
    return places


def _lay(schedule: Any, logged: Dag, other: TirDag) -> tuple[list[str | int | None], str | None]:
    """Places of the logged stages in the function, its tail made to correspond; and an epilogue (see `replay_steps`)."""
    matched = match(logged, other.dag)
    if matched is None:
        raise ReplayStop("the function computes something else")
    places: list[str | int | None] = [None if to is None else other.places[to] for to in matched.stages]
    mine, theirs = matched.tails
    if mine == theirs:
        return places, None
    tail = [str(place) for place in other.places[len(other.places) - theirs :]] if theirs else []
    for name in tail[:-1]:
        schedule.compute_inline(schedule.get_sblock(name))
    if not mine:
        return places, tail[-1]
    if not theirs:
        anchor = str(other.places[-1])
        copy = schedule.cache_write(schedule.get_sblock(anchor), 0, "global")
        places[-1] = schedule.get(copy).name_hint
    return places, None


def _unbound(scheduled: Any, target: Any) -> str:
    """Why a function for a GPU must not be called, or "": what is not bound to threads would run on the host."""
    if "gpu" not in [str(key) for key in target.keys]:
        return ""
    from gacer_tvm.kernels.rules.base import NotApplicable
    from gacer_tvm.kernels.rules.cuda import check_bound

    try:
        check_bound(scheduled, "the record")
    except NotApplicable as reason:
        return str(reason)
    return ""


def checked(
    record: LogRecord, how: str, function: Any, schedule: Any, target: Any, verify: bool
) -> Replayed | NotReplayed:
    """A finished replay, after the numerical check if it is asked for."""
    # The mark by which TVM's default rules leave it alone.
    scheduled = schedule.mod["main"].with_attr("tirx.is_scheduled", True)
    reason = too_much_code(scheduled) or _unbound(scheduled, target)
    if reason:
        return NotReplayed(record, reason)
    check = None
    if verify:
        try:
            check = verify_schedule(function, scheduled, target)
        except (RuntimeError, ValueError, TypeError) as error:
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            return NotReplayed(record, f"the scheduled function does not compile or run: {(lines or [''])[-1][:200]}")
        if not check.passed:
            return NotReplayed(record, f"its answer is off by {check.error:.2g} of the largest value ({check.ran_on})")
    return Replayed(record, how, function, scheduled, schedule.trace, check)
