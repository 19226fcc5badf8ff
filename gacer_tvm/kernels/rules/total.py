"""Reductions of whole stretches of memory to single elements, where no axis of the result could be a vector.

    for point in parallel(points):
      acc[lanes] over the reduction axes, the contiguous one innermost, those that are one stretch of memory as one
      out[point] = epilogue(fold(acc))
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from ..._tvm import tir
from . import nest
from .access import int64, split_guards, stride, uses
from .base import Machine, NotApplicable
from .estimate import lanes_of
from .mathfunc import vectorizable
from .phases import Phase
from .program import Axis, loads, substitute
from .rows import SHORTEST, reduction

__all__ = ["emit"]

_SERIAL = 32768


def emit(phase: Phase, machine: Machine) -> Any:
    """The loop nest of a reduction whose results lie apart in what it reads.

    Raises
    ------
    NotApplicable
        If the elements of the result share operands or lie side by side in them, or nothing reduced is contiguous.
    """
    phase = _in_memory_order(phase)
    axes = [a for a in phase.axes if a.extent > 1]
    fixed = {a.var: int64(0) for a in phase.axes if a.extent == 1}
    lanes = lanes_of(phase, machine)
    count = math.prod(a.extent for a in axes)

    def stores(values: dict[Any, Any]) -> Any:
        binds, known = nest.renamed(phase.binds, values)
        point = [substitute(a.var, known) for a in phase.axes]
        return vectorizable(
            nest.sequence([*binds, *(nest.store(b, substitute(v, known), *point) for b, v in phase.stores)])
        )

    def one(index: Any) -> Any:
        at = dict(fixed)
        for n, axis in reversed(list(enumerate(axes))):
            at[axis.var] = index % int64(axis.extent) if n else index
            index = index // int64(axis.extent)
        return reduction(phase, at, lanes, lambda term: term, stores)

    work = math.prod(a.extent for a in phase.reduce)
    if count * work <= _SERIAL:
        return nest.loop(count, one, name="point")
    block = max(1, min(count // (4 * machine.cores), _SERIAL // work))
    return nest.loop(-(-count // block), lambda i: nest.blocked(count, block, i, one), "parallel", "task")


def _in_memory_order(phase: Phase) -> Phase:
    """`phase` with its reduction axes ordered by stride, those that every load walks like one joined."""
    guards, term = split_guards(phase.term, str(phase.combine), phase.init)
    ranges = {a.var: a.extent for a in (*phase.axes, *phase.reduce)}
    reads = loads(term)
    found = [{v: stride(x, v, ranges) for v in ranges} for x in reads]
    if not found or any(s is None for strides in found for s in strides.values()):
        raise NotApplicable("a load is not linear")
    own = [a.var for a in phase.axes if a.extent > 1]
    if own and any(strides[own[-1]] in (0, 1) for strides in found):
        raise NotApplicable("elements of the result share vectors or operands")
    order = sorted(phase.reduce, key=lambda a: -max(abs(s[a.var] or 0) for s in found))
    last = order[-1].var
    if any(strides[last] != 1 for strides in found) or any(uses(g, a.var) for g in guards for a in phase.reduce):
        raise NotApplicable("nothing reduced is contiguous, or it is guarded")
    joined = [order[-1]]
    moved = term
    for axis in reversed(order[:-1]):
        inner = joined[0]
        if all(s[axis.var] == (s[inner.var] or 0) * inner.extent for s in found):
            both = tir.Var(str(axis.var.name), str(axis.var.ty.dtype))
            size = int64(inner.extent)
            moved = substitute(moved, {axis.var: both // size, inner.var: both % size})
            found = [{**s, both: s[inner.var]} for s in found]
            joined[0] = Axis(both, axis.extent * inner.extent)
        else:
            joined.insert(0, axis)
    if joined[-1].extent < SHORTEST:
        raise NotApplicable("a window, not a stretch of memory")
    return replace(phase, term=moved, reduce=tuple(joined)) if not guards else replace(phase, reduce=tuple(order))
