"""The blocks of an unscheduled PrimFunc, as the proofs and counts of this stage want to see them.

What `FuseTIR` leaves is a sequence of loop nests; each ends in one block whose iteration variables are bound to the
loops. A function that looks otherwise (sorts, scans, extern calls, already scheduled kernels) is *opaque*: nothing is
claimed of it.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .._tvm import Analyzer, expr_ir, s_tir, tir, tvm, tvm_ffi

__all__ = ["Access", "Block", "OpaqueFunction", "buffer_params", "leaf_blocks", "loads", "shape_of"]


class OpaqueFunction(Exception):
    """The function is not a sequence of plain loop nests; the message says which construct was met."""


@dataclass(frozen=True)
class Access:
    """One read or write of a buffer."""

    buffer: Any
    indices: tuple[Any, ...]


@dataclass(frozen=True)
class Block:
    """A leaf block: its iteration variables with extents, and the stores it makes.

    Attributes
    ----------
    name
        The block's name hint (for messages only).
    iters
        Iteration variable → extent, in order.
    spatial
        The variables that are data-parallel.
    loops
        Iteration variable → the loop variable that it is bound to.
    stores
        Every store of the body and of the reduction's init; variables bound inside the block are written out.
    times
        How often each store happens when the block runs once (more than once under loops inside the block, where
        it is an upper bound).
    guards
        Conditions of branches, and starts and extents of loops, inside the block.
    inner
        Variables of loops inside the block → their range, where it is constant.
    points
        How often it runs.
    nest
        All loops around it, whether it uses them or not.
    """

    name: str
    iters: dict[Any, int]
    spatial: tuple[Any, ...]
    loops: dict[Any, Any]
    stores: tuple[Any, ...]
    times: tuple[int, ...]
    guards: tuple[Any, ...]
    inner: dict[Any, Any]
    points: int
    nest: tuple[Any, ...]

    def accesses(self) -> Iterator[tuple[Access, bool]]:
        """Yield each access with True for writes."""
        for store in self.stores:
            yield Access(store.buffer, tuple(store.indices)), True
            for load in loads(store.value):
                yield Access(load.source, tuple(load.indices)), False
            for index in store.indices:
                for load in loads(index):
                    yield Access(load.source, tuple(load.indices)), False
        for guard in self.guards:
            for load in loads(guard):
                yield Access(load.source, tuple(load.indices)), False


def shape_of(buffer: Any) -> tuple[int, ...]:
    """Static shape of a TIR buffer; raises `OpaqueFunction` where a dimension is symbolic."""
    dims = []
    for dim in buffer.ty.shape:
        if not isinstance(dim, tir.IntImm):
            raise OpaqueFunction(f"buffer {buffer.name} has the symbolic dimension {dim}")
        dims.append(int(dim))
    return tuple(dims)


def buffer_params(func: Any) -> list[Any]:
    """The buffer parameters of `func` in order; raises `OpaqueFunction` for scalar parameters."""
    for param in func.params:
        if not hasattr(param.ty, "shape"):
            raise OpaqueFunction(f"parameter {param} is not a buffer")
    return list(func.params)


def loads(expr: Any) -> list[Any]:
    """All tensor loads in an expression, nested ones included."""
    found: list[Any] = []
    tvm_ffi.structural_walk(expr, (expr_ir.TensorLoad, found.append), order="pre")
    return found


def leaf_blocks(func: Any) -> tuple[Block, ...]:
    """The leaf blocks of `func` in execution order.

    Several parts of lowering, and the cost model, ask about the same bodies: the last few thousand answers are kept.

    Raises
    ------
    OpaqueFunction
        Where the function is not a sequence of plain loop nests.
    """
    return _leaf_blocks(func.body)


@functools.lru_cache(maxsize=2048)
def _leaf_blocks(body: Any) -> tuple[Block, ...]:
    found: list[Block] = []
    pending: list[tuple[Any, dict[Any, int]]] = [(body, {})]
    while pending:
        stmt, loops = pending.pop()
        if isinstance(stmt, tir.SeqStmt):
            pending.extend((s, loops) for s in reversed(list(stmt)))
        elif isinstance(stmt, tir.For):
            if int(stmt.kind) != 0 or stmt.annotations:
                raise OpaqueFunction(f"loop {stmt.loop_var} is already scheduled")
            if not isinstance(stmt.extent, tir.IntImm) or int(stmt.min) != 0:
                raise OpaqueFunction(f"loop {stmt.loop_var} has the extent {stmt.extent}")
            pending.append((stmt.body, {**loops, stmt.loop_var: int(stmt.extent)}))
        elif isinstance(stmt, s_tir.SBlockRealize):
            block = stmt.block
            if not block.iter_vars and _has_blocks(block.body):
                pending.append((block.body, loops))
            else:
                found.append(_leaf(stmt, loops))
        else:
            raise OpaqueFunction(f"a {type(stmt).__name__} outside a block")
    return tuple(found)


def _has_blocks(body: Any) -> bool:
    found: list[Any] = []
    tvm_ffi.structural_walk(body, (s_tir.SBlockRealize, found.append), order="pre")
    return bool(found)


class _Body:
    """The statements inside a leaf block, flattened to stores and guards."""

    def __init__(self, name: str, iters: dict[Any, int]) -> None:
        self.name = name
        self.stores: list[Any] = []
        self.times: list[int] = []
        self.guards: list[Any] = []
        self.inner: dict[Any, Any] = {}
        self._values: dict[Any, Any] = {}
        self._analyzer = Analyzer()
        for var, extent in iters.items():
            self._analyzer.bind(var, tvm.ir.Range(0, extent))

    def add(self, stmt: Any, times: int = 1) -> None:
        if isinstance(stmt, tir.SeqStmt):
            for part in stmt:
                self.add(part, times)
        elif isinstance(stmt, tir.stmt.BufferStore):
            indices = [self._plain(i) for i in stmt.indices]
            self.stores.append(tir.stmt.BufferStore(stmt.buffer, self._plain(stmt.value), indices))
            self.times.append(times)
        elif isinstance(stmt, tir.stmt.Bind):
            self._values[stmt.var] = self._plain(stmt.value)
        elif isinstance(stmt, tir.IfThenElse):
            self.guards.append(self._plain(stmt.condition))
            self.add(stmt.then_case, times)
            if stmt.else_case is not None:
                self.add(stmt.else_case, times)
        elif isinstance(stmt, tir.For) and int(stmt.kind) == 0 and not stmt.annotations:
            start, extent = self._plain(stmt.min), self._plain(stmt.extent)
            if isinstance(start, tir.IntImm) and isinstance(extent, tir.IntImm):
                self.inner[stmt.loop_var] = tvm.ir.Range.from_min_extent(start, extent)
            else:
                self.guards += [start, extent]
            bound = int(self._analyzer.const_int_bound(extent).max_value)
            self.add(stmt.body, times * (bound if 0 < bound < 1 << 31 else 1))
        elif isinstance(stmt, s_tir.SBlockRealize) and not stmt.block.match_buffers and not stmt.block.alloc_buffers:
            # A block in a block (a reduction over a range that depends on the outer one): its variables are values.
            for iter_var, value in zip(stmt.block.iter_vars, stmt.iter_values):
                self._values[iter_var.var] = self._plain(value)
            self.guards.append(self._plain(stmt.predicate))
            for part in (stmt.block.init, stmt.block.body):
                if part is not None:
                    self.add(part, times)
        else:
            raise OpaqueFunction(f"block {self.name!r} holds a {type(stmt).__name__}")

    def _plain(self, expr: Any) -> Any:
        if not self._values:
            return expr
        return tvm_ffi.structural_map(expr, (expr_ir.Var, lambda v: self._values.get(v, v)), order="post")


def _leaf(realize: Any, loops: dict[Any, int]) -> Block:
    block = realize.block
    if block.match_buffers or block.alloc_buffers:
        raise OpaqueFunction(f"block {block.name_hint!r} has buffers of its own")
    if not (isinstance(realize.predicate, tir.IntImm) and int(realize.predicate) == 1):
        raise OpaqueFunction(f"block {block.name_hint!r} has the predicate {realize.predicate}")
    iters: dict[Any, int] = {}
    spatial: list[Any] = []
    bound: dict[Any, Any] = {}
    points = 1
    for iter_var, value in zip(block.iter_vars, realize.iter_values):
        extent = iter_var.dom.extent
        if not isinstance(extent, tir.IntImm):
            raise OpaqueFunction(f"block {block.name_hint!r} has the extent {extent}")
        if not isinstance(iter_var.dom.min, tir.IntImm) or int(iter_var.dom.min) != 0:
            raise OpaqueFunction(f"block {block.name_hint!r} runs {iter_var.var} from {iter_var.dom.min}")
        if value in loops:
            if loops[value] != int(extent) or any(value.same_as(other) for other in bound.values()):
                raise OpaqueFunction(f"block {block.name_hint!r} binds {iter_var.var} to a part of {value}")
            bound[iter_var.var] = value
        elif int(extent) != 1:
            raise OpaqueFunction(f"block {block.name_hint!r} binds {iter_var.var} to {value}")
        iters[iter_var.var] = int(extent)
        points *= int(extent)
        if int(iter_var.iter_type) == tir.IterVar.DataPar:
            spatial.append(iter_var.var)
    body = _Body(str(block.name_hint), iters)
    for part in (block.init, block.body):
        if part is not None:
            body.add(part)
    return Block(
        name=str(block.name_hint),
        iters=iters,
        spatial=tuple(spatial),
        loops=bound,
        stores=tuple(body.stores),
        times=tuple(body.times),
        guards=tuple(body.guards),
        inner=body.inner,
        points=points,
        nest=tuple(loops),
    )
