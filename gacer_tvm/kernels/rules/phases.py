"""A program cut into phases: what is computed together at each point of one iteration space.

Injective stages are inlined into what reads them; a stage that one phase reads several times at its own point becomes a
bound scalar; a reduction takes the elementwise stages that follow it along as its epilogue.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from ..._tvm import Analyzer, expr_ir, tir, tvm, tvm_ffi
from .base import NotApplicable
from .program import Axis, Program, Stage, loads, op_name, substitute

__all__ = ["Phase", "is_costly", "phases"]

# Calls that cost tens of cycles: computed once, even if that needs a buffer.
_COSTLY = ("exp", "tanh", "erf", "sigmoid", "log", "pow", "sin", "cos", "tan", "atan", "asin", "acos")

# A stage that computes, read by a phase with this many times its points, is computed once and stored.
_BROADCAST = 4

# An expression inlined over and over grows exponentially; kernels this big are left to other rules.
_LARGEST = 4000


@dataclass(frozen=True)
class Phase:
    """For each point of `axes`: reduce `term` into `result`, bind `binds`, store `stores`.

    Attributes
    ----------
    axes
        The iteration space, in the order of the stored buffers' dimensions.
    stores
        Buffers and values; each is stored at the point itself.
    binds
        Scalars that the stores share, in order.
    reduce, combine, init, term
        The reduction, if there is one.
    result
        The scalar variable that stands for the reduced value in `binds` and `stores`.
    """

    axes: tuple[Axis, ...]
    stores: tuple[tuple[Any, Any], ...]
    binds: tuple[tuple[Any, Any], ...] = ()
    reduce: tuple[Axis, ...] = ()
    combine: str | None = None
    init: Any = None
    term: Any = None
    result: Any = None

    @property
    def point(self) -> tuple[Any, ...]:
        """The variables of `axes`: the indices of every store."""
        return tuple(a.var for a in self.axes)

    def reads(self) -> list[Any]:
        """Every load of the phase, of the term first."""
        nodes = [self.term, self.init, *(v for _, v in self.binds), *(v for _, v in self.stores)]
        return [load for node in nodes if node is not None for load in loads(node)]


def phases(program: Program, materialize: frozenset[Any] = frozenset()) -> list[Phase]:
    """Cut `program` into phases; the buffers in `materialize` are computed and stored rather than inlined."""
    return _Cutter(program, materialize).cut()


class _Cutter:
    def __init__(self, program: Program, materialize: frozenset[Any]) -> None:
        # Reshapes leave quotients and remainders that hide where a stage reads another at its own point.
        program = replace(program, stages=tuple(replace(s, value=_simplified(s.value, s)) for s in program.stages))
        self.program = program
        self.stages = {s.buffer: s for s in program.stages}
        self.kept: set[Any] = set(program.outputs) | {b for b in materialize if b in self.stages}
        self.kept |= {s.buffer for s in program.stages if s.reduce}
        self.kept |= self._costly()
        self.closed: dict[Any, Any] = {}

    def cut(self) -> list[Phase]:
        made: list[Phase] = []
        merged = self._epilogues()
        for stage in self.program.stages:
            if stage.buffer not in self.kept or stage.buffer in merged:
                continue
            last = next((end for r, end in merged.items() if end.same_as(stage.buffer)), None)
            source = next(
                (r for r, end in merged.items() if last is not None and end.same_as(stage.buffer)), None
            )
            made.append(self._phase(stage, self.stages[source] if source is not None else None))
        return made

    def _costly(self) -> set[Any]:
        """Injective stages that would be computed again and again: dear ones twice, others for a broadcast."""
        readers: dict[Any, set[Any]] = {}
        for stage in self.program.stages:
            for load in loads(stage.value):
                readers.setdefault(load.source, set()).add(stage.buffer)
        found: set[Any] = set()
        for stage in self.program.stages:
            if stage.reduce or stage.buffer not in readers or not _computes(stage.value):
                continue
            ends = self._ends(stage.buffer, readers, set())
            most = max((_points(self.stages[e]) for e in ends), default=0)
            costly = is_costly(stage.value)
            if most >= _BROADCAST * _points(stage) or (costly and (len(ends) > 1 or most > _points(stage))):
                found.add(stage.buffer)
        return found

    def _ends(self, buffer: Any, readers: dict[Any, set[Any]], seen: set[Any]) -> set[Any]:
        """The kept stages that read `buffer` through inlined ones."""
        ends: set[Any] = set()
        for reader in readers.get(buffer, ()):
            if reader in self.kept:
                ends.add(reader)
            elif reader not in seen:
                seen.add(reader)
                ends |= self._ends(reader, readers, seen)
        return ends

    def _epilogues(self) -> dict[Any, Any]:
        """Reduction buffer → the kept stage that takes it along as its epilogue."""
        found: dict[Any, Any] = {}
        order = {s.buffer: i for i, s in enumerate(self.program.stages)}
        for stage in reversed(self.program.stages):
            if not stage.reduce or stage.buffer in self.program.outputs:
                continue
            readers = [
                s for s in self.program.stages if s.buffer in self.kept and self._reads(s, stage.buffer)
            ]
            if len(readers) != 1 or readers[0].reduce or readers[0].buffer in found.values():
                continue
            end = readers[0]
            if [a.extent for a in end.axes] != [a.extent for a in stage.axes]:
                continue
            # Everything else the end reads must be there when the reduction runs.
            others = {b for b in self._sources(end) if b in self.stages and not b.same_as(stage.buffer)}
            if any(order[b] > order[stage.buffer] for b in others):
                continue
            if self._only_at_point(end, stage.buffer):
                found[stage.buffer] = end.buffer
        return found

    def _sources(self, stage: Stage) -> set[Any]:
        """Buffers that the closed value of `stage` loads."""
        return {load.source for load in loads(self._close(stage))}

    def _reads(self, stage: Stage, buffer: Any) -> bool:
        return any(b.same_as(buffer) for b in self._sources(stage))

    def _only_at_point(self, end: Stage, buffer: Any) -> bool:
        point = [a.var for a in end.axes]
        for load in loads(self._close(end)):
            if load.source.same_as(buffer) and not _same(load.indices, point, end.axes):
                return False
        return True

    def _close(self, stage: Stage) -> Any:
        """The value of `stage` with every inlined stage put in."""
        if stage.buffer not in self.closed:
            self.closed[stage.buffer] = _simplified(self._inline(stage.value), stage)
        return self.closed[stage.buffer]

    def _inline(self, value: Any) -> Any:
        def put(load: Any) -> Any:
            if load.source not in self.stages or load.source in self.kept:
                return load
            inner = self.stages[load.source]
            return substitute(
                self._close(inner), dict(zip((a.var for a in inner.axes), load.indices, strict=True))
            )

        made = tvm_ffi.structural_map(value, (expr_ir.TensorLoad, put))
        if _size(made) > _LARGEST:
            raise NotApplicable("an inlined expression is too large")
        return made

    def _phase(self, end: Stage, source: Stage | None) -> Phase:
        if end.reduce:
            result = tir.Var("result", str(end.buffer.ty.dtype))
            return Phase(
                axes=end.axes,
                stores=((end.buffer, result),),
                reduce=end.reduce,
                combine=end.combine,
                init=self._inline(end.init),
                term=self._close(end),
                result=result,
            )
        binds: list[tuple[Any, Any]] = []
        names: dict[Any, Any] = {}
        result = tir.Var("result", str(source.buffer.ty.dtype)) if source is not None else None
        counts = self._uses_at_point(end)
        axes = [a.var for a in end.axes]

        def value_of(stage: Stage) -> Any:
            """The value at the end's point, sharing what is used twice."""

            def put(load: Any) -> Any:
                if load.source not in self.stages:
                    return load
                inner = self.stages[load.source]
                at_point = _same(load.indices, axes, end.axes)
                if source is not None and inner.buffer.same_as(source.buffer) and at_point:
                    return result
                if inner.buffer in self.kept:
                    return load
                if not at_point:
                    moved = dict(zip((a.var for a in inner.axes), load.indices, strict=True))
                    return substitute(self._close(inner), moved)
                if inner.buffer in names:
                    return names[inner.buffer]
                value = value_of(inner)
                if counts.get(inner.buffer, 0) > 1 and not isinstance(
                    value, (tir.IntImm, tir.FloatImm, expr_ir.Var, expr_ir.TensorLoad)
                ):
                    names[inner.buffer] = tir.Var(
                        "v_" + str(inner.buffer.name)[:24], str(inner.buffer.ty.dtype)
                    )
                    binds.append((names[inner.buffer], value))
                    return names[inner.buffer]
                return value

            at = {a.var: v for a, v in zip(stage.axes, axes, strict=True)}
            return tvm_ffi.structural_map(substitute(stage.value, at), (expr_ir.TensorLoad, put))

        value = value_of(end)
        if source is None:
            return Phase(axes=end.axes, stores=((end.buffer, value),), binds=tuple(binds))
        at = {a.var: v for a, v in zip(source.axes, axes, strict=True)}
        return Phase(
            axes=end.axes,
            stores=((end.buffer, value),),
            binds=tuple(binds),
            reduce=source.reduce,
            combine=source.combine,
            init=substitute(self._inline(source.init), at),
            term=substitute(self._close(source), at),
            result=result,
        )

    def _uses_at_point(self, end: Stage) -> dict[Any, int]:
        """How often each inlined stage is read at the point of `end`, counting each stage's text once."""
        counts: dict[Any, int] = {}
        todo, seen = [end], {end.buffer}
        while todo:
            stage = todo.pop()
            point = [a.var for a in stage.axes]
            for load in loads(stage.value):
                inner = self.stages.get(load.source)
                if inner is None or inner.buffer in self.kept or not _same(load.indices, point, end.axes):
                    continue
                counts[inner.buffer] = counts.get(inner.buffer, 0) + 1
                if inner.buffer not in seen:
                    seen.add(inner.buffer)
                    todo.append(inner)
        return counts


def _simplified(value: Any, stage: Stage) -> Any:
    """`value` with its indices simplified where reshapes left quotients and remainders."""
    found: list[Any] = []
    tvm_ffi.structural_walk(value, ((tir.FloorDiv, tir.FloorMod), found.append))
    if not found:
        return value
    analyzer = Analyzer()
    for axis in (*stage.axes, *stage.reduce):
        dtype = str(axis.var.ty.dtype)
        analyzer.bind(axis.var, tvm.ir.Range.from_min_extent(tir.IntImm(dtype, 0), tir.IntImm(dtype, axis.extent)))

    def load(node: Any) -> Any:
        return tir.BufferLoad(node.source, [analyzer.simplify(i) for i in node.indices])

    return tvm_ffi.structural_map(value, (expr_ir.TensorLoad, load))


def _same(indices: Any, point: list[Any], axes: tuple[Axis, ...]) -> bool:
    """Whether `indices` are the variables of the point (a unit axis may also be indexed by 0)."""
    if len(indices) != len(point):
        return False
    for index, var, axis in zip(indices, point, axes, strict=True):
        if isinstance(index, expr_ir.Var) and index.same_as(var):
            continue
        if axis.extent == 1 and isinstance(index, tir.IntImm):
            continue
        return False
    return True


def _points(stage: Stage) -> int:
    total = 1
    for axis in (*stage.axes, *stage.reduce):
        total *= axis.extent
    return total


def is_costly(value: Any) -> bool:
    found: list[Any] = []
    tvm_ffi.structural_walk(value, (expr_ir.Call, found.append))
    return any(op_name(c) in _COSTLY for c in found)


def _computes(value: Any) -> bool:
    """Whether `value` is more than a choice among loads and constants."""
    if isinstance(value, (expr_ir.TensorLoad, tir.IntImm, tir.FloatImm, expr_ir.Var)):
        return False
    if isinstance(value, expr_ir.Call) and op_name(value) == "if_then_else":
        return _computes(value.args[1]) or _computes(value.args[2])
    if isinstance(value, tir.Select):
        return _computes(value.true_value) or _computes(value.false_value)
    return True


def _size(value: Any) -> int:
    count = 0

    def one(_: Any) -> None:
        nonlocal count
        count += 1

    tvm_ffi.structural_walk(value, (expr_ir.Expr, one))
    return count
