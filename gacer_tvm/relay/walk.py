"""Walking a Relay tree without recursion; a shared node is met once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from gacer_tvm.relay.ast import (
    Call,
    Clause,
    Expr,
    Function,
    If,
    Let,
    Match,
    Pattern,
    PatternConstructor,
    PatternTuple,
    PatternVar,
    RefCreate,
    RefRead,
    RefWrite,
    Tuple,
    TupleGetItem,
    Var,
)

__all__ = ["children", "free_vars", "pattern_vars", "post_order", "rebuild", "rewrite"]


def children(expr: Expr) -> tuple[Expr, ...]:
    """The expressions directly below `expr`, in evaluation order, with parameters and variables bound."""
    match expr:
        case Call():
            return (expr.op, *expr.args)
        case Tuple():
            return expr.fields
        case TupleGetItem():
            return (expr.tuple_value,)
        case Function():
            return (*expr.params, expr.body)
        case Let():
            return (expr.var, expr.value, expr.body)
        case If():
            return (expr.cond, expr.true_branch, expr.false_branch)
        case RefCreate():
            return (expr.value,)
        case RefRead():
            return (expr.ref,)
        case RefWrite():
            return (expr.ref, expr.value)
        case Match():
            below: list[Expr] = [expr.data]
            for clause in expr.clauses:
                below.extend(pattern_vars(clause.lhs))
                below.append(clause.rhs)
            return tuple(below)
    return ()


def pattern_vars(pattern: Pattern) -> tuple[Var, ...]:
    """The variables that a pattern binds, from left to right."""
    found: list[Var] = []
    stack: list[Pattern] = [pattern]
    while stack:
        item = stack.pop()
        if isinstance(item, PatternVar):
            found.append(item.var)
        elif isinstance(item, (PatternConstructor, PatternTuple)):
            stack.extend(reversed(item.patterns))
    return tuple(found)


def post_order(expr: Expr) -> Iterator[Expr]:
    """Every node at or below `expr` once, each after all that it is made of.

    Parameters
    ----------
    expr : Expr

    Yields
    ------
    Expr
        In evaluation order; `expr` itself comes last.
    """
    seen: set[int] = set()
    stack: list[tuple[Expr, Iterator[Expr] | None]] = [(expr, None)]
    while stack:
        node, below = stack[-1]
        if below is None:
            if id(node) in seen:
                stack.pop()
                continue
            seen.add(id(node))
            below = iter(children(node))
            stack[-1] = (node, below)
        for child in below:
            if id(child) not in seen:
                stack.append((child, None))
                break
        else:
            stack.pop()
            yield node


def free_vars(expr: Expr) -> tuple[Var, ...]:
    """The variables that `expr` uses and nothing in it binds, in the order of first use.

    A variable has one binding place in a well-formed tree, so that scopes need not be tracked.
    """
    bound: set[int] = set()
    used: list[Var] = []
    for node in post_order(expr):
        if isinstance(node, Var):
            used.append(node)
        elif isinstance(node, Function):
            bound.update(id(param) for param in node.params)
        elif isinstance(node, Let):
            bound.add(id(node.var))
        elif isinstance(node, Match):
            bound.update(id(var) for clause in node.clauses for var in pattern_vars(clause.lhs))
    return tuple(var for var in used if id(var) not in bound)


def rebuild(node: Expr, below: tuple[Expr, ...]) -> Expr:
    """`node` with other expressions directly below it, given in the order of `children`.

    The variables that a let, function or pattern binds are kept as they are.
    """
    notes: dict[str, Any] = {"span": node.span, "checked_type": node.checked_type}
    match node:
        case Call():
            return Call(below[0], below[1:], node.attrs, node.type_args, **notes)
        case Tuple():
            return Tuple(below, **notes)
        case TupleGetItem():
            return TupleGetItem(below[0], node.index, **notes)
        case Function():
            return Function(node.params, below[-1], node.ret_type, node.type_params, node.attrs, **notes)
        case Let():
            return Let(node.var, below[1], below[2], **notes)
        case If():
            return If(below[0], below[1], below[2], **notes)
        case RefCreate():
            return RefCreate(below[0], **notes)
        case RefRead():
            return RefRead(below[0], **notes)
        case RefWrite():
            return RefWrite(below[0], below[1], **notes)
        case Match():
            at, clauses = 1, []
            for clause in node.clauses:
                at += len(pattern_vars(clause.lhs))
                clauses.append(Clause(clause.lhs, below[at]))
                at += 1
            return Match(below[0], tuple(clauses), node.complete, **notes)
    return node


def rewrite(expr: Expr, change: Callable[[Expr], Expr]) -> Expr:
    """The tree in which `change` was applied to every node, from the leaves up; shared nodes stay shared.

    Parameters
    ----------
    expr : Expr
    change : callable
        Gets each node once, with what is below it already rewritten, and gives what takes its place. Not called for the
        variables that a function, let or pattern binds, only where they are used.
    """
    done: dict[int, Expr] = {}
    for node in post_order(expr):
        below = children(node)
        new = tuple(done[id(child)] for child in below)
        same = all(left is right for left, right in zip(new, below))
        done[id(node)] = change(node if same else rebuild(node, new))
    return done[id(expr)]
