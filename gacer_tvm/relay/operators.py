"""What TVM knew of its Relay operators: argument names, and the attributes with their kinds and defaults.

The tables under `data/` cover TVM 0.6 to 0.19. Attributes that equal their default are not printed in Relay text, so a
reader has to know the defaults; JSON writes all values as strings, so a reader has to know the kinds.

Kinds: "int", "float", "bool", "str", "dtype" are what they say. "int?", "float?", "bool?" may be None or, for sizes,
`Any`.
"ints" and "floats" are tuples, possibly nested, or None. "node" is anything.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any

__all__ = ["AttrField", "AttrStruct", "OpInfo", "attr_struct", "op_info"]

REQUIRED = object()


@dataclass(frozen=True, slots=True)
class AttrField:
    """One attribute.

    Parameters
    ----------
    name : str
    kind : str
    default : object
        What to take where it is not stated; `REQUIRED` if it must be.
    stated : bool
        Whether TVM always prints it, having no default itself.
    """

    name: str
    kind: str
    default: Any = REQUIRED
    stated: bool = False


@dataclass(frozen=True, slots=True)
class AttrStruct:
    """The attributes of one of TVM's structs.

    Parameters
    ----------
    type_key : str
    fields : dict of str to AttrField
        In the order of printing.
    older : dict of str to AttrField
        Fields that only older releases had; they are read where present and not filled in.
    was : dict of str to (str, (int, int))
        Kinds that a field had before the given TVM version.
    """

    type_key: str
    fields: dict[str, AttrField]
    older: dict[str, AttrField] = field(default_factory=dict)
    was: dict[str, tuple[str, tuple[int, int]]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class OpInfo:
    """One operator.

    Parameters
    ----------
    name : str
    arg_names : tuple of str
        Names of its tensor arguments; empty where the number varies.
    attrs_key : str
        Type key of its attributes, "" if it has none.
    declared : bool
        Whether TVM's own parser knows `attrs_key`; where not, text has to state it with `attrs_type_key=`.
    """

    name: str
    arg_names: tuple[str, ...]
    attrs_key: str
    declared: bool = True


def _read_json(name: str) -> Any:
    return json.loads(resources.files("gacer_tvm.relay").joinpath("data", name).read_text(encoding="utf-8"))


def _freeze(value: Any) -> Any:
    return tuple(_freeze(item) for item in value) if isinstance(value, list) else value


# Lists without a default may be absent: TVM's arrays and optional integers are nullable.
_NULLABLE = ("int?", "float?", "bool?", "ints", "floats", "node")


def _field(name: str, entry: list[Any]) -> AttrField:
    kind = entry[0]
    if len(entry) > 1:
        # A third entry marks a default that is ours: the field is new, or old releases had a default.
        return AttrField(name, kind, _freeze(entry[1]), stated=len(entry) > 2)
    return AttrField(name, kind, None if kind in _NULLABLE else REQUIRED, stated=True)


@cache
def _structs() -> dict[str, AttrStruct]:
    table = {}
    for key, entry in _read_json("attrs.json").items():
        was = {}
        for name, (kind, until) in entry.get("was", {}).items():
            major, minor = until.split(".")
            was[name] = (kind, (int(major), int(minor)))
        table[key] = AttrStruct(
            key,
            {name: _field(name, item) for name, item in entry["fields"].items()},
            {name: _field(name, item) for name, item in entry.get("older", {}).items()},
            was,
        )
    return table


@cache
def _operators() -> dict[str, OpInfo]:
    return {
        name: OpInfo(name, tuple(arguments), key, bool(declared))
        for name, (arguments, key, declared) in _read_json("ops.json").items()
    }


def attr_struct(type_key: str) -> AttrStruct | None:
    """The attributes of a struct, None if it is not known."""
    return _structs().get(type_key)


def op_info(name: str) -> OpInfo | None:
    """What is known of an operator, None if TVM had none of that name."""
    return _operators().get(name)
