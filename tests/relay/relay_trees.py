"""Random Relay trees, for property tests: every construct, shared nodes across branches, closures, lets anywhere."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from gacer_tvm.relay import (
    Attrs,
    Call,
    Clause,
    Constant,
    Constructor,
    Expr,
    Function,
    GlobalVar,
    If,
    IRModule,
    Let,
    Match,
    Op,
    PatternConstructor,
    PatternTuple,
    PatternVar,
    PatternWildcard,
    RefCreate,
    RefRead,
    RefWrite,
    TensorType,
    Tuple,
    TupleGetItem,
    TupleType,
    Type,
    TypeCall,
    TypeData,
    TypeVar,
    Var,
)
from gacer_tvm.relay.ast import NO_ATTRS, Opaque
from gacer_tvm.relay.attrs import make_attrs
from gacer_tvm.relay.types import ANY, FuncType, GlobalTypeVar, RefType

_NAMES = ["x", "data", "x", "conv1.weight", "input.1", "input", "a-b", "in:0", "0", "", "scope/name", "层", "t.0", "t"]
# Names that text can say as they are, all at once.
_PARAMETERS = ["x", "data", "conv1.weight", "a-b", "in:0", "scope/name", "层", "input.1", "onnx::Conv_7"]
_DTYPES = ["float32", "int64", "bool", "float16", "int8", "uint8", "bfloat16", "float64", "int32", "int16"]
_LIST = GlobalTypeVar("List")
_A = TypeVar("A")
_CONS = Constructor("Cons", "List", (_A, TypeCall(_LIST, (_A,))))
_NIL = Constructor("Nil", "List", ())


class TreeMaker:
    """Makes one random module.

    Parameters
    ----------
    choose : callable
        `choose(n)` gives a number from 0 to n - 1; all randomness comes from it.
    """

    def __init__(self, choose: Callable[[int], int]) -> None:
        self.choose = choose
        self.size = 0

    def module(self) -> IRModule:
        """A module of one to three functions that call one another, and a data type."""
        names = ["main", "helper", "f_1"][: 1 + self.choose(3)]
        self.globals = names
        functions = {}
        for name in names:
            self.size = 25
            functions[name] = self.function([], 3, _PARAMETERS)
        return IRModule(functions, {"List": TypeData("List", (_A,), (_CONS, _NIL))})

    def pick(self, items: list) -> object:
        return items[self.choose(len(items))]

    def function(self, pool: list[Expr], depth: int, names: list[str] | None = None) -> Function:
        params = tuple(self.var(names) for _ in range(self.choose(4)))
        body = self.block([*pool, *params], depth)
        attrs = NO_ATTRS
        if self.choose(3) == 0:
            values = {name: self.attribute(2) for name in ["Primitive", "Composite", "relay.reshape_only"]}
            attrs = Attrs("DictAttrs", values)
        return Function(params, body, self.type(2) if self.choose(2) else None, (), attrs)

    def var(self, names: list[str] | None = None) -> Var:
        return Var(str(self.pick(names or _NAMES)), self.type(2) if self.choose(3) else None)

    def type(self, depth: int) -> Type:
        kind = self.choose(8) if depth else 0
        if kind == 1:
            return TupleType(tuple(self.type(depth - 1) for _ in range(self.choose(3))))
        if kind == 2:
            return FuncType((self.type(depth - 1),), self.type(depth - 1))
        if kind == 3:
            return RefType(self.type(depth - 1))
        if kind == 4:
            return TypeCall(_LIST, (self.type(depth - 1),))
        shape = tuple(self.pick([1, 3, 0, 1 << 40, ANY]) for _ in range(self.choose(4)))
        return TensorType(shape, str(self.pick(_DTYPES)))  # type: ignore[arg-type]

    def block(self, pool: list[Expr], depth: int) -> Expr:
        """The value of a body: some work on the pool, then lets or a value."""
        pool = list(pool)
        for _ in range(self.choose(4)):
            pool.append(self.expr(pool, depth))
        if self.choose(3) == 0:
            return self.lets(pool, depth)
        return self.expr(pool, depth)

    def lets(self, pool: list[Expr], depth: int) -> Expr:
        bindings = []
        for _ in range(1 + self.choose(3)):
            var = self.var()
            bindings.append((var, self.expr(pool, depth)))
            pool = [*pool, var]
        body = self.expr(pool, depth)
        for var, value in reversed(bindings):
            body = Let(var, value, body)
        return body

    def expr(self, pool: list[Expr], depth: int) -> Expr:
        self.size -= 1
        if self.size <= 0 or depth == 0 or self.choose(4) == 0:
            return self.leaf(pool)
        sub = lambda: self.leaf(pool) if self.choose(2) else self.expr(pool, depth - 1)  # noqa: E731
        match self.choose(14):
            case 0 | 1 | 2:
                return self.call(sub)
            case 3:
                return Tuple(tuple(sub() for _ in range(self.choose(3))))
            case 4:
                return TupleGetItem(sub(), self.choose(3))
            case 5:
                return If(sub(), self.block(pool, depth - 1), self.block(pool, depth - 1))
            case 6:
                return self.function(pool, depth - 1)
            case 7:
                return Call(self.function(pool, depth - 1), (sub(),))
            case 8:
                return self.lets(pool, depth - 1)
            case 9:
                return self.pick([RefCreate(sub()), RefRead(sub()), RefWrite(sub(), sub())])  # type: ignore[return-value]
            case 10:
                return self.match(sub(), pool, depth)
            case 11:
                return Call(GlobalVar(str(self.pick(self.globals))), (sub(),))
            case 12:
                return self.pick([Call(_CONS, (sub(), sub())), Call(_NIL, ())])  # type: ignore[return-value]
            case _:
                return Call(sub(), (sub(),), self.free_attrs())

    def free_attrs(self) -> Attrs:
        return make_attrs("test.Attrs", {"name": self.attribute(1)}) if self.choose(3) == 0 else NO_ATTRS

    def match(self, data: Expr, pool: list[Expr], depth: int) -> Match:
        head, tail = self.var(), self.var()
        cons = PatternConstructor(_CONS, (PatternVar(head), PatternTuple((PatternWildcard(), PatternVar(tail)))))
        clauses = [Clause(cons, self.block([*pool, head, tail], depth - 1))]
        if self.choose(2):
            clauses.append(Clause(PatternConstructor(_NIL, ()), self.block(pool, depth - 1)))
        return Match(data, tuple(clauses), bool(self.choose(2)))

    def leaf(self, pool: list[Expr]) -> Expr:
        if pool and self.choose(4):
            return self.pick(pool)  # type: ignore[return-value]
        return self.constant()

    def constant(self) -> Constant:
        if self.choose(3):
            value = self.pick([0, 1, -1, 127, 0.1, -0.0, 1e-30, 3.14159265358979, float("inf"), float("nan")])
            with np.errstate(all="ignore"):
                return Constant(np.array(value, np.float64).astype(_numpy(str(self.pick(_DTYPES)))))
        shape = tuple(self.choose(3) for _ in range(self.choose(3)))
        return Constant(np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(_numpy(str(self.pick(_DTYPES)))))

    def attribute(self, depth: int) -> object:
        kind = self.choose(9 if depth else 6)
        if kind >= 6:
            return tuple(self.attribute(depth - 1) for _ in range(self.choose(3)))
        text = self.pick(["", "NCHW", 'a"b\\c\n\t', "\x01é层"])
        opaque = Opaque("Target", {"kind": "llvm"})
        return [1 - self.choose(4), 0.1 * self.choose(3), text, None, bool(self.choose(2)), opaque][kind]

    def call(self, sub: Callable[[], Expr]) -> Expr:
        name, attrs, count = self.pick(_CALLS)()  # type: ignore[operator]
        return Call(Op(name), tuple(sub() for _ in range(count)), attrs)


def _numpy(dtype: str) -> np.dtype:
    import ml_dtypes

    return np.dtype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)


_CALLS = [
    lambda: ("add", NO_ATTRS, 2),
    lambda: ("nn.relu", NO_ATTRS, 1),
    lambda: ("unknown.op", make_attrs("", {"alpha": 0.5, "mode": "x"}), 1),
    lambda: ("nn.conv2d", make_attrs("relay.attrs.Conv2DAttrs", {"padding": (1, 1), "channels": 8}), 2),
    lambda: ("nn.conv2d", make_attrs("relay.attrs.Conv2DAttrs", {"out_dtype": "int32", "groups": 2}), 2),
    lambda: ("nn.dense", make_attrs("relay.attrs.DenseAttrs", {}), 2),
    lambda: ("nn.pad", make_attrs("relay.attrs.PadAttrs", {"pad_width": ((0, 0), (1, 2))}), 2),
    lambda: ("split", make_attrs("relay.attrs.SplitAttrs", {"indices_or_sections": (1, 2), "axis": -1}), 1),
    lambda: ("split", make_attrs("relay.attrs.SplitAttrs", {"indices_or_sections": 3}), 1),
    lambda: ("clip", make_attrs("relay.attrs.ClipAttrs", {"a_min": float("-inf"), "a_max": 1e-7}), 1),
    lambda: ("cumsum", make_attrs("relay.attrs.ScanopAttrs", {"axis": 1, "exclusive": True}), 1),
    lambda: ("add", make_attrs("relay.attrs.ReshapeAttrs", {"newshape": (ANY, -1)}), 2),
    lambda: ("qnn.dequantize", make_attrs("relay.attrs.DequantizeAttrs", {}), 3),
    lambda: ("topk", make_attrs("relay.attrs.TopkAttrs", {"k": None, "dtype": "int64"}), 1),
]
