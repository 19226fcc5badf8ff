"""Channels last, weights packed: a legalized Relax function rewritten so that its convolutions and products vectorize.

    before   y  = call_tir(conv2d,  (x,  W [o, i, h, w]))              # x,  y : N C H W
    after    y' = call_tir(conv2d', (x', W'[o/16, h, w, i, o%16]))     # x', y': N H W C, converted only where needed

The rewrite looks at index expressions only. A sum over a constant operand that does not depend on the spatial axes *seeds*
a channels-last tensor; a function passes the layout on if axis 1 of what it reads is axis 1 of what it writes; any other
function reads its operands as they are. A constant operand of a sum is stored in the order it is read in, output channels
innermost, in panels; constants of one element become numbers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .._tvm import expr_ir, relax, tir, tvm, tvm_ffi
from ..frontend.constants import array_of, as_constant
from .packing import embed, pack
from .rules.access import uses, variables
from .rules.base import NotApplicable
from .rules.nest import segments
from .rules.program import Program, loads, parse, shape_of, unparse

__all__ = ["channels_last"]

_RANKS = (3, 4, 5)
# With fewer channels than this a convolution reads its input in the original layout (one broadcast a pixel and channel).
_FEW = 16
# Vector operations for each input channel and pixel that it takes to bring an operand into the other layout.
_CONVERSION = 2.0


def channels_last(mod: tvm.IRModule) -> tvm.IRModule:
    """Rewrite every Relax function of `mod` that consists of plain bindings; others stay as they are."""
    for var, func in list(mod.functions_items()):
        if isinstance(func, relax.Function) and _is_plain(func):
            mod = _Rewrite(mod, var, func).run()
    return relax.transform.DeadCodeElimination()(mod)


def _is_plain(func: relax.Function) -> bool:
    return isinstance(func.body, relax.SeqExpr) and all(
        isinstance(binding, relax.VarBinding) and not isinstance(binding.value, (relax.Function, relax.If))
        for block in func.body.blocks
        for binding in block.bindings
    )


@dataclass(frozen=True)
class _Site:
    """A call: the program, its arguments, and which buffers (parameters) are channels last."""

    program: Program
    arguments: tuple[Any, ...]

    @property
    def inputs(self) -> list[tuple[Any, Any]]:
        """Parameters with their arguments."""
        return list(zip(self.program.params, self.arguments, strict=False))

    @property
    def output(self) -> Any:
        """The one parameter that is written."""
        return self.program.outputs[0]


class _Rewrite:
    def __init__(self, mod: tvm.IRModule, var: Any, func: relax.Function) -> None:
        self.mod, self.var, self.func = mod, var, func
        self.builder = relax.BlockBuilder(mod)
        self.first: dict[Any, Any] = {p: p for p in func.params}
        self.last: dict[Any, Any] = {}

    def run(self) -> tvm.IRModule:
        name = self.var.name_hint
        temporary = name + "_channels_last"
        attrs = {k: v for k, v in (self.func.attrs or {}).items() if k != "global_symbol"}
        with self.builder.function(temporary, list(self.func.params), attrs=attrs):
            for block in self.func.body.blocks:
                if isinstance(block, relax.DataflowBlock):
                    with self.builder.dataflow():
                        self._block(block, True)
                else:
                    self._block(block, False)
            self.builder.emit_func_output(self._value(self.func.body.body))
        made = self.builder.get()
        functions = {}
        for var, func in made.functions_items():
            if var.name_hint == temporary:
                if "global_symbol" in (self.func.attrs or {}):
                    func = func.with_attr("global_symbol", self.func.attrs["global_symbol"])
                functions[self.var] = func
            elif var.name_hint != name:
                functions[var] = func
        return tvm.IRModule(functions, attrs=self.mod.attrs, global_infos=self.mod.global_infos)

    def _block(self, block: Any, dataflow: bool) -> None:
        for binding in block.bindings:
            value, is_last = self._binding(binding.value)
            if not dataflow or isinstance(binding.var, relax.DataflowVar):
                (self.last if is_last else self.first)[binding.var] = self.builder.emit(value)
                continue
            if is_last:
                value = _to_first(self.builder.emit(value))
            self.first[binding.var] = self.builder.emit_output(value)

    def _binding(self, value: Any) -> tuple[Any, bool]:
        if isinstance(value, expr_ir.Call) and value.op == tvm.ir.Op.get("relax.call_tir"):
            try:
                return self._call(value)
            except NotApplicable:
                pass
        return self._value(value), False

    def _value(self, value: Any) -> Any:
        """`value` over the rewritten variables, all in the original layout."""
        return tvm_ffi.structural_map(value, (expr_ir.Var, self._in_first))

    def _in_first(self, var: Any) -> Any:
        if var not in self.first and var in self.last:
            self.first[var] = self.builder.emit(_to_first(self.last[var]))
        return self.first.get(var, var)

    def _in_last(self, argument: Any) -> Any:
        if isinstance(argument, expr_ir.GenericConst):
            return as_constant(np.moveaxis(array_of(argument), 1, -1))
        if argument not in self.last:
            self.last[argument] = self.builder.emit(_to_last(self.first[argument]))
        return self.last[argument]

    def _call(self, call: Any) -> tuple[Any, bool]:
        gvar, arguments = call.args[0], tuple(call.args[1].fields)
        if len(call.args) > 2 or len(call.ty_args) != 1 or not isinstance(call.ty_args[0], relax.TensorType):
            raise NotApplicable("a call with several results")
        func = self.mod[gvar]
        program = parse(func)
        if len(program.outputs) != 1 or len(arguments) != len(program.params) - 1:
            raise NotApplicable("parameters are not inputs and one output")
        site = _Site(*embed(program, arguments))
        narrow = _is_narrow(site)
        known = {p for p, a in site.inputs if a in self.last and a not in self.first and not narrow}
        wanted = not narrow and (_seeds(site) or (bool(known) and _passes(site, known)))
        moved = set(known)
        if wanted:
            moved |= {p for p, a in site.inputs if _is_worth_moving(site, p, a)}
            moved.add(site.output)
        # The channels of the result are its vector: axis 1 if it moves to the end, else the last axis.
        channel = program.stages[-1].axes[1 if wanted else -1].var if program.stages[-1].axes else None
        site = _Site(*pack(site.program, site.arguments, channel))
        values = [self._in_last(a) if p in moved else self._value(a) for p, a in site.inputs]
        program = _permuted(site.program, moved)
        new = tir.PrimFunc(list(program.params), unparse(program), func.ret_type, func.attrs)
        shape = shape_of(program.outputs[0])
        made = self.builder.add_func(new, gvar.name_hint)
        result = relax.TensorType([int(d) for d in shape], call.ty_args[0].dtype)
        return relax.call_tir(made, values, out_ty=result), wanted


def _to_first(value: Any) -> Any:
    shape = [int(d) for d in value.ty.shape]
    original = [shape[0], shape[-1], *shape[1:-1]]
    if shape[-1] == 1 or all(d == 1 for d in shape[1:-1]):
        return relax.op.reshape(value, original)
    return relax.op.permute_dims(value, [0, len(shape) - 1, *range(1, len(shape) - 1)])


def _to_last(value: Any) -> Any:
    shape = [int(d) for d in value.ty.shape]
    if shape[1] == 1 or all(d == 1 for d in shape[2:]):
        return relax.op.reshape(value, [shape[0], *shape[2:], shape[1]])
    return relax.op.permute_dims(value, [0, *range(2, len(shape)), 1])


def _seeds(site: _Site) -> bool:
    """Whether the call sums products with a constant that depends on axis 1 of the result and on no other."""
    constants = {p for p, a in site.inputs if isinstance(a, expr_ir.GenericConst)}
    stage = site.program.stages[-1]
    if not stage.reduce or stage.combine != "sum" or len(stage.axes) not in _RANKS:
        return False
    channel = stage.axes[1].var
    others = [a.var for a in stage.axes if not a.var.same_as(channel) and a.extent > 1]
    moving = [load for load in loads(stage.value) if any(uses(i, v) for i in load.indices for v in others)]
    for load in loads(stage.value):
        fixed = _constant_source(site.program, load.source, constants)
        free = variables(load) if fixed else set()
        if fixed and channel in free and not free & set(others) and moving:
            return True
    return False


def _is_narrow(site: _Site) -> bool:
    """Whether the call sums large windows into so few channels that a row of the image makes the better vectors.

    Counted in vector operations a pixel: channels in vectors that they do not fill, against pixels in full vectors and about
    two for each input channel to bring the operand into that layout.
    """
    if not _seeds(site):
        return False
    stage = site.program.stages[-1]
    channels, width = stage.axes[1].extent, stage.axes[-1].extent
    if channels >= _FEW or width < 2 * _FEW:
        return False
    channel = stage.axes[1].var
    moving = [x for x in loads(stage.value) if any(uses(i, stage.axes[-1].var) for i in x.indices)]
    if any(uses(i, channel) for x in moving for i in x.indices):
        return False
    # An operand with zeros in between (a transposed convolution) is not written out for the sake of rows.
    spread: list[Any] = []
    for inner in site.program.stages[:-1]:
        tvm_ffi.structural_walk(inner.value, (tir.FloorMod, spread.append))
    if spread:
        return False
    deep = {v for x in moving for v in variables(x.indices[1])}
    window = math.prod(a.extent for a in stage.reduce if a.var not in deep)
    return window * (len(segments(channels, _FEW)) - channels / _FEW) > _CONVERSION


def _constant_source(program: Program, buffer: Any, constants: set[Any]) -> bool:
    """Whether `buffer` holds nothing but constants, rearranged."""
    if buffer in constants:
        return True
    stage = program.stage_of(buffer)
    return stage is not None and all(
        _constant_source(program, x.source, constants) for x in loads(stage.value)
    )


def _passes(site: _Site, known: set[Any]) -> bool:
    """Whether axis 1 of the channels-last operands is axis 1 of the result, all through the program."""
    rank = len(site.output.ty.shape)
    if rank not in _RANKS:
        return False
    for stage in site.program.stages:
        if len(stage.axes) != rank:
            return False
        channel = stage.axes[1].var
        inner = {s.buffer for s in site.program.stages}
        for load in loads(stage.value):
            if load.source not in known and load.source not in inner:
                continue
            if len(load.indices) != rank:
                return False
            own = variables(load.indices[1]) & {a.var for a in stage.axes}
            if own - {channel} or any(uses(i, channel) for k, i in enumerate(load.indices) if k != 1):
                return False
    return True


def _is_worth_moving(site: _Site, param: Any, argument: Any) -> bool:
    """Whether a function with a channels-last result should also read `param` channels last."""
    shape = shape_of(param)
    stage = site.program.stages[-1]
    if len(shape) != len(site.output.ty.shape):
        return False
    if isinstance(argument, expr_ir.GenericConst):
        return not stage.reduce
    if shape[1] == 1 or all(d == 1 for d in shape[2:]):
        return False
    if stage.reduce and shape[1] < _FEW:
        # A dense convolution of an image; a depthwise one has its channels in the result.
        return shape[1] == shape_of(site.output)[1]
    return True


def _permuted(program: Program, moved: set[Any]) -> Program:
    """`program` with axis 1 of the buffers in `moved` at their end."""
    renewed = {}
    for buffer in moved:
        shape = [*buffer.ty.shape]
        renewed[buffer] = tir.decl_buffer(
            [shape[0], *shape[2:], shape[1]], str(buffer.ty.dtype), str(buffer.name), scope=buffer.scope(), layout=None
        )

    def load(node: Any) -> Any:
        if node.source not in renewed:
            return node
        i = list(node.indices)
        return tir.BufferLoad(renewed[node.source], [i[0], *i[2:], i[1]])

    stages = []
    for stage in program.stages:
        stage = replace(stage, value=tvm_ffi.structural_map(stage.value, (expr_ir.TensorLoad, load)))
        if stage.buffer in renewed:
            axes = (stage.axes[0], *stage.axes[2:], stage.axes[1])
            stage = replace(stage, buffer=renewed[stage.buffer], axes=axes)
        stages.append(stage)
    return Program(
        tuple(renewed.get(p, p) for p in program.params),
        tuple(stages),
        tuple(renewed.get(p, p) for p in program.outputs),
    )
