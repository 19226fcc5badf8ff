"""Questions about expressions, under the names that TVM's scripts use: `relay.analysis`."""

from __future__ import annotations

from collections.abc import Iterable

from gacer_tvm.relay.ast import Expr, IRModule, Var
from gacer_tvm.relay.survey import operators
from gacer_tvm.relay.walk import free_vars as _free_vars
from gacer_tvm.relay.walk import post_order

__all__ = ["all_vars", "free_vars", "list_op_freqs", "post_order_visit"]


def free_vars(expr: Expr) -> list[Var]:
    """The variables that `expr` uses and does not bind, in the order of first use."""
    return list(_free_vars(expr))


def all_vars(expr: Expr) -> list[Var]:
    """All variables in `expr`, in the order of first use."""
    return [node for node in post_order(expr) if isinstance(node, Var)]


def list_op_freqs(module: IRModule) -> dict[str, int]:
    """How often each operator is called."""
    return {name: len(spans) for name, spans in operators(module).items()}


def post_order_visit(expr: Expr, fvisit: object) -> None:
    """Call `fvisit` with each node, operands first."""
    nodes: Iterable[Expr] = post_order(expr)
    for node in nodes:
        fvisit(node)  # type: ignore[operator]
