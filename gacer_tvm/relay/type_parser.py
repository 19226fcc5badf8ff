"""Types in Relay text."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from gacer_tvm.errors import RelayError
from gacer_tvm.relay import types
from gacer_tvm.relay.cursor import Cursor
from gacer_tvm.relay.lexer import Source, tokenize
from gacer_tvm.relay.literals import number_value
from gacer_tvm.relay.trampoline import Steps
from gacer_tvm.relay.types import (
    ANY,
    Dim,
    FuncType,
    GlobalTypeVar,
    RefType,
    TensorType,
    TupleType,
    Type,
    TypeCall,
    TypeVar,
)

__all__ = ["TypeParser", "is_dtype", "read_type"]

_DTYPE = re.compile(r"(?:u?int\d+|float\d+(?:_e\d+m\d+\w*)?|bfloat16|e\dm\d_float8|bool|handle|void)(?:x\d+)?")


def is_dtype(name: str) -> bool:
    """Whether `name` is an element type, as in `float32` or `int8x4`."""
    return _DTYPE.fullmatch(name) is not None


class TypeParser:
    """Reads types at a cursor.

    Parameters
    ----------
    cursor : Cursor
    meta : callable, optional
        Gives what a token of kind "meta" (by index) refers to; without it such dimensions are unknown.
    old : bool
        Whether the text is of TVM 0.6, where `(T)` is `T`; later it is the tuple of one `T`.
    """

    def __init__(self, cursor: Cursor, meta: Callable[[int], Any] | None = None, old: bool = False) -> None:
        self.cursor = cursor
        self.meta = meta
        self.old = old
        self.type_vars: set[str] = set()
        # Equal types of one text are one object: most tensors of a model share a few.
        self._tensors: dict[tuple[tuple[Dim, ...], str], TensorType] = {}

    def type(self) -> Type | None:
        """The type at the cursor; None for `_`."""
        if self.cursor.kind == "ident" and self.cursor.value == "Tensor":
            return self.tensor()
        found: Type | None = self.cursor.run(self.steps())
        return found

    def tensor(self) -> TensorType:
        """`Tensor[(2, ?), float32]` at the cursor."""
        cursor = self.cursor
        cursor.take()
        cursor.expect("[", "'[' after Tensor")
        dims: list[Dim] = []
        if cursor.accept("("):
            while not cursor.accept(")"):
                dims.append(self._dim())
                if not cursor.accept(",") and cursor.kind != ")":
                    raise cursor.error("',' or ')' after a dimension")
        else:
            dims.append(self._dim())
        cursor.expect(",", "',' and the element type after the shape")
        if cursor.kind != "ident" or not is_dtype(cursor.value):
            raise cursor.error("an element type such as float32")
        dtype = _dtype(cursor.take())
        cursor.expect("]", "']' after the element type")
        key = (tuple(dims), dtype)
        found = self._tensors.get(key)
        if found is None:
            found = self._tensors[key] = TensorType(*key)
        return found

    def _dim(self) -> Dim:
        cursor = self.cursor
        kind = cursor.kind
        if kind == "number":
            try:
                value, _ = number_value(cursor.value)
            except RelayError as error:
                raise cursor.complaint(str(error)) from None
            if not isinstance(value, int) or value < 0:
                raise cursor.error("a dimension, an integer of at least 0")
            cursor.take()
            return value
        if kind == "?":
            cursor.take()
            return ANY
        if kind == "ident" and cursor.value.isidentifier():
            # A symbolic size by name, as our printer writes it; TVM wrote a reference to its table.
            return types.Any(cursor.take())
        if kind == "meta":
            found = self.meta(cursor.index) if self.meta is not None else ANY
            cursor.take()
            return found if type(found) is int or isinstance(found, types.Any) else ANY
        raise cursor.error("a dimension (an integer or '?')")

    def steps(self) -> Steps:
        """As `type`, as steps for `trampoline.run`."""
        cursor = self.cursor
        kind = cursor.kind
        if kind == "(":
            cursor.take()
            parts, comma = yield self.types_until(")")
            if self.old and len(parts) == 1 and not comma:
                return parts[0]
            return TupleType(parts)
        if kind == "fn":
            cursor.take()
            params = self.generics()
            cursor.expect("(", "'(' and the argument types of a function type")
            arguments, _ = yield self.types_until(")")
            cursor.expect("->", "'->' and the type of the function's value")
            result = yield self.steps()
            self.type_vars.difference_update(param.name for param in params)
            return FuncType(arguments, result, params)
        if kind == "ref":
            cursor.take()
            cursor.expect("(", "'(' after ref")
            value = yield self.steps()
            cursor.expect(")", "')' after the type of the reference")
            return RefType(value)
        if kind != "ident":
            raise cursor.error("a type")
        name = cursor.value
        if name == "Tensor":
            return self.tensor()
        cursor.take()
        if name == "_":
            return None
        if is_dtype(name):
            return types.scalar_type(_dtype(name))
        head = TypeVar(name) if name in self.type_vars else GlobalTypeVar(name)
        arguments = ()
        if cursor.accept("["):
            arguments, _ = yield self.types_until("]")
        return head if isinstance(head, TypeVar) and not arguments else TypeCall(head, arguments)

    def types_until(self, end: str) -> Steps:
        """Types up to and with `end`, and whether a comma stood behind the last."""
        cursor = self.cursor
        parts = []
        comma = False
        while not cursor.accept(end):
            parts.append((yield self.steps()))
            comma = cursor.accept(",")
            if not comma and cursor.kind != end:
                raise cursor.error(f"',' or '{end}' after a type")
        return tuple(parts), comma

    def generics(self) -> tuple[TypeVar, ...]:
        """`[A, B]` at the cursor, if it is there; the names count as type variables until removed from `type_vars`."""
        cursor = self.cursor
        names: list[TypeVar] = []
        if cursor.accept("["):
            while not cursor.accept("]"):
                names.append(TypeVar(cursor.expect("ident", "a type parameter's name")))
                if not cursor.accept(",") and cursor.kind != "]":
                    raise cursor.error("',' or ']' after a type parameter")
        self.type_vars.update(name.name for name in names)
        return tuple(names)


def read_type(text: str, type_vars: set[str] | None = None) -> Type | None:
    """The type that `text` writes; raises RelayError if it writes none.

    Parameters
    ----------
    text : str
    type_vars : set of str, optional
        Names that are type variables.
    """
    parser = TypeParser(Cursor(tokenize(Source("type", text))))
    parser.type_vars = type_vars or set()
    found = parser.type()
    if parser.cursor.kind != "eof":
        raise parser.cursor.error("the end of the type")
    return found


def _dtype(name: str) -> str:
    # TVM 0.6 and DLPack call booleans one-bit unsigned integers.
    return "bool" if name == "uint1" else name
