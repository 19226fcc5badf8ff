"""The node types of saved JSON: which fields each refers to others by, and what is made of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from typing import TypeVar as Generic

from gacer_tvm.errors import RelayError
from gacer_tvm.relay import types
from gacer_tvm.relay.ast import (
    NO_ATTRS,
    Attrs,
    Call,
    Clause,
    Constant,
    Constructor,
    Expr,
    Function,
    GlobalVar,
    If,
    IRModule,
    Let,
    Match,
    Op,
    Opaque,
    Pattern,
    PatternConstructor,
    PatternTuple,
    PatternVar,
    PatternWildcard,
    RefCreate,
    RefRead,
    RefWrite,
    Span,
    Tuple,
    TupleGetItem,
    TypeData,
    Var,
)
from gacer_tvm.relay.attrs import default_attrs, make_attrs
from gacer_tvm.relay.json_graph import JsonNode
from gacer_tvm.relay.operators import op_info
from gacer_tvm.relay.types import FuncType, GlobalTypeVar, RefType, TensorType, TupleType, Type, TypeCall, TypeVar

__all__ = ["FORMS", "Form", "Fields"]

T = Generic("T")


class Fields:
    """The fields of one node whose links are made, with their types checked."""

    __slots__ = ("made", "node")

    def __init__(self, node: JsonNode, made: Mapping[int, Any]) -> None:
        self.node = node
        self.made = made

    def any(self, field: str) -> Any:
        """What the field refers to."""
        return self.made[self.node.link(field)]

    def get(self, field: str, kind: type[T]) -> T:
        """What the field refers to, which must be a `kind`."""
        value = self.any(field)
        if not isinstance(value, kind):
            raise self._wrong(field, kind, value)
        return value

    def optional(self, field: str, kind: type[T]) -> T | None:
        """As `get`, or None where the field is null."""
        return None if self.any(field) is None else self.get(field, kind)

    def list(self, field: str, kind: type[T]) -> tuple[T, ...]:
        """An array of `kind`; empty where the field is null."""
        values = self.any(field)
        if values is None:
            return ()
        if not isinstance(values, tuple):
            raise self._wrong(field, tuple, values)
        for value in values:
            if not isinstance(value, kind):
                raise self._wrong(field, kind, value)
        return values

    def types(self, field: str) -> tuple[Type | None, ...]:
        """An array of types, some of which may be unstated."""
        values = self.any(field) or ()
        if not isinstance(values, tuple) or not all(value is None or isinstance(value, Type) for value in values):
            raise self._wrong(field, Type, values)
        return values

    def notes(self) -> dict[str, Any]:
        """The span and checked type, as keyword arguments of an expression."""
        span, type_ = self.any("span"), self.any("_checked_type_")
        return {
            "span": span if isinstance(span, Span) else None,
            "checked_type": type_ if isinstance(type_, Type) else None,
        }

    def _wrong(self, field: str, kind: type, value: object) -> RelayError:
        return self.node.error(f"the field {field!r} should hold {kind.__name__}, but holds {type(value).__name__}")


class Form(NamedTuple):
    """A node type: the fields to follow, and how to make the value."""

    fields: tuple[str, ...]
    make: Callable[[Fields], Any]


def _tensor_type(of: Fields) -> TensorType:
    shape: list[types.Dim] = []
    for dim in of.any("shape") or ():
        if type(dim) is int and dim >= 0:
            shape.append(dim)
        elif isinstance(dim, (types.Any, Opaque)):
            # An expression over symbolic sizes is known at run time only.
            shape.append(dim if isinstance(dim, types.Any) else types.ANY)
        else:
            raise of.node.error(f"a dimension should be an integer of at least 0, but is {str(dim)[:40]}")
    dtype = of.node.literal("dtype")
    return TensorType(tuple(shape), "bool" if dtype == "uint1" else dtype)


def _var(of: Fields) -> Var:
    name = of.optional("vid", str)
    return Var(name or of.node.text("name_hint"), of.optional("type_annotation", Type), **of.notes())


def _global_var(of: Fields) -> GlobalVar:
    return GlobalVar(of.node.text("name_hint"))


def _call(of: Fields) -> Call:
    op = of.get("op", Expr)
    attrs = of.optional("attrs", Attrs)
    if attrs is None:
        attrs = NO_ATTRS
        if isinstance(op, Op):
            attrs = _unstated_attrs(of, op.name)
    return Call(op, of.list("args", Expr), attrs, of.types("type_args"), **of.notes())


def _unstated_attrs(of: Fields, name: str) -> Attrs:
    if name == "nn.batch_matmul" and of.node.graph.version < (0, 8):
        # It had no attributes then and always transposed its second argument.
        return make_attrs("relay.attrs.BatchMatmulAttrs", {"transpose_b": True})
    info = op_info(name)
    if info is None or not info.attrs_key:
        return NO_ATTRS
    try:
        return default_attrs(name)
    except RelayError as error:
        raise of.node.error(str(error).rstrip(".")) from None


def _function(of: Fields) -> Function:
    attrs = of.optional("attrs", Attrs) or NO_ATTRS
    return Function(
        of.list("params", Var),
        of.get("body", Expr),
        of.optional("ret_type", Type),
        of.list("type_params", TypeVar),
        attrs,
        **of.notes(),
    )


def _dict_attrs(of: Fields) -> Attrs:
    values = of.any("__dict__")
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        values = {}
    return Attrs("DictAttrs", values) if values else NO_ATTRS


def _type_name(of: Fields) -> str:
    # Up to 0.6 the name is that of an index variable.
    var = of.any("var")
    return var.name if isinstance(var, types.Any) else of.node.text("name_hint")


def _constructor(of: Fields) -> Constructor:
    owner = of.optional("belong_to", GlobalTypeVar)
    return Constructor(of.node.text("name_hint"), owner.name if owner else "", of.types("inputs"))


def _type_data(of: Fields) -> TypeData:
    constructors = of.list("constructors", Constructor)
    name = of.get("header", GlobalTypeVar).name
    return TypeData(name, of.list("type_vars", TypeVar), constructors, extern=not constructors)


def _module(of: Fields) -> IRModule:
    functions: dict[str, Function] = {}
    for var, function in (of.optional("functions", dict) or {}).items():
        if not isinstance(function, Function):
            kind = function.type_key if isinstance(function, Opaque) else type(function).__name__
            raise of.node.error(
                f"@{_name(var)} is no Relay function but a {kind}: the module was lowered or is not Relay"
            )
        functions[_name(var)] = function
    definitions = {_name(var): data for var, data in (of.optional("type_definitions", dict) or {}).items()}
    return IRModule(functions, definitions, of.optional("attrs", Attrs) or NO_ATTRS)


def _name(var: object) -> str:
    return var if isinstance(var, str) else str(getattr(var, "name_hint", getattr(var, "name", var)))


def _span(of: Fields) -> Span:
    node = of.node
    source = of.any("source_name") or of.any("source")
    line = node.integer("line", node.attrs.get("lineno", "0"))
    return Span(
        source if isinstance(source, str) else "", line, node.integer("column", node.attrs.get("col_offset", "0"))
    )


def _int(of: Fields) -> int | bool:
    value = of.node.integer("value")
    return bool(value) if of.node.attrs.get("dtype") in ("bool", "uint1") else value


def _boxed(of: Fields) -> int | float | bool:
    node = of.node
    text = node.repr_text()
    kind = {"runtime.BoxInt": int, "runtime.BoxFloat": float}.get(node.type_key)
    return kind(text[:40]) if kind is not None else text in ("true", "True", "1")


def _same_name(of: Fields) -> str:
    return of.node.repr_text()


_NOTES = ("span", "_checked_type_")
FORMS: dict[str, Form] = {
    "runtime.String": Form((), _same_name),
    "SourceName": Form((), lambda of: of.node.repr_text() or of.node.text("name")),
    "EnvFunc": Form((), _same_name),
    "Op": Form((), lambda of: Op(of.node.repr_text())),
    "IntImm": Form((), _int),
    "UIntImm": Form((), _int),
    "FloatImm": Form((), lambda of: of.node.number("value")),
    "tir.StringImm": Form((), lambda of: of.node.text("value")),
    "runtime.BoxInt": Form((), _boxed),
    "runtime.BoxFloat": Form((), _boxed),
    "runtime.BoxBool": Form((), _boxed),
    "tir.Any": Form((), lambda of: types.ANY),
    "tir.Var": Form((), lambda of: types.Any(of.node.text("name"))),
    "Span": Form(("source_name", "source"), _span),
    "DictAttrs": Form(("__dict__",), _dict_attrs),
    "IncompleteType": Form((), lambda of: None),
    "relay.TensorType": Form(("shape",), _tensor_type),
    "TupleType": Form(("fields",), lambda of: TupleType(of.list("fields", Type))),
    "FuncType": Form(
        ("arg_types", "ret_type", "type_params"),
        lambda of: FuncType(of.types("arg_types"), of.optional("ret_type", Type), of.list("type_params", TypeVar)),
    ),
    "relay.RefType": Form(("value",), lambda of: RefType(of.optional("value", Type))),
    "TypeVar": Form(("var",), lambda of: TypeVar(_type_name(of))),
    "GlobalTypeVar": Form(("var",), lambda of: GlobalTypeVar(_type_name(of))),
    "TypeCall": Form(("func", "args"), lambda of: TypeCall(of.get("func", Type), of.types("args"))),
    "relay.Id": Form((), lambda of: of.node.text("name_hint")),
    "relay.Var": Form(("vid", "type_annotation", *_NOTES), _var),
    "GlobalVar": Form((), _global_var),
    "relay.Constant": Form(_NOTES, lambda of: Constant(of.node.graph.array(of.node, "data"), **of.notes())),
    "relay.Tuple": Form(("fields", *_NOTES), lambda of: Tuple(of.list("fields", Expr), **of.notes())),
    "relay.TupleGetItem": Form(
        ("tuple_value", *_NOTES),
        lambda of: TupleGetItem(of.get("tuple_value", Expr), of.node.integer("index"), **of.notes()),
    ),
    "relay.Call": Form(("op", "args", "attrs", "type_args", *_NOTES), _call),
    "relay.Function": Form(("params", "body", "ret_type", "type_params", "attrs", *_NOTES), _function),
    "relay.Let": Form(
        ("var", "value", "body", *_NOTES),
        lambda of: Let(of.get("var", Var), of.get("value", Expr), of.get("body", Expr), **of.notes()),
    ),
    "relay.If": Form(
        ("cond", "true_branch", "false_branch", *_NOTES),
        lambda of: If(of.get("cond", Expr), of.get("true_branch", Expr), of.get("false_branch", Expr), **of.notes()),
    ),
    "relay.RefCreate": Form(("value", *_NOTES), lambda of: RefCreate(of.get("value", Expr), **of.notes())),
    "relay.RefRead": Form(("ref", *_NOTES), lambda of: RefRead(of.get("ref", Expr), **of.notes())),
    "relay.RefWrite": Form(
        ("ref", "value", *_NOTES), lambda of: RefWrite(of.get("ref", Expr), of.get("value", Expr), **of.notes())
    ),
    "relay.Constructor": Form(("belong_to", "inputs"), _constructor),
    "relay.TypeData": Form(("header", "type_vars", "constructors"), _type_data),
    "relay.PatternWildcard": Form((), lambda of: PatternWildcard()),
    "relay.PatternVar": Form(("var",), lambda of: PatternVar(of.get("var", Var))),
    "relay.PatternConstructor": Form(
        ("constructor", "patterns"),
        lambda of: PatternConstructor(of.get("constructor", Constructor), of.list("patterns", Pattern)),
    ),
    "relay.PatternTuple": Form(("patterns",), lambda of: PatternTuple(of.list("patterns", Pattern))),
    "relay.Clause": Form(("lhs", "rhs"), lambda of: Clause(of.get("lhs", Pattern), of.get("rhs", Expr))),
    "relay.Match": Form(
        ("data", "clauses", *_NOTES),
        lambda of: Match(
            of.get("data", Expr), of.list("clauses", Clause), of.node.literal("complete", "1") != "0", **of.notes()
        ),
    ),
    "IRModule": Form(("functions", "type_definitions", "attrs"), _module),
}
