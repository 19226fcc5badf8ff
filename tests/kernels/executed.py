"""What a scheduled PrimFunc executes, found by running through all of its loops: the truth that counting is held against.

The function becomes a Python program that notes every single store with the elements that it reads. What a vector unit makes
of these follows from the addresses: elements next to each other, the same one, or elements apart; read again under another
number of an unrolled loop or not. `gacer_tvm.kernels.counts` looks at the form of the index expressions instead.
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, NamedTuple

from gacer_tvm._tvm import expr_ir, tir

__all__ = ["Executed", "executed", "touched"]

_BINARY = {
    "Add": "+", "Sub": "-", "Mul": "*", "FloorDiv": "//", "FloorMod": "%", "LT": "<", "LE": "<=", "GT": ">", "GE": ">=",
    "EQ": "==", "NE": "!=", "And": "and", "Or": "or",
}  # fmt: skip
_TRANSCENDENTAL = ("exp", "exp2", "log", "log2", "tanh", "sigmoid", "erf", "sqrt", "rsqrt", "pow", "sin", "cos", "atan")
_VECTOR_BYTES = 64
_LINE = 64


class _Loop(NamedTuple):
    name: str
    extent: int
    kind: str


class _Op(NamedTuple):
    """An operation, or a load (of `buffer`) in the value of a store, and the conditions that it stands under."""

    kind: str
    guards: tuple[tuple[int, bool], ...]
    buffer: Any = None
    number: int = -1


class _Store(NamedTuple):
    buffer: Any
    loops: tuple[_Loop, ...]
    ops: list[_Op]
    lane_bound: list[bool]
    parallel: bool
    runs: list[tuple[tuple[int, ...], int, tuple[bool, ...], tuple[int, ...]]]


class Executed(NamedTuple):
    """The fields of `gacer_tvm.kernels.counts.Counts` by name, and whether any hangs on a condition or a loop's length."""

    counts: dict[str, float]
    conditional: bool


def executed(func: Any) -> Executed:
    """Run through all loops of a function that computes its indices from its loops alone."""
    program = _run(func)
    return Executed(program.result(), program.conditional)


def touched(func: Any) -> int:
    """How many cache lines a run touches."""
    return len(set(_run(func).touched()))


def _run(func: Any) -> _Program:
    program = _Program()
    program.statement(func.body, (), 0, "")
    scope: dict[str, Any] = {"stores": [s.runs for s in program.stores], "noted": program.noted}
    exec("def main():\n pass\n" + "\n".join(program.lines) + "\nmain()", scope)
    return program


class _Program:
    def __init__(self) -> None:
        self.lines: list[str] = []
        self.names: dict[Any, str] = {}
        self.stores: list[_Store] = []
        self.local: set[Any] = set()
        self.scratch = 0
        self.conditional = False
        self.noted: dict[str, Any] = {"tasks": 1, "regions": 0, "steps": 0.0, "outside": 0.0}

    def put(self, depth: int, text: str) -> None:
        self.lines.append(" " * (depth + 1) + text)

    def name(self, var: Any) -> str:
        return self.names.setdefault(var, f"v{len(self.names)}")

    # Statements

    def statement(self, stmt: Any, loops: tuple[_Loop, ...], depth: int, parallel: str) -> None:
        if isinstance(stmt, tir.For):
            self.loop(stmt, loops, depth, parallel)
        elif isinstance(stmt, tir.SeqStmt):
            for part in stmt:
                self.statement(part, loops, depth, parallel)
        elif isinstance(stmt, tir.IfThenElse):
            self.conditional = True
            self.put(depth, f"if {self.index(stmt.condition)}:")
            self.statement(stmt.then_case, loops, depth + 1, parallel)
            if stmt.else_case is not None:
                self.put(depth, "else:")
                self.statement(stmt.else_case, loops, depth + 1, parallel)
        elif isinstance(stmt, tir.BufferStore):
            self.store(stmt, loops, depth, parallel)
        else:
            self.block(stmt, loops, depth, parallel)

    def loop(self, stmt: Any, loops: tuple[_Loop, ...], depth: int, parallel: str) -> None:
        kind = {0: "serial", 1: "parallel", 2: "vectorized", 3: "unrolled"}[int(stmt.kind)]
        name = self.name(stmt.loop_var)
        least, extent = self.index(stmt.min), self.index(stmt.extent)
        lanes = math.prod(loop.extent for loop in loops if loop.kind == "vectorized")
        if kind == "parallel":
            self.put(depth, f"noted['tasks'] = max(noted['tasks'], {extent})")
            if not parallel:
                self.put(depth, "noted['regions'] += 1")
            parallel = name
        self.put(depth, f"for {name} in range({least}, {least} + {extent}):")
        if kind in ("serial", "parallel"):
            self.put(depth + 1, f"noted['steps'] += {1 / lanes}")
            if not parallel:
                self.put(depth + 1, f"noted['outside'] += {1 / lanes}")
        fixed = int(stmt.extent) if isinstance(stmt.extent, tir.IntImm) else 0
        self.conditional |= not fixed
        assert fixed or kind in ("serial", "parallel"), "vectors and unrolled loops are of a fixed length"
        self.statement(stmt.body, (*loops, _Loop(name, fixed, kind)), depth + 1, parallel)

    def block(self, realize: Any, loops: tuple[_Loop, ...], depth: int, parallel: str) -> None:
        block = realize.block
        for buffer in block.alloc_buffers:
            if str(buffer.scope()) == "local":
                self.local.add(buffer)
            else:
                self.scratch += math.prod(int(d) for d in buffer.shape) * _itemsize(buffer)
        self.put(depth, "if True:")
        first = []
        for var, value in zip(block.iter_vars, realize.iter_values, strict=True):
            self.put(depth + 1, f"{self.name(var.var)} = {self.index(value)}")
            if int(var.iter_type) == 2:  # reduction
                first.append(f"{self.name(var.var)} == {self.index(var.dom.min)}")
        self.conditional |= not isinstance(realize.predicate, tir.IntImm)
        self.put(depth + 1, f"if {self.index(realize.predicate)}:")
        if block.init is not None:
            self.put(depth + 2, f"if {' and '.join(first) or True}:")
            self.statement(block.init, loops, depth + 3, parallel)
        self.statement(block.body, loops, depth + 2, parallel)

    def store(self, stmt: Any, loops: tuple[_Loop, ...], depth: int, parallel: str) -> None:
        conditions: list[str] = []
        bound: list[bool] = []
        ops: list[_Op] = []
        addresses: list[str] = []
        lanes = {loop.name for loop in loops if loop.kind == "vectorized" and loop.extent > 1}

        def walk(node: Any, guards: tuple[tuple[int, bool], ...]) -> None:
            if isinstance(node, expr_ir.TensorLoad):
                ops.append(_Op("load", guards, node.source, len(addresses)))
                addresses.append(self.address(node.source, node.indices))
                return
            if isinstance(node, tir.IntImm | tir.FloatImm | expr_ir.Var):
                return
            if isinstance(node, expr_ir.Call):
                name = str(node.op.name).rpartition(".")[2]
                if name == "if_then_else":
                    self.conditional = True
                    at = len(conditions)
                    conditions.append(self.index(node.args[0]))
                    bound.append(any(f"{n}" in _words(conditions[-1]) for n in lanes))
                    ops.append(_Op("fused", guards))
                    walk(node.args[1], (*guards, (at, True)))
                    walk(node.args[2], (*guards, (at, False)))
                    return
                ops.append(_Op("slow" if name in _TRANSCENDENTAL else "fused", guards))
                parts = list(node.args)
            elif isinstance(node, tir.Cast):
                ops.append(_Op("fused", guards))
                parts = [node.value]
            elif isinstance(node, tir.Select):
                ops.append(_Op("fused", guards))
                parts = [node.condition, node.true_value, node.false_value]
            elif isinstance(node, tir.Not):
                ops.append(_Op("fused", guards))
                parts = [node.a]
            else:
                parts = [node.a, node.b]
                if isinstance(node, tir.Div | tir.Mod | tir.FloorDiv | tir.FloorMod):
                    ops.append(_Op("slow", guards))
                elif not (isinstance(node, tir.Add) and any(isinstance(p, tir.Mul) for p in parts)):
                    ops.append(_Op("fused", guards))  # a product and what it is added to are one
            for part in parts:
                walk(part, guards)

        walk(stmt.value, ())
        number = len(self.stores)
        self.stores.append(_Store(stmt.buffer, loops, ops, bound, bool(parallel), []))
        point, written = _tuple(loop.name for loop in loops), self.address(stmt.buffer, stmt.indices)
        self.put(depth, f"stores[{number}].append(({point}, {written}, {_tuple(conditions)}, {_tuple(addresses)}))")

    # Expressions of whole numbers

    def address(self, buffer: Any, indices: Any) -> str:
        text = "0"
        for index, extent in zip(indices, buffer.shape, strict=True):
            text = f"({text}) * {int(extent)} + {self.index(index)}"
        return text

    def index(self, expr: Any) -> str:
        if isinstance(expr, tir.IntImm):
            return str(int(expr))
        if isinstance(expr, expr_ir.Var):
            return self.names[expr]
        if isinstance(expr, tir.Cast):
            return self.index(expr.value)
        if isinstance(expr, tir.Not):
            return f"(not {self.index(expr.a)})"
        kind = type(expr).__name__
        if kind in ("Min", "Max"):
            return f"{kind.lower()}({self.index(expr.a)}, {self.index(expr.b)})"
        if kind in _BINARY:
            return f"({self.index(expr.a)} {_BINARY[kind]} {self.index(expr.b)})"
        raise NotImplementedError(f"no index arithmetic: {expr}")

    def touched(self) -> Iterator[tuple[Any, int]]:
        """(buffer, cache line) of every element loaded or stored in memory."""
        for store in self.stores:
            for _, written, conditions, read in store.runs:
                for op in store.ops:
                    if op.kind == "load" and op.buffer not in self.local and all(conditions[c] == side for c, side in op.guards):
                        yield op.buffer, read[op.number] * _itemsize(op.buffer) // _LINE
                if store.buffer not in self.local:
                    yield store.buffer, written * _itemsize(store.buffer) // _LINE

    # What a vector unit makes of it

    def result(self) -> dict[str, float]:
        total = dict.fromkeys(
            ("fused", "slow", "vector_loads", "scalar_loads", "gathers", "stores", "scattered", "steps", "chains", "size"), 0.0
        )
        total["steps"] = self.noted["steps"]
        outside, lanes_used = self.noted["outside"], 0.0
        for store in self.stores:
            found, used = _executed(store, self.local)
            for kind, value in found.items():
                total[kind] += value
            lanes_used += used
            if not store.parallel:
                outside += sum(v for k, v in found.items() if k not in ("size", "chains"))
        arithmetic = total["fused"] + total["slow"]
        whole = sum(v for k, v in total.items() if k not in ("size", "chains"))
        return {
            **total,
            "tasks": self.noted["tasks"],
            "regions": self.noted["regions"],
            "serial": outside / (whole or 1.0),
            "lanes": lanes_used / arithmetic if arithmetic else 1.0,
            "scratch": float(self.scratch),
        }


def _executed(store: _Store, local: set[Any]) -> tuple[dict[str, float], float]:
    found: dict[str, float] = defaultdict(float)
    loops = store.loops
    lanes = math.prod(loop.extent for loop in loops if loop.kind == "vectorized")
    width = max(1, _VECTOR_BYTES // _itemsize(store.buffer))
    vectors = -(-lanes // width)
    weight = vectors / lanes  # a store of one element is so much of an instruction
    for op in store.ops:
        times = sum(
            all(store.lane_bound[c] or conditions[c] == side for c, side in op.guards) for _, _, conditions, _ in store.runs
        )
        if op.kind != "load":
            found[op.kind] += times * weight
        elif op.buffer not in local:
            addresses = [(at, read[op.number]) for at, _, _, read in store.runs]
            kind = {"same": "scalar_loads", "next": "vector_loads", "apart": "gathers"}[_pattern(loops, addresses)]
            found[kind] += times * weight / _read_again(loops, addresses)
    used = (found["fused"] + found["slow"]) * lanes / (vectors * width)
    written = [(at, address) for at, address, _, _ in store.runs]
    if store.buffer not in local:
        found["scattered" if _pattern(loops, written) == "apart" else "stores"] += len(written) * weight
    elif any(op.kind == "load" and op.buffer.same_as(store.buffer) for op in store.ops):
        # Accumulators that go on side by side: those that a run through the unrolled loops writes to.
        found["chains"] += len(written) * weight / (_side_by_side(loops, written) * weight)
    copies = {tuple(n for n, loop in zip(at, loops) if loop.kind == "unrolled") for at, _ in written}
    found["size"] += len(copies) * vectors
    return found, used


def _pattern(loops: tuple[_Loop, ...], addresses: list[tuple[tuple[int, ...], int]]) -> str:
    """Whether the lanes of a vector touch the same element, elements one after the other, or others."""
    lane = [n for n, loop in enumerate(loops) if loop.kind == "vectorized" and loop.extent > 1]
    assert len(lane) <= 1
    if not lane:
        return "same"
    steps = set()
    for _, group in _without(addresses, lane[0]).items():
        ordered = sorted(group.items())
        steps |= {(b - a) / (m - n) for (n, a), (m, b) in itertools.pairwise(ordered)}
    return "same" if steps <= {0} else "next" if steps == {1} else "apart"


def _read_again(loops: tuple[_Loop, ...], addresses: list[tuple[tuple[int, ...], int]]) -> int:
    """Runs of unrolled loops without another loop inside that the address does not depend on."""
    shared = 1
    for n in reversed(range(len(loops))):
        if loops[n].kind in ("serial", "parallel"):
            break
        if loops[n].kind == "unrolled" and all(len(set(g.values())) == 1 for g in _without(addresses, n).values()):
            shared *= loops[n].extent
    return shared


def _side_by_side(loops: tuple[_Loop, ...], addresses: list[tuple[tuple[int, ...], int]]) -> int:
    """Most elements written by one run through the unrolled and vectorized loops."""
    runs = defaultdict(set)
    for at, address in addresses:
        runs[tuple(n for n, loop in zip(at, loops) if loop.kind in ("serial", "parallel"))].add(address)
    return max((len(r) for r in runs.values()), default=1)


def _without(addresses: list[tuple[tuple[int, ...], int]], n: int) -> dict[tuple[int, ...], dict[int, int]]:
    """Points that differ in loop `n` only: number in that loop → address."""
    groups: dict[tuple[int, ...], dict[int, int]] = defaultdict(dict)
    for at, address in addresses:
        groups[at[:n] + at[n + 1 :]][at[n]] = address
    return groups


def _itemsize(buffer: Any) -> int:
    return max(1, int("".join(c for c in str(buffer.ty.dtype) if c.isdigit()) or 8) // 8)


def _tuple(parts: Any) -> str:
    return "(" + "".join(f"{part}, " for part in parts) + ")"


def _words(text: str) -> set[str]:
    return set("".join(c if c.isalnum() else " " for c in text).split())
