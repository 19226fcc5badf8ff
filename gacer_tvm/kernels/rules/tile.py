"""Reductions in register tiles: rows × vectors of accumulators that stay in registers while the reduction runs.

    for task in parallel(tasks):                      # plain axes, blocks of vector tiles, blocks of row tiles
      for vt, q, rt in the task:
        acc[rows, vectors·lanes] = init
        for k in reduce: acc[i, j] += term            # i, j unrolled, j in vectors
        out[…] = epilogue(acc)                        # the stages fused behind the reduction

Padding is never copied: a padded read is a guard on the term. Guards on the row axis are decided where the tile is made:
tiles at the border are emitted on their own with the padding left out, tiles inside have no guard. Other guards become
branches around whole inner loops.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..._tvm import tir
from . import nest
from .access import decide, int64, operations, split_guards, uses, variables
from .base import NotApplicable
from .mathfunc import vectorizable
from .phases import Phase
from .program import Axis, substitute

__all__ = ["Plan", "emit"]

# Vector operations of a tile's epilogue from which on it is a loop.
_ROLLED = 96

_OPS = {"sum": tir.Add, "max": tir.Max, "min": tir.Min, "prod": tir.Mul}


@dataclass(frozen=True)
class Plan:
    """How a reduction is tiled.

    Attributes
    ----------
    vector
        Number of the axis whose elements share a vector register.
    lanes, vectors
        Elements of a vector, and vectors side by side in a tile.
    row, rows
        Number of the axis that is unrolled in the tile (None: no rows), and how many of its elements.
    order
        The reduction axes (numbers), outermost first.
    unrolled
        Reduction axes (numbers) that are unrolled.
    plain_block, vector_block, row_block
        Points of the last plain axis, vector tiles and row tiles that one task does.
    parallel
        Whether tasks are spread over cores.
    """

    vector: int
    lanes: int
    vectors: int
    row: int | None
    rows: int
    order: tuple[int, ...]
    unrolled: frozenset[int]
    plain_block: int = 1
    vector_block: int = 1
    row_block: int = 1
    parallel: bool = False


def emit(phase: Phase, plan: Plan) -> Any:
    """The loop nest of `phase`, tiled as `plan` says."""
    return _Tiler(phase, plan).loops()


class _Tiler:
    def __init__(self, phase: Phase, plan: Plan) -> None:
        self.phase, self.plan = phase, plan
        self.v = phase.axes[plan.vector]
        self.r = phase.axes[plan.row] if plan.row is not None else None
        taken = {plan.vector, plan.row}
        units = {a.var: int64(0) for i, a in enumerate(phase.axes) if a.extent == 1 and i not in taken}
        self.fixed: dict[Any, Any] = dict(units)
        self.plain = [a for i, a in enumerate(phase.axes) if i not in taken and a.extent > 1]
        self.guards, self.term = split_guards(phase.term, str(phase.combine), phase.init)
        self.weight = sum(operations(v) for _, v in (*phase.binds, *phase.stores))
        self.ks = [phase.reduce[k] for k in plan.order]
        if any(uses(g, self.v.var) for g in self.guards):
            raise NotApplicable("a guard depends on the vector axis")

    # Loops outside the tile.

    def loops(self) -> Any:
        plan = self.plan
        width = plan.vectors * plan.lanes
        self.v_full, self.v_tail = divmod(self.v.extent, width)
        self.inside = self._row_tiles()
        outer = self.plain[:-1] if self.plain else []
        last = self.plain[-1] if self.plain else None
        counts = [a.extent for a in outer]
        q_blocks = -(-last.extent // plan.plain_block) if last else 1
        v_blocks = max(1, -(-self.v_full // plan.vector_block))
        r_blocks = max(1, -(-self.inside[1] // plan.row_block))
        counts += [q_blocks, v_blocks, r_blocks]
        total = 1
        for c in counts:
            total *= c

        def task(index: Any) -> Any:
            numbers: list[Any] = []
            for c in reversed(counts):
                numbers.append(int64(0) if c == 1 else index if c == total else index % int64(c))
                index = index if c == 1 else index // int64(c)
            *outers, q, v, r = reversed(numbers)
            at = {**self.fixed, **{a.var: n for a, n in zip(outer, outers, strict=True)}}
            return self._task(at, last, q, v, r)

        return nest.loop(total, task, "parallel" if plan.parallel else "serial", "task")

    def _task(self, at: dict[Any, Any], last: Axis | None, q: Any, v: Any, r: Any) -> Any:
        plan = self.plan
        width = plan.vectors * plan.lanes

        def columns(v0: Any, cuts: list[nest.Segment]) -> Any:
            if last is None:
                return self._rows(at, v0, cuts, r)
            return nest.blocked(
                last.extent, plan.plain_block, q, lambda i: self._rows({**at, last.var: i}, v0, cuts, r)
            )

        tail = None
        if self.v_tail:
            tail = columns(int64(self.v_full * width), nest.segments(self.v_tail, plan.lanes))
        full = [(j * plan.lanes, plan.lanes) for j in range(plan.vectors)]
        return nest.blocked(
            self.v_full, plan.vector_block, v, lambda t: columns(t * int64(width), full), tail
        )

    def _rows(self, at: dict[Any, Any], v0: Any, cuts: list[nest.Segment], block: Any) -> Any:
        if self.r is None:
            return self._tile(at, v0, cuts, None, 1)
        heads, full, tails, first, _ = self.inside

        def static(parts: list[tuple[int, int]]) -> Any:
            if not parts:
                return None
            return nest.sequence([self._tile(at, v0, cuts, int64(r0), rows) for r0, rows in parts])

        def inner(t: Any) -> Any:
            return self._tile(
                at, v0, cuts, t * int64(self.plan.rows) + int64(first), self.plan.rows, inside=True
            )

        return nest.blocked(full, self.plan.row_block, block, inner, static(tails), static(heads))

    def _row_tiles(self) -> tuple[list[tuple[int, int]], int, list[tuple[int, int]], int, bool]:
        """Border tiles before, tiles inside, border tiles after, where the inside starts, whether it has no guards."""
        if self.r is None:
            return [], 1, [], 0, True
        rows, extent = self.plan.rows, self.r.extent
        starts = [(s, min(rows, extent - s)) for s in range(0, extent, rows)]
        edges = [g for g in self.guards if uses(g, self.r.var)]

        row = self.r.var

        def clear(tile: tuple[int, int]) -> bool:
            ranges = {a.var: (0, a.extent) for a in (*self.phase.axes, *self.phase.reduce)}
            ranges[row] = tile
            return tile[1] == rows and all(decide(g, ranges) for g in edges)

        if edges:
            first, last = 0, len(starts)
            while first < last and not clear(starts[first]):
                first += 1
            while last > first and not clear(starts[last - 1]):
                last -= 1
            if first < last and last - first > 1:
                ranges = {a.var: (0, a.extent) for a in (*self.phase.axes, *self.phase.reduce)}
                ranges[self.r.var] = (starts[first][0], starts[last - 1][0] + rows - starts[first][0])
                if not all(decide(g, ranges) for g in edges):
                    first = last = len(starts)
        else:
            first, last = 0, len(starts) - (starts[-1][1] < rows)
        clear_inside = True
        if len(starts) - (last - first) > 6:
            # Guards that no stretch of rows is free of: keep them as branches.
            last = len(starts) - (starts[-1][1] < rows)
            first, clear_inside = 0, False
        return (
            starts[:first],
            last - first,
            starts[last:],
            starts[first][0] if first < last else 0,
            clear_inside,
        )

    # One tile.

    def _tile(
        self, at: dict[Any, Any], v0: Any, cuts: list[nest.Segment], r0: Any, rows: int, inside: bool = False
    ) -> Any:
        phase = self.phase
        width = sum(lanes for _, lanes in cuts)
        acc = nest.buffer(rows * width, str(phase.result.ty.dtype), "acc", "local")
        combine = _OPS[str(phase.combine)]

        def place(i: Any, offset: Any) -> tuple[dict[Any, Any], Any]:
            values = {**at, self.v.var: v0 + offset}
            if self.r is not None:
                values[self.r.var] = r0 + i
            return values, i * int64(width) + offset

        def init(i: Any, offset: Any, _: int) -> Any:
            values, slot = place(i, offset)
            return nest.store(acc, substitute(phase.init, values), slot)

        rolled = self.weight * rows * len(cuts) > _ROLLED
        done = nest.buffer(rows * width, str(phase.result.ty.dtype), "done", "local") if rolled else acc

        def move(i: Any, offset: Any, _: int) -> Any:
            slot = place(i, offset)[1]
            return nest.store(done, nest.load(acc, slot), slot)

        def finish(i: Any, offset: Any, _: int) -> Any:
            values, slot = place(i, offset)
            values[phase.result] = nest.load(done, slot)
            binds, values = nest.renamed(phase.binds, values)
            point = [substitute(a.var, values) for a in phase.axes]
            stores = [nest.store(b, substitute(value, values), *point) for b, value in phase.stores]
            return vectorizable(nest.sequence([*binds, *stores]))

        def all_points(body: Any, kind: str = "unrolled") -> Any:
            return nest.loop(rows, lambda i: nest.points(cuts, lambda o, n: body(i, o, n), kind), kind, "row")

        def update(i: Any, ks: dict[Any, Any]) -> Any:
            def one(offset: Any, _: int) -> Any:
                values, slot = place(i, offset)
                term = substitute(self.term, {**values, **ks})
                return vectorizable(nest.store(acc, combine(nest.load(acc, slot), term), slot))

            return nest.points(cuts, one)

        static = self.r is not None and isinstance(r0, tir.IntImm) and not inside
        middle = self._reduce(at, r0, rows, update, static, inside)
        if not rolled:
            return nest.local([acc], nest.sequence([all_points(init), middle, all_points(finish)]))
        # A long epilogue is a loop over memory: unrolled it would be most of the kernel's code. The accumulators
        # themselves may only be indexed by constants, or they would not stay in registers.
        ends = [all_points(move), all_points(finish, "serial")]
        return nest.local([acc, done], nest.sequence([all_points(init), middle, *ends]))

    def _reduce(self, at: dict[Any, Any], r0: Any, rows: int, update: Any, static: bool, inside: bool) -> Any:
        edges = [g for g in self.guards if self.r is not None and uses(g, self.r.var)]
        others = [g for g in self.guards if g not in edges]
        if inside and self.inside[4]:
            edges = []
        # In a tile at the border, the reduction axes that decide the padding are unrolled here and now.
        spelled = {k.var for k in self.ks if static and any(uses(g, k.var) for g in edges)}

        def level(n: int, ks: dict[Any, Any], open_guards: list[Any]) -> Any:
            ready = [g for g in open_guards if not any(uses(g, k.var) for k in self.ks[n:])]
            rest = [g for g in open_guards if not any(g.same_as(r) for r in ready)]
            if n == len(self.ks):
                body = self._all_rows(r0, rows, ks, at, edges, update)
            else:
                axis = self.ks[n]
                if axis.var in spelled:
                    body = nest.sequence(
                        [level(n + 1, {**ks, axis.var: int64(x)}, rest) for x in range(axis.extent)]
                    )
                else:
                    kind = "unrolled" if self.plan.order[n] in self.plan.unrolled else "serial"
                    body = nest.loop(
                        axis.extent,
                        lambda x: level(n + 1, {**ks, axis.var: x}, rest),
                        kind,
                        str(axis.var.name),
                    )
            for guard in reversed(ready):
                condition = self._known(substitute(guard, {**at, **ks}))
                body = nest.sequence([]) if condition is False else nest.when(condition, body)
            return body

        return level(0, {}, others)

    def _all_rows(
        self, r0: Any, rows: int, ks: dict[Any, Any], at: dict[Any, Any], edges: list[Any], update: Any
    ) -> Any:
        if self.r is None or not edges:
            return nest.loop(rows, lambda i: update(i, ks), "unrolled", "row")
        # Rows next to each other mostly share their fate: one unrolled loop for each stretch of them.
        fates: list[tuple[Any, int, int]] = []
        for i in range(rows):
            fate = self._fate([substitute(g, {**at, **ks, self.r.var: r0 + int64(i)}) for g in edges])
            if fates and fate is True and fates[-1][0] is True and fates[-1][2] == i:
                fates[-1] = (True, fates[-1][1], i + 1)
            elif fate is not False:
                fates.append((fate, i, i + 1))
        parts = []
        for fate, begin, end in fates:

            def stretch(i: Any, first: int = begin) -> Any:
                return update(i + int64(first), ks)

            body = nest.loop(end - begin, stretch, "unrolled", "row")
            parts.append(nest.when(fate, body))
        return nest.sequence(parts)

    def _fate(self, guards: list[Any]) -> Any:
        """Whether a row takes part: True, False, or the condition left over."""
        left: Any = True
        for guard in guards:
            known = self._known(guard)
            if known is False:
                return False
            if known is not True:
                left = known if left is True else tir.And(left, known)
        return left

    def _known(self, condition: Any) -> Any:
        """True, False, or the condition itself."""
        ranges = {a.var: (0, a.extent) for a in (*self.phase.axes, *self.phase.reduce)}
        free = {v: ranges[v] for v in variables(condition) if v in ranges}
        known = decide(condition, free)
        return condition if known is None else known
