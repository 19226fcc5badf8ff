"""The rule for most kernels: each phase of the function in its own loop nest, reductions in register tiles."""

from __future__ import annotations

import contextlib
import math
from typing import Any

from ..._tvm import tir
from . import nest, plan, pointwise, tile, total
from .base import Machine, NotApplicable
from .near import neighbours
from .phases import Phase, phases
from .program import Program, loads, parse
from .tile import Plan

__all__ = ["near", "tiled", "tilings"]


def tiled(func: tir.PrimFunc, machine: Machine, given: Plan | None = None) -> tir.PrimFunc:
    """Emit `func` anew, phase by phase; what one phase hands to the next is stored in full.

    Parameters
    ----------
    func, machine
        As for every rule.
    given
        Tiling of the longest reduction, one of `tilings`; by default the one with the lowest estimate.
    """
    program = parse(func)
    try:
        return _emit(func, program, phases(program), machine, given)
    except NotApplicable:
        return _emit(func, program, _with_inputs(program), machine, given)


def tilings(func: tir.PrimFunc, machine: Machine) -> list[Plan]:
    """The tilings of the longest reduction of `func` that a measurement should decide between, the default first.

    Raises
    ------
    NotApplicable
        Where there is none.
    """
    program = parse(func)
    try:
        return _alternatives(phases(program), machine)
    except NotApplicable:
        return _alternatives(_with_inputs(program), machine)


def near(func: tir.PrimFunc, machine: Machine, given: Plan) -> list[Plan]:
    """Tilings of the longest reduction of `func` that are one step away from `given`."""
    program = parse(func)
    try:
        parts = phases(program)
    except NotApplicable:
        parts = _with_inputs(program)
    longest = _longest(parts)
    return neighbours(longest, given, machine) if longest is not None else []


def _alternatives(parts: list[Phase], machine: Machine) -> list[Plan]:
    longest = _longest(parts)
    if longest is None:
        raise NotApplicable("nothing is reduced")
    found = plan.alternatives(longest, machine)
    tile.emit(longest, found[0])
    return found


def _with_inputs(program: Program) -> list[Phase]:
    """Phases where padding along the vector axis cannot be left out: what the reductions read is computed first."""
    return phases(program, frozenset(load.source for s in program.stages if s.reduce for load in loads(s.value)))


def _emit(
    func: tir.PrimFunc, program: Program, parts: list[Phase], machine: Machine, given: Plan | None
) -> tir.PrimFunc:
    longest = _longest(parts)
    nests = [tile.emit(p, given) if given is not None and p is longest else _nest(p, machine) for p in parts]
    between = [b for phase in parts for b, _ in phase.stores if b not in program.outputs]
    return nest.function(func, nest.sequence(nests), between)


def _longest(parts: list[Phase]) -> Phase | None:
    reductions = [p for p in parts if p.reduce]
    return max(reductions, key=lambda p: math.prod(a.extent for a in (*p.axes, *p.reduce)), default=None)


def _nest(phase: Phase, machine: Machine) -> Any:
    if phase.reduce:
        with contextlib.suppress(NotApplicable):
            return total.emit(phase, machine)
        return tile.emit(phase, plan.choose(phase, machine))
    return pointwise.emit(phase, machine)
