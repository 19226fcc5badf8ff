"""Expressions in Relay text.

Written as steps for `trampoline.run`, one generator for each rule of the grammar, so that nesting costs no stack. A
chain of bindings is one loop.
"""

from __future__ import annotations

from gacer_tvm.errors import RelayError
from gacer_tvm.relay.ast import (
    NO_ATTRS,
    Attrs,
    Call,
    Constructor,
    Expr,
    Let,
    Op,
    RefRead,
    Span,
    Var,
)
from gacer_tvm.relay.attrs import call_attrs, default_attrs, make_attrs
from gacer_tvm.relay.block_parser import BlockParser
from gacer_tvm.relay.trampoline import Steps
from gacer_tvm.relay.type_parser import is_dtype
from gacer_tvm.relay.types import Type

__all__ = ["ExprParser"]

# Infix operators: how tightly they bind, and what they call. All associate to the left.
_INFIX = {
    "*": (12, "multiply"),
    "/": (12, "divide"),
    "+": (10, "add"),
    "-": (10, "subtract"),
    "<": (8, "less"),
    "<=": (8, "less_equal"),
    ">": (8, "greater"),
    ">=": (8, "greater_equal"),
    "==": (7, "equal"),
    "!=": (7, "not_equal"),
}
_BLOCK_ENDS = ("}", ")", ",", "eof")


class ExprParser(BlockParser):
    """Reads expressions at a cursor: sequences of bindings, operators and calls, of atoms."""

    def sequence(self) -> Steps:
        """Bindings separated by semicolons, and the expression that is their value."""
        cursor, scope = self.cursor, self.scope
        lets: list[tuple[Var, Expr, Span]] = []
        scoped = False
        while True:
            kind, start = cursor.kind, cursor.index
            graph = kind == "graph" and cursor.ahead() == "="
            if (graph or kind == "let") and not scoped:
                scope.push()
                scoped = True
            if graph:
                number = self._graph_number(cursor.take())
                cursor.take()
                value = yield self.expr()
                cursor.expect(";", "';' after a binding")
                scope.bind_graph(number, value)
            elif kind == "let":
                cursor.take()
                var = self._declaration("after let")
                cursor.expect("=", "'=' after the variable of a let")
                # A function may call itself by the name that it gets.
                if cursor.kind == "fn" or var.name_hint not in scope.vars:
                    scope.bind(var.name_hint, var)
                value = yield self.expr()
                if not cursor.accept(";;"):
                    cursor.expect(";", "';' after a let")
                scope.bind(var.name_hint, var)
                lets.append((var, value, cursor.span(start)))
            elif kind == "free_var":
                cursor.take()
                var = self._declaration("after free_var")
                # TVM 0.6 wrote no semicolon here.
                cursor.accept(";")
                scope.bind(var.name_hint, var)
            else:
                value = yield self.expr()
                if not (cursor.accept(";") or cursor.accept(";;")) or cursor.kind in _BLOCK_ENDS:
                    break
                # A statement for its effect alone.
                lets.append((Var("_"), value, cursor.span(start)))
        if scoped:
            scope.pop()
        for var, bound, span in reversed(lets):
            value = Let(var, bound, value, span)
        return value

    def expr(self) -> Steps:
        """Calls joined by infix operators."""
        cursor = self.cursor
        value = yield self.call()
        if cursor.kind not in _INFIX and cursor.kind != "number":
            return value
        operands: list[Expr] = [value]
        operators: list[tuple[int, str]] = []
        while True:
            kind = cursor.kind
            if kind == "number" and cursor.value.startswith("-"):
                # `%a -1`: the lexer takes the sign into the number; the sum is the same.
                precedence, name = _INFIX["+"]
            elif kind in _INFIX:
                precedence, name = _INFIX[kind]
                cursor.take()
            else:
                break
            while operators and operators[-1][0] >= precedence:
                self._reduce(operands, operators)
            operators.append((precedence, name))
            operands.append((yield self.call()))
        while operators:
            self._reduce(operands, operators)
        return operands[0]

    def _reduce(self, operands: list[Expr], operators: list[tuple[int, str]]) -> None:
        right, left = operands.pop(), operands.pop()
        operands.append(Call(self._op(operators.pop()[1]), (left, right), NO_ATTRS, (), left.span))

    def call(self) -> Steps:
        """An atom, called any number of times, or its fields taken."""
        cursor = self.cursor
        start = cursor.index
        value = yield self.atom()
        while True:
            kind = cursor.kind
            if kind == "(":
                value = yield self._call_of(value, start)
            elif kind == "." and cursor.ahead() == "number":
                cursor.take()
                value = self._fields(value, cursor.take(), start)
            elif kind == "^":
                cursor.take()
                value = RefRead(value, cursor.span(start))
            else:
                break
        if isinstance(value, Constructor) and not value.inputs:
            return Call(value, (), NO_ATTRS, (), cursor.span(start), self.note())
        return value

    def _call_of(self, callee: Expr, start: int) -> Steps:
        """The call of `callee` with the arguments at the cursor."""
        cursor = self.cursor
        opening = cursor.index
        cursor.take()
        arguments: list[Expr] = []
        type_args: list[Type | None] = []
        given: dict[str, object] | None = None
        attrs: Attrs | None = None
        while not cursor.accept(")"):
            if self.attributes.at_attribute():
                given = yield self.attributes.attributes()
                break
            if self._at_type():
                # Some dumps list type arguments among the others.
                type_args.append((yield self.types.steps()))
            elif cursor.kind == "meta" and cursor.ahead() == ")":
                attrs = self._meta_attrs(callee, cursor.index)
                if attrs is not None:
                    cursor.take()
                else:
                    arguments.append((yield self.sequence()))
            else:
                arguments.append((yield self.sequence()))
            if not cursor.accept(",") and cursor.kind != ")":
                raise cursor.error("',' or ')' after an argument")
        if attrs is None:
            attrs = self._attrs_of(callee, given, start if given is None else opening)
        return Call(callee, tuple(arguments), attrs, tuple(type_args), cursor.span(start), self.note())

    def _attrs_of(self, callee: Expr, given: dict[str, object] | None, index: int) -> Attrs:
        try:
            if isinstance(callee, Op):
                if self.old and callee.name == "nn.batch_matmul" and not given:
                    # Up to TVM 0.7 it had no attributes and always transposed its second argument.
                    return make_attrs("relay.attrs.BatchMatmulAttrs", {"transpose_b": True})
                return default_attrs(callee.name) if given is None else call_attrs(callee.name, given)
            if not given:
                return NO_ATTRS
            key = given.pop("attrs_type_key", "DictAttrs")
            return make_attrs(str(key), given)
        except RelayError as error:
            raise self.cursor.complaint(str(error).rstrip("."), index) from None

    def _meta_attrs(self, callee: Expr, index: int) -> Attrs | None:
        """The attributes that a reference behind the last argument means; None if it means an argument."""
        if isinstance(callee, Op):
            known = self.meta.call_attributes(self.cursor, index, callee.name)
            if known is not None:
                return known
        value = self._meta_value(index)
        return value if isinstance(value, Attrs) else None

    def _at_type(self) -> bool:
        cursor = self.cursor
        if cursor.kind == "ident":
            after = cursor.ahead()
            if cursor.value == "Tensor":
                return after == "["
            return after in (",", ")") and is_dtype(cursor.value)
        return cursor.kind == "(" and cursor.ahead() == "ident" and cursor.ahead(2) == "[" and self._second_is_tensor()

    def _second_is_tensor(self) -> bool:
        return self.cursor.values[self.cursor.index + 1] == "Tensor"
