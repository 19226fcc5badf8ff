"""Attributes in Relay text: `axis=1, strides=[2, 2], dtype="float32"`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gacer_tvm.errors import RelayError
from gacer_tvm.relay.ast import Opaque
from gacer_tvm.relay.cursor import Cursor
from gacer_tvm.relay.lexer import KEYWORDS
from gacer_tvm.relay.literals import number_value
from gacer_tvm.relay.operators import op_info
from gacer_tvm.relay.trampoline import Steps
from gacer_tvm.relay.types import ANY

__all__ = ["AttributeParser"]

_WORDS = {"True": True, "False": False, "None": None, "nullptr": None}
_CLOSING = {"(": ")", "[": "]", "{": "}"}


class AttributeParser:
    """Reads attributes at a cursor.

    Parameters
    ----------
    cursor : Cursor
    atom : callable
        Steps that read an expression, for values that are none of the plain kinds.
    meta : callable
        Gives what the meta reference at a token refers to.
    """

    def __init__(self, cursor: Cursor, atom: Callable[[], Steps], meta: Callable[[int], Any]) -> None:
        self.cursor = cursor
        self._atom = atom
        self._meta = meta

    def at_attribute(self) -> bool:
        """Whether `name=` comes next."""
        cursor = self.cursor
        return (cursor.kind == "ident" or cursor.kind in KEYWORDS) and cursor.ahead() == "="

    def attributes(self) -> Steps:
        """Attributes up to and with the closing parenthesis, as a dict."""
        cursor = self.cursor
        found: dict[str, Any] = {}
        while not cursor.accept(")"):
            if not self.at_attribute():
                raise cursor.error("an attribute 'name=value' or ')'")
            start = cursor.index
            name = cursor.take()
            cursor.take()
            if name in found:
                raise cursor.complaint(f"the attribute {name!r} is given twice", start)
            found[name] = yield self.value()
            if not cursor.accept(",") and cursor.kind != ")":
                raise cursor.error("',' or ')' after an attribute")
        return found

    def value(self) -> Steps:
        """One value."""
        cursor = self.cursor
        kind = cursor.kind
        if kind == "number":
            try:
                value, _ = number_value(cursor.value)
            except RelayError as error:
                raise cursor.complaint(str(error).rstrip(".")) from None
            cursor.take()
            return value
        if kind == "string":
            return cursor.take()
        if kind == "ident":
            word = cursor.value
            if word in _WORDS:
                cursor.take()
                return _WORDS[word]
            if cursor.ahead() == "(" and op_info(word) is None:
                # How TVM prints devices and targets without its meta table: VirtualDevice(device_type=2, ...).
                cursor.take()
                self.skip_brackets()
                return Opaque(f"text.{word}")
            if cursor.ahead() != "(":
                return cursor.take()
        if kind == "meta":
            value = self._meta(cursor.index)
            cursor.take()
            return value
        if kind == "[":
            cursor.take()
            items, _ = yield self._list("]")
            return items
        if kind == "(":
            cursor.take()
            items, comma = yield self._list(")")
            return items[0] if len(items) == 1 and not comma else items
        if kind == "{":
            self.skip_brackets()
            return Opaque("text.Map")
        if kind == "?":
            cursor.take()
            return ANY
        return (yield self._atom())

    def _list(self, end: str) -> Steps:
        """Values up to and with `end`, and whether a comma stood behind the last."""
        cursor = self.cursor
        items = []
        comma = False
        while not cursor.accept(end):
            items.append((yield self.value()))
            comma = cursor.accept(",")
            if not comma and cursor.kind != end:
                raise cursor.error(f"',' or '{end}' after a value")
        return tuple(items), comma

    def skip_brackets(self) -> None:
        """Move behind the bracket that closes the one at the cursor."""
        cursor = self.cursor
        open_brackets = []
        while True:
            kind = cursor.kind
            if kind in _CLOSING:
                open_brackets.append(_CLOSING[kind])
            elif kind in (")", "]", "}"):
                if kind != open_brackets.pop():
                    raise cursor.error("the bracket that closes this value")
            elif kind == "eof":
                raise cursor.error(f"'{open_brackets[-1]}'")
            cursor.take()
            if not open_brackets:
                return
