"""Relay's expressions: frozen dataclasses, compared by identity, so that a shared sub-expression stays one node.

A tree can be tens of thousands of bindings deep. Nothing here recurses: `repr` shows one node and not what is below it;
comparing two trees is `structural_equal`'s work, walking one `walk`'s, printing one `printer`'s.

Each expression carries its `span` (where it was read) and `checked_type` (the type that the printer noted behind it, or
that type inference found), both optional and both ignored by comparison.
"""

from __future__ import annotations

import typing
from dataclasses import dataclass, field

import numpy as np

from gacer_tvm.relay.notes import NO_ATTRS, Attrs, Span
from gacer_tvm.relay.types import TensorType, Type, TypeVar

__all__ = [
    "Call",
    "Clause",
    "Constant",
    "Constructor",
    "Expr",
    "Function",
    "GlobalVar",
    "If",
    "Let",
    "Match",
    "Op",
    "Pattern",
    "PatternConstructor",
    "PatternTuple",
    "PatternVar",
    "PatternWildcard",
    "RefCreate",
    "RefRead",
    "RefWrite",
    "Tuple",
    "TupleGetItem",
    "Var",
]


class Expr:
    """Base of all expressions. Identity is equality: use `structural_equal` to compare."""

    __slots__ = ()
    span: Span | None
    checked_type: Type | None

    def _summary(self) -> str:
        return ""

    def __repr__(self) -> str:
        where = f" at {self.span}" if self.span is not None else ""
        return f"<{type(self).__name__}{self._summary()}{where}>"

    # Arithmetic builds calls, as in TVM's Python builder: `x + y`, `-x`, `x < y`, `f(x)`. Equality stays identity.

    def __add__(self, other: typing.Any) -> Call:
        return _infix("add", self, other)

    def __radd__(self, other: typing.Any) -> Call:
        return _infix("add", other, self)

    def __sub__(self, other: typing.Any) -> Call:
        return _infix("subtract", self, other)

    def __rsub__(self, other: typing.Any) -> Call:
        return _infix("subtract", other, self)

    def __mul__(self, other: typing.Any) -> Call:
        return _infix("multiply", self, other)

    def __rmul__(self, other: typing.Any) -> Call:
        return _infix("multiply", other, self)

    def __truediv__(self, other: typing.Any) -> Call:
        return _infix("divide", self, other)

    def __rtruediv__(self, other: typing.Any) -> Call:
        return _infix("divide", other, self)

    def __lt__(self, other: typing.Any) -> Call:
        return _infix("less", self, other)

    def __gt__(self, other: typing.Any) -> Call:
        return _infix("greater", self, other)

    def __le__(self, other: typing.Any) -> Call:
        return _infix("less_equal", self, other)

    def __ge__(self, other: typing.Any) -> Call:
        return _infix("greater_equal", self, other)

    def __neg__(self) -> Call:
        return _infix("negative", self)

    def astype(self, dtype: str) -> Call:
        """A cast to another element type."""
        from gacer_tvm.relay.op.build import call

        return call("cast", [self], {"dtype": dtype})

    def __call__(self, *args: typing.Any) -> Call:
        """A call of this expression."""
        return Call(self, args)


def _infix(name: str, *operands: typing.Any) -> Call:
    from gacer_tvm.relay.op.build import call

    return call(name, list(operands))


def _given(node: Expr, *fields: str) -> None:
    """Accept what scripts pass in place of tuples and expressions: lists, and wrapped results of several fields."""
    for name in fields:
        value = getattr(node, name)
        if isinstance(value, list) or (type(value) is tuple and any(hasattr(item, "astuple") for item in value)):
            value = tuple(item.astuple() if hasattr(item, "astuple") else item for item in value)
            object.__setattr__(node, name, value)
        elif hasattr(value, "astuple"):
            object.__setattr__(node, name, value.astuple())


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Var(Expr):
    """A local variable; two of the same name are two variables.

    Parameters
    ----------
    name_hint : str
        Without the `%`.
    type_annotation : Type, optional
    """

    name_hint: str
    type_annotation: Type | None = None
    span: Span | None = None
    checked_type: Type | None = None

    def _summary(self) -> str:
        return f" %{self.name_hint}: {self.type_annotation}" if self.type_annotation else f" %{self.name_hint}"


@dataclass(frozen=True, slots=True, repr=False)
class GlobalVar(Expr):
    """The name of a function of the module, without the `@`; equal by name."""

    name_hint: str
    span: Span | None = field(default=None, compare=False)
    checked_type: Type | None = field(default=None, compare=False)

    def _summary(self) -> str:
        return f" @{self.name_hint}"


@dataclass(frozen=True, slots=True, repr=False)
class Op(Expr):
    """An operator, such as `nn.conv2d`; equal by name. It need not be one that TVM knew."""

    name: str
    span: Span | None = field(default=None, compare=False)
    checked_type: Type | None = field(default=None, compare=False)

    def _summary(self) -> str:
        return f" {self.name}"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Constant(Expr):
    """A tensor of known numbers.

    Parameters
    ----------
    data : numpy.ndarray
        Of any shape; bfloat16 and the 8-bit floats use the types of `ml_dtypes`. Treat it as read-only.
    """

    data: np.ndarray[typing.Any, typing.Any]
    span: Span | None = None
    checked_type: Type | None = None

    @property
    def dtype(self) -> str:
        """TVM's name of the element type."""
        return str(self.data.dtype)

    @property
    def type(self) -> TensorType:
        """The tensor type that the numbers have."""
        return TensorType(tuple(self.data.shape), self.dtype)

    def _summary(self) -> str:
        return f" {self.type}"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Call(Expr):
    """A call of an operator, function, global function or constructor.

    Parameters
    ----------
    op : Expr
        What is called.
    args : tuple of Expr
    attrs : Attrs
        With defaults filled in; empty where the operator has none.
    type_args : tuple of Type or None
        Type arguments, rarely stated and never needed.
    """

    op: Expr | Constructor
    args: tuple[Expr, ...]
    attrs: Attrs = NO_ATTRS
    type_args: tuple[Type | None, ...] = ()
    span: Span | None = None
    checked_type: Type | None = None

    def __post_init__(self) -> None:
        _given(self, "args", "type_args")

    def _summary(self) -> str:
        name = self.op.name if isinstance(self.op, Op) else repr(self.op)
        return f" {name}({len(self.args)} arguments)"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Tuple(Expr):
    """A tuple of expressions; `()` is the unit value."""

    fields: tuple[Expr, ...]
    span: Span | None = None
    checked_type: Type | None = None

    def __post_init__(self) -> None:
        _given(self, "fields")

    def _summary(self) -> str:
        return f" of {len(self.fields)}"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class TupleGetItem(Expr):
    """Field `index` (from 0) of a tuple."""

    tuple_value: Expr
    index: int
    span: Span | None = None
    checked_type: Type | None = None

    def __post_init__(self) -> None:
        _given(self, "tuple_value")

    def _summary(self) -> str:
        return f" .{self.index}"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Function(Expr):
    """A function literal or the body of a global function.

    Parameters
    ----------
    params : tuple of Var
    body : Expr
    ret_type : Type, optional
    type_params : tuple of TypeVar
    attrs : Attrs
        Notes such as `Primitive`, `Composite`, `Compiler`, `global_symbol`.
    """

    params: tuple[Var, ...]
    body: Expr
    ret_type: Type | None = None
    type_params: tuple[TypeVar, ...] = ()
    attrs: Attrs = NO_ATTRS
    span: Span | None = None
    checked_type: Type | None = None

    def __post_init__(self) -> None:
        _given(self, "params", "body", "type_params")

    def _summary(self) -> str:
        names = ", ".join("%" + param.name_hint for param in self.params[:8])
        return f" ({names}{', …' if len(self.params) > 8 else ''})"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Let(Expr):
    """`let %var = value; body`: `value` is evaluated once, before `body`."""

    var: Var
    value: Expr
    body: Expr
    span: Span | None = None
    checked_type: Type | None = None

    def __post_init__(self) -> None:
        _given(self, "value", "body")

    def _summary(self) -> str:
        return f" %{self.var.name_hint}"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class If(Expr):
    """`if (cond) {...} else {...}` on a boolean scalar."""

    cond: Expr
    true_branch: Expr
    false_branch: Expr
    span: Span | None = None
    checked_type: Type | None = None

    def __post_init__(self) -> None:
        _given(self, "cond", "true_branch", "false_branch")


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class RefCreate(Expr):
    """`ref(value)`: a new mutable reference."""

    value: Expr
    span: Span | None = None
    checked_type: Type | None = None


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class RefRead(Expr):
    """`ref_read(ref)`."""

    ref: Expr
    span: Span | None = None
    checked_type: Type | None = None


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class RefWrite(Expr):
    """`ref_write(ref, value)`, whose value is `()`."""

    ref: Expr
    value: Expr
    span: Span | None = None
    checked_type: Type | None = None


@dataclass(frozen=True, slots=True, repr=False)
class Constructor(Expr):
    """A constructor of an algebraic data type; equal by name and owner.

    Parameters
    ----------
    name_hint : str
    belong_to : str
        The data type's name.
    inputs : tuple of Type
        Types of its fields.
    """

    name_hint: str
    belong_to: str = ""
    inputs: tuple[Type | None, ...] = field(default=(), compare=False)
    span: Span | None = field(default=None, compare=False)
    checked_type: Type | None = field(default=None, compare=False)

    def _summary(self) -> str:
        return f" {self.name_hint} of {self.belong_to}"


class Pattern:
    """Base of the patterns of a `match`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class PatternWildcard(Pattern):
    """`_`: matches anything."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class PatternVar(Pattern):
    """`%x`: matches anything and names it."""

    var: Var


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class PatternConstructor(Pattern):
    """`Cons(p, q)`: matches what that constructor made."""

    constructor: Constructor
    patterns: tuple[Pattern, ...] = ()


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class PatternTuple(Pattern):
    """`(p, q)`."""

    patterns: tuple[Pattern, ...]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Clause:
    """One arm of a `match`."""

    lhs: Pattern
    rhs: Expr

    def __repr__(self) -> str:
        return "<Clause>"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Match(Expr):
    """`match (data) {...}`; `match?` when it does not cover every case (`complete` is false)."""

    data: Expr
    clauses: tuple[Clause, ...]
    complete: bool = True
    span: Span | None = None
    checked_type: Type | None = None

    def _summary(self) -> str:
        return f" of {len(self.clauses)} clauses"
