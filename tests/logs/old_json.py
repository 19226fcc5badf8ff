"""Writes a function of today in the JSON that TVM 0.8 to 0.19 saved, for tests of reading it back."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

from gacer_tvm._tvm import expr_ir, s_tir, tir


class OldJson:
    """A node table under construction; node 0 is null."""

    def __init__(self) -> None:
        self.nodes: list[dict[str, Any]] = [{"type_key": ""}]
        self.seen: dict[Any, int] = {}

    def add(self, type_key: str, **attrs: Any) -> int:
        self.nodes.append({"type_key": type_key, "attrs": {name: str(value) for name, value in attrs.items()}})
        return len(self.nodes) - 1

    def text(self, value: str) -> int:
        node: dict[str, Any] = {"type_key": "runtime.String"}
        if value:
            node["repr_str"] = value
        self.nodes.append(node)
        return len(self.nodes) - 1

    def array(self, items: list[int]) -> int:
        node: dict[str, Any] = {"type_key": "Array"}
        if items:
            node["data"] = items
        self.nodes.append(node)
        return len(self.nodes) - 1

    def mapping(self, items: list[int]) -> int:
        node: dict[str, Any] = {"type_key": "Map"}
        if items:
            node["data"] = items
        self.nodes.append(node)
        return len(self.nodes) - 1

    def module(self, function: Any) -> str:
        """The base64 text of a workload line."""
        handles, buffers = [], []
        for param in function.params:
            handle = self.add("tir.Var", dtype="handle", name=self.text(f"var_{param.name}"), span=0, type_annotation=0)
            handles.append(handle)
            buffers += [handle, self.buffer(param)]
        made = self.add(
            "tir.PrimFunc",
            params=self.array(handles),
            buffer_map=self.mapping(buffers),
            body=self.stmt(function.body),
            attrs=0,
            ret_type=0,
        )
        name = self.add("GlobalVar", name_hint=self.text("main"), span=0)
        root = self.add("IRModule", functions=self.mapping([name, made]), attrs=0)
        graph = {"root": root, "nodes": self.nodes, "b64ndarrays": [], "attrs": {"tvm_version": "0.13.dev0"}}
        raw = json.dumps(graph).encode()
        return base64.b64encode(struct.pack("<Q", len(raw)) + raw).decode()

    def buffer(self, buffer: Any) -> int:
        if buffer not in self.seen:
            scope = str(buffer.ty.storage_scope) or "global"
            pointer = self.add("PointerType", element_type=0, storage_scope=self.text(scope))
            data = self.add("tir.Var", dtype="handle", name=self.text(str(buffer.name)), type_annotation=pointer)
            self.seen[buffer] = self.add(
                "tir.Buffer",
                data=data,
                dtype=buffer.ty.dtype,
                name=self.text(str(buffer.name)),
                shape=self.array([self.expr(extent) for extent in buffer.ty.shape]),
                strides=self.array([]),
                elem_offset=0,
                buffer_type=1,
            )
        return self.seen[buffer]

    def expr(self, node: Any) -> int:
        kind = type(node).__name__
        if isinstance(node, expr_ir.Var):
            if node not in self.seen:
                self.seen[node] = self.add(
                    "tir.Var", dtype=node.ty.dtype, name=self.text(str(node.name)), type_annotation=0
                )
            return self.seen[node]
        if kind in ("IntImm", "FloatImm"):
            return self.add(kind, dtype=node.ty.dtype, value=node.value, span=0)
        if isinstance(node, expr_ir.TensorLoad):
            indices = self.array([self.expr(index) for index in node.indices])
            return self.add("tir.BufferLoad", buffer=self.buffer(node.source), indices=indices, dtype="float32")
        if kind == "Cast":
            return self.add("tir.Cast", dtype=node.ty.dtype, value=self.expr(node.value))
        if kind == "Select":
            parts = {name: self.expr(getattr(node, name)) for name in ("condition", "true_value", "false_value")}
            return self.add("tir.Select", dtype="float32", **parts)
        if isinstance(node, expr_ir.Call):
            name = str(node.op.name).rsplit(".", 1)[-1]
            self.nodes.append({"type_key": "Op", "repr_str": f"tir.{name}"})
            op = len(self.nodes) - 1
            return self.add("tir.Call", op=op, args=self.array([self.expr(arg) for arg in node.args]), dtype="float32")
        return self.add(f"tir.{kind}", a=self.expr(node.a), b=self.expr(node.b), dtype="int64", span=0)

    def stmt(self, node: Any) -> int:
        if isinstance(node, tir.SeqStmt):
            return self.add("tir.SeqStmt", seq=self.array([self.stmt(item) for item in node.seq]), span=0)
        if isinstance(node, tir.For):
            return self.add(
                "tir.For",
                loop_var=self.expr(node.loop_var),
                min=self.expr(node.min),
                extent=self.expr(node.extent),
                kind=int(node.kind),
                body=self.stmt(node.body),
                thread_binding=0,
                annotations=self.mapping([]),
            )
        if isinstance(node, tir.BufferStore):
            indices = self.array([self.expr(index) for index in node.indices])
            return self.add(
                "tir.BufferStore", buffer=self.buffer(node.buffer), value=self.expr(node.value), indices=indices
            )
        if isinstance(node, s_tir.SBlock):
            return self.block(node)
        values = self.array([self.expr(value) for value in node.iter_values])
        return self.add(
            "tir.BlockRealize", iter_values=values, predicate=self.expr(node.predicate), block=self.block(node.block)
        )

    def block(self, block: Any) -> int:
        iters = []
        for item in block.iter_vars:
            domain = self.add("Range", min=self.expr(item.dom.min), extent=self.expr(item.dom.extent), span=0)
            variable = self.expr(item.var)
            iters.append(
                self.add(
                    "tir.IterVar", dom=domain, var=variable, iter_type=int(item.iter_type), thread_tag=self.text("")
                )
            )
        return self.add(
            "tir.Block",
            iter_vars=self.array(iters),
            reads=self.array([self.region(region) for region in block.reads]),
            writes=self.array([self.region(region) for region in block.writes]),
            name_hint=self.text(block.name_hint),
            body=self.stmt(block.body),
            init=0 if block.init is None else self.stmt(block.init),
            alloc_buffers=self.array([self.buffer(buffer) for buffer in block.alloc_buffers]),
            match_buffers=self.array([]),
            annotations=self.notes(block.annotations),
        )

    def notes(self, annotations: Any) -> int:
        items: list[int] = []
        for key, value in annotations.items():
            number = self.add("IntImm", dtype="int32", value=int(getattr(value, "value", value)), span=0)
            items += [self.text(str(key)), number]
        return self.mapping(items)

    def region(self, region: Any) -> int:
        ranges = [self.add("Range", min=self.expr(r.min), extent=self.expr(r.extent), span=0) for r in region.region]
        return self.add("tir.BufferRegion", buffer=self.buffer(region.source), region=self.array(ranges))


def old_trace(schedule: Any) -> list[Any]:
    """The trace of a schedule in the words of TVM before 0.20."""
    instructions, decisions = schedule.trace.as_json()

    def plain(value: Any) -> Any:
        if isinstance(value, str | int | float | bool) or value is None:
            return value
        if hasattr(value, "value"):
            return value.value
        return [plain(item) for item in value]

    renamed = []
    for kind, inputs, attrs, outputs in instructions:
        kind = str(kind).replace("GetSBlock", "GetBlock")
        attrs = plain(attrs)
        if kind == "Split":
            attrs = [1]
        if kind in ("CacheRead", "CacheWrite") and len(inputs) == 2 and not plain(inputs[1]):
            inputs = inputs[:1]
        if kind in ("ComputeAt", "ReverseComputeAt"):
            attrs = attrs[:1]
        renamed.append([kind, plain(inputs), attrs, plain(outputs)])
    return [renamed, [[int(index), plain(value)] for index, value in decisions]]
