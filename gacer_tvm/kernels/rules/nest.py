"""Small builders of TIR statements: loops, scoped buffers, blocked loops with a tail."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..._tvm import expr_ir, s_tir, tir
from .access import int64
from .program import substitute

__all__ = ["Segment", "blocked", "function", "local", "loop", "points", "segments", "sequence", "when"]

Segment = tuple[int, int]


def loop(extent: Any, body: Callable[[Any], Any], kind: str = "serial", name: str = "i") -> Any:
    """A loop over ``0 … extent-1``; without a loop where the extent is the constant one (or zero)."""
    count = int64(extent) if isinstance(extent, int) else extent
    if isinstance(count, tir.IntImm):
        if int(count) <= 0:
            return sequence([])
        if int(count) == 1 and kind != "vectorized":
            return body(int64(0))
    var = tir.Var(name, "int64")
    made = body(var)
    return tir.For(var, int64(0), count, getattr(tir.ForKind, kind.upper()), made)


def sequence(parts: list[Any]) -> Any:
    """Statements one after the other; nested sequences and no-ops are flattened away."""
    flat: list[Any] = []
    for part in parts:
        if isinstance(part, tir.SeqStmt):
            flat.extend(part.seq)
        elif not (isinstance(part, tir.Evaluate) and isinstance(part.value, tir.IntImm)):
            flat.append(part)
    if not flat:
        return tir.Evaluate(tir.IntImm("int32", 0))
    return flat[0] if len(flat) == 1 else tir.SeqStmt(flat)


def when(condition: Any, body: Any) -> Any:
    """`body` if `condition`; a condition known at compile time leaves no branch."""
    if condition is True:
        return body
    return tir.IfThenElse(condition, body, None)


def local(buffers: list[Any], body: Any, name: str = "tile") -> Any:
    """`body` with buffers that live only inside it."""
    block = s_tir.SBlock([], [], [], name, body, None, buffers)
    return s_tir.SBlockRealize([], tir.IntImm("bool", 1), block)


def segments(extent: int, lanes: int) -> list[Segment]:
    """Cut `extent` elements into vectors: (offset, lanes), full ones first, then halves down to single elements."""
    cut: list[Segment] = []
    offset = 0
    while offset < extent:
        while lanes > extent - offset:
            lanes //= 2
        cut.append((offset, lanes))
        offset += lanes
    return cut


def points(cuts: list[Segment], body: Callable[[Any, int], Any], kind: str = "unrolled") -> Any:
    """``body(offset, lanes)`` for each segment, with the offset of each lane inside a vector loop."""

    def one(offset: Any, lanes: int) -> Any:
        if lanes == 1:
            return _in_memory(body(offset, 1), int64(0), 1)
        lane = tir.Var("lane", "int64")
        return _in_memory(body(offset + lane, lanes), lane, lanes)

    if not cuts:
        return sequence([])
    first = cuts[0][1]
    uniform = [c for c in cuts if c[1] == first]
    parts = []
    if uniform == [(k * first, first) for k in range(len(uniform))] and len(uniform) > 1:
        parts.append(loop(len(uniform), lambda k: one(k * int64(first), first), kind, "vec"))
        cuts = cuts[len(uniform) :]
    parts.extend(one(int64(offset), lanes) for offset, lanes in cuts)
    return sequence(parts)


def _in_memory(statement: Any, lane: Any, lanes: int) -> Any:
    """`statement` for all lanes, bound scalars kept in small buffers of one element a lane.

    TVM's simplifier puts the value of a bound scalar wherever it is used, which makes polynomials exponentially large;
    it leaves memory alone, and LLVM turns these buffers into registers. Each store is a vector loop of its own, because
    TVM moves a buffer that is used in one loop only into that loop.
    """
    held: list[Any] = []
    known: dict[Any, Any] = {}
    made = []

    def each(part: Any) -> Any:
        if lanes == 1:
            return part
        return loop(lanes, lambda x: substitute(part, {lane: x}), "vectorized", "lane")

    for part in statement.seq if isinstance(statement, tir.SeqStmt) else [statement]:
        if isinstance(part, tir.Bind):
            place = buffer(lanes, str(part.var.ty.dtype), str(part.var.name), "local")
            held.append(place)
            made.append(each(store(place, substitute(part.value, known), lane)))
            known[part.var] = load(place, lane)
        else:
            made.append(each(substitute(part, known)))
    return local(held, sequence(made), "point") if held else sequence(made)


def blocked(
    full: int, block: int, index: Any, body: Callable[[Any], Any], tail: Any = None, head: Any = None
) -> Any:
    """The tiles of block `index`: ``block`` of the ``full`` tiles, `head` before the first block's, `tail` after the last's.

    Parameters
    ----------
    full
        Tiles that `body` covers, numbered from 0.
    block
        Tiles in a block; one block holds all if ``block >= full``.
    index
        Number of the block (ignored if there is one).
    body
        Makes the statement of one tile from its number.
    tail, head
        Statements, or None.
    """
    count = -(-full // block) if full else 1
    if count <= 1:
        return sequence([head or sequence([]), loop(full, body, name="t"), tail or sequence([])])
    first = index * int64(block)
    extent: Any = int64(block) if full % block == 0 else tir.Min(int64(block), int64(full) - first)
    parts = [loop(extent, lambda t: body(first + t), name="t")]
    if head is not None:
        parts.insert(0, when(tir.EQ(index, int64(0)), head))
    if tail is not None:
        parts.append(when(tir.EQ(index, int64(count - 1)), tail))
    return sequence(parts)


def function(func: tir.PrimFunc, body: Any, buffers: list[Any]) -> tir.PrimFunc:
    """A function with the parameters of `func`, a new body, and `buffers` that live through it."""
    return tir.PrimFunc(list(func.params), local(buffers, body, "root"), func.ret_type, func.attrs)


def renamed(binds: tuple[tuple[Any, Any], ...], values: dict[Any, Any]) -> tuple[list[Any], dict[Any, Any]]:
    """Bind statements with fresh variables, and the substitution that later expressions need."""
    known = dict(values)
    made = []
    for var, value in binds:
        fresh = tir.Var(str(var.name), str(var.ty.dtype))
        made.append(tir.Bind(fresh, substitute(value, known)))
        known[var] = fresh
    return made, known


def buffer(elements: int, dtype: str, name: str, scope: str = "global") -> Any:
    """A flat buffer of its own."""
    return tir.decl_buffer((int64(elements),), dtype, name, scope=scope)


def load(source: Any, *indices: Any) -> Any:
    """An element of `source`."""
    return tir.BufferLoad(source, [*indices])


def store(target: Any, value: Any, *indices: Any) -> Any:
    """Write an element of `target`."""
    return tir.stmt.BufferStore(target, value, [*indices])


def is_var(node: Any) -> bool:
    """Whether `node` is a scalar variable."""
    return isinstance(node, expr_ir.Var)
