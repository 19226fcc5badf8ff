"""Where every stage ends up: the steps of one record followed on paper, before any schedule is touched.

The auto-scheduler applied its steps to tensor expressions, where a stage may be placed (`CA`) before its target's loops
are final, and where loop bounds are worked out at the end. Today's schedules work eagerly, consumers first. So the steps
are first followed here; the result says, for each stage, its place and the loop program to run once it stands there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from .steps import (
    Annotate,
    CacheRead,
    CacheWrite,
    ComputeAt,
    ComputeInline,
    ComputeRoot,
    FollowFusedSplit,
    FollowSplit,
    Fuse,
    Pragma,
    Reorder,
    RFactor,
    Split,
    Step,
    StorageAlign,
)

__all__ = ["FinalState", "Iter", "LoopOp", "ReplayStop", "StageState", "StructuralOp", "follow"]


class ReplayStop(Exception):
    """A step that cannot be carried over; internal, reported as "read, not replayed" with the step."""

    def __init__(self, reason: str, step: int | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.step = step


@dataclass(slots=True, eq=False)
class Iter:
    """One loop of a stage at some moment; identity is what counts."""

    reduce: bool
    extent: int | None = None
    annotation: str = "none"
    annotated_by: int = -1
    unroll_max: int | None = None


@dataclass(frozen=True, slots=True)
class LoopOp:
    """One loop transformation: `inputs` become `outputs`, step `step` says so.

    `kind` is ``split`` (lengths, and whether these are the inner ones), ``fuse``, or ``reorder``.
    """

    kind: str
    inputs: tuple[Iter, ...]
    outputs: tuple[Iter, ...]
    step: int
    lengths: tuple[int, ...] = ()
    inner_to_outer: bool = True


@dataclass(slots=True, eq=False)
class StageState:
    """A stage: what it is, its loops, its program and its place."""

    source: int | None
    """Index in the DAG; None for a stage that a step made."""
    is_input: bool
    axes: list[Iter]
    iters: list[Iter]
    program: list[LoopOp] = field(default_factory=list)
    inlined: bool = False
    target: StageState | None = None
    target_iter: Iter | None = None
    placed_by: int = -1
    aligned: tuple[Iter, int, int, int] | None = None


@dataclass(frozen=True, slots=True)
class StructuralOp:
    """A step that changes the set of stages, in order: inline, cache_read, cache_write, rfactor."""

    kind: str
    stage: StageState
    step: int
    made: StageState | None = None
    scope: str = ""
    readers: tuple[StageState, ...] = ()
    program: tuple[LoopOp, ...] = ()
    factored: Iter | None = None
    axes_before: tuple[Iter, ...] = ()
    before: tuple[Iter, ...] = ()
    position: int = 0


@dataclass(frozen=True, slots=True)
class FinalState:
    """Stages in order, and the structural steps in theirs."""

    stages: tuple[StageState, ...]
    structure: tuple[StructuralOp, ...]


def follow(axes: Sequence[tuple[Sequence[int], Sequence[int] | None]], steps: Sequence[Step]) -> FinalState:
    """Follow `steps` from the initial state.

    Parameters
    ----------
    axes
        For each stage of the DAG the extents of its spatial and of its reduction loops; the latter is None for an input.
    steps
        The record's steps.

    Raises
    ------
    ReplayStop
        Where a step does not fit the state: it then belongs to another computation, or is of a kind that has no
        counterpart today.
    """
    state = _State(axes)
    for number, step in enumerate(steps):
        try:
            state.apply(number, step, steps)
        except ReplayStop as stop:
            if stop.step is None:
                stop.step = number
            raise
    return FinalState(tuple(state.stages), tuple(state.structure))


class _State:
    def __init__(self, axes: Sequence[tuple[Sequence[int], Sequence[int] | None]]) -> None:
        self.stages: list[StageState] = []
        self.structure: list[StructuralOp] = []
        for index, (spatial, reduce) in enumerate(axes):
            iters = [Iter(False, extent) for extent in spatial] + [Iter(True, extent) for extent in reduce or ()]
            self.stages.append(StageState(index, reduce is None, iters, [] if reduce is None else list(iters)))

    def apply(self, number: int, step: Step, steps: Sequence[Step]) -> None:
        if isinstance(step, Split | FollowSplit | FollowFusedSplit):
            self._split(number, step, steps)
        elif isinstance(step, Fuse):
            self._fuse(number, step)
        elif isinstance(step, Reorder):
            self._reorder(number, step)
        elif isinstance(step, Annotate):
            self._annotate(number, step)
        elif isinstance(step, Pragma):
            self._pragma(step)
        elif isinstance(step, ComputeAt):
            self._compute_at(number, step)
        elif isinstance(step, ComputeInline):
            stage = self._stage(step.stage)
            if any(other.target is stage for other in self.stages):
                raise ReplayStop("a stage into which others are placed is inlined")
            stage.inlined = True
            self.structure.append(StructuralOp("inline", stage, number))
        elif isinstance(step, ComputeRoot):
            stage = self._stage(step.stage)
            stage.target = stage.target_iter = None
        elif isinstance(step, CacheRead):
            self._cache_read(number, step)
        elif isinstance(step, CacheWrite):
            self._cache_write(number, step)
        elif isinstance(step, RFactor):
            self._rfactor(number, step)
        elif isinstance(step, StorageAlign):
            stage = self._stage(step.stage)
            stage.aligned = (self._iter(stage, step.axis), step.factor, step.offset, number)

    def _stage(self, index: int, allow_input: bool = False) -> StageState:
        if index >= len(self.stages):
            raise ReplayStop(f"there is no stage {index}: the computation has {len(self.stages)}")
        stage = self.stages[index]
        if stage.is_input and not allow_input:
            raise ReplayStop(f"stage {index} is an input here")
        if stage.inlined:
            raise ReplayStop(f"stage {index} was inlined before")
        return stage

    def _iter(self, stage: StageState, index: int) -> Iter:
        if index >= len(stage.iters):
            raise ReplayStop(f"there is no loop {index}: the stage has {len(stage.iters)}")
        return stage.iters[index]

    def _move_attached(self, old: Sequence[Iter], new: Iter) -> None:
        for stage in self.stages:
            if stage.target_iter is not None and any(stage.target_iter is it for it in old):
                stage.target_iter = new

    def _split(self, number: int, step: Split | FollowSplit | FollowFusedSplit, steps: Sequence[Step]) -> None:
        stage = self._stage(step.stage)
        it = self._iter(stage, step.axis)
        inner_to_outer = True
        if isinstance(step, Split):
            lengths, inner_to_outer = step.lengths, step.inner_to_outer
            if step.extent and it.extent is not None and step.extent != it.extent:
                raise ReplayStop(f"the step splits a loop of {step.extent}, here it has {it.extent}")
        elif isinstance(step, FollowSplit):
            lengths = _follow(steps[step.source], step.parts)
        else:
            lengths = (_follow_fused(steps, step),)
            inner_to_outer = step.inner
        outputs = tuple(Iter(it.reduce) for _ in range(len(lengths) + 1))
        if it.extent is not None:
            for out, extent in zip(outputs, _extents(it.extent, lengths, inner_to_outer), strict=True):
                out.extent = extent
        stage.iters[step.axis : step.axis + 1] = outputs
        stage.program.append(LoopOp("split", (it,), outputs, number, lengths, inner_to_outer))
        self._move_attached((it,), outputs[-1])

    def _fuse(self, number: int, step: Fuse) -> None:
        stage = self._stage(step.stage)
        if not step.axes:
            raise ReplayStop("fusing nothing (a 0-d stage) has no counterpart")
        if list(step.axes) != list(range(step.axes[0], step.axes[0] + len(step.axes))):
            raise ReplayStop("the fused loops are not neighbours")
        parts = [self._iter(stage, axis) for axis in step.axes]
        if any(stage.target_iter is part for stage in self.stages for part in parts[:-1]):
            raise ReplayStop("a loop into which a stage is placed is fused with loops inside it")
        if len({part.reduce for part in parts}) > 1:
            raise ReplayStop("a spatial and a reduction loop are fused")
        extent: int | None = 1
        for part in parts:
            extent = None if extent is None or part.extent is None else extent * part.extent
        fused = Iter(parts[0].reduce, extent)
        stage.iters[step.axes[0] : step.axes[-1] + 1] = [fused]
        stage.program.append(LoopOp("fuse", tuple(parts), (fused,), number))
        self._move_attached(parts, fused)

    def _reorder(self, number: int, step: Reorder) -> None:
        stage = self._stage(step.stage)
        if sorted(step.order) != list(range(len(stage.iters))):
            raise ReplayStop(f"the step orders {len(step.order)} loops, here the stage has {len(stage.iters)}")
        stage.iters = [stage.iters[index] for index in step.order]
        stage.program.append(LoopOp("reorder", (), tuple(stage.iters), number))

    def _annotate(self, number: int, step: Annotate) -> None:
        if step.kind == "tensorize":
            raise ReplayStop("tensorize has no counterpart without its intrinsic")
        it = self._iter(self._stage(step.stage), step.axis)
        it.annotation, it.annotated_by = step.kind, number

    def _pragma(self, step: Pragma) -> None:
        name, _, value = step.text.partition("$")
        if name != "auto_unroll_max_step" or not value.isdecimal() or len(value) > 5:
            raise ReplayStop(f"pragma {step.text!r} has no counterpart")
        stage = self._stage(step.stage)
        if stage.iters:
            self._iter(stage, step.axis).unroll_max = int(value)

    def _compute_at(self, number: int, step: ComputeAt) -> None:
        stage, target = self._stage(step.stage), self._stage(step.target)
        if step.target <= step.stage:
            raise ReplayStop("a stage is placed into an earlier one")
        stage.target, stage.target_iter, stage.placed_by = target, self._iter(target, step.axis), number
        for it in stage.iters:
            it.extent = None

    def _cache_read(self, number: int, step: CacheRead) -> None:
        source = self._stage(step.stage, allow_input=True)
        readers = tuple(self._stage(reader) for reader in step.readers)
        axes = [Iter(False, it.extent) for it in source.axes if not it.reduce]
        made = StageState(None, False, axes, list(axes))
        self.structure.append(StructuralOp("cache_read", source, number, made, step.scope, readers))
        self.stages.insert(step.stage + 1, made)

    def _cache_write(self, number: int, step: CacheWrite) -> None:
        stage = self._stage(step.stage)
        if stage.program or stage.target is not None:
            raise ReplayStop("a stage is cached after its loops were changed")
        # The block that computes keeps its identity; a new copy-out stage takes the next index, and with it whatever was
        # attached to the old stage by index.
        axes = [Iter(False, it.extent) for it in stage.axes if not it.reduce]
        copy = StageState(None, False, axes, list(axes))
        self.structure.append(StructuralOp("cache_write", stage, number, copy, step.scope))
        self.stages.insert(step.stage + 1, copy)

    def _rfactor(self, number: int, step: RFactor) -> None:
        stage = self._stage(step.stage)
        if stage.target is not None:
            raise ReplayStop("a reduction is factored after its stage was placed")
        factored = self._iter(stage, step.axis)
        spatial = [it for it in stage.iters if not it.reduce]
        rest = [it for it in stage.iters if it.reduce and it is not factored]
        if not factored.reduce or step.position > len(spatial):
            raise ReplayStop("the factored loop is not a reduction")
        made = StageState(None, False, [], [])
        outer = [Iter(False, it.extent) for it in spatial]
        outer.insert(step.position, Iter(False, factored.extent))
        made.axes = outer + [Iter(True, it.extent) for it in rest]
        made.iters = list(made.axes)
        self.structure.append(
            StructuralOp(
                "rfactor",
                stage,
                number,
                made,
                program=tuple(stage.program),
                factored=factored,
                axes_before=tuple(stage.axes),
                before=tuple(stage.iters),
                position=step.position,
            )
        )
        stage.axes = [Iter(False, it.extent) for it in spatial] + [Iter(True, factored.extent)]
        stage.iters = list(stage.axes)
        stage.program = []
        self.stages.insert(step.stage, made)


def _extents(extent: int, lengths: Sequence[int], inner_to_outer: bool) -> list[int]:
    rest = extent
    if inner_to_outer:
        for length in reversed(lengths):
            rest = -(-rest // length)
        return [rest, *lengths]
    for length in lengths:
        rest = -(-rest // length)
    return [*lengths, rest]


def _follow(source: Step, parts: int) -> tuple[int, ...]:
    if not isinstance(source, Split) or not 1 <= parts <= len(source.lengths) + 1:
        raise ReplayStop("the followed step is not a split of that many parts")
    last = 1
    for length in source.lengths[parts - 1 :]:
        last *= length
    return (*source.lengths[: parts - 1], last)


def _follow_fused(steps: Sequence[Step], step: FollowFusedSplit) -> int:
    product = 1
    for index in step.sources:
        source = steps[index]
        if not isinstance(source, Split) or step.level >= len(source.lengths):
            raise ReplayStop("the followed step is not a split with that level")
        product *= source.lengths[step.level]
    return product
