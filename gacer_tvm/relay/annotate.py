"""Writing inferred types into a tree."""

from __future__ import annotations

import dataclasses
import typing

from gacer_tvm.relay.ast import Call, Constant, Expr, Function, If, Let, Tuple, TupleGetItem, Var
from gacer_tvm.relay.types import FuncType, Type
from gacer_tvm.relay.values import Value, type_of
from gacer_tvm.relay.walk import post_order

__all__ = ["annotate"]


def annotate(function: Function, types: dict[int, Value], result: Type | None) -> Function:
    """`function` rebuilt with `checked_type` on each node that was evaluated; sharing is kept."""
    made: dict[int, Expr] = {}

    def typed(node: Expr) -> Type | None:
        return type_of(types[id(node)]) if id(node) in types else node.checked_type

    for node in post_order(function):
        if isinstance(node, Var):
            found = typed(node)
            stated = node.type_annotation if node.type_annotation is not None else found
            new: Expr = dataclasses.replace(node, type_annotation=stated, checked_type=found or stated)
        elif isinstance(node, Constant):
            new = dataclasses.replace(node, checked_type=node.type)
        elif isinstance(node, Call):
            args = tuple(made[id(arg)] for arg in node.args)
            op = typing.cast(typing.Any, made.get(id(node.op), node.op))
            new = dataclasses.replace(node, op=op, args=args, checked_type=typed(node))
        elif isinstance(node, Tuple):
            new = dataclasses.replace(
                node, fields=tuple(made[id(part)] for part in node.fields), checked_type=typed(node)
            )
        elif isinstance(node, TupleGetItem):
            new = dataclasses.replace(node, tuple_value=made[id(node.tuple_value)], checked_type=typed(node))
        elif isinstance(node, Let):
            var = typing.cast(Var, made[id(node.var)])
            value = made[id(node.value)]
            new = dataclasses.replace(node, var=var, value=value, body=made[id(node.body)], checked_type=typed(node))
        elif isinstance(node, If):
            parts = (made[id(part)] for part in (node.cond, node.true_branch, node.false_branch))
            cond, then, other = parts
            new = dataclasses.replace(node, cond=cond, true_branch=then, false_branch=other, checked_type=typed(node))
        elif isinstance(node, Function):
            params = tuple(typing.cast(Var, made[id(param)]) for param in node.params)
            body = made[id(node.body)]
            ret = node.ret_type or (result if node is function else body.checked_type)
            checked = FuncType(tuple(param.type_annotation for param in params), ret)
            new = dataclasses.replace(node, params=params, body=body, ret_type=ret, checked_type=checked)
        else:
            new = node
        made[id(node)] = new
    return typing.cast(Function, made[id(function)])
