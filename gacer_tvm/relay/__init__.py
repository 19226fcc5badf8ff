"""Relay modules at the door: read, print, build and convert modules as Apache TVM 0.6 to 0.19 had them.

`load` and `parse` read modules, `load_params` their parameters, `astext` prints; `relay.var`, `relay.nn.conv2d` and the
others build them, as scripts did with `from tvm import relay`; `to_relax` converts them; `relay.testing` has whole
models.
"""

from __future__ import annotations

import importlib
import typing

from gacer_tvm.relay import analysis, op, qnn, transform
from gacer_tvm.relay.ast import (
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
from gacer_tvm.relay.equality import structural_equal
from gacer_tvm.relay.files import load
from gacer_tvm.relay.infer import infer_type, infer_types
from gacer_tvm.relay.json_reader import load_json
from gacer_tvm.relay.op import *  # noqa: F403
from gacer_tvm.relay.op import annotation, image, nn, vision
from gacer_tvm.relay.op.build import TupleWrapper, const, var
from gacer_tvm.relay.params import load_param_dict, load_params, save_param_dict, save_params
from gacer_tvm.relay.parser import parse, parse_expr
from gacer_tvm.relay.printer import astext
from gacer_tvm.relay.rewrite import bind_params_by_name
from gacer_tvm.relay.scope_builder import ScopeBuilder
from gacer_tvm.relay.types import (
    Any,
    FuncType,
    GlobalTypeVar,
    RefType,
    TensorType,
    TupleType,
    Type,
    TypeCall,
    TypeVar,
    scalar_type,
)
from gacer_tvm.relay.walk import free_vars, post_order

__all__ = [
    "Any",
    "Attrs",
    "Call",
    "Clause",
    "Constant",
    "Constructor",
    "Expr",
    "FuncType",
    "Function",
    "GlobalTypeVar",
    "GlobalVar",
    "IRModule",
    "If",
    "Let",
    "Match",
    "Op",
    "PatternConstructor",
    "PatternTuple",
    "PatternVar",
    "PatternWildcard",
    "RefCreate",
    "RefRead",
    "RefType",
    "RefWrite",
    "ScopeBuilder",
    "Span",
    "TensorType",
    "Tuple",
    "TupleGetItem",
    "TupleType",
    "TupleWrapper",
    "Type",
    "TypeCall",
    "TypeData",
    "TypeVar",
    "Var",
    "analysis",
    "annotation",
    "astext",
    "bind_params_by_name",
    "const",
    "free_vars",
    "fromtext",
    "image",
    "infer_type",
    "infer_types",
    "load",
    "load_json",
    "load_param_dict",
    "load_params",
    "nn",
    "op",
    "parse",
    "parse_expr",
    "post_order",
    "qnn",
    "save_param_dict",
    "save_params",
    "scalar_type",
    "structural_equal",
    "testing",  # noqa: F405
    "to_relax",  # noqa: F405
    "transform",
    "var",
    "vision",
    *op.__all__,
]

# TVM's other name for `parse`.
fromtext = parse


def __getattr__(name: str) -> typing.Any:
    """`to_relax` needs TVM and `testing` is seldom needed: both are imported at their first use."""
    if name == "to_relax":
        return importlib.import_module("gacer_tvm.relay.conversion").to_relax
    if name == "testing":
        return importlib.import_module("gacer_tvm.relay.testing")
    raise AttributeError(
        f"gacer_tvm.relay has no {name!r}; operators that TVM had under that name may not be converted"
    )
