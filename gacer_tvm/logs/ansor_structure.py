"""Steps that change the set of stages: inlining, copies into and out of caches, factored reductions."""

from __future__ import annotations

from typing import Any

from .ansor_context import Context, attempt, transform
from .ansor_state import ReplayStop, StageState, StructuralOp
from .limits import SCOPES

__all__ = ["change_stages"]


def change_stages(context: Context) -> None:
    """Run all structural steps, in the order of the record."""
    for op in context.state.structure:
        if op.kind == "inline":
            _inline(context, op)
            continue
        if id(op.stage) not in context.blocks and id(op.stage) not in context.params:
            raise ReplayStop(
                "a stage of the fused tail is cached or factored, and the function has no counterpart", op.step
            )
        if op.kind != "rfactor" and op.scope not in SCOPES:
            raise ReplayStop(f"memory {op.scope[:40]!r} has no counterpart here", op.step)
        if op.kind == "cache_write":
            _cache_write(context, op)
        elif op.kind == "cache_read":
            _cache_read(context, op)
        else:
            _rfactor(context, op)


def _inline(context: Context, op: StructuralOp) -> None:
    if id(op.stage) not in context.blocks:
        return
    block = context.block(op.stage)
    copies = [made for made in context.state.structure if made.kind == "cache_read" and made.stage is op.stage]
    if copies and all(id(copy.made) in context.dropped for copy in copies):
        context.kept.append(block)
    else:
        attempt(op.step, context.sch.compute_inline, block)


def _cache_write(context: Context, op: StructuralOp) -> None:
    sch, block = context.sch, context.block(op.stage)
    scope = "global" if context.on_cpu else op.scope
    if context.epilogue is not None:
        # What is fused behind takes the place of the copy.
        if not context.on_cpu:
            attempt(op.step, sch.set_scope, block, 0, scope)
        context.blocks[id(op.made)] = attempt(op.step, sch.get_sblock, context.epilogue)
        context.epilogue = None
    else:
        context.blocks[id(op.made)] = attempt(op.step, sch.cache_write, block, 0, scope)


def _cache_read(context: Context, op: StructuralOp) -> None:
    if context.on_cpu and op.scope == "shared":
        context.dropped.add(id(op.made))
        return
    readers = [context.block(reader) for reader in op.readers]
    if not readers:
        raise ReplayStop("a cache without readers", op.step)
    index = attempt(op.step, _read_index, context, op.stage, readers[0])
    context.blocks[id(op.made)] = attempt(
        op.step, context.sch.cache_read, readers[0], index, op.scope, consumer_blocks=readers
    )


def _read_index(context: Context, source: StageState, reader: Any) -> int:
    if source.is_input:
        buffer = context.params[id(source)]
    else:
        buffer = context.sch.get(context.block(source)).writes[0].source
    for index, region in enumerate(context.sch.get(reader).reads):
        if region.source.same_as(buffer):
            return index
    raise ValueError("the reader does not read that stage")


def _rfactor(context: Context, op: StructuralOp) -> None:
    """Split and order the loops so far, factor, and bring the new stage's loops into the order of its axes."""
    sch, block = context.sch, context.block(op.stage)
    assert op.factored is not None and op.made is not None
    transform(context, op.axes_before, op.program, sch.get_loops(block))
    name = sch.get(block).name_hint
    made = attempt(op.step, sch.rfactor, context.loop(op.factored), op.position)
    block = attempt(op.step, sch.get_sblock, name)
    context.blocks[id(op.made)], context.blocks[id(op.stage)] = made, block
    attempt(op.step, _sort_axes, context, made, op.position)
    attempt(op.step, _sort_axes, context, block, None)
    # The new block keeps the loops of the old one; its axes are the spatial ones, the factored one, the rest.
    place = {id(it): index for index, it in enumerate(op.before)}
    spatial = [it for it in op.before if not it.reduce]
    spatial.insert(op.position, op.factored)
    wanted = spatial + [it for it in op.before if it.reduce and it is not op.factored]
    kept = sch.get_loops(made)
    if len(wanted) > 1:
        attempt(op.step, sch.reorder, *[kept[place[id(it)]] for it in wanted])


def _sort_axes(context: Context, block: Any, factored: int | None) -> None:
    """Block variables in the order of a stage's axes, spatial before reduction; rfactor puts the factored one first.

    `compute_at` makes loops in the order of the block's variables.
    """
    reduction = [int(iter_var.iter_type) == 2 for iter_var in context.sch.get(block).iter_vars]
    start = 0 if factored is None else 1
    order = [index for index in range(start, len(reduction)) if not reduction[index]]
    if factored is not None:
        order.insert(factored, 0)
    order += [index for index in range(start, len(reduction)) if reduction[index]]
    if order != list(range(len(order))):
        context.sch.reorder_block_iter_var(block, order)
