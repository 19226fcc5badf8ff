"""Phases without a reduction: elementwise arithmetic, broadcasts, padding, concatenation, transposes, resizing.

Neighbouring axes that every access walks alike become one; the last axis is cut where a condition changes its mind (the
seams of a concatenation), so that each piece is free of branches; a transposed read is done in square blocks, so that the
cache lines it touches are used up while they are there.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

from ..._tvm import Analyzer, expr_ir, tir, tvm, tvm_ffi
from . import nest
from .access import int64, stride, uses
from .base import Machine
from .estimate import lanes_of
from .mathfunc import vectorizable
from .phases import Phase, is_costly
from .program import Axis, op_name, substitute

__all__ = ["emit"]

# Elements (of cheap arithmetic) that a task should have at least, and below which one core does all.
_TASK = 8192
_SERIAL = 24576
_VECTORS = 4
_BLOCK = 16
# Lines a page apart share a set of the first-level cache, which has eight ways or more.
_NARROW = 8


def emit(phase: Phase, machine: Machine) -> Any:
    """The loop nest of an injective phase."""
    lanes = lanes_of(phase, machine)
    axes = [a for a in phase.axes if a.extent > 1]
    fixed = {a.var: int64(0) for a in phase.axes if a.extent == 1}
    if not axes:
        return nest.points([(0, 1)], lambda *_: _stores(phase, fixed))
    groups = _collapse(phase, axes)
    *outer, inner = groups
    weight = 8 if any(is_costly(v) for _, v in (*phase.binds, *phase.stores)) else 1
    total = math.prod(a.extent for a in axes)
    parallel = total * weight > _SERIAL
    crossed = _crossed(phase, outer, inner)

    def at(position: dict[Any, Any]) -> dict[Any, Any]:
        values = dict(fixed)
        for group in groups:
            values.update(_unpack(group, position[id(group)]))
        return values

    def row(position: dict[Any, Any], first: Any, cuts: list[nest.Segment], ranges: tuple[int, int]) -> Any:
        def one(offset: Any, _: int) -> Any:
            return _stores(phase, at({**position, id(inner): first + offset}), inner, ranges)

        return nest.points(cuts, one)

    def pieces(position: dict[Any, Any], tiles_of: Any) -> Any:
        parts = []
        seams = _seams(phase, inner)
        for begin, end in pairwise(seams):
            parts.append(tiles_of(position, begin, end))
        return nest.sequence(parts)

    def tiles(position: dict[Any, Any], begin: int, end: int, block: int = 0, index: Any = None) -> Any:
        width = min(_VECTORS, max(1, (end - begin) // lanes)) * lanes
        full, rest = divmod(end - begin, width)
        cuts = [(o, lanes) for o in range(0, width, lanes)]
        tail = None
        if rest:
            tail = row(position, int64(begin + full * width), nest.segments(rest, lanes), (begin, end))
        return nest.blocked(
            full,
            block or max(1, full),
            index,
            lambda t: row(position, t * int64(width) + int64(begin), cuts, (begin, end)),
            tail,
        )

    if not outer:
        extent = _extent(inner)
        seams = _seams(phase, inner)
        if parallel and len(seams) == 2:
            width = _VECTORS * lanes
            full = extent // width
            block = max(1, _TASK // weight // width)
            count = -(-full // block)
            return nest.loop(
                count, lambda i: tiles({}, 0, extent, block, i), "parallel" if count > 1 else "serial", "task"
            )
        return pieces({}, tiles)

    if crossed is not None:
        return _blocks(outer, inner, crossed, lanes, parallel, row, _side(phase, inner))
    extents = [_extent(g) for g in outer]
    count = math.prod(extents)
    per_row = _extent(inner) * weight
    block = max(1, min(count, -(-_TASK // per_row)))
    # Share evenly where there are few rows.
    if parallel and count // block < 4 * machine.cores:
        block = max(1, count // (4 * machine.cores))

    def one_row(index: Any) -> Any:
        position: dict[Any, Any] = {}
        for group, extent in zip(reversed(outer), reversed(extents), strict=True):
            position[id(group)] = index % int64(extent) if group is not outer[0] else index
            index = index // int64(extent)
        return pieces(position, tiles)

    if not parallel or block >= count:
        return _nested(outer, {}, lambda position: pieces(position, tiles))
    if block == 1:
        return nest.loop(count, one_row, "parallel", "task")
    tasks = -(-count // block)
    return nest.loop(tasks, lambda i: nest.blocked(count, block, i, one_row), "parallel", "task")


def _nested(groups: list[tuple[Axis, ...]], position: dict[Any, Any], body: Any) -> Any:
    if not groups:
        return body(position)
    return nest.loop(
        _extent(groups[0]), lambda x: _nested(groups[1:], {**position, id(groups[0]): x}, body), name="y"
    )


def _blocks(
    outer: list[tuple[Axis, ...]], inner: tuple[Axis, ...], crossed: int, lanes: int, parallel: bool, row: Any, side: int
) -> Any:
    """A transposed read: the crossed axis and the vector axis in blocks of `side` by `_BLOCK` elements."""
    other = outer[crossed]
    rest = [g for i, g in enumerate(outer) if i != crossed]
    extent, width = _extent(other), _extent(inner)
    lanes = min(lanes, side)
    full, tail = divmod(width, side)

    def block(position: dict[Any, Any], b: Any) -> Any:
        first = b * int64(_BLOCK)
        count: Any = int64(_BLOCK) if extent % _BLOCK == 0 else tir.Min(int64(_BLOCK), int64(extent) - first)

        def across(start: Any, cuts: list[nest.Segment]) -> Any:
            return nest.loop(
                count,
                lambda x: row({**position, id(other): first + x}, start, cuts, (0, width)),
                name="x",
            )

        whole = nest.loop(full, lambda t: across(t * int64(side), nest.segments(side, lanes)), name="t")
        ends = across(int64(full * side), nest.segments(tail, lanes)) if tail else nest.sequence([])
        return nest.sequence([whole, ends])

    counts = [*(_extent(g) for g in rest), -(-extent // _BLOCK)]

    def task(index: Any) -> Any:
        position: dict[Any, Any] = {}
        b = index % int64(counts[-1])
        index = index // int64(counts[-1])
        for group, size in zip(reversed(rest), reversed(counts[:-1]), strict=True):
            position[id(group)] = index % int64(size)
            index = index // int64(size)
        return block(position, b)

    return nest.loop(math.prod(counts), task, "parallel" if parallel else "serial", "task")


def _side(phase: Phase, inner: tuple[Axis, ...]) -> int:
    """Elements of a block along the vector axis: fewer where they lie so far apart that their cache lines displace each other."""
    ranges = {a.var: a.extent for a in phase.axes}
    apart = [stride(load, inner[-1].var, ranges) or 0 for load in phase.reads()]
    return _NARROW if any(a and a * 4 % 4096 == 0 for a in apart) else _BLOCK


def _stores(
    phase: Phase, values: dict[Any, Any], inner: tuple[Axis, ...] = (), ranges: tuple[int, int] | None = None
) -> Any:
    binds, stores = phase.binds, phase.stores
    if ranges is not None and len(inner) == 1:
        decided = _decider(inner[0], ranges)
        binds = tuple((v, decided(e)) for v, e in binds)
        stores = tuple((b, decided(e)) for b, e in stores)
    made, known = nest.renamed(binds, values)
    point = [substitute(a.var, known) for a in phase.axes]
    return vectorizable(
        nest.sequence([*made, *(nest.store(b, substitute(e, known), *point) for b, e in stores)])
    )


def _decider(axis: Axis, ranges: tuple[int, int]) -> Any:
    """A rewrite of expressions with the conditions decided that hold or fail all along a piece of `axis`."""
    analyzer = Analyzer()
    begin, end = ranges
    analyzer.bind(axis.var, tvm.ir.Range.from_min_extent(int64(begin), int64(end - begin)))

    def call(node: Any) -> Any:
        if op_name(node) != "if_then_else" or not uses(node.args[0], axis.var):
            return node
        condition = analyzer.simplify(node.args[0])
        if isinstance(condition, tir.IntImm):
            return node.args[1] if int(condition) else node.args[2]
        return node

    def select(node: Any) -> Any:
        if not uses(node.condition, axis.var):
            return node
        condition = analyzer.simplify(node.condition)
        if isinstance(condition, tir.IntImm):
            return node.true_value if int(condition) else node.false_value
        return node

    return lambda e: tvm_ffi.structural_map(e, [(expr_ir.Call, call), (tir.Select, select)])


def _seams(phase: Phase, inner: tuple[Axis, ...]) -> list[int]:
    """Where to cut the vector axis: its ends, and each constant that a condition compares it with."""
    extent = _extent(inner)
    if len(inner) != 1:
        return [0, extent]
    var = inner[0].var
    found = {0, extent}

    def compare(node: Any) -> None:
        for a, b, sign in ((node.a, node.b, 1), (node.b, node.a, -1)):
            if not uses(a, var) or uses(b, var):
                continue
            terms = tvm.sym.detect_linear_equation(a - b, [var])
            if not terms or not all(isinstance(t, tir.IntImm) for t in terms) or int(terms[0]) == 0:
                continue
            factor, offset = int(terms[0]), int(terms[1])
            # The comparison of factor·v + offset with 0 can change between v and v + 1 only here.
            root = -offset / factor
            found.update(
                x for x in (math.floor(root), math.ceil(root), math.floor(root) + 1) if 0 < x < extent
            )
            del sign

    kinds = (tir.LT, tir.LE, tir.GT, tir.GE, tir.EQ, tir.NE)
    for _, value in (*phase.binds, *phase.stores):
        tvm_ffi.structural_walk(value, (kinds, compare))
    return sorted(found) if len(found) <= 18 else [0, extent]


def _crossed(phase: Phase, outer: list[tuple[Axis, ...]], inner: tuple[Axis, ...]) -> int | None:
    """The outer group along which a read is contiguous that strides along the vector axis."""
    ranges = {a.var: a.extent for a in phase.axes}
    last = inner[-1]
    if _extent(inner) < 4:
        return None
    for load in phase.reads():
        if stride(load, last.var, ranges) in (0, 1):
            continue
        for i, group in enumerate(outer):
            if _extent(group) >= 4 and stride(load, group[-1].var, ranges) == 1:
                return i
    return None


def _collapse(phase: Phase, axes: list[Axis]) -> list[tuple[Axis, ...]]:
    """Neighbouring axes that every access walks like one axis."""
    ranges = {a.var: a.extent for a in phase.axes}
    reads = phase.reads()
    conditions: list[Any] = []
    kinds = (tir.LT, tir.LE, tir.GT, tir.GE, tir.EQ, tir.NE, tir.FloorDiv, tir.FloorMod, tir.Cast)
    for _, value in (*phase.binds, *phase.stores):
        tvm_ffi.structural_walk(value, (kinds, conditions.append))
    held = {a.var for a in axes if any(uses(c, a.var) for c in conditions)}
    # A variable in plain arithmetic (an iota, say) must stay itself.
    bare = {a.var for a in axes for _, v in (*phase.binds, *phase.stores) if _outside_loads(v, a.var)}
    groups: list[tuple[Axis, ...]] = [(axes[-1],)]
    for axis in reversed(axes[:-1]):
        inner = groups[0]
        whole = _extent(inner)
        alike = axis.var not in held | bare and not any(a.var in held | bare for a in inner)
        for load in reads if alike else []:
            a, b = stride(load, axis.var, ranges), stride(load, inner[-1].var, ranges)
            if a is None or b is None or a != b * whole:
                alike = False
                break
        if alike:
            groups[0] = (axis, *inner)
        else:
            groups.insert(0, (axis,))
    return groups


def _outside_loads(value: Any, var: Any) -> bool:
    if not uses(value, var):
        return False
    bare = tvm_ffi.structural_map(value, (expr_ir.TensorLoad, lambda n: tir.const(0, str(n.source.ty.dtype))))
    return uses(bare, var)


def _extent(group: tuple[Axis, ...]) -> int:
    return math.prod(a.extent for a in group)


def _unpack(group: tuple[Axis, ...], position: Any) -> dict[Any, Any]:
    """The variables of a group of axes at a position of the axis they collapsed into."""
    values: dict[Any, Any] = {}
    for i in range(len(group) - 1, -1, -1):
        values[group[i].var] = position % int64(group[i].extent) if i > 0 else position
        position = position // int64(group[i].extent)
    return values
