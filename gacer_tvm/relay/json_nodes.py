"""What the nodes of saved JSON mean: each type's fields, and the tree made of them.

Every node is made once, after what it refers to, so that shared sub-expressions stay shared and depth costs no stack.
Fields that mean nothing here (devices, source maps, struct info) are not followed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gacer_tvm.errors import RelayError
from gacer_tvm.relay.ast import (
    Attrs,
    GlobalVar,
    Opaque,
)
from gacer_tvm.relay.attrs import make_attrs
from gacer_tvm.relay.json_forms import FORMS, Fields
from gacer_tvm.relay.json_graph import Graph, JsonNode
from gacer_tvm.relay.operators import AttrStruct, attr_struct
from gacer_tvm.relay.types import GlobalTypeVar

__all__ = ["Decoder"]

_LITERAL_KINDS = ("int", "float", "bool", "dtype")


class Decoder:
    """Makes values of a graph's nodes.

    Parameters
    ----------
    graph : Graph
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._made: dict[int, Any] = {0: None}

    def value(self, index: int) -> Any:
        """What node `index` is; None for the null node.

        Raises
        ------
        RelayError
            If a node it refers to is malformed, of an unexpected type, or refers back to itself.
        """
        made, nodes = self._made, self.graph.nodes
        open_nodes: set[int] = set()
        stack = [index]
        while stack:
            at = stack[-1]
            if at in made:
                stack.pop()
                continue
            node = nodes[at]
            if at in open_nodes:
                made[at] = self._make(node)
                open_nodes.discard(at)
                stack.pop()
                continue
            open_nodes.add(at)
            for link in reversed(self._links(node)):
                if link not in made:
                    if link in open_nodes:
                        raise node.error(f"it refers to node {link}, which is made of it: a cycle")
                    stack.append(link)
        return made[index]

    def _links(self, node: JsonNode) -> list[int]:
        key = node.type_key
        if key in ("Array", "Map"):
            return node.links()
        form = FORMS.get(key)
        if form is not None:
            return [node.link(field) for field in form.fields]
        struct = attr_struct(key)
        if struct is None:
            return []
        return [node.link(name) for name in node.attrs if self._is_link(struct, name)]

    def _is_link(self, struct: AttrStruct, name: str) -> bool:
        kind = self._kind(struct, name)
        return kind is not None and kind not in _LITERAL_KINDS and kind != "str"

    def _kind(self, struct: AttrStruct, name: str) -> str | None:
        if name in struct.was and self.graph.version < struct.was[name][1]:
            return struct.was[name][0]
        field = struct.fields.get(name) or struct.older.get(name)
        return field.kind if field is not None else None

    def _make(self, node: JsonNode) -> Any:
        key = node.type_key
        if key == "":
            return None
        form = FORMS.get(key)
        try:
            if form is not None:
                return form.make(Fields(node, self._made))
            if key == "Array":
                return tuple(self._made[link] for link in node.links())
            if key == "Map":
                return self._make_map(node)
            struct = attr_struct(key)
            if struct is not None:
                return self._make_attrs(node, struct)
        except RelayError:
            raise
        except (
            TypeError,
            ValueError,
            AttributeError,
            LookupError,
            OverflowError,
        ) as error:  # a value of an unexpected type somewhere within
            raise node.error(f"malformed ({error})") from None
        # Something else of TVM's: its own strings are kept, what it refers to is not.
        return Opaque(key, {name: value for name, value in node.attrs.items() if isinstance(value, str)})

    def _make_map(self, node: JsonNode) -> dict[Any, Any]:
        values = [self._made[link] for link in node.links()]
        keys: list[Any] = list(node.keys())
        if not keys:
            keys, values = values[0::2], values[1::2]
        if len(keys) != len(values):
            raise node.error(f"the map has {len(keys)} keys but {len(values)} values")
        if not all(isinstance(key, (str, GlobalVar, GlobalTypeVar, int)) for key in keys):
            return {}
        return dict(zip(keys, values))

    def _make_attrs(self, node: JsonNode, struct: AttrStruct) -> Attrs:
        readers: dict[str, Callable[[str], Any]] = {
            "int": node.integer,
            "float": node.number,
            "bool": node.truth,
            "dtype": node.literal,
            "str": node.text,
        }
        given: dict[str, Any] = {}
        for name in node.attrs:
            kind = self._kind(struct, name)
            if kind is None:
                continue
            reader = readers.get(kind)
            given[name] = reader(name) if reader is not None else self._made[node.link(name)]
        transposed = struct.type_key == "relay.attrs.Conv2DTransposeAttrs"
        if transposed and self.graph.version < (0, 8) and given.get("kernel_layout") == "OIHW":
            # Up to 0.7 the weight lay as IOHW whatever the name said, and the name said OIHW.
            given["kernel_layout"] = "IOHW"
        return make_attrs(struct.type_key, given, f"{self.graph.name}: node {node.index}")
