"""Rebuilding a tree with some of its nodes replaced, sharing kept, without recursion."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping

from gacer_tvm.relay.ast import (
    Call,
    Clause,
    Expr,
    Function,
    If,
    Let,
    Match,
    RefCreate,
    RefRead,
    RefWrite,
    Tuple,
    TupleGetItem,
)
from gacer_tvm.relay.walk import post_order

__all__ = ["bind_params_by_name", "substitute"]


def substitute(expr: Expr, changed: Mapping[int, Expr]) -> Expr:
    """`expr` with the nodes in `changed` (by identity) replaced, and everything above them rebuilt.

    Parameters
    ----------
    expr : Expr
    changed : Mapping of id to Expr
    """
    made: dict[int, Expr] = {}

    def get(node: typing.Any) -> typing.Any:
        return made.get(id(node), node)

    def gets(nodes: tuple[typing.Any, ...]) -> tuple[typing.Any, ...]:
        return tuple(get(node) for node in nodes)

    for node in post_order(expr):
        if id(node) in changed:
            made[id(node)] = changed[id(node)]
            continue
        parts: dict[str, typing.Any]
        if isinstance(node, Call):
            parts = {"op": get(node.op), "args": gets(node.args)}
        elif isinstance(node, Tuple):
            parts = {"fields": gets(node.fields)}
        elif isinstance(node, TupleGetItem):
            parts = {"tuple_value": get(node.tuple_value)}
        elif isinstance(node, Function):
            parts = {"params": gets(node.params), "body": get(node.body)}
        elif isinstance(node, Let):
            parts = {"var": get(node.var), "value": get(node.value), "body": get(node.body)}
        elif isinstance(node, If):
            parts = {
                "cond": get(node.cond), "true_branch": get(node.true_branch), "false_branch": get(node.false_branch)
            }  # fmt: skip
        elif isinstance(node, RefCreate):
            parts = {"value": get(node.value)}
        elif isinstance(node, RefRead):
            parts = {"ref": get(node.ref)}
        elif isinstance(node, RefWrite):
            parts = {"ref": get(node.ref), "value": get(node.value)}
        elif isinstance(node, Match):
            clauses = tuple(Clause(clause.lhs, get(clause.rhs)) for clause in node.clauses)
            parts = {"data": get(node.data), "clauses": clauses}
        else:
            continue
        if any(not _same(getattr(node, name), part) for name, part in parts.items()):
            made[id(node)] = typing.cast(Expr, dataclasses.replace(node, **parts))
    return typing.cast(Expr, get(expr))


def bind_params_by_name(function: Function, params: Mapping[str, typing.Any]) -> Function:
    """A function with some parameters replaced by constants.

    Parameters
    ----------
    function : Function
    params : Mapping of str to array or Constant
        By parameter name; names that the function does not have are left out, as in TVM.
    """
    from gacer_tvm.relay.op.build import const

    bound = {id(p): const(params[p.name_hint]) for p in function.params if p.name_hint in params}
    body = substitute(function.body, bound)
    kept = tuple(param for param in function.params if id(param) not in bound)
    return dataclasses.replace(function, params=kept, body=body, checked_type=None)


def _same(old: typing.Any, new: typing.Any) -> bool:
    if isinstance(old, tuple):
        return len(old) == len(new) and all(
            a is b or (isinstance(a, Clause) and a.rhs is b.rhs) for a, b in zip(old, new)
        )
    return old is new
