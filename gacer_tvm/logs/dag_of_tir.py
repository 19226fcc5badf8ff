"""A TIR function read back into a DAG: one stage a block, where the function is a sequence of plain loop nests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gacer_tvm._tvm import expr_ir, tir

from .dag import Call, Compute, Dag, Expr, Load, Num, Placeholder, Stage, Var

__all__ = ["NotADag", "TirDag", "dag_of_tir"]

_BINARY = {
    "Add": "+",
    "Sub": "-",
    "Mul": "*",
    "Div": "/",
    "FloorDiv": "//",
    "FloorMod": "%",
    "Min": "min",
    "Max": "max",
    "EQ": "==",
    "NE": "!=",
    "LT": "<",
    "LE": "<=",
    "GT": ">",
    "GE": ">=",
    "And": "&&",
    "Or": "||",
}


class NotADag(Exception):
    """The function is not a sequence of formulas; internal, such a function simply has no logged schedule."""


@dataclass(frozen=True, slots=True)
class TirDag:
    """A function as a DAG, and where each stage stands: a parameter's position or a block's name."""

    dag: Dag
    places: tuple[str | int, ...]


def dag_of_tir(function: Any) -> TirDag:
    """Read an unscheduled PrimFunc.

    Raises
    ------
    NotADag
        If it has dynamic shapes, several outputs, scalar parameters, or loops that are not plain.
    """
    return _Reader(function).read()


class _Reader:
    def __init__(self, function: Any) -> None:
        self.function = function
        self.stages: list[Stage] = []
        self.places: list[str | int] = []
        self.index: dict[Any, int] = {}

    def read(self) -> TirDag:
        body = self.function.body
        if not hasattr(body, "block"):
            raise NotADag("no root block")
        root = body.block
        statements = list(root.body.seq) if isinstance(root.body, tir.SeqStmt) else [root.body]
        blocks = [_leaf(statement) for statement in statements]
        written = [block.writes[0].source for block, _ in blocks if len(block.writes) == 1]
        if len(written) != len(blocks):
            raise NotADag("a block writes several buffers")
        outputs = []
        for position, param in enumerate(self.function.params):
            shape = _shape(param)
            if any(param.same_as(buffer) for buffer in written):
                outputs.append(param)
            else:
                self._add(param, Placeholder(str(param.name), shape, str(param.ty.dtype)), position)
        if len(outputs) != 1 or not written[-1].same_as(outputs[0]):
            raise NotADag("not exactly one output, written last")
        names = set()
        for block, loops in blocks:
            if block.name_hint in names:
                raise NotADag("two blocks of one name")
            names.add(block.name_hint)
            self._add(block.writes[0].source, self._compute(block, loops), block.name_hint)
        return TirDag(Dag(tuple(self.stages)), tuple(self.places))

    def _add(self, buffer: Any, stage: Stage, place: str | int) -> None:
        if buffer in self.index:
            raise NotADag("a buffer is written twice")
        self.index[buffer] = len(self.stages)
        self.stages.append(stage)
        self.places.append(place)

    def _compute(self, block: Any, loops: dict[Any, int]) -> Compute:
        names: dict[Any, str] = {}
        axes: list[tuple[str, int]] = []
        reduce: list[tuple[str, int]] = []
        for position, iter_var in enumerate(block.iter_vars):
            extent = getattr(iter_var.dom.extent, "value", None)
            if extent is None:
                raise NotADag("a dynamic loop")
            name = f"v{position}"
            names[iter_var.var] = name
            if int(iter_var.iter_type) == 0:
                axes.append((name, int(extent)))
            elif int(iter_var.iter_type) == 2:
                reduce.append((name, int(extent)))
            else:
                raise NotADag("a block variable that is neither spatial nor a reduction")
        store = block.body
        if not isinstance(store, tir.BufferStore):
            raise NotADag("a block that is not one store")
        written = [names.get(index) for index in store.indices]
        if written != [name for name, _ in axes]:
            raise NotADag("a block that does not write where it stands")
        value = store.value
        combiner = ""
        if block.init is not None:
            combiner, value = _combined(value, store.buffer)
        dtype = str(store.buffer.ty.dtype)
        return Compute(block.name_hint, tuple(axes), tuple(reduce), combiner, self._expr(value, names), dtype)

    def _expr(self, node: Any, names: dict[Any, str]) -> Expr:
        kind = type(node).__name__
        if isinstance(node, expr_ir.Var):
            if node not in names:
                raise NotADag("a free variable")
            return Var(names[node])
        if isinstance(node, tir.IntImm | tir.FloatImm):
            return Num(node.value, str(node.ty.dtype) if hasattr(node.ty, "dtype") else "int32")
        if isinstance(node, expr_ir.TensorLoad):
            if node.source not in self.index:
                raise NotADag("a buffer is read before it is written")
            return Load(self.index[node.source], tuple(self._expr(index, names) for index in node.indices))
        if kind in _BINARY:
            return Call(_BINARY[kind], (self._expr(node.a, names), self._expr(node.b, names)))
        if kind == "Not":
            return Call("!", (self._expr(node.a, names),))
        if kind == "Cast":
            return Call(f"cast:{node.ty.dtype}", (self._expr(node.value, names),))
        if kind == "Select":
            parts = (node.condition, node.true_value, node.false_value)
            return Call("select", tuple(self._expr(part, names) for part in parts))
        if isinstance(node, expr_ir.Call):
            name = str(getattr(node.op, "name", "")).rsplit(".", 1)[-1]
            name = {"if_then_else": "if", "fabs": "abs"}.get(name, name)
            if not name:
                raise NotADag("a call of a function")
            return Call(name, tuple(self._expr(arg, names) for arg in node.args))
        raise NotADag(f"an expression of kind {kind}")


def _shape(buffer: Any) -> tuple[int, ...]:
    ty = getattr(buffer, "ty", None)
    if ty is None or not hasattr(ty, "shape"):
        raise NotADag("a parameter that is no tensor")
    extents = [getattr(extent, "value", None) for extent in ty.shape]
    if any(extent is None for extent in extents):
        raise NotADag("a dynamic shape")
    return tuple(int(extent) for extent in extents if extent is not None)


def _leaf(statement: Any) -> tuple[Any, dict[Any, int]]:
    """The block at the end of a plain loop nest, each of its variables bound to one whole loop."""
    loops: dict[Any, int] = {}
    while isinstance(statement, tir.For):
        extent = getattr(statement.extent, "value", None)
        if extent is None or int(statement.kind) != int(tir.ForKind.SERIAL) or int(statement.min) != 0:
            raise NotADag("a loop that is not plain")
        loops[statement.loop_var] = int(extent)
        statement = statement.body
    if not hasattr(statement, "iter_values"):
        raise NotADag("a statement outside a block")
    block = statement.block
    for iter_var, value in zip(block.iter_vars, statement.iter_values, strict=True):
        extent = int(getattr(iter_var.dom.extent, "value", -1))
        bound = loops.get(value) if isinstance(value, expr_ir.Var) else None
        if bound != extent and not (extent == 1 and bound is None):
            raise NotADag("a block that is not bound to its loops one by one")
    if len(block.alloc_buffers) or len(block.match_buffers):
        raise NotADag("a block with buffers of its own")
    return block, loops


def _combined(value: Any, buffer: Any) -> tuple[str, Any]:
    """``C[..] = C[..] op x`` as (op, x)."""
    kind = type(value).__name__
    if kind not in ("Add", "Max", "Min"):
        raise NotADag("a reduction other than sum, max and min")
    for own, other in ((value.a, value.b), (value.b, value.a)):
        if isinstance(own, expr_ir.TensorLoad) and own.source.same_as(buffer):
            return _BINARY[kind], other
    raise NotADag("a reduction that does not accumulate")
