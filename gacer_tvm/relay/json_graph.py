"""The node graph of `tvm.ir.save_json`: nodes by index, tensors in base64, read without recursion.

A node is `{"type_key": ..., "attrs": {field: string}}`, an array or map holds indices, index 0 is null. What a field's
string means depends on its C++ type (`json_nodes` knows): an index of a node or tensor, or the literal itself.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from gacer_tvm.errors import RelayError
from gacer_tvm.relay.ndarray import read_record

__all__ = ["Graph", "JsonNode", "read_graph"]

_INT = re.compile(r"[+-]?\d{1,19}")

# Names that TVM 0.6 used for what later had others.
_RENAMED = {
    "Any": "tir.Any",
    "SizeVar": "tir.Var",
    "StrMap": "Map",
    "StringImm": "tir.StringImm",
    "Variable": "tir.Var",
    "relay.FuncType": "FuncType",
    "relay.GlobalTypeVar": "GlobalTypeVar",
    "relay.GlobalVar": "GlobalVar",
    "relay.IncompleteType": "IncompleteType",
    "relay.Module": "IRModule",
    "relay.Op": "Op",
    "relay.RefType": "relay.RefType",
    "relay.SourceName": "SourceName",
    "relay.Span": "Span",
    "relay.TupleType": "TupleType",
    "relay.TypeCall": "TypeCall",
    "relay.TypeVar": "TypeVar",
    "tir.SizeVar": "tir.Var",
}


class JsonNode:
    """One node: its type, its fields, and reading them.

    Parameters
    ----------
    graph : Graph
    index : int
    content : Mapping
        As the JSON has it.
    """

    __slots__ = ("attrs", "content", "graph", "index", "type_key")

    def __init__(self, graph: Graph, index: int, content: Any) -> None:
        if not isinstance(content, dict) or not isinstance(content.get("type_key", ""), str):
            raise RelayError(f"{graph.name}: node {index} is not an object with a type_key.")
        self.graph = graph
        self.index = index
        self.content = content
        key: str = content.get("type_key", "")
        self.type_key: str = _RENAMED.get(key, key)
        attrs = content.get("attrs")
        if attrs is not None and not isinstance(attrs, dict):
            raise self.error("its attrs are not an object")
        self.attrs: Mapping[str, Any] = attrs or {}

    def error(self, what: str) -> RelayError:
        """The error that something is wrong with this node."""
        return RelayError(f"{self.graph.name}: node {self.index} ({self.type_key[:60] or 'null'}): {what}.")

    def literal(self, field: str, default: str | None = None) -> str:
        """A field's string."""
        value = self.attrs.get(field, default)
        if value is None:
            raise self.error(f"the field {field!r} is missing")
        if not isinstance(value, str):
            raise self.error(f"the field {field!r} is not a string")
        return value

    def integer(self, field: str, default: str | None = None) -> int:
        """A field's string as a 64-bit integer."""
        text = self.literal(field, default)
        value = int(text) if _INT.fullmatch(text) else 1 << 63
        if not -(1 << 63) <= value < 1 << 63:
            raise self.error(f"the field {field!r} should be an integer of 64 bits, but is {text[:40]!r}")
        return value

    def number(self, field: str) -> float:
        """A field's string as a float."""
        text = self.literal(field)
        try:
            return float(text[:400])
        except ValueError:
            raise self.error(f"the field {field!r} should be a number, but is {text[:40]!r}") from None

    def truth(self, field: str) -> bool:
        """A field's string as a boolean."""
        text = self.literal(field)
        if text not in ("0", "1", "False", "True", "false", "true"):
            raise self.error(f"the field {field!r} should be 0 or 1, but is {text[:40]!r}")
        return text in ("1", "True", "true")

    def link(self, field: str) -> int:
        """The node index in a field; 0 (null) where the field is absent."""
        value = self.attrs.get(field, "0")
        if not isinstance(value, str) or not value.isascii() or not value.isdigit() or len(value) > 12:
            raise self.error(f"the field {field!r} should be the index of a node, but is {str(value)[:40]!r}")
        return self.graph.checked_index(int(value), self)

    def text(self, field: str) -> str:
        """A string field, whichever way the writer's release held strings: itself, or as the index of a string node."""
        value = self.literal(field, "")
        if value.isascii() and value.isdigit() and len(value) <= 12 and int(value) < len(self.graph.nodes):
            target = self.graph.nodes[int(value)]
            if target.type_key == "runtime.String" or target.type_key == "":
                return target.repr_text()
        return value

    def links(self) -> list[int]:
        """The indices in `data` of an array or map."""
        data = self.content.get("data", [])
        if not isinstance(data, list):
            raise self.error("its data is not a list")
        return [self.graph.checked_index(index, self) for index in data]

    def keys(self) -> list[str]:
        """The keys of a map with string keys; empty for others."""
        keys = self.content.get("keys", [])
        if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
            raise self.error("its keys are not a list of strings")
        return keys

    def repr_text(self) -> str:
        """The string of a node that is one: a string, an operator's name, a source's name."""
        value = self.content.get("repr_str", self.content.get("global_key"))
        if value is None and "repr_b64" in self.content:
            raw = _decode_base64(self.content["repr_b64"])
            # The bytes are preceded by their number.
            if raw is None or len(raw) < 8 or int.from_bytes(raw[:8], "little") != len(raw) - 8:
                raise self.error("its repr_b64 is not base64 of a string")
            return raw[8:].decode("utf-8", errors="replace")
        if value is None:
            return ""
        if not isinstance(value, str):
            raise self.error("its repr_str is not a string")
        return value


class Graph:
    """Nodes and tensors of one JSON text.

    Parameters
    ----------
    name : str
        For messages.
    content : Mapping
        The JSON, decoded.
    """

    def __init__(self, name: str, content: Mapping[str, Any]) -> None:
        self.name = name
        nodes = content["nodes"]
        self.nodes: list[JsonNode] = []
        for index, item in enumerate(nodes):
            self.nodes.append(JsonNode(self, index, item))
        root = content.get("root")
        if type(root) is not int or not 0 <= root < len(self.nodes):
            raise RelayError(
                f"{name}: the root should be the index of one of {len(nodes)} nodes, but is {str(root)[:40]}."
            )
        self.root = root
        blobs = content.get("b64ndarrays", [])
        if not isinstance(blobs, list):
            raise RelayError(f"{name}: b64ndarrays is not a list.")
        self._blobs = blobs
        self._arrays: dict[int, np.ndarray] = {}
        attrs = content.get("attrs")
        self.version = _version(attrs.get("tvm_version") if isinstance(attrs, dict) else None)

    def checked_index(self, index: Any, node: JsonNode) -> int:
        """`index` if there is such a node; else the error that `node` refers to none."""
        if type(index) is not int or not 0 <= index < len(self.nodes):
            raise node.error(f"it refers to node {str(index)[:40]}, but there are {len(self.nodes)} nodes")
        return index

    def array(self, node: JsonNode, field: str) -> np.ndarray:
        """The tensor that a field refers to, read-only; one object for each tensor."""
        index = node.integer(field)
        found = self._arrays.get(index)
        if found is None:
            if not 0 <= index < len(self._blobs):
                raise node.error(f"it refers to tensor {index}, but there are {len(self._blobs)} tensors")
            raw = _decode_base64(self._blobs[index])
            if raw is None:
                raise RelayError(f"{self.name}: tensor {index} is not base64 text.")
            found, _ = read_record(raw, 0, f"{self.name}: tensor {index}")
            found.flags.writeable = False
            self._arrays[index] = found
        return found


def read_graph(text: str | bytes, name: str) -> Graph:
    """The node graph that a JSON text holds.

    Raises
    ------
    RelayError
        If the text is not JSON, or JSON of something else (said which, where it is known).
    """
    try:
        content = json.loads(text, parse_int=_small_int)
    except RecursionError:
        raise RelayError(f"{name}: the JSON nests too deep to be a saved module.") from None
    except (ValueError, UnicodeDecodeError) as error:
        raise RelayError(f"{name}: not JSON, or cut off: {str(error)[:200]}.") from None
    if not isinstance(content, dict) or not isinstance(content.get("nodes"), list):
        raise RelayError(f'{name}: expected JSON of tvm.ir.save_json, an object with "root" and "nodes".')
    if "arg_nodes" in content or "heads" in content:
        raise RelayError(
            f"{name}: this is a graph-executor file (a compiled model's list of kernels), not a Relay module; save the "
            "module itself with tvm.ir.save_json(mod) or mod.astext()."
        )
    if "root_index" in content:
        raise RelayError(
            f"{name}: this JSON is of TVM 0.22 or later, which has no Relay; load it with tvm.ir.load_json as Relax."
        )
    return Graph(name, content)


def _small_int(text: str) -> int:
    if len(text) > 20:
        raise ValueError(f"the integer {text[:20]}... does not fit 64 bits")
    return int(text)


def _decode_base64(text: Any) -> bytes | None:
    if not isinstance(text, str):
        return None
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None


def _version(text: Any) -> tuple[int, int]:
    match = re.match(r"(\d{1,4})\.(\d{1,4})", text) if isinstance(text, str) else None
    return (int(match[1]), int(match[2])) if match else (0, 19)
