"""The rule for most kernels: each phase of the function in its own loop nest, reductions in register tiles."""

from __future__ import annotations

from typing import Any

from ..._tvm import tir
from . import nest, plan, pointwise, tile
from .base import Machine, NotApplicable
from .phases import Phase, phases
from .program import loads, parse

__all__ = ["tiled"]


def tiled(func: tir.PrimFunc, machine: Machine) -> tir.PrimFunc:
    """Emit `func` anew, phase by phase; what one phase hands to the next is stored in full."""
    program = parse(func)
    try:
        parts = phases(program)
        nests = [_nest(phase, machine) for phase in parts]
    except NotApplicable:
        # Padding along the vector axis cannot be left out: compute what the reductions read first.
        inputs = {load.source for s in program.stages if s.reduce for load in loads(s.value)}
        parts = phases(program, frozenset(inputs))
        nests = [_nest(phase, machine) for phase in parts]
    between = [b for phase in parts for b, _ in phase.stores if b not in program.outputs]
    return nest.function(func, nest.sequence(nests), between)


def _nest(phase: Phase, machine: Machine) -> Any:
    if phase.reduce:
        return tile.emit(phase, plan.choose(phase, machine))
    return pointwise.emit(phase, machine)
