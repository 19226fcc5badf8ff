"""The smallest expressions of Relay text: variables, numbers, names, references to the table; and what is in scope."""

from __future__ import annotations

import numpy as np

from gacer_tvm.errors import RelayError
from gacer_tvm.relay.ast import (
    Constant,
    Expr,
    Op,
    TupleGetItem,
    Var,
)
from gacer_tvm.relay.attribute_parser import AttributeParser
from gacer_tvm.relay.cursor import Cursor
from gacer_tvm.relay.literals import scalar_array
from gacer_tvm.relay.metadata import MetaTable
from gacer_tvm.relay.operators import op_info
from gacer_tvm.relay.scope import Scope
from gacer_tvm.relay.trampoline import Steps
from gacer_tvm.relay.type_parser import TypeParser, read_type
from gacer_tvm.relay.types import ANY, Type

__all__ = ["LeafParser"]


class LeafParser:
    """Reads leaves at a cursor, and holds what reading a text needs throughout.

    Parameters
    ----------
    cursor : Cursor
    scope : Scope
    meta : MetaTable
    old : bool
        Whether the text is of TVM 0.6.
    """

    def __init__(self, cursor: Cursor, scope: Scope, meta: MetaTable, old: bool = False) -> None:
        self.cursor = cursor
        self.scope = scope
        self.meta = meta
        self.old = old
        self.types = TypeParser(cursor, self._meta_dim, old)
        self.attributes = AttributeParser(cursor, self.call, self._meta_attribute)
        # The global function being read, for whom missing constants become parameters.
        self.function_name: str | None = None
        # Where each global function is first used.
        self.globals_used: dict[str, int] = {}
        self._notes: dict[str, Type | None] = {}
        self._ops: dict[str, Op] = {}

    def call(self) -> Steps:
        """An expression as attributes may hold it; the class that reads calls has it."""
        raise NotImplementedError

    def _declaration(self, where: str) -> Var:
        """`%name`, with its type if it is stated, as a new variable. Not yet in scope."""
        cursor = self.cursor
        start = cursor.index
        name = cursor.expect("local", f"a variable %name {where}")
        note = self.note()
        if cursor.kind == "{":
            # The device that a parameter is bound to; it says nothing about values.
            self.attributes.skip_brackets()
        type_ = None
        if cursor.accept(":"):
            type_ = self.types.type()
            note = self.note() or note
        return Var(name, type_, cursor.span(start), note)

    def _graph_number(self, text: str) -> int:
        if not text.isascii() or not text.isdigit() or len(text) > 18:
            raise self.cursor.complaint("expected the number of a binding, as in %12", self.cursor.index - 1)
        return int(text)

    def _graph_var(self, text: str, start: int) -> Expr:
        number, _, fields = text.partition(".")
        value = self.scope.lookup_graph(self._graph_number(number))
        if value is None:
            raise self.cursor.complaint(f"%{number} is used but not bound before", start)
        return self._fields(value, fields, start) if fields else value

    def _local_var(self, name: str, start: int) -> Expr:
        names = self.scope.vars
        found = names.get(name)
        if found is not None:
            return found
        # No such name as a whole: `%x.0` is a field of `%x`.
        head, _, field = name.rpartition(".")
        fields: list[str] = []
        while head and field.isdigit() and len(fields) < 64:
            fields.append(field)
            if head in names:
                return self._fields(names[head], ".".join(reversed(fields)), start)
            head, _, field = head.rpartition(".")
        shown = name if len(name) <= 60 else name[:57] + "..."
        raise self.cursor.complaint(f"the variable %{shown} is not defined here", start)

    def _fields(self, value: Expr, text: str, start: int) -> Expr:
        """`value.0`, or `value.0.1` where the lexer took the fields for a number with a point."""
        for digits in text.split("."):
            if not digits.isascii() or not digits.isdigit() or len(digits) > 9:
                raise self.cursor.complaint("expected the number of a tuple's field", self.cursor.index - 1)
            value = TupleGetItem(value, int(digits), self.cursor.span(start), self.note())
        return value

    def _number(self, start: int) -> Constant:
        cursor = self.cursor
        try:
            array = scalar_array(cursor.value)
        except RelayError as error:
            raise cursor.complaint(str(error).rstrip("."), start) from None
        cursor.take()
        return self._constant(array, start)

    def _constant(self, array: np.ndarray, start: int) -> Constant:
        array.flags.writeable = False
        return Constant(array, self.cursor.span(start), self.note())

    def _identifier(self, start: int) -> Expr:
        cursor = self.cursor
        name = cursor.value
        if name in ("True", "False"):
            cursor.take()
            return self._constant(np.array(name == "True"), start)
        constructor = self.scope.constructors.get(name)
        if constructor is not None:
            cursor.take()
            return constructor
        # An unknown operator is taken too: conversion reports all of them at once.
        if cursor.ahead() != "(" and op_info(name) is None:
            raise cursor.error("an expression")
        cursor.take()
        return self._op(name)

    def _op(self, name: str) -> Op:
        found = self._ops.get(name)
        if found is None:
            found = self._ops[name] = Op(name)
        return found

    def _meta_value(self, index: int) -> object:
        return self.meta.value(self.cursor, index, self.function_name)

    def _meta_attribute(self, index: int) -> object:
        return self.meta.attribute(self.cursor, index, self.function_name)

    def _meta_dim(self, index: int) -> object:
        """A meta reference in a shape: a symbolic size, which has a name only where there is a table."""
        return self._meta_value(index) if self.meta.has_table else ANY

    def _meta_expr(self, start: int) -> Expr:
        cursor = self.cursor
        value = self._meta_value(start)
        if not isinstance(value, Expr):
            raise cursor.error(f"an expression (this refers to a {type(value).__name__})")
        cursor.take()
        return value

    def note(self) -> Type | None:
        """The type noted in a comment behind the token taken last; None if there is none that can be read."""
        text = self.cursor.note()
        if text is None:
            return None
        if text not in self._notes or self.types.type_vars:
            try:
                self._notes[text] = read_type(text, self.types.type_vars)
            except RelayError:
                # It is only a comment.
                self._notes[text] = None
        return self._notes[text]
