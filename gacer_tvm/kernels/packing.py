"""Constant operands in the order a kernel reads them, and constants of one element as numbers."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from .._tvm import Analyzer, expr_ir, tir, tvm_ffi
from ..frontend.constants import array_of, as_constant
from .rules.access import int64, variables
from .rules.program import Axis, Program, Stage, loads, shape_of, substitute

__all__ = ["embed", "pack"]

_PANEL = 16
# Up to this many output channels a row of the weight is short enough to be read in one stream, without panels.
_NARROW = 64
# Reduction axes up to this long are windows: kernels loop over them outside the long ones.
_WINDOW = 7
_LOWEST = (3.4028234663852886e38, -3.4028234663852886e38)
_NUMBERS = {"float32", "float64", "int32", "int64", "bool"}


def embed(program: Program, arguments: tuple[Any, ...]) -> tuple[Program, tuple[Any, ...]]:
    """Constants of one element, if round, become numbers in the program; their parameters go."""
    numbers: dict[Any, Any] = {}
    for param, argument in zip(program.params, arguments, strict=False):
        if not isinstance(argument, expr_ir.GenericConst) or str(param.ty.dtype) not in _NUMBERS:
            continue
        if math.prod(shape_of(param)) != 1:
            continue
        array = argument.value.numpy()
        if _is_round(float(array.reshape(()))):
            numbers[param] = tir.const(array.reshape(()).item(), str(param.ty.dtype))
    if not numbers:
        return program, arguments

    def load(node: Any) -> Any:
        return numbers.get(node.source, node)

    stages = tuple(
        replace(s, value=tvm_ffi.structural_map(s.value, (expr_ir.TensorLoad, load))) for s in program.stages
    )
    kept = [(p, a) for p, a in zip(program.params, arguments, strict=False) if p not in numbers]
    params = (*(p for p, _ in kept), *program.params[len(arguments) :])
    return replace(program, params=params, stages=stages), tuple(a for _, a in kept)


def _is_round(value: float) -> bool:
    """Whether a number looks chosen rather than trained; a trained one would make each layer a kernel of its own."""
    return not math.isfinite(value) or (value * 4096).is_integer() or value in _LOWEST


def pack(program: Program, arguments: tuple[Any, ...], channel: Any) -> tuple[Program, tuple[Any, ...]]:
    """Store the constant operand of the last stage's sum as ``[channel // 16, reduction axes, channel % 16]``.

    Parameters
    ----------
    program, arguments
        The program and the arguments of its input parameters.
    channel
        The variable of the last stage along which the kernel will vectorize; None packs nothing.

    Returns
    -------
    program, arguments
        As they were where there is nothing to pack.
    """
    stage = program.stages[-1]
    if channel is None or not stage.reduce or stage.combine != "sum":
        return program, arguments
    constants = {p: i for i, (p, a) in enumerate(zip(program.params, arguments, strict=False))
                 if isinstance(a, expr_ir.GenericConst) and len(shape_of(p)) > 1}  # fmt: skip
    program, stage = _without_copies(program, stage, set(constants))
    extents = {a.var: a.extent for a in (*stage.axes, *stage.reduce)}
    values = list(arguments)
    for load in loads(stage.value):
        at = constants.get(load.source)
        others = [x for s in program.stages for x in loads(s.value) if x.source.same_as(load.source)]
        if at is None or len(others) != 1:
            continue
        owners = [variables(i) & set(extents) for i in load.indices]
        used = [v for o in owners for v in o]
        if any(len(o) > 1 for o in owners) or len(set(used)) != len(used) or channel not in used:
            continue
        packed, indices = _repack(array_of(arguments[at]), load, owners, stage, channel, extents)
        if packed is None:
            continue
        buffer = tir.decl_buffer(
            [int64(d) for d in packed.shape], str(load.source.ty.dtype), str(load.source.name), layout=None
        )
        renewed = tir.BufferLoad(buffer, indices)
        stage = replace(stage, value=_replace(stage.value, load.source, renewed))
        params = tuple(buffer if p.same_as(load.source) else p for p in program.params)
        program = replace(program, params=params, stages=(*program.stages[:-1], stage))
        values[at] = as_constant(packed)
    return program, tuple(values)


def _without_copies(program: Program, stage: Stage, constants: set[Any]) -> tuple[Program, Stage]:
    """Inline stages that only rearrange constants (a flipped kernel) into the last stage."""
    copies = {
        s.buffer: s
        for s in program.stages[:-1]
        if not s.reduce and isinstance(s.value, expr_ir.TensorLoad) and s.value.source in constants
    }

    def load(node: Any) -> Any:
        inner = copies.get(node.source)
        if inner is None:
            return node
        return substitute(inner.value, dict(zip((a.var for a in inner.axes), node.indices, strict=True)))

    if not copies:
        return program, stage
    stage = replace(stage, value=tvm_ffi.structural_map(stage.value, (expr_ir.TensorLoad, load)))
    rest = tuple(s for s in program.stages[:-1] if s.buffer not in copies)
    if any(x.source in copies for s in rest for x in loads(s.value)):
        return program, program.stages[-1]
    return replace(program, stages=(*rest, stage)), stage


def _repack(
    array: np.ndarray, load: Any, owners: list[set[Any]], stage: Stage, channel: Any, extents: dict[Any, int]
) -> tuple[np.ndarray | None, list[Any]]:
    for d, (index, owner) in enumerate(zip(load.indices, owners, strict=True)):
        positions = _positions(index, owner, extents)
        # A take copies; most operands are read from end to end.
        if not np.array_equal(positions, np.arange(array.shape[d])):
            array = np.take(array, positions, axis=d)
    dims = [next(iter(o)) if o else None for o in owners]
    array = array.reshape([n for n, v in zip(array.shape, dims, strict=True) if v is not None])
    held = [v for v in dims if v is not None]
    reduce: list[Axis] = [a for a in stage.reduce if a.var in held]
    reduce.sort(key=lambda a: a.extent > _WINDOW)
    batch = [a.var for a in stage.axes if a.var in held and not a.var.same_as(channel)]
    order = [*batch, *(a.var for a in reduce), channel]
    plain = all(isinstance(i, expr_ir.Var) for i in load.indices)
    if plain and order == held and extents[channel] <= _NARROW:
        return None, []
    array = array.transpose([held.index(v) for v in order])
    if extents[channel] <= _NARROW:
        return array, order
    panels = -(-extents[channel] // _PANEL)
    padding = [(0, 0)] * (array.ndim - 1) + [(0, panels * _PANEL - extents[channel])]
    array = np.pad(array, padding) if padding[-1][1] else array
    array = array.reshape([*array.shape[:-1], panels, _PANEL])
    array = np.moveaxis(array, -2, len(batch))
    panel, lane = channel // int64(_PANEL), channel % int64(_PANEL)
    return array, [*batch, panel, *(a.var for a in reduce), lane]


def _positions(index: Any, owner: set[Any], extents: dict[Any, int]) -> np.ndarray:
    if not owner:
        return np.array([int(Analyzer().simplify(index))])
    var = next(iter(owner))
    if isinstance(index, expr_ir.Var):
        return np.arange(extents[var])
    analyzer = Analyzer()
    return np.array([int(analyzer.simplify(substitute(index, {var: int64(x)}))) for x in range(extents[var])])


def _replace(value: Any, source: Any, renewed: Any) -> Any:
    return tvm_ffi.structural_map(
        value, (expr_ir.TensorLoad, lambda n: renewed if n.source.same_as(source) else n)
    )
