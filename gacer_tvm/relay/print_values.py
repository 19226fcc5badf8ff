"""Constants, attributes and names in Relay text."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from gacer_tvm.errors import RelayError
from gacer_tvm.relay import types
from gacer_tvm.relay.ast import Attrs, Call, Constant, Expr, Op, Opaque
from gacer_tvm.relay.json_writer import MetaWriter
from gacer_tvm.relay.operators import attr_struct, op_info

__all__ = ["NameTable", "ValuePrinter", "scalar_text"]

# What the lexer reads as one local name.
_LOCAL = re.compile(r"[^\W\d](?:\w|/(?=\w))*(?:\.[\w/]+|-\w+|:\d+|::[\w/]+)*")
_SUFFIX = {"int16": "i16", "int32": "", "int64": "i64", "float16": "f16", "float32": "f", "float64": "f64"}
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}
_ESCAPED = re.compile(r'["\\\x00-\x1f\x7f-\x9f]')


def scalar_text(array: np.ndarray) -> str | None:
    """A 0-d array as a number of Relay text; None if it has to be written in the table of constants.

    Only seven element types have literals; TVM cannot read a literal for NaN.
    """
    name = str(array.dtype)
    if array.shape != ():
        return None
    if name == "bool":
        return "True" if array else "False"
    suffix = _SUFFIX.get(name)
    if suffix is None:
        return None
    if array.dtype.kind == "i":
        return f"{int(array)}{suffix}"
    value = float(array)
    if math.isnan(value):
        return None
    if math.isinf(value):
        return f"{'-' if value < 0 else ''}inf{suffix}"
    # Few digits where they give the same number, as TVM prints; else as many as it takes.
    for text in (format(value, "g"), str(array), repr(value)):
        if np.array(float(text), array.dtype).tobytes() == array.tobytes():
            return text + suffix
    return None


class NameTable:
    """Unique names for the variables of one function.

    A name that the lexer would not read as one is made one. `x.0` is not given beside `x`, whose field it would be.
    """

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._next: dict[str, int] = {}
        self._heads: set[str] = set()

    def allocate(self, hint: str) -> str:
        """A name like `hint` that was not given before."""
        name = hint
        if not _LOCAL.fullmatch(name):
            name = re.sub(r"\W", "_", name)
            if not name or name[0].isdigit() or not _LOCAL.fullmatch(name):
                name = "v" + re.sub(r"[^A-Za-z0-9_]", "_", name)
        if self._clashes(name) and "." in name:
            name = re.sub(r"[^A-Za-z0-9_]", "_", name)
        base, count = name, self._next.get(name, 0)
        while self._clashes(name):
            count += 1
            name = f"{base}{count}"
        self._next[base] = count
        self._taken.add(name)
        head, _, field = name.rpartition(".")
        while head and field.isdigit():
            self._heads.add(head)
            head, _, field = head.rpartition(".")
        return name

    def _clashes(self, name: str) -> bool:
        if name in self._taken or name in self._heads:
            return True
        head, _, field = name.rpartition(".")
        while head and field.isdigit():
            if head in self._taken:
                return True
            head, _, field = head.rpartition(".")
        return False


class ValuePrinter:
    """Writes constants and attributes, and keeps what has to go to the table behind the text.

    Parameters
    ----------
    meta : MetaWriter
    leaf : callable
        Text of an expression that an attribute holds.
    """

    def __init__(self, meta: MetaWriter, leaf: Callable[[Expr], str]) -> None:
        self.meta = meta
        self._leaf = leaf

    def constant(self, node: Constant) -> str:
        """A number, or a reference to the table."""
        return scalar_text(node.data) or self.meta.reference("relay.Constant", node)

    def call_attributes(self, call: Call) -> list[str]:
        """The attributes of a call that differ from their defaults, each as `name=value`."""
        attrs = call.attrs
        if not attrs and attrs.type_key == "DictAttrs":
            return []
        struct = attr_struct(attrs.type_key)
        written = []
        for name, value in attrs.items():
            field = struct.fields.get(name) if struct is not None else None
            if field is not None and not field.stated and _same(field.default, value):
                continue
            written.append(f"{name}={self.value(value)}")
        info = op_info(call.op.name) if isinstance(call.op, Op) else None
        own = info.attrs_key if info is not None and info.declared else ""
        unknown = isinstance(call.op, Op) and info is None and attrs.type_key == ""
        if attrs.type_key != own and not unknown:
            written.append(f'attrs_type_key="{attrs.type_key}"')
        return written

    def dict_attributes(self, attrs: Attrs) -> list[str]:
        """The attributes of a function."""
        return [f"{name}={self.value(value)}" for name, value in attrs.items()]

    def value(self, value: Any) -> str:
        """One attribute's value."""
        if isinstance(value, (tuple, list)):
            return self._list(value)
        return self._plain(value)

    def _plain(self, value: Any) -> str:
        if value is None:
            return "None"
        if isinstance(value, bool):
            return str(value)
        if isinstance(value, int):
            return str(value)
        if isinstance(value, float):
            return _float_text(value)
        if isinstance(value, str):
            return _quoted(value)
        if isinstance(value, types.Any):
            return "?"
        if isinstance(value, Constant):
            return self.constant(value)
        if isinstance(value, Expr):
            return self._leaf(value)
        if isinstance(value, Opaque):
            return self.meta.reference(value.type_key, value)
        if isinstance(value, Attrs):
            return self.meta.reference(value.type_key, value)
        if isinstance(value, Mapping):
            return self.meta.reference("Map", value)
        raise RelayError(f"The attribute value {value!r:.80} ({type(value).__name__}) cannot be written as Relay text.")

    def _list(self, value: Any) -> str:
        # Lists can nest as deep as a file had them.
        out: list[str] = []
        stack: list[Any] = [iter(value)]
        out.append("[")
        first = [True]
        while stack:
            for item in stack[-1]:
                if not first[-1]:
                    out.append(", ")
                first[-1] = False
                if isinstance(item, (tuple, list)):
                    out.append("[")
                    stack.append(iter(item))
                    first.append(True)
                    break
                out.append(self._plain(item))
            else:
                out.append("]")
                stack.pop()
                first.pop()
        return "".join(out)


def _same(one: Any, other: Any) -> bool:
    """Whether an attribute's value is its default, of the same kinds throughout."""
    if isinstance(one, tuple) and isinstance(other, tuple):
        return len(one) == len(other) and all(_same(a, b) for a, b in zip(one, other))
    return type(one) is type(other) and one == other


def _float_text(value: float) -> str:
    if not math.isfinite(value):
        return "nanf" if math.isnan(value) else f"{'-' if value < 0 else ''}inff"
    short = format(value, "g")
    return (short if float(short) == value else repr(value)) + "f"


def _quoted(text: str) -> str:
    return '"' + _ESCAPED.sub(lambda m: _ESCAPES.get(m[0]) or f"\\x{ord(m[0]):02X}", text) + '"'
