"""The rule for softmax, layer norm and their kind: everything about one row is done before the next row is begun.

    for row in parallel(rows):
      each phase over the row: reductions in lanes along memory, elementwise parts in vectors
      what phases hand to each other stays in buffers of one row

Applies if every phase reads the others only at its own row, and at least one of them reduces along memory.
"""

from __future__ import annotations

import math
from typing import Any

from ..._tvm import expr_ir, tir, tvm_ffi
from . import nest
from .access import int64, split_guards, stride, uses
from .base import Machine, NotApplicable
from .estimate import lanes_of
from .fold import fold
from .mathfunc import vectorizable
from .phases import Phase, phases
from .program import Axis, loads, parse, substitute

__all__ = ["SHORTEST", "along_memory", "reduction", "rows"]

_SERIAL = 16384
_VECTORS = 4
# Stretches of memory shorter than this are windows, not rows.
SHORTEST = 4
# Elements of one row's buffers beyond which they no longer fit the first caches.
_LONGEST = 1 << 18


def rows(func: tir.PrimFunc, machine: Machine) -> tir.PrimFunc:
    """Emit `func` row by row.

    Raises
    ------
    NotApplicable
        If nothing is reduced along memory, or the phases do not share rows.
    """
    program = parse(func)
    parts = phases(program)
    if not any(phase.reduce and along_memory(phase) for phase in parts):
        raise NotApplicable("nothing is reduced along memory")
    shared = _shared(parts, {b for p in parts for b, _ in p.stores})
    if shared is None:
        raise NotApplicable("the phases share no rows")
    for phase in parts:
        inner = [a for a in phase.axes[shared:] if a.extent > 1]
        if phase.reduce and (inner or not along_memory(phase)):
            raise NotApplicable("a reduction leaves more than one element of a row")
    extents = [a.extent for a in parts[0].axes[:shared]]
    between = {b for p in parts for b, _ in p.stores if b not in program.outputs}
    scratch = {}
    for phase in parts:
        for buffer, _ in phase.stores:
            if buffer in between:
                size = math.prod(a.extent for a in phase.axes[shared:])
                if size > _LONGEST:
                    raise NotApplicable("a row is too long")
                scratch[buffer] = (nest.buffer(size, str(buffer.ty.dtype), str(buffer.name)), phase.axes[shared:])
    total = math.prod(extents)
    work = sum(math.prod(a.extent for a in (*p.axes, *p.reduce)) for p in parts)

    def one(index: Any) -> Any:
        row: list[Any] = []
        for position, extent in reversed(list(enumerate(extents))):
            row.insert(0, index % int64(extent) if position else index)
            index = index // int64(extent)
        made = [_phase(phase, row, scratch, shared, machine) for phase in parts]
        return nest.local([b for b, _ in scratch.values()], nest.sequence(made), "row")

    parallel = work > _SERIAL and total > 1
    if not parallel:
        return nest.function(func, nest.loop(total, one, name="row"), [])
    # Blocks of rows: enough of them to share, none so small that handing it out is the work.
    block = max(1, min(total // (8 * machine.cores) or 1, -(-_SERIAL * total // work)))
    tasks = -(-total // block)
    body = nest.loop(tasks, lambda i: nest.blocked(total, block, i, one), "parallel", "task")
    return nest.function(func, body, [])


def along_memory(phase: Phase) -> bool:
    """Whether the last reduction axis is contiguous in all that the term reads, and the last output axis is not."""
    last = phase.reduce[-1]
    if last.extent < SHORTEST:
        return False
    ranges = {a.var: a.extent for a in (*phase.axes, *phase.reduce)}
    own = [a for a in phase.axes if a.extent > 1]
    guards, term = split_guards(phase.term, str(phase.combine), phase.init)
    reads = loads(term)
    along, across = True, True
    for load in reads:
        along = along and stride(load, last.var, ranges) in (0, 1)
        across = across and bool(own) and stride(load, own[-1].var, ranges) in (0, 1)
    return along and not across and not any(uses(g, last.var) for g in guards)


def _shared(parts: list[Phase], made: set[Any]) -> int | None:
    """Leading axes along which every phase reads what another made only at its own position."""
    count = min(len(p.axes) for p in parts)
    for phase in parts:
        for position in range(count):
            axis = phase.axes[position]
            if axis.extent != parts[0].axes[position].extent:
                count = position
                break
            if any(not _at(load, position, axis) for load in phase.reads() if load.source in made):
                count = position
                break
    # A reduction of whole rows leaves unit axes behind; they are part of the row, not of its outside.
    while count and all(p.axes[count - 1].extent == 1 for p in parts):
        count -= 1
    alone = all(a.extent == 1 for p in parts for a in p.axes)
    return count if count or alone else None


def _at(load: Any, position: int, axis: Axis) -> bool:
    if position >= len(load.indices):
        return False
    index = load.indices[position]
    return axis.extent == 1 or (isinstance(index, expr_ir.Var) and index.same_as(axis.var))


def _phase(phase: Phase, row: list[Any], scratch: dict[Any, Any], shared: int, machine: Machine) -> Any:
    at = {a.var: r for a, r in zip(phase.axes, row, strict=False)}
    inner = [a for a in phase.axes[shared:] if a.extent > 1]
    at.update({a.var: int64(0) for a in phase.axes[shared:] if a.extent == 1})
    lanes = lanes_of(phase, machine)

    def local(node: Any) -> Any:
        """`node` with what another phase made read from the row's buffers."""

        def load(x: Any) -> Any:
            if x.source not in scratch:
                return x
            buffer, axes = scratch[x.source]
            return nest.load(buffer, _flat(axes, list(x.indices)[shared:]))

        return tvm_ffi.structural_map(node, (expr_ir.TensorLoad, load))

    def stores(values: dict[Any, Any]) -> Any:
        binds, known = nest.renamed(tuple((v, local(e)) for v, e in phase.binds), values)
        made = []
        for buffer, value in phase.stores:
            value = substitute(local(value), known)
            if buffer in scratch:
                target, axes = scratch[buffer]
                made.append(nest.store(target, value, substitute(_flat(axes, [a.var for a in axes]), known)))
            else:
                made.append(nest.store(buffer, value, *(substitute(a.var, known) for a in phase.axes)))
        return vectorizable(nest.sequence([*binds, *made]))

    if phase.reduce:
        return reduction(phase, at, lanes, local, stores)

    def over(axes: list[Axis], values: dict[Any, Any]) -> Any:
        if not axes:
            return nest.points([(0, 1)], lambda *_: stores(values))
        axis = axes[0]
        if len(axes) > 1:
            return nest.loop(axis.extent, lambda x: over(axes[1:], {**values, axis.var: x}), name="y")
        return _vectors(axis.extent, lanes, lambda x: stores({**values, axis.var: x}))

    return over(inner, at)


def _vectors(extent: int, lanes: int, body: Any) -> Any:
    width = min(_VECTORS, max(1, extent // lanes)) * lanes
    full, rest = divmod(extent, width)
    cuts = [(o, lanes) for o in range(0, width, lanes)]
    whole = nest.loop(full, lambda t: nest.points(cuts, lambda o, _: body(t * int64(width) + o)), name="x")
    if not rest:
        return whole
    tail = nest.points(nest.segments(rest, lanes), lambda o, _: body(int64(full * width) + o))
    return nest.sequence([whole, tail])


def reduction(phase: Phase, at: dict[Any, Any], lanes: int, local: Any, stores: Any) -> Any:
    """One element of a reduction along memory, reduced in vectors.

    Parameters
    ----------
    phase, at
        The phase, and where its axes stand.
    lanes
        Elements of a vector.
    local
        Rewrites the term's loads.
    stores
        Makes the statement that stores, from the values of the axes and of the result.
    """
    *outer, last = phase.reduce
    guards, bare = split_guards(phase.term, str(phase.combine), phase.init)
    term = local(bare)
    ks: dict[Any, Any] = {}

    def wrap(sweep: Any) -> Any:
        def level(n: int) -> Any:
            if n == len(outer):
                body = sweep()
                for guard in guards:
                    body = nest.when(substitute(guard, {**at, **ks}), body)
                return body

            def inside(x: Any) -> Any:
                ks[outer[n].var] = x
                return level(n + 1)

            return nest.loop(outer[n].extent, inside, name="k")

        return level(0)

    def use(done: Any) -> Any:
        # The source starts from its own initial value, which need not be the neutral one.
        start = substitute(phase.init, at)
        op = {"sum": tir.Add, "max": tir.Max, "min": tir.Min, "prod": tir.Mul}[str(phase.combine)]
        values = {**at, phase.result: op(start, nest.load(done, int64(0)))}
        return nest.points([(0, 1)], lambda *_: stores(values))

    return fold(
        last.extent,
        1,
        lanes,
        _VECTORS,
        str(phase.combine),
        str(phase.result.ty.dtype),
        lambda _, k: substitute(term, {**at, **ks, last.var: k}),
        wrap,
        use,
    )


def _flat(axes: tuple[Axis, ...], indices: list[Any]) -> Any:
    flat: Any = int64(0)
    for axis, index in zip(axes, indices, strict=True):
        flat = flat * int64(axis.extent) + index
    return flat
