"""Making the attributes of a call: defaults filled in, values checked against their kinds."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from numbers import Integral, Real
from typing import Any

from gacer_tvm.errors import RelayError
from gacer_tvm.relay import types
from gacer_tvm.relay.ast import NO_ATTRS, Attrs
from gacer_tvm.relay.operators import REQUIRED, AttrField, attr_struct, op_info

__all__ = ["call_attrs", "default_attrs", "make_attrs"]

_INT64 = 1 << 63
_WORDS = {
    "int": "an integer",
    "int?": "an integer or None",
    "float": "a number",
    "float?": "a number or None",
    "bool": "True or False",
    "bool?": "True, False or None",
    "str": "a string",
    "dtype": 'a dtype such as "float32"',
    "ints": "a list of integers",
    "floats": "a list of numbers",
}


def make_attrs(type_key: str, given: Mapping[str, Any], what: str = "") -> Attrs:
    """Attributes of the struct `type_key` with TVM's defaults for what is not given.

    Parameters
    ----------
    type_key : str
        As in "relay.attrs.Conv2DAttrs". Attributes of an unknown struct are taken as they are.
    given : Mapping of str to value
        Lists may be lists or tuples. Names that the struct does not have are kept.
    what : str
        Whose attributes they are, for messages.

    Raises
    ------
    RelayError
        If a value is not of its field's kind, or a field without default is missing.
    """
    struct = attr_struct(type_key)
    if struct is None:
        return Attrs(type_key, {name: _frozen(value) for name, value in given.items()})
    of = what or type_key
    values = {}
    for name, field in struct.fields.items():
        if name in given:
            values[name] = _checked(field, given[name], of)
        elif field.default is REQUIRED:
            raise RelayError(f"{of} needs the attribute {name!r} ({_WORDS[field.kind]}), which is not given.")
        else:
            values[name] = field.default
    for name, value in given.items():
        if name not in values:
            older = struct.older.get(name)
            values[name] = _checked(older, value, of) if older is not None else _frozen(value)
    return Attrs(type_key, values)


@cache
def default_attrs(op_name: str) -> Attrs:
    """The attributes of an operator called without any; raises RelayError if it needs some."""
    info = op_info(op_name)
    if info is None or not info.attrs_key:
        return NO_ATTRS
    return make_attrs(info.attrs_key, {}, op_name)


def call_attrs(op_name: str, given: Mapping[str, Any]) -> Attrs:
    """The attributes of an operator's call, by keyword.

    Parameters
    ----------
    op_name : str
    given : Mapping of str to value
        `attrs_type_key` may name another struct than the operator's own.

    Raises
    ------
    RelayError
        As `make_attrs`; also if the operator has no attributes at all but some are given.
    """
    if not given:
        return default_attrs(op_name)
    stated = given.get("attrs_type_key")
    info = op_info(op_name)
    if stated is not None:
        if not isinstance(stated, str):
            raise RelayError(f"{op_name}: attrs_type_key must be a string, not {stated!r}.")
        return make_attrs(stated, {k: v for k, v in given.items() if k != "attrs_type_key"}, op_name)
    if info is None:
        return make_attrs("", given, op_name)
    if not info.attrs_key:
        raise RelayError(f"{op_name} has no attributes, but {', '.join(map(repr, given))} is given.")
    return make_attrs(info.attrs_key, given, op_name)


def _checked(field: AttrField, value: Any, of: str) -> Any:
    """`value` as the field's kind wants it."""
    found = _coerced(field.kind, value)
    if found is _WRONG:
        text = repr(value)
        text = text if len(text) <= 60 else text[:57] + "..."
        raise RelayError(f"{of}: the attribute {field.name!r} must be {_WORDS[field.kind]}, but is {text}.")
    return found


_WRONG = object()


def _coerced(kind: str, value: Any) -> Any:
    if kind == "node":
        return _frozen(value)
    if kind.endswith("?"):
        if value is None or isinstance(value, types.Any):
            return value
        kind = kind[:-1]
    if kind == "int":
        if isinstance(value, bool):
            return int(value)
        if _is_int(value):
            return int(value) if -_INT64 <= value < _INT64 else _WRONG
        return _WRONG
    if kind == "float":
        return _as_float(value)
    if kind == "bool":
        if isinstance(value, bool):
            return value
        return bool(value) if _is_int(value) and value in (0, 1) else _WRONG
    if kind == "str":
        # A null string is an empty one.
        return value if isinstance(value, str) else "" if value is None else _WRONG
    if kind == "dtype":
        if value is None or value in ("", "void"):
            return None
        return value if isinstance(value, str) else _WRONG
    return _coerced_list(value)


def _as_float(value: Any) -> Any:
    if not isinstance(value, Real):
        return _WRONG
    try:
        return float(value)
    except OverflowError:
        return _WRONG


def _coerced_list(value: Any) -> Any:
    if value is None:
        return None
    if not isinstance(value, (list, tuple)):
        return _WRONG
    out = []
    for item in value:
        if isinstance(item, (list, tuple)):
            # Lists nest once at most (pad_width), so this recursion is bounded.
            inner = [leaf if _is_leaf(leaf) else _WRONG for leaf in item]
            if _WRONG in inner:
                return _WRONG
            out.append(tuple(inner))
        elif _is_leaf(item):
            out.append(item)
        else:
            return _WRONG
    return tuple(out)


def _is_leaf(item: Any) -> bool:
    if item is None or isinstance(item, types.Any):
        return True
    if isinstance(item, Integral):
        return -_INT64 <= int(item) < _INT64
    return isinstance(item, Real)


def _is_int(value: Any) -> bool:
    # numpy's integers count as integral too; they come from scripts that build models.
    return isinstance(value, Integral) and not isinstance(value, bool)


def _frozen(value: Any) -> Any:
    """Lists as tuples, at any depth, without recursion."""
    if not isinstance(value, (list, tuple)):
        return value
    order: list[Any] = []
    stack: list[Any] = [value]
    while stack:
        item = stack.pop()
        order.append(item)
        stack.extend(child for child in item if isinstance(child, (list, tuple)))
    done: dict[int, tuple[Any, ...]] = {}
    for item in reversed(order):
        done[id(item)] = tuple(done[id(c)] if isinstance(c, (list, tuple)) else c for c in item)
    return done[id(value)]
