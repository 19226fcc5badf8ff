"""What Relay's nodes carry besides structure: places, attributes, and objects of TVM's that mean nothing here."""

from __future__ import annotations

import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

__all__ = ["NO_ATTRS", "Attrs", "Opaque", "Span"]


@dataclass(frozen=True, slots=True)
class Span:
    """Where a node was written: source name (a file, or what the module's author noted), line and column from 1."""

    source: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.source}:{self.line}:{self.column}"


class Attrs(Mapping[str, typing.Any]):
    """Attributes of a call or function: an immutable mapping that knows its struct's name.

    Values are plain: int, float, bool, str, None (unset), tuples of these, and rarely `Opaque` or an expression.
    Dtypes are strings. Fields that the source left out are filled with TVM's defaults.

    Parameters
    ----------
    type_key : str
        TVM's name of the struct, as in "relay.attrs.Conv2DAttrs"; "DictAttrs" for a function's.
    values : Mapping of str to value
    """

    __slots__ = ("_values", "type_key")
    type_key: str
    _values: dict[str, typing.Any]

    def __init__(self, type_key: str = "DictAttrs", values: Mapping[str, typing.Any] | None = None) -> None:
        object.__setattr__(self, "type_key", type_key)
        object.__setattr__(self, "_values", dict(values or {}))

    def __getitem__(self, name: str) -> typing.Any:
        return self._values[name]

    def __getattr__(self, name: str) -> typing.Any:
        """`attrs.strides` for `attrs["strides"]`, as in TVM."""
        if name.startswith("__"):
            raise AttributeError(name)
        try:
            return self._values[name]
        except KeyError:
            raise AttributeError(f"{self.type_key} has no field {name!r}; it has {', '.join(self._values)}") from None

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"attributes are immutable; make new ones to change {name!r}")

    def __reduce__(self) -> tuple[type, tuple[str, dict[str, typing.Any]]]:
        return Attrs, (self.type_key, self._values)

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other

    def __repr__(self) -> str:
        return f"Attrs({self.type_key}, {', '.join(self._values)})"


NO_ATTRS = Attrs()


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Opaque:
    """Something of TVM's that Relay's reader does not use (a target, a device): its name and plain fields."""

    type_key: str
    fields: Mapping[str, typing.Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"Opaque({self.type_key})"
