"""What a scheduled CPU kernel executes: vector instructions, loads, stores and loop steps, counted from its loops.

Counted are the loops as the code generator gets them, so that two schedules of one computation count differently. A load
that does not move with an unrolled loop around it is loaded once for the whole loop (it stays in a register), accumulators
in local memory are registers, and a condition counts with the share of points at which it holds.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from .._tvm import expr_ir, tir
from ..graph.tir_blocks import shape_of
from .indices import POINTS, Indices, children
from .touched import Access, Touched

__all__ = ["COUNTING", "Counts", "count"]

#: Changes with what is counted: counts that were stored under another number are counted anew.
COUNTING = 3
_VECTOR_BYTES = 64


class Counts(msgspec.Struct, frozen=True, array_like=True):
    """What one run executes, all parallel tasks together. An instruction works on one vector register.

    Attributes
    ----------
    tasks, regions
        Iterations of the largest parallel loop (1: none), and how often threads are woken: runs of parallel loops.
    serial
        Share of the instructions outside parallel loops.
    fused
        Multiply-adds and other plain arithmetic: additions, products, minima, comparisons, casts.
    slow
        Divisions and transcendental functions.
    vector_loads, scalar_loads, gathers
        Loads of neighbouring elements, of one element (spread over a vector), and of elements apart.
    stores, scattered
        Stores of neighbouring elements or of one, and of elements apart.
    steps
        Steps of loops that are neither unrolled nor vectorized.
    chains
        Length of dependent arithmetic: instructions of accumulations over how many accumulators go on side by side. Unrolled
        steps of a reduction go on in the same accumulator.
    lanes
        Share of the vectors' lanes that is used, weighted by arithmetic.
    size
        Statements that the generated code holds after unrolling.
    scratch
        Bytes of buffers inside that are no registers.
    lines
        Cache lines touched (`gacer_tvm.kernels.touched`).
    """

    tasks: int
    regions: int
    serial: float
    fused: float
    slow: float
    vector_loads: float
    scalar_loads: float
    gathers: float
    stores: float
    scattered: float
    steps: float
    chains: float
    lanes: float
    size: float
    scratch: float
    lines: float


def count(func: Any) -> Counts:
    """Count what a scheduled PrimFunc with fixed extents executes."""
    counter = _Counter()
    counter.visit(func.body, _Place((), 1.0, np.ones(POINTS), 0))
    return counter.result()


class _Place(NamedTuple):
    """Where a statement stands: its loops, how often they run it, the weight of each sample point, parallel loops around."""

    loops: tuple[tuple[Any, int, str], ...]
    times: float
    held: NDArray[np.float64]
    parallel: int


class _Counter:
    def __init__(self) -> None:
        self.total = dict.fromkeys(
            ("fused", "slow", "vector_loads", "scalar_loads", "gathers", "stores", "scattered", "steps", "chains", "size"), 0.0
        )
        self.lanes = self.arithmetic = self.outside = self.scratch = 0.0
        self.tasks, self.regions = 1, 0
        self.indices = Indices()
        self.touched = Touched(self.indices)
        self.local: set[Any] = set()
        self.rng = np.random.default_rng(0)

    def result(self) -> Counts:
        whole = self._sum() or 1.0
        return Counts(
            tasks=self.tasks,
            regions=self.regions,
            serial=round(self.outside / whole, 4),
            lanes=round(self.lanes / self.arithmetic, 4) if self.arithmetic else 1.0,
            scratch=self.scratch,
            lines=round(self.touched.lines(), 1),
            **{name: round(value, 1) for name, value in self.total.items()},
        )

    def visit(self, stmt: Any, at: _Place) -> None:
        if isinstance(stmt, tir.For):
            self.loop(stmt, at)
        elif isinstance(stmt, tir.SeqStmt):
            for part in stmt:
                self.visit(part, at)
        elif isinstance(stmt, tir.IfThenElse):
            self.branch(stmt, at)
        elif isinstance(stmt, tir.BufferStore):
            self.store(stmt, at)
        elif hasattr(stmt, "block"):
            self.realize(stmt, at)
        elif hasattr(stmt, "body"):
            self.visit(stmt.body, at)

    def realize(self, stmt: Any, at: _Place) -> None:
        for var, value in zip(stmt.block.iter_vars, stmt.iter_values):
            self.indices.bind(var.var, value)
        for buffer in stmt.block.alloc_buffers:
            if str(buffer.scope()) == "local":
                self.local.add(buffer)
            else:
                self.scratch += math.prod(shape_of(buffer)) * _itemsize(buffer)
        if not isinstance(stmt.predicate, tir.IntImm):
            at = at._replace(held=at.held * (np.asarray(self.indices.value(stmt.predicate)) != 0))
        if stmt.block.init is not None:
            self.visit(stmt.block.init, self.first(stmt, at))
        self.visit(stmt.block.body, at)

    def loop(self, stmt: Any, at: _Place) -> None:
        # An extent that differs from point to point: the longest, and the points weighted by their share of it.
        extents = np.broadcast_to(np.maximum(self.indices.value(stmt.extent), 0), (POINTS,))
        extent = max(1, int(extents.max()))
        kind, parallel, held = _kind(stmt), at.parallel, at.held * (extents / extent)
        self.indices.samples[stmt.loop_var] = (self.rng.random(POINTS) * extents).astype(np.int64) + self.indices.value(stmt.min)
        if kind == "parallel":
            self.tasks = max(self.tasks, extent)
            self.regions += 0 if parallel else max(1, round(at.times * float(at.held.mean())))
            parallel += 1
        if kind in ("serial", "parallel"):
            # A loop inside vectors steps for all lanes at once.
            steps = at.times / _lanes(at.loops) * extent * float(held.mean())
            self.total["steps"] += steps
            self.outside += 0.0 if parallel else steps
        self.visit(stmt.body, _Place((*at.loops, (stmt.loop_var, extent, kind)), at.times * extent, held, parallel))

    def branch(self, stmt: Any, at: _Place) -> None:
        holds = np.broadcast_to(np.asarray(self.indices.value(stmt.condition)) != 0, (POINTS,))
        self.visit(stmt.then_case, _Place(at.loops, at.times, at.held * holds, at.parallel))
        if stmt.else_case is not None:
            self.visit(stmt.else_case, _Place(at.loops, at.times, at.held * ~holds, at.parallel))

    def store(self, stmt: Any, at: _Place) -> None:
        lanes = _lanes(at.loops)
        width = max(1, _VECTOR_BYTES // _itemsize(stmt.buffer))
        vectors = -(-lanes // width)
        # Every vector of it once; the weights of the points say how often.
        times = at.times / lanes * vectors
        before = self._sum()
        plain, slow, loads = self.expression(stmt.value, at.held, _lane(at.loops))
        self.total["fused"] += plain * times
        self.total["slow"] += slow * times
        self.lanes += (plain + slow) * times * lanes / (vectors * width)
        self.arithmetic += (plain + slow) * times
        self.total["size"] += _unrolled(at.loops) * vectors
        for load, weight in loads:
            if load.source not in self.local:
                kind = self.access(load.source, load.indices, at.loops, "load", weight)
                self.total[kind] += weight * times / self.reuse(load.indices, at.loops)
        if stmt.buffer not in self.local:
            share = float(at.held.mean())
            self.total[self.access(stmt.buffer, stmt.indices, at.loops, "store", share)] += times * share
        elif any(load.source.same_as(stmt.buffer) for load, _ in loads):
            beside = math.prod(n for var, n, kind in at.loops if kind == "unrolled" and self.indices.moves(stmt.indices, var))
            self.total["chains"] += times * float(at.held.mean()) / (beside * vectors)
        if not at.parallel:
            self.outside += self._sum() - before

    def _sum(self) -> float:
        return sum(v for k, v in self.total.items() if k not in ("size", "chains"))

    def expression(self, expr: Any, held: Any, lane: Any) -> tuple[float, float, list[tuple[Any, float]]]:
        """Plain and slow operations of an expression without its index arithmetic, and its loads, each with its weight.

        A product that is added to something is one operation with the addition. What stands under a condition that is
        the same for all lanes counts where the condition holds.
        """
        plain = slow = 0.0
        found: list[tuple[Any, float]] = []
        pending = [(expr, held)]
        while pending:
            node, share = pending.pop()
            weight = float(share.mean())
            if isinstance(node, expr_ir.TensorLoad):
                found.append((node, weight))
                continue
            if isinstance(node, expr_ir.Call):
                name = str(getattr(node.op, "name", "")).rpartition(".")[2]
                if name == "if_then_else":
                    condition, then, other = list(node.args)[:3]
                    holds = np.broadcast_to(np.asarray(self.indices.value(condition)) != 0, (POINTS,))
                    same = lane is None or not self.indices.uses(condition, lane)
                    plain += weight
                    pending += [(then, share * holds if same else share), (other, share * ~holds if same else share)]
                    continue
                slow += weight * (name in _SLOW)
                plain += weight * (name not in _SLOW)
            elif isinstance(node, _SLOW_NODES):
                slow += weight
            elif isinstance(node, tir.Add) and (isinstance(node.a, tir.Mul) or isinstance(node.b, tir.Mul)):
                pass  # counted with the product
            elif not isinstance(node, tir.IntImm | tir.FloatImm | expr_ir.Var):
                plain += weight
            pending += [(child, share) for child in children(node)]
        return plain, slow, found

    def first(self, realize: Any, at: _Place) -> _Place:
        """Where a block's initial values are set: once, before the loops that its reduction goes through."""
        sums = [iter_var.var for iter_var in realize.block.iter_vars if int(iter_var.iter_type) == tir.IterVar.CommReduce]
        loops = tuple(loop for loop in at.loops if not self.indices.moves(sums, loop[0]))
        again = math.prod(extent for _, extent, _ in at.loops) / math.prod(extent for _, extent, _ in loops)
        return at._replace(loops=loops, times=at.times / again)

    def reuse(self, indices: Any, loops: tuple[Any, ...]) -> float:
        """How many unrolled copies share one load."""
        shared = 1.0
        for var, extent, kind in reversed(loops):
            if kind in ("serial", "parallel"):
                break
            if kind == "unrolled" and not self.indices.moves(indices, var):
                shared *= extent
        return shared

    def access(self, buffer: Any, indices: Any, loops: tuple[Any, ...], what: str, share: float) -> str:
        shape = tuple(int(extent) if isinstance(extent, tir.IntImm) else 0 for extent in buffer.ty.shape)
        self.touched.access(Access(buffer, shape, _itemsize(buffer), tuple(indices), share), loops)
        lane = _lane(loops)
        if lane is None or not self.indices.moves(indices, lane):
            return "scalar_loads" if what == "load" else "stores"
        # Dimensions of one element behind the one that moves do not tear neighbours apart.
        if self.indices.step(indices, shape, lane) == 1:
            return "vector_loads" if what == "load" else "stores"
        return "gathers" if what == "load" else "scattered"


_SLOW = frozenset({
    "exp", "exp2", "exp10", "log", "log2", "log10", "log1p", "tanh", "sigmoid", "erf", "sqrt", "rsqrt", "pow", "sin", "cos",
    "tan", "sinh", "cosh", "asin", "acos", "atan", "asinh", "acosh", "atanh", "atan2", "fmod",
})  # fmt: skip
_SLOW_NODES = (tir.Div, tir.Mod, tir.FloorDiv, tir.FloorMod)


def _kind(stmt: Any) -> str:
    name = str(stmt.kind).rpartition(".")[2].lower()
    kinds = {"0": "serial", "1": "parallel", "2": "vectorized", "3": "unrolled"}
    return kinds.get(name, name)


def _itemsize(buffer: Any) -> int:
    digits = "".join(c for c in str(buffer.ty.dtype).partition("x")[0] if c.isdigit())
    return max(1, int(digits or 8) // 8)


def _lane(loops: tuple[Any, ...]) -> Any:
    return next((var for var, extent, kind in reversed(loops) if kind == "vectorized" and extent > 1), None)


def _lanes(loops: tuple[Any, ...]) -> int:
    return math.prod(extent for _, extent, kind in loops if kind == "vectorized")


def _unrolled(loops: tuple[Any, ...]) -> float:
    return float(math.prod(extent for _, extent, kind in loops if kind == "unrolled"))
