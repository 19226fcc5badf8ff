"""What a replay knows while it runs: the schedule, and which block and loop each stage and iterator is by now."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from .ansor_state import FinalState, Iter, LoopOp, ReplayStop, StageState

__all__ = ["Context", "attempt", "transform"]

T = TypeVar("T")


@dataclass(slots=True)
class Context:
    """The running replay.

    Attributes
    ----------
    sch
        ``s_tir.Schedule``.
    state
        Where everything is to end up.
    epilogue
        See `replay_steps`; None once it has been used.
    on_cpu
        See `replay_steps`.
    blocks, params
        Stage (by id) → its block, or its parameter.
    loops
        Iterator (by id) → its loop.
    dropped, kept
        Copies into shared memory that a CPU does without, and blocks that they alone read.
    """

    sch: Any
    state: FinalState
    epilogue: str | None = None
    on_cpu: bool = False
    blocks: dict[int, Any] = field(default_factory=dict)
    params: dict[int, Any] = field(default_factory=dict)
    loops: dict[int, Any] = field(default_factory=dict)
    dropped: set[int] = field(default_factory=set)
    kept: list[Any] = field(default_factory=list)

    def block(self, stage: StageState) -> Any:
        """The block of a stage that has one."""
        return self.blocks[id(stage)]

    def loop(self, it: Iter) -> Any:
        """The loop of an iterator."""
        if id(it) not in self.loops:
            raise ReplayStop("a stage is placed into one that is not there any more")
        return self.loops[id(it)]


def attempt(step: int, call: Callable[..., T], *args: Any, **options: Any) -> T:
    """Call into the schedule; what it refuses stops the replay at `step`, with TVM's reason in one line."""
    try:
        return call(*args, **options)
    except (RuntimeError, ValueError, TypeError, IndexError, AttributeError, KeyError, ArithmeticError) as error:
        raise ReplayStop(first_line(error), step) from error


def first_line(error: Exception) -> str:
    """What TVM says, without the program that it prints around it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    for mark in ("Error message: ", "Check failed", "ScheduleError: "):
        for line in lines:
            if line.startswith(mark):
                return line.removeprefix("Error message: ")[:200]
    return (lines[-1] if lines else type(error).__name__)[:200]


def transform(context: Context, axes: Sequence[Iter], program: Sequence[LoopOp], loops: Sequence[Any]) -> None:
    """Run a stage's loop program on its loops, which stand in the order of its axes."""
    for it, loop in zip(axes, loops, strict=True):
        context.loops[id(it)] = loop
    for op in program:
        made = attempt(op.step, _loop_op, context, op)
        for it, loop in zip(op.outputs, made, strict=True):
            context.loops[id(it)] = loop


def _loop_op(context: Context, op: LoopOp) -> Sequence[Any]:
    if op.kind == "reorder":
        ordered = [context.loop(it) for it in op.outputs]
        if len(ordered) > 1:
            context.sch.reorder(*ordered)
        return ordered
    if op.kind == "fuse":
        loops = [context.loop(it) for it in op.inputs]
        return [context.sch.fuse(*loops) if len(loops) > 1 else loops[0]]
    loop = context.loop(op.inputs[0])
    size = getattr(context.sch.get(loop).extent, "value", None)
    lengths = list(op.lengths) if size is None else _shrunk(int(size), op.lengths, op.inner_to_outer)
    return list(context.sch.split(loop, factors=[None, *lengths] if op.inner_to_outer else [*lengths, None]))


def _shrunk(extent: int, lengths: Sequence[int], inner_to_outer: bool) -> list[int]:
    """Split factors limited to what is left of the loop, from the inside (or the outside) on."""
    rest = extent
    result = []
    for length in reversed(lengths) if inner_to_outer else lengths:
        factor = min(length, rest)
        result.append(factor)
        rest = -(-rest // factor)
    return result[::-1] if inner_to_outer else result
