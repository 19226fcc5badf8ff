"""An Ansor record's steps run on today's `s_tir.Schedule`.

Steps that change the set of stages run in the order of the record (`ansor_structure`). Then every stage is placed and its
loops transformed, consumers first, since `compute_at` needs the consumer's final loops and forgets the producer's.
Annotations come last, but for thread bindings, on which the regions placed under them depend; then the initialization of
each reduction is split off, as tensor expressions did.

A split factor larger than what is left of an axis after placing shrinks to it, as in tensor expressions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .ansor_context import Context, attempt, transform
from .ansor_state import Iter, ReplayStop, StageState, follow
from .ansor_structure import change_stages
from .limits import MAX_UNROLL
from .steps import Step

__all__ = ["replay_steps"]

_BINDINGS = {f"{kind}.{axis}": f"{kind}.{axis}" for kind in ("blockIdx", "threadIdx") for axis in "xyz"}
_BINDINGS["vthread"] = "vthread.x"


def replay_steps(
    schedule: Any,
    stages: Sequence[str | int | None],
    axes: Sequence[tuple[Sequence[int], Sequence[int] | None]],
    steps: Sequence[Step],
    epilogue: str | None = None,
    on_cpu: bool = False,
) -> None:
    """Apply `steps` to a schedule of the unscheduled function.

    Parameters
    ----------
    schedule
        ``s_tir.Schedule`` of a function in which each formula is one block.
    stages
        For each stage of the DAG its block's name, or for an input the position of its parameter; None for a stage that
        the function does not have (the steps must inline it).
    axes
        As for `follow`.
    steps
        The record's steps.
    epilogue
        A pointwise block behind the last stage that the record does not have: it takes the place of the copy that the
        record makes of its output.
    on_cpu
        Turn a GPU record into a CPU schedule: the grid becomes a parallel loop, threads become serial tiles, and copies
        into shared memory, which would repeat for each of them, are left out (what they alone read is computed at the
        root).

    Raises
    ------
    ReplayStop
        With the number of the step that stopped it.
    """
    context = Context(schedule, follow(axes, steps), epilogue, on_cpu)
    _find_places(context, stages)
    change_stages(context)
    if context.epilogue is not None:
        raise ReplayStop("the record does not copy its output, so that nothing can be fused behind it")
    live = [
        stage
        for stage in context.state.stages
        if not stage.is_input and not stage.inlined and id(stage) not in context.dropped
    ]
    if any(id(stage) not in context.blocks for stage in live):
        raise ReplayStop("a stage of the fused tail is not inlined, and the function has no counterpart")
    for stage in reversed(live):
        _place(context, stage)
    for stage in live:
        _mark(context, stage)
    for stage in live:
        _split_init(context, stage)
    for block in context.kept:
        attempt(-1, _spread, context, block)


def _find_places(context: Context, stages: Sequence[str | int | None]) -> None:
    function = context.sch.mod[context.sch.func_working_on or "main"]
    for stage in context.state.stages:
        place = None if stage.source is None else stages[stage.source]
        if isinstance(place, int):
            context.params[id(stage)] = function.params[place]
        elif place is not None:
            context.blocks[id(stage)] = attempt(-1, context.sch.get_sblock, place)


def _place(context: Context, stage: StageState) -> None:
    sch, block = context.sch, context.block(stage)
    above = 0
    if stage.target_iter is not None:
        target = context.loop(stage.target_iter)
        attempt(stage.placed_by, sch.compute_at, block, target, preserve_unit_loops=True)
        wanted = sch.get_sref(target)
        loops = sch.get_loops(block)
        above = next(i for i, loop in enumerate(loops) if sch.get_sref(loop).same_as(wanted)) + 1
    loops = list(sch.get_loops(block))[above:]
    if len(loops) != len(stage.axes):
        raise ReplayStop(f"the block has {len(loops)} loops here, {len(stage.axes)} in the record", stage.placed_by)
    transform(context, stage.axes, stage.program, loops)
    if context.on_cpu:
        return
    # Now, not with the other annotations: what is placed under these loops into shared memory must know that the
    # threads share it, so that its region covers the whole block.
    for it in stage.iters:
        if it.annotation in _BINDINGS:
            attempt(it.annotated_by, sch.bind, context.loop(it), _BINDINGS[it.annotation])
    scope = _default_scope(stage)
    if scope and stage.source is not None and sch.get(block).writes[0].source.ty.storage_scope in ("", "global"):
        attempt(stage.placed_by, sch.set_scope, block, 0, scope)


def _default_scope(stage: StageState) -> str:
    """Memory of a stage placed inside a GPU kernel, as tensor expressions inferred it from the place.

    Under a thread loop each thread has its own; under the grid alone the block shares it.
    """
    found: set[str] = set()
    while stage.target is not None and stage.target_iter is not None:
        for it in stage.target.iters:
            found.add(it.annotation)
            if it is stage.target_iter:
                break
        stage = stage.target
    if any(name.startswith(("threadIdx", "vthread")) for name in found):
        return "local"
    return "shared" if any(name.startswith("blockIdx") for name in found) else ""


def _mark(context: Context, stage: StageState) -> None:
    sch = context.sch
    if stage.aligned is not None:
        it, factor, offset, step = stage.aligned
        axis = next((i for i, axis in enumerate(stage.axes) if axis is it), len(stage.axes) - 1)
        attempt(step, sch.storage_align, context.block(stage), 0, axis, factor, offset)
    for it in stage.iters:
        loop = context.loop(it)
        if it.annotation != "none":
            attempt(it.annotated_by, _annotate, context, it, loop)
        if it.unroll_max:
            attempt(-1, sch.annotate, loop, "pragma_auto_unroll_max_step", min(it.unroll_max, MAX_UNROLL))
            attempt(-1, sch.annotate, loop, "pragma_unroll_explicit", 1)


def _annotate(context: Context, it: Iter, loop: Any) -> None:
    if it.annotation == "unroll":
        context.sch.unroll(loop)
    elif it.annotation == "vectorize":
        context.sch.vectorize(loop)
    elif it.annotation == "parallel" or (context.on_cpu and it.annotation == "blockIdx.x"):
        context.sch.parallel(loop)


def _split_init(context: Context, stage: StageState) -> None:
    """Hoist the initialization to before the outermost reduction loop, as tensor expressions do.

    After the annotations, since an update block by itself is no longer a reduction in the schedule's eyes.
    """
    sch, block = context.sch, context.block(stage)
    position = next((i for i, it in enumerate(stage.iters) if it.reduce), None)
    if position is None or sch.get(block).init is None:
        return
    if not context.on_cpu and any(it.reduce and it.annotation.startswith("threadIdx") for it in stage.iters):
        return
    init = attempt(-1, sch.decompose_reduction, block, context.loop(stage.iters[position]))
    last = stage.iters[-1]
    if last.annotation == "vectorize" and not last.reduce:
        loops = sch.get_loops(init)
        if loops:
            attempt(last.annotated_by, sch.vectorize, loops[-1])


def _spread(context: Context, block: Any) -> None:
    loops = context.sch.get_loops(block)
    context.sch.parallel(context.sch.fuse(*loops[:-1]) if len(loops) > 1 else loops[0])
