"""A PrimFunc read back as what it computes: stages, each defining one buffer by an expression over its axes.

What LegalizeOps and FuseTIR leave is a sequence of perfect loop nests with one block each. A stage is such a block without
its loops: the rules make new loops. A function that looks otherwise (scans, sorts, extern calls) is not applicable.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ..._tvm import expr_ir, s_tir, tir, tvm, tvm_ffi
from .base import NotApplicable

__all__ = ["Axis", "Program", "Stage", "loads", "op_name", "parse", "shape_of", "substitute", "unparse"]

Expr = Any
Buffer = Any
Var = Any

_COMBINE = {tir.Add: "sum", tir.Max: "max", tir.Min: "min", tir.Mul: "prod"}


@dataclass(frozen=True)
class Axis:
    """An iteration variable that runs from 0 to `extent`."""

    var: Var
    extent: int


@dataclass(frozen=True)
class Stage:
    """One buffer and how each of its elements is computed.

    Attributes
    ----------
    buffer
        What the stage defines; element ``[a.var for a in axes]``.
    axes
        One axis for each dimension of `buffer`.
    value
        The element, or for a reduction the term that is combined over `reduce`.
    reduce
        Reduction axes, in the order of the source; empty for an injective stage.
    combine
        ``"sum"``, ``"max"``, ``"min"``, ``"prod"``, or None for an injective stage.
    init
        What the reduction starts from, over `axes`.
    """

    buffer: Buffer
    axes: tuple[Axis, ...]
    value: Expr
    reduce: tuple[Axis, ...] = ()
    combine: str | None = None
    init: Expr | None = None


@dataclass(frozen=True)
class Program:
    """A PrimFunc as stages in the order of the source.

    Attributes
    ----------
    params
        Buffer parameters of the function.
    stages
        Each buffer that is not an input has exactly one stage, before all its readers.
    outputs
        Parameters that a stage defines.
    """

    params: tuple[Buffer, ...]
    stages: tuple[Stage, ...]
    outputs: tuple[Buffer, ...]

    def stage_of(self, buffer: Buffer) -> Stage | None:
        """The stage that defines `buffer`; None for an input."""
        for stage in self.stages:
            if stage.buffer.same_as(buffer):
                return stage
        return None


def loads(node: Any) -> Iterator[Any]:
    """Every buffer load in an expression."""
    found: list[Any] = []
    tvm_ffi.structural_walk(node, (expr_ir.TensorLoad, found.append))
    return iter(found)


def op_name(call: Any) -> str:
    """The name of a call's operator, without the namespace that it moves between."""
    return str(getattr(call.op, "name", "")).rpartition(".")[2]


def substitute(node: Any, values: dict[Var, Expr]) -> Any:
    """`node` with variables replaced by expressions."""
    if not values or node is None:
        return node
    return tvm_ffi.structural_map(node, (expr_ir.Var, lambda v: values.get(v, v)))


def shape_of(buffer: Buffer) -> tuple[int, ...]:
    """Static shape of `buffer`; not applicable where a dimension is symbolic."""
    if not all(isinstance(d, tir.IntImm) for d in buffer.ty.shape):
        raise NotApplicable(f"{buffer.name} has a symbolic shape")
    return tuple(int(d) for d in buffer.ty.shape)


def parse(func: tir.PrimFunc) -> Program:
    """Read `func` as a program of stages.

    Raises
    ------
    NotApplicable
        If it is not a sequence of perfect loop nests whose blocks store element by element.
    """
    if not all(hasattr(p.ty, "shape") for p in func.params):
        raise NotApplicable("a parameter is not a buffer")
    root = func.body
    if not isinstance(root, s_tir.SBlockRealize) or root.block.iter_vars or root.block.match_buffers:
        raise NotApplicable("no root block")
    body = root.block.body
    stages: list[Stage] = []
    for nest in body.seq if isinstance(body, tir.SeqStmt) else [body]:
        stages.extend(_stages(nest))
    defined = [s.buffer for s in stages]
    if len(set(defined)) != len(defined):
        raise NotApplicable("a buffer is written in two nests")
    params = set(func.params)
    known = set(func.params) - set(defined)
    for stage in stages:
        shape_of(stage.buffer)
        for load in loads(stage.value):
            if load.source not in known:
                raise NotApplicable(f"{load.source.name} is read before it is written")
        known.add(stage.buffer)
    return Program(tuple(func.params), tuple(stages), tuple(b for b in defined if b in params))


def _stages(nest: Any) -> list[Stage]:
    ranges: dict[Var, int] = {}
    while isinstance(nest, tir.For):
        if (
            nest.kind != tir.ForKind.SERIAL
            or not _is_const(nest.min, 0)
            or not isinstance(nest.extent, tir.IntImm)
        ):
            raise NotApplicable("a loop is not plain")
        ranges[nest.loop_var] = int(nest.extent)
        nest = nest.body
    if not isinstance(nest, s_tir.SBlockRealize) or not _is_const(nest.predicate, 1):
        raise NotApplicable("a nest does not end in one block")
    block = nest.block
    if block.alloc_buffers or block.match_buffers:
        raise NotApplicable("a block allocates")
    spatial: dict[Var, int] = {}
    reduce: list[Axis] = []
    for iter_var, value in zip(block.iter_vars, nest.iter_values, strict=True):
        # Loops of extent one are often replaced by the constant 0.
        extent = ranges.get(value) if isinstance(value, expr_ir.Var) else 1 if _is_const(value, 0) else None
        if extent is None or not _is_const(iter_var.dom.min, 0) or not _is_const(iter_var.dom.extent, extent):
            raise NotApplicable("a block variable is not bound to a loop")
        if iter_var.iter_type == tir.IterVar.DataPar:
            spatial[iter_var.var] = extent
        elif iter_var.iter_type == tir.IterVar.CommReduce:
            reduce.append(Axis(iter_var.var, extent))
        else:
            raise NotApplicable("a block variable is neither spatial nor reducing")
    inits = {s.buffer: s for s in _stores(block.init)}
    made = [_stage(store, inits.get(store.buffer), spatial, tuple(reduce)) for store in _stores(block.body)]
    if not reduce and block.init is not None:
        raise NotApplicable("an init without a reduction")
    made = [_independent(stage, [s.buffer for s in made]) for stage in made]
    # Results of one block share its variables; written out again each is a block, and TVM wants those of blocks distinct.
    return [made[0], *(_renamed(stage) for stage in made[1:])]


def _stores(body: Any) -> list[Any]:
    if body is None:
        return []
    bound: dict[Var, Expr] = {}
    found = []
    for part in body.seq if isinstance(body, tir.SeqStmt) else [body]:
        if isinstance(part, tir.Bind):
            bound[part.var] = substitute(part.value, bound)
        elif isinstance(part, tir.BufferStore):
            found.append(tir.stmt.BufferStore(part.buffer, substitute(part.value, bound), part.indices))
        else:
            raise NotApplicable("a block does more than store")
    return found


def _stage(store: Any, init: Any, spatial: dict[Var, int], reduce: tuple[Axis, ...]) -> Stage:
    axes: list[Axis] = []
    for index, extent in zip(store.indices, shape_of(store.buffer), strict=True):
        if isinstance(index, expr_ir.Var) and spatial.get(index) == extent:
            axes.append(Axis(index, extent))
        elif _is_const(index, 0) and extent == 1:
            axes.append(Axis(tir.Var("u", str(index.ty.dtype)), 1))
        else:
            raise NotApplicable(f"{store.buffer.name} is not stored element by element")
    used = {a.var for a in axes}
    if len(used) != len(axes):
        raise NotApplicable("one variable indexes two dimensions")
    # Spatial variables that the store leaves out can only be units.
    units = {v: tir.IntImm(str(v.ty.dtype), 0) for v, e in spatial.items() if v not in used}
    if any(spatial[v] != 1 for v in units):
        raise NotApplicable("a spatial variable does not index the output")
    if not reduce:
        return Stage(store.buffer, tuple(axes), substitute(store.value, units))
    if init is None or not tvm_ffi.structural_equal([*init.indices], [*store.indices]):
        raise NotApplicable("a reduction without an init of the same element")
    combine = _COMBINE.get(type(store.value))
    if combine is None:
        raise NotApplicable("an unknown way to reduce")
    a, b = store.value.a, store.value.b
    for own, term in ((a, b), (b, a)):
        if not isinstance(own, expr_ir.TensorLoad) or not own.source.same_as(store.buffer):
            continue
        if tvm_ffi.structural_equal([*own.indices], [*store.indices]):
            if any(load.source.same_as(store.buffer) for load in loads(term)):
                break
            return _reduction(
                store, tuple(axes), reduce, combine, substitute(term, units), substitute(init.value, units)
            )
    raise NotApplicable("a reduction that does not update its own element")


def _reduction(
    store: Any, axes: tuple[Axis, ...], reduce: tuple[Axis, ...], combine: str, term: Any, init: Any
) -> Stage:
    """A reduction without its axes of extent one; injective if none is left."""
    term = substitute(term, {r.var: tir.IntImm(str(r.var.ty.dtype), 0) for r in reduce if r.extent == 1})
    left = tuple(r for r in reduce if r.extent != 1)
    if not left:
        return Stage(store.buffer, axes, type(store.value)(init, term))
    return Stage(store.buffer, axes, term, left, combine, init)


def _independent(stage: Stage, written: list[Buffer]) -> Stage:
    for load in loads(stage.value):
        if any(load.source.same_as(b) for b in written):
            raise NotApplicable("two results of one block depend on each other")
    return stage


def _renamed(stage: Stage) -> Stage:
    """`stage` over variables of its own."""
    fresh = {a.var: tir.Var(str(a.var.name), str(a.var.ty.dtype)) for a in (*stage.axes, *stage.reduce)}
    return Stage(
        stage.buffer,
        tuple(Axis(fresh[a.var], a.extent) for a in stage.axes),
        substitute(stage.value, fresh),
        tuple(Axis(fresh[a.var], a.extent) for a in stage.reduce),
        stage.combine,
        substitute(stage.init, fresh),
    )


def _is_const(value: Any, wanted: int) -> bool:
    return isinstance(value, tir.IntImm) and int(value) == wanted


def unparse(program: Program) -> Any:
    """The body of a PrimFunc that computes `program`: a loop nest and a block for each stage."""
    nests = [_unparse(stage) for stage in program.stages]
    between = [s.buffer for s in program.stages if s.buffer not in program.outputs]
    body = nests[0] if len(nests) == 1 else tir.SeqStmt(nests)
    root = s_tir.SBlock([], [], [], "root", body, None, between)
    return s_tir.SBlockRealize([], tir.IntImm("bool", 1), root)


def _unparse(stage: Stage) -> Any:
    point = [a.var for a in stage.axes]
    body_value, init = stage.value, None
    if stage.reduce:
        own = tir.BufferLoad(stage.buffer, point)
        body_value = {"sum": tir.Add, "max": tir.Max, "min": tir.Min, "prod": tir.Mul}[str(stage.combine)](
            own, stage.value
        )
        init = tir.stmt.BufferStore(stage.buffer, stage.init, point)
    body = tir.stmt.BufferStore(stage.buffer, body_value, point)
    iters, values, variables = [], [], []
    for axes, kind in ((stage.axes, tir.IterVar.DataPar), (stage.reduce, tir.IterVar.CommReduce)):
        for axis in axes:
            dtype = str(axis.var.ty.dtype)
            dom = tvm.ir.Range.from_min_extent(tir.IntImm(dtype, 0), tir.IntImm(dtype, axis.extent))
            iters.append(tir.IterVar(dom, axis.var, kind))
            variables.append((tir.Var("i_" + str(axis.var.name), dtype), dom.extent))
            values.append(variables[-1][0])
    reads = [_region(load.source, load.indices) for load in loads(stage.value)]
    block = s_tir.SBlock(iters, reads, [_region(stage.buffer, point)], str(stage.buffer.name), body, init)
    nest: Any = s_tir.SBlockRealize(values, tir.IntImm("bool", 1), block)
    for var, extent in reversed(variables):
        nest = tir.For(var, tir.IntImm(str(var.ty.dtype), 0), extent, tir.ForKind.SERIAL, nest)
    return nest


def _region(source: Buffer, indices: Any) -> Any:
    ranges = [tvm.ir.Range.from_min_extent(i, tir.IntImm(str(i.ty.dtype), 1)) for i in indices]
    return tir.stmt.BufferRegion(source, ranges)
