"""Operators in the order in which a schedule issues them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .._tvm import relax, tvm
from ..graph.read import read_graph, read_merged
from ..schedule import Schedule, check
from .attributes import the_schedule
from .rewrite import bindings_of, with_bindings

__all__ = ["OrderOperators"]


@tvm.transform.module_pass(opt_level=0, name="OrderOperators")
class OrderOperators:
    """Puts the kernel calls of main in the schedule's order of issue.

    Rewrite
    -------
    With ``order = ((0, 1), (1, 2), (0, 1))`` over two tenants ``a`` and ``b`` of two operators each::

        lv  = R.call_tir(a__conv2d, (a__x, …), …)           lv  = R.call_tir(a__conv2d, (a__x, …), …)
        lv1 = R.call_tir(a__dense, (lv, …), …)        →     lv2 = R.call_tir(b__conv2d, (b__x, …), …)
        lv2 = R.call_tir(b__conv2d, (b__x, …), …)           lv3 = R.call_tir(b__dense, (lv2, …), …)
        lv3 = R.call_tir(b__dense, (lv2, …), …)             lv1 = R.call_tir(a__dense, (lv, …), …)

    Everything else (reshapes, fields of tuples, allocations) goes directly before its first use. Operators that are
    already cut stay together.

    Parameters
    ----------
    schedule
        By default the one attached to the module.

    Raises
    ------
    ScheduleError
        If the schedule is not legal for the module.
    GraphError
        If the module is not a merged one.
    """

    def __init__(self, schedule: Schedule | None = None) -> None:
        self.schedule = schedule

    def transform_module(self, module: Any, context: Any) -> Any:
        schedule = check(the_schedule(self.schedule, module, "OrderOperators"), read_graph(module, values=False))
        operators = read_merged(module).operators()
        wanted = [var for key in schedule.issue() for var in operators[key].vars]
        return with_bindings(module, _in_order(bindings_of(module), wanted))


def _in_order(bindings: Sequence[Any], wanted: Sequence[Any]) -> list[Any]:
    """`bindings` with those of `wanted` in that order, and what they use before them."""
    by_var = {binding.var: binding for binding in bindings}
    placed: set[Any] = set()
    result: list[Any] = []

    def place(var: Any) -> None:
        # An explicit stack: a chain of reshapes may be long.
        pending = [(var, False)]
        while pending:
            item, ready = pending.pop()
            if item in placed or item not in by_var:
                continue
            if ready:
                placed.add(item)
                result.append(by_var[item])
                continue
            pending.append((item, True))
            pending.extend((used, False) for used in reversed(relax.analysis.free_vars(by_var[item].value)))

    for var in wanted:
        place(var)
    for binding in bindings:
        place(binding.var)
    return result
