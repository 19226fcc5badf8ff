"""What a Relay expression evaluates to: tensors, tuples of values, closures; and one operator call as its rules see it.

Type inference evaluates with `Tensor`s that know their type (and, for small integers, their numbers); conversion
evaluates the same way with tensors that carry a Relax expression besides.
"""

from __future__ import annotations

import typing
from dataclasses import dataclass, field

import numpy as np

from gacer_tvm.relay.ast import Attrs, Call, Expr, Function, Op, Var
from gacer_tvm.relay.dims import RuleError, agree, unify
from gacer_tvm.relay.types import Dim, FuncType, TensorType, TupleType, Type

__all__ = ["Closure", "Frame", "OpCall", "OpValue", "Tensor", "Value", "type_of"]

Array = np.ndarray[typing.Any, typing.Any]


@dataclass(slots=True, eq=False)
class Tensor:
    """A tensor value.

    Parameters
    ----------
    type : TensorType or None
        None for a variable without annotation until its first use tells the type.
    const : numpy.ndarray, optional
        Its numbers, where they are known before running.
    data : object, optional
        The Relax expression that computes it, during conversion.
    var : Var, optional
        The variable that it was bound to, for messages about missing types.
    """

    type: TensorType | None
    const: Array | None = None
    data: typing.Any = None
    var: Var | None = None


@dataclass(slots=True, eq=False)
class Frame:
    """One activation of a function: its variables and the values of the nodes met so far, in the frame around it."""

    parent: Frame | None = None
    values: dict[int, Value] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class Closure:
    """A function together with the frame that it was written in."""

    function: Function
    frame: Frame


@dataclass(slots=True, eq=False)
class OpValue:
    """An operator used as a value."""

    op: Op


Value = Tensor | tuple[typing.Any, ...] | Closure | OpValue


def type_of(value: Value) -> Type | None:
    """The Relay type of a value; None where it is not known yet, also inside tuples and of closures' results."""
    done: list[Type | None] = []
    stack: list[tuple[Value, bool]] = [(value, False)]
    while stack:
        item, built = stack.pop()
        if isinstance(item, tuple):
            if built:
                count = len(item)
                parts = done[len(done) - count :]
                del done[len(done) - count :]
                done.append(None if any(part is None for part in parts) else TupleType(tuple(parts)))  # type: ignore[arg-type]
            else:
                stack.append((item, True))
                stack.extend((part, False) for part in reversed(item))
        elif isinstance(item, Tensor):
            done.append(item.type)
        elif isinstance(item, Closure):
            function = item.function
            done.append(FuncType(tuple(p.type_annotation for p in function.params), function.ret_type))
        else:
            done.append(None)
    return done[0]


@dataclass(slots=True, eq=False)
class OpCall:
    """One call of an operator as type rules and converters see it.

    Parameters
    ----------
    name : str
    attrs : Attrs
    args : tuple of Value
    expr : Call
        For its place and the type that the printer noted.
    out : Type, optional
        The result's type, once the rule has found it.
    """

    name: str
    attrs: Attrs
    args: tuple[Value, ...]
    expr: Call
    out: Type | None = None

    @property
    def noted(self) -> Type | None:
        """The type that the printer noted behind the call, if any."""
        return self.expr.checked_type

    def attr(self, name: str, default: typing.Any = None) -> typing.Any:
        """An attribute; `default` where older versions of the operator did not have it."""
        return self.attrs.get(name, default)

    def tensor(self, index: int) -> TensorType:
        """The tensor type of argument `index`.

        Raises
        ------
        RuleError
            If there is no such argument, it is no tensor, or its type is unknown.
        """
        if index >= len(self.args):
            raise RuleError(f"expects at least {index + 1} arguments, found {len(self.args)}")
        value = self.args[index]
        if not isinstance(value, Tensor):
            kind = "a tuple" if isinstance(value, tuple) else "a function"
            raise RuleError(f"argument {index} must be a tensor, found {kind}")
        if value.type is None:
            name = f" (%{value.var.name_hint})" if value.var is not None else ""
            raise RuleError(
                f"the type of argument {index}{name} is not known and cannot be inferred here; "
                "state it where the variable is made"
            )
        return value.type

    def shape(self, index: int = 0) -> tuple[Dim, ...]:
        """The shape of argument `index`."""
        return self.tensor(index).shape

    def dtype(self, index: int = 0) -> str:
        """The element type of argument `index`."""
        return self.tensor(index).dtype

    def rank(self, index: int = 0) -> int:
        """The number of dimensions of argument `index`."""
        return len(self.tensor(index).shape)

    def fields(self, index: int = 0) -> tuple[TensorType, ...]:
        """The types of the tensors in argument `index`, a tuple."""
        value = self.args[index] if index < len(self.args) else None
        if not isinstance(value, tuple):
            raise RuleError(f"argument {index} must be a tuple of tensors")
        out: list[TensorType] = []
        for position, part in enumerate(value):
            if not isinstance(part, Tensor) or part.type is None:
                raise RuleError(f"field {position} of argument {index} must be a tensor of known type")
            out.append(part.type)
        return tuple(out)

    def const(self, index: int) -> Array | None:
        """The numbers of argument `index` if they are known before running."""
        value = self.args[index] if index < len(self.args) else None
        return value.const if isinstance(value, Tensor) else None

    def constant(self, index: int, what: str) -> Array:
        """The numbers of argument `index`.

        Raises
        ------
        RuleError
            If they are known only at run time.
        """
        const = self.const(index)
        if const is None:
            raise RuleError(f"{what} (argument {index}) must be a constant: its value is known only at run time")
        return const

    def ints(self, index: int, what: str) -> list[int]:
        """Argument `index` as whole numbers known before running."""
        return [int(number) for number in self.constant(index, what).reshape(-1)]

    def assign(self, index: int, wanted: TensorType, what: str = "") -> TensorType:
        """State that argument `index` has the type `wanted`: fills it in if it is unknown, checks it otherwise.

        Returns
        -------
        TensorType
            The type, with unknown dimensions made known where either side knows them.
        """
        value = self.args[index] if index < len(self.args) else None
        if not isinstance(value, Tensor):
            raise RuleError(f"argument {index} must be a tensor")
        label = what or f"argument {index}"
        if value.type is None:
            value.type = wanted
        elif not agree(value.type, wanted):
            raise RuleError(f"{label} must be {wanted}, found {value.type}")
        else:
            dims = tuple(unify(a, b) for a, b in zip(value.type.shape, wanted.shape))
            value.type = TensorType(dims, wanted.dtype) if value.data is None else value.type
            return TensorType(dims, wanted.dtype)
        return value.type

    def is_known(self, index: int) -> bool:
        """Whether the type of argument `index` is known."""
        value = self.args[index] if index < len(self.args) else None
        return not isinstance(value, Tensor) or value.type is not None

    def where(self) -> str:
        """` at file:line:column`, or nothing."""
        return f" at {self.expr.span}" if self.expr.span is not None else ""


def expr_where(expr: Expr) -> str:
    """` at file:line:column` of an expression, or nothing."""
    return f" at {expr.span}" if expr.span is not None else ""
