"""Writing TVM's node JSON: the table of constants and other objects behind Relay text."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from typing import Any

from gacer_tvm.errors import RelayError
from gacer_tvm.relay import types
from gacer_tvm.relay.ast import Attrs, Constant, Opaque
from gacer_tvm.relay.ndarray import write_record
from gacer_tvm.relay.operators import attr_struct
from gacer_tvm.relay.trampoline import Steps, run

__all__ = ["MetaWriter"]

_KEY = re.compile(r"[^\[\]\s]+")
# The release whose conventions are followed.
_VERSION = "0.19.0"


class MetaWriter:
    """Gives objects a place in the table, and writes the table."""

    def __init__(self) -> None:
        self._objects: dict[str, list[Any]] = {}
        self._places: dict[int, str] = {}
        # Objects are known by identity, so they must live as long as this.
        self._alive: list[Any] = []

    def reference(self, type_key: str, value: Any) -> str:
        """The text `meta[type_key][index]` that refers to `value`; the same for the same object."""
        found = self._places.get(id(value))
        if found is None:
            key = type_key if _KEY.fullmatch(type_key) else "Object"
            of_key = self._objects.setdefault(key, [])
            found = self._places[id(value)] = f"meta[{key}][{len(of_key)}]"
            of_key.append(value)
            self._alive.append(value)
        return found

    def __bool__(self) -> bool:
        return bool(self._objects)

    def text(self) -> str:
        """The table as JSON.

        Raises
        ------
        RelayError
            If a constant has an element type that TVM's format does not have.
        """
        writer = _GraphWriter()
        lists = {key: writer.list([writer.value(item) for item in items]) for key, items in self._objects.items()}
        root = writer.node({"type_key": "Map", "keys": list(lists), "data": list(lists.values())})
        return json.dumps(
            {"root": root, "nodes": writer.nodes, "b64ndarrays": writer.blobs, "attrs": {"tvm_version": _VERSION}},
            indent=1,
        )


class _GraphWriter:
    def __init__(self) -> None:
        self.nodes: list[dict[str, Any]] = [{"type_key": ""}]
        self.blobs: list[str] = []

    def node(self, content: dict[str, Any]) -> int:
        self.nodes.append(content)
        return len(self.nodes) - 1

    def list(self, items: list[int]) -> int:
        return self.node({"type_key": "Array", "data": items} if items else {"type_key": "Array"})

    def value(self, value: Any) -> int:
        """The index of a node for a value; values nest to any depth."""
        index: int = run(self._steps(value))
        return index

    def _steps(self, value: Any) -> Steps:
        if value is None:
            return 0
        if isinstance(value, bool):
            return self.node({"type_key": "IntImm", "attrs": {"dtype": "bool", "value": str(int(value)), "span": "0"}})
        if isinstance(value, int):
            return self.node({"type_key": "IntImm", "attrs": {"dtype": "int64", "value": str(value), "span": "0"}})
        if isinstance(value, float):
            return self.node({"type_key": "FloatImm", "attrs": {"dtype": "float64", "value": repr(value), "span": "0"}})
        if isinstance(value, str):
            return self.node(_string_node(value))
        if isinstance(value, types.Any):
            return self.node({"type_key": "tir.Any", "attrs": {"dtype": "int32", "span": "0"}})
        if isinstance(value, Constant):
            self.blobs.append(base64.b64encode(write_record(value.data, "A constant")).decode("ascii"))
            fields = {"_checked_type_": "0", "data": str(len(self.blobs) - 1), "span": "0", "virtual_device_": "0"}
            return self.node({"type_key": "relay.Constant", "attrs": fields})
        if isinstance(value, (tuple, list)):
            items = []
            for item in value:
                items.append((yield self._steps(item)))
            return self.list(items)
        if isinstance(value, Opaque):
            return self.node({"type_key": value.type_key, "attrs": {k: str(v) for k, v in value.fields.items()}})
        if isinstance(value, Attrs):
            return (yield self._attrs(value))
        if isinstance(value, Mapping):
            items = []
            for item in value.values():
                items.append((yield self._steps(item)))
            if all(isinstance(key, str) for key in value):
                content = {"keys": list(value), "data": items} if items else {}
                return self.node({"type_key": "Map", **content})
        raise RelayError(f"The value {value!r:.80} ({type(value).__name__}) cannot be written as TVM's JSON.")

    def _attrs(self, attrs: Attrs) -> Steps:
        """A node of an attribute struct: literals where its fields have them, else the index of a node."""
        struct = attr_struct(attrs.type_key)
        fields: dict[str, str] = {}
        if attrs.type_key == "DictAttrs":
            inner = yield self._steps(dict(attrs))
            return self.node({"type_key": "DictAttrs", "attrs": {"__dict__": str(inner)}})
        for name, value in attrs.items():
            field = (struct.fields.get(name) or struct.older.get(name)) if struct is not None else None
            kind = field.kind if field is not None else "str"
            if kind in ("int", "float", "bool"):
                fields[name] = str(int(value)) if kind == "bool" else repr(value)
            elif kind in ("str", "dtype"):
                index = self.node(_string_node(value)) if kind == "str" and value else None
                fields[name] = str(index) if index is not None else value or ""
            else:
                fields[name] = str((yield self._steps(value)))
        return self.node({"type_key": attrs.type_key, "attrs": fields})


def _string_node(text: str) -> dict[str, Any]:
    return {"type_key": "runtime.String", "repr_str": text} if text else {"type_key": "runtime.String"}
