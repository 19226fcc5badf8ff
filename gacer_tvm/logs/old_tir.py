"""PrimFuncs rebuilt from the JSON of TVM before 0.20, as MetaSchedule databases hold them.

Today's TVM reads another schema, and its TIR has other nodes (buffers are typed variables, blocks moved), so the old graph of
nodes is walked here and the function built anew. Only node types that unscheduled functions consist of are known; whatever
else is met stops the rebuilding of that one function.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import struct
from collections.abc import Callable
from typing import Any

from gacer_tvm._tvm import s_tir, tir, tvm

from .bounds import OutOfBounds, check_bounds

__all__ = ["OldTirError", "decode_module", "is_hint", "rebuild_function"]

_MAX_DEPTH = 400
_BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "Add": lambda a, b: a + b,
    "Sub": lambda a, b: a - b,
    "Mul": lambda a, b: a * b,
    "Div": tir.div,
    "Mod": tir.truncmod,
    "FloorDiv": tir.floordiv,
    "FloorMod": tir.floormod,
    "Min": tir.min,
    "Max": tir.max,
    "EQ": tir.EQ,
    "NE": tir.NE,
    "LT": tir.LT,
    "LE": tir.LE,
    "GT": tir.GT,
    "GE": tir.GE,
    "And": tir.And,
    "Or": tir.Or,
}
# Functions of values only; calls that could reach outside (packed functions, externs) are not among them.
_NAMES = (
    "exp exp2 exp10 log log2 log10 log1p sqrt rsqrt tanh tan sin cos sinh cosh asin acos atan atan2 sigmoid erf floor "
    "ceil trunc round nearbyint pow power fmod hypot copysign isnan isfinite isinf if_then_else likely popcount"
)
_FUNCTIONS = {name: name for name in _NAMES.split()}
_FUNCTIONS["fabs"] = "abs"
_SHIFTS: dict[str, Callable[[Any, Any], Any]] = {
    "shift_left": lambda a, b: a << b,
    "shift_right": lambda a, b: a >> b,
    "bitwise_and": lambda a, b: a & b,
    "bitwise_or": lambda a, b: a | b,
    "bitwise_xor": lambda a, b: a ^ b,
}


class OldTirError(ValueError):
    """A saved function that cannot be rebuilt; internal, reported with the record."""


def decode_module(text: str) -> dict[str, Any]:
    """The JSON graph in the base64 text of a workload line.

    Raises
    ------
    OldTirError
        If it is not base64 of a length and that much JSON.
    """
    try:
        raw = base64.b64decode(text, validate=True)
        (size,) = struct.unpack_from("<Q", raw)
        if size > len(raw) - 8:
            raise OldTirError("the saved module is cut off")
        graph = json.loads(raw[8 : 8 + size])
    except (binascii.Error, struct.error, ValueError, RecursionError) as error:
        raise OldTirError("the saved module is not base64 of JSON") from error
    if not isinstance(graph, dict) or not isinstance(graph.get("nodes"), list):
        raise OldTirError("the saved module is no node graph")
    return graph


def rebuild_function(graph: dict[str, Any]) -> Any:
    """Build the PrimFunc of a saved module (its only one, or the one called ``main``).

    Raises
    ------
    OldTirError
        With what was met.
    """
    try:
        function = _Builder(graph["nodes"]).module(graph.get("root"))
        check_bounds(function)
        return function
    except OldTirError:
        raise
    except OutOfBounds as reason:
        raise OldTirError(f"the saved function is not safe to run: {reason}") from reason
    except (
        KeyError,
        IndexError,
        TypeError,
        ValueError,
        AttributeError,
        RuntimeError,
        ArithmeticError,
        AssertionError,  # TVM's constructors assert that types agree
    ) as error:
        raise OldTirError(f"the saved module is malformed ({type(error).__name__})") from error


def is_hint(name: str) -> bool:
    """Whether an annotation means nothing to code generators: a pragma could have code of its own linked in."""
    return not name.startswith("pragma")


def _plain_name(name: str, otherwise: str) -> str:
    """Names of buffers and variables stand in generated source: letters, digits and underscores only."""
    plain = re.sub(r"[^A-Za-z0-9_]", "_", name)[:64]
    return plain if plain and not plain[0].isdigit() else f"{otherwise}_{plain}".rstrip("_")


class _Builder:
    def __init__(self, nodes: list[Any]) -> None:
        self.nodes = nodes
        self.made: dict[int, Any] = {}
        self.depth = 0

    # --- the node graph --------------------------------------------------------------------------------------------

    def node(self, index: Any) -> dict[str, Any]:
        number = int(index)
        if not 0 <= number < len(self.nodes):
            raise OldTirError("a node points outside the module")
        node: dict[str, Any] = self.nodes[number]
        return node

    def kind(self, index: Any) -> str:
        return str(self.node(index)["type_key"])

    def attrs(self, index: Any) -> dict[str, str]:
        attrs: dict[str, str] = self.node(index).get("attrs", {})
        return attrs

    def text(self, index: Any) -> str:
        return str(self.node(index).get("repr_str", ""))[:500]

    def items(self, index: Any) -> list[int]:
        return [int(item) for item in self.node(index).get("data", [])]

    def pairs(self, index: Any) -> list[tuple[Any, int]]:
        node = self.node(index)
        data = self.items(index)
        if "keys" in node:
            return list(zip(node["keys"], data, strict=True))
        return list(zip(data[::2], data[1::2], strict=True))

    def build(self, index: Any) -> Any:
        number = int(index)
        if number not in self.made:
            kind = self.kind(number)
            short = kind.removeprefix("tir.")
            method = getattr(self, f"_{short.lower()}", None) if short.isalnum() else None
            self.depth += 1
            if self.depth > _MAX_DEPTH:
                raise OldTirError("the saved module is nested too deeply")
            if short in _BINARY and kind.startswith("tir."):
                attrs = self.attrs(number)
                self.made[number] = _BINARY[short](self.build(attrs["a"]), self.build(attrs["b"]))
            elif method is not None and short in _KINDS:
                self.made[number] = method(self.attrs(number))
            else:
                raise OldTirError(f"a node of kind {kind[:60]!r} is not known")
            self.depth -= 1
        return self.made[number]

    def all(self, index: Any) -> list[Any]:
        return [self.build(item) for item in self.items(index)]

    # --- functions -------------------------------------------------------------------------------------------------

    def module(self, root: Any) -> Any:
        kind = self.kind(root)
        if kind == "tir.PrimFunc":
            return self.function(root)
        if kind != "IRModule":
            raise OldTirError(f"the saved object is a {kind[:60]!r}, no module")
        functions = [
            (self.text(self.attrs(name)["name_hint"]), value)
            for name, value in self.pairs(self.attrs(root)["functions"])
            if self.kind(value) == "tir.PrimFunc"
        ]
        chosen = [value for name, value in functions if name == "main"] or [value for _, value in functions]
        if not chosen:
            raise OldTirError("the saved module has no PrimFunc")
        return self.function(chosen[0])

    def function(self, index: Any) -> Any:
        attrs = self.attrs(index)
        buffers = {key: value for key, value in self.pairs(attrs["buffer_map"])}
        params = []
        for param in self.items(attrs["params"]):
            if param not in buffers:
                raise OldTirError("the function has scalar parameters")
            params.append(self.build(buffers[param]))
        body = self.build(attrs["body"])
        function = tir.PrimFunc(params, body)
        # What marks a function that s_tir may schedule, and what `te.create_prim_func` says of its buffers.
        return function.with_attr({"s_tir": True, "tirx.noalias": True, "global_symbol": "main"})

    # --- statements ------------------------------------------------------------------------------------------------

    def _blockrealize(self, attrs: dict[str, str]) -> Any:
        predicate = self.build(attrs["predicate"])
        return s_tir.SBlockRealize(self.all(attrs["iter_values"]), predicate, self.build(attrs["block"]))

    def _block(self, attrs: dict[str, str]) -> Any:
        if self.items(attrs["match_buffers"]):
            raise OldTirError("a block matches buffers")
        iter_vars = self.all(attrs["iter_vars"])
        allocated = self.all(attrs["alloc_buffers"])
        init = None if int(attrs.get("init", 0)) == 0 else self.build(attrs["init"])
        return s_tir.SBlock(
            iter_vars,
            self.all(attrs["reads"]),
            self.all(attrs["writes"]),
            self.text(attrs["name_hint"]),
            self.build(attrs["body"]),
            init,
            allocated,
            None,
            self._annotations(attrs["annotations"]),
        )

    def _annotations(self, index: Any) -> dict[str, Any]:
        """Only plain numbers and strings; what schedulers hang on blocks beyond these is theirs alone."""
        found: dict[str, Any] = {}
        for key, value in self.pairs(index):
            name = key if isinstance(key, str) else self.text(key)
            if not is_hint(name):
                raise OldTirError(f"a block is annotated with {name[:60]!r}")
            if self.kind(value) == "runtime.String":
                found[name] = self.text(value)
            elif self.kind(value) == "IntImm":
                found[name] = int(self.attrs(value)["value"])
        return found

    def _for(self, attrs: dict[str, str]) -> Any:
        if int(attrs.get("thread_binding", 0)) or int(attrs["kind"]) != 0:
            raise OldTirError("the saved function is scheduled already")
        variable = self.build(attrs["loop_var"])
        return tir.For(
            variable,
            self.build(attrs["min"]),
            self.build(attrs["extent"]),
            tir.ForKind.SERIAL,
            self.build(attrs["body"]),
        )

    def _seqstmt(self, attrs: dict[str, str]) -> Any:
        return tir.SeqStmt(self.all(attrs["seq"]))

    def _ifthenelse(self, attrs: dict[str, str]) -> Any:
        otherwise = None if int(attrs.get("else_case", 0)) == 0 else self.build(attrs["else_case"])
        return tir.IfThenElse(self.build(attrs["condition"]), self.build(attrs["then_case"]), otherwise)

    def _bufferstore(self, attrs: dict[str, str]) -> Any:
        return tir.BufferStore(self.build(attrs["buffer"]), self.build(attrs["value"]), self.all(attrs["indices"]))

    # --- values ----------------------------------------------------------------------------------------------------

    def _buffer(self, attrs: dict[str, str]) -> Any:
        scope = ""
        annotation = self.attrs(attrs["data"]).get("type_annotation", "0")
        if int(annotation) and self.kind(annotation) == "PointerType":
            scope = self.text(self.attrs(annotation)["storage_scope"])
        shape = self.all(attrs["shape"])
        if not all(isinstance(extent, tir.IntImm) for extent in shape):
            raise OldTirError("the function has dynamic shapes")
        name = _plain_name(self.text(attrs["name"]), "buffer")
        return tir.decl_buffer(shape, attrs["dtype"], name, scope="" if scope == "global" else scope, layout=None)

    def _bufferregion(self, attrs: dict[str, str]) -> Any:
        return tir.BufferRegion(self.build(attrs["buffer"]), self.all(attrs["region"]))

    def _range(self, attrs: dict[str, str]) -> Any:
        return tvm.ir.Range.from_min_extent(self.build(attrs["min"]), self.build(attrs["extent"]))

    def _itervar(self, attrs: dict[str, str]) -> Any:
        kind = int(attrs["iter_type"])
        if kind not in (0, 2):
            raise OldTirError("a block variable that is neither spatial nor a reduction")
        return tir.IterVar(self.build(attrs["dom"]), self.build(attrs["var"]), kind)

    def _var(self, attrs: dict[str, str]) -> Any:
        return tir.Var(_plain_name(self.text(attrs["name"]), "v"), attrs["dtype"])

    def _bufferload(self, attrs: dict[str, str]) -> Any:
        return tir.BufferLoad(self.build(attrs["buffer"]), self.all(attrs["indices"]))

    def _intimm(self, attrs: dict[str, str]) -> Any:
        return tir.IntImm(attrs["dtype"], int(attrs["value"]))

    def _floatimm(self, attrs: dict[str, str]) -> Any:
        return tir.FloatImm(attrs["dtype"], float(attrs["value"]))

    def _cast(self, attrs: dict[str, str]) -> Any:
        return tir.Cast(attrs["dtype"], self.build(attrs["value"]))

    def _select(self, attrs: dict[str, str]) -> Any:
        parts = (attrs["condition"], attrs["true_value"], attrs["false_value"])
        return tir.Select(*[self.build(part) for part in parts])

    def _not(self, attrs: dict[str, str]) -> Any:
        return tir.Not(self.build(attrs["a"]))

    def _call(self, attrs: dict[str, str]) -> Any:
        if self.kind(attrs["op"]) != "Op":
            raise OldTirError("a call of a function")
        name = self.text(attrs["op"]).removeprefix("tir.")
        args = self.all(attrs["args"])
        if name in _SHIFTS:
            return _SHIFTS[name](*args)
        if name not in _FUNCTIONS:
            raise OldTirError(f"a call of {name[:60]!r}")
        return getattr(tir, _FUNCTIONS[name])(*args)


_KINDS = {
    "BlockRealize",
    "Block",
    "For",
    "SeqStmt",
    "IfThenElse",
    "BufferStore",
    "Buffer",
    "BufferRegion",
    "Range",
    "IterVar",
    "Var",
    "BufferLoad",
    "IntImm",
    "FloatImm",
    "Cast",
    "Select",
    "Not",
    "Call",
}
