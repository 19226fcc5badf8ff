"""The evaluator behind type inference and conversion: walks functions as straight-line code, without recursion.

Functions, closures and global functions are evaluated where they are called (so that calls inline), `if` evaluates both
branches and lets the semantics choose between the two values, and a node that is shared is evaluated once. What a
constant, an operator call or a choice means is the semantics' business.
"""

from __future__ import annotations

import typing
from collections import Counter
from collections.abc import Generator

from gacer_tvm.errors import RelayError
from gacer_tvm.relay.ast import (
    Call,
    Constant,
    Constructor,
    Expr,
    Function,
    GlobalVar,
    If,
    IRModule,
    Let,
    Op,
    Tuple,
    TupleGetItem,
    Var,
)
from gacer_tvm.relay.trampoline import run
from gacer_tvm.relay.values import Closure, Frame, OpCall, OpValue, Tensor, Value, expr_where

__all__ = ["Evaluator", "Semantics"]

Step = Generator[typing.Any, typing.Any, Value]

# A function calling itself is refused once this many of its calls are open; a program that unrolls ends long before.
_OPEN_CALLS = 64
# Inlining can blow up exponentially; a module beyond this is hostile or wrong.
_MAX_CALLS = 100_000


class Semantics(typing.Protocol):
    """What the evaluator asks for."""

    def constant(self, expr: Constant) -> Tensor:
        """The value of a constant."""

    def call(self, call: OpCall) -> Value:
        """The value of an operator call."""

    def select(self, expr: If, cond: Value, then: Value, other: Value) -> Value:
        """The value of an `if` whose branches have the values `then` and `other`."""

    def bind(self, var: Var, value: Value) -> Value:
        """The value that a function's parameter or a `let` variable gets; checks annotations."""

    def result(self, function: Function, value: Value) -> Value:
        """The value of a function call; checks the stated result type."""

    def note(self, expr: Expr, value: Value, frame: Frame) -> None:
        """Called with each node and its value."""


class Evaluator:
    """Evaluates functions of a module under some semantics.

    Parameters
    ----------
    module : IRModule
    semantics : Semantics
    """

    def __init__(self, module: IRModule, semantics: Semantics) -> None:
        self._module = module
        self._semantics = semantics
        self._globals = Frame()
        self._open: Counter[int] = Counter()
        self._calls = 0

    def run(self, function: Function, args: typing.Sequence[Value]) -> Value:
        """The value of `function` called with `args`.

        Raises
        ------
        RelayError
            For anything that is no straight-line program: recursion, unbound variables, wrong arities.
        """
        value = run(self._apply(Closure(function, self._globals), tuple(args), function))
        return typing.cast(Value, value)

    def _apply(self, closure: Closure, args: tuple[Value, ...], site: Expr) -> Step:
        function = closure.function
        if len(args) != len(function.params):
            raise RelayError(
                f"A function of {len(function.params)} parameters{expr_where(function)} is called with {len(args)} "
                f"arguments{expr_where(site)}."
            )
        self._open[id(function)] += 1
        if self._open[id(function)] > _OPEN_CALLS:
            raise RelayError(
                f"The function{expr_where(function)} calls itself: recursion cannot be converted to a straight-line "
                "graph. Unroll it, or rewrite it without recursion."
            )
        frame = Frame(closure.frame)
        for param, arg in zip(function.params, args):
            frame.values[id(param)] = self._semantics.bind(param, arg)
        value = yield self._eval(function.body, frame)
        self._open[id(function)] -= 1
        return self._semantics.result(function, value)

    @staticmethod
    def _known(expr: Expr, frame: Frame) -> Value | None:
        key = id(expr)
        scope: Frame | None = frame
        while scope is not None:
            value = scope.values.get(key)
            if value is not None:
                return value
            scope = scope.parent
        return None

    def _leaf(self, expr: Expr, frame: Frame) -> Value | None:
        """The value of a node that needs no evaluation of others, or that is known already."""
        value = self._known(expr, frame)
        if value is not None:
            return value
        if isinstance(expr, Constant):
            value = self._semantics.constant(expr)
        elif isinstance(expr, Var):
            raise RelayError(f"The variable %{expr.name_hint}{expr_where(expr)} is used where nothing binds it.")
        elif isinstance(expr, Function):
            value = Closure(expr, frame)
        elif isinstance(expr, GlobalVar):
            value = Closure(self._module[expr], self._globals)
        elif isinstance(expr, Op):
            value = OpValue(expr)
        else:
            return None
        frame.values[id(expr)] = value
        self._semantics.note(expr, value, frame)
        return value

    def _eval(self, expr: Expr, frame: Frame) -> Step:
        head = expr
        while isinstance(expr, Let) and self._known(expr, frame) is None:
            if isinstance(expr.value, Function):
                # Bound before use, so that a recursive closure is recognized as one.
                frame.values[id(expr.var)] = Closure(expr.value, frame)
            value = self._leaf(expr.value, frame)
            if value is None:
                value = yield self._eval(expr.value, frame)
            frame.values[id(expr.var)] = self._semantics.bind(expr.var, value)
            expr = expr.body
        value = self._leaf(expr, frame)
        if value is None:
            value = yield self._node(expr, frame)
            frame.values[id(expr)] = value
            self._semantics.note(expr, value, frame)
        if head is not expr:
            frame.values[id(head)] = value
            self._semantics.note(head, value, frame)
        return value

    def _node(self, expr: Expr, frame: Frame) -> Step:
        if isinstance(expr, Call):
            args = []
            for arg in expr.args:
                value = self._leaf(arg, frame)
                args.append(value if value is not None else (yield self._eval(arg, frame)))
            if isinstance(expr.op, Constructor):
                raise _not_pure(expr)
            callee = self._leaf(expr.op, frame)
            if callee is None:
                callee = yield self._eval(expr.op, frame)
            result: Value = yield self._call(expr, callee, tuple(args))
            return result
        if isinstance(expr, (Tuple, TupleGetItem)):
            below = expr.fields if isinstance(expr, Tuple) else (expr.tuple_value,)
            parts = []
            for part in below:
                value = self._leaf(part, frame)
                parts.append(value if value is not None else (yield self._eval(part, frame)))
            return tuple(parts) if isinstance(expr, Tuple) else _field(expr, parts[0])
        if isinstance(expr, If):
            cond = self._leaf(expr.cond, frame)
            if cond is None:
                cond = yield self._eval(expr.cond, frame)
            branches = [expr.true_branch, expr.false_branch]
            if isinstance(cond, Tensor) and cond.const is not None and cond.const.size == 1:
                branches = branches[:1] if bool(cond.const.reshape(-1)[0]) else branches[1:]
            values = []
            for part in branches:
                value = self._leaf(part, frame)
                values.append(value if value is not None else (yield self._eval(part, frame)))
            return self._semantics.select(expr, cond, values[0], values[-1])
        raise _not_pure(expr)

    def _call(self, expr: Call, callee: Value, args: tuple[Value, ...]) -> Step:
        self._calls += 1
        if self._calls > _MAX_CALLS:
            raise RelayError(f"The module unrolls to more than {_MAX_CALLS:,} calls; it is too large to convert.")
        if isinstance(callee, OpValue):
            return self._semantics.call(OpCall(callee.op.name, expr.attrs, args, expr))
        if isinstance(callee, Closure):
            result: Value = yield self._apply(callee, args, expr)
            return result
        raise RelayError(f"The call{expr_where(expr)} calls something that is no function.")


def _field(expr: TupleGetItem, value: Value) -> Value:
    if not isinstance(value, tuple):
        raise RelayError(f"Field {expr.index} is taken{expr_where(expr)} of something that is no tuple.")
    if not 0 <= expr.index < len(value):
        raise RelayError(f"Field {expr.index} is taken{expr_where(expr)} of a tuple of {len(value)} fields.")
    return typing.cast(Value, value[expr.index])


def _not_pure(expr: Expr) -> RelayError:
    return RelayError(
        f"A {type(expr).__name__}{expr_where(expr)} cannot be evaluated: algebraic data types and references are not "
        "supported."
    )
