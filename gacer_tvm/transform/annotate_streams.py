"""Which stream runs each kernel call, and what it waits for."""

from __future__ import annotations

from typing import Any

from .._tvm import tvm
from ..errors import ScheduleError
from ..graph.model import MultiTenantGraph
from ..graph.read import MergedMain, read_graph, read_merged
from ..plan import LaunchPlan, check_plan, lower
from ..schedule import Schedule
from .attributes import LAUNCHES, attach_schedule, the_schedule

__all__ = ["AnnotateStreams"]


@tvm.transform.module_pass(opt_level=0, name="AnnotateStreams")
class AnnotateStreams:
    """Writes down for each kernel call of main its operator, items, stream, cluster and waits.

    Rewrite
    -------
    The code stays as it is. The module gets the attribute ``gacer.launches``, a list with one entry for each kernel
    call of main in order, and the schedule as ``gacer.schedule``::

        lv_0 = R.call_tir_inplace(a__conv2d__items3, …)    {"operator": "a/0_conv2d", "first": 0, "items": 3,
                                                            "stream": 0, "cluster": 0, "waits": []}
        lv = R.call_tir_inplace(a__conv2d__items5, …)      {"operator": "a/0_conv2d", "first": 3, "items": 5,
                                                            "stream": 1, "cluster": 0, "waits": []}
        lv1 = R.call_tir(a__dense, (lv, …), …)             {"operator": "a/1_dense", "first": 0, "items": 8,
                                                            "stream": 0, "cluster": 0, "waits": [1]}

    ``waits`` are the calls (by number) of other streams that must have finished; what stream order guarantees is left
    out. The bindings alone say more than that: the second chunk takes the tensor from the first, but writes other rows
    of it and need not wait.

    TVM's own virtual machine runs main from top to bottom on one stream and ignores the attribute.

    Parameters
    ----------
    schedule
        By default the one attached to the module.

    Raises
    ------
    ScheduleError
        If the schedule is not legal for the module, or has not been applied to it.
    GraphError
        If the module is not a merged one.
    """

    def __init__(self, schedule: Schedule | None = None) -> None:
        self.schedule = schedule

    def transform_module(self, module: Any, context: Any) -> Any:
        graph = read_graph(module, values=False)
        schedule = the_schedule(self.schedule, module, "AnnotateStreams")
        plan = lower(schedule, graph)
        check_plan(plan, graph)
        _same(read_merged(module), plan, graph)
        entries = []
        for launch in plan.launches:
            operator = graph.operators[launch.operator]
            entries.append(
                {
                    "operator": operator.name,
                    "first": launch.first,
                    "items": launch.items,
                    "stream": launch.stream,
                    "cluster": schedule.tenants[operator.tenant].cluster_of(operator.position),
                    "waits": list(launch.waits),
                }
            )
        return attach_schedule(module.with_attr(LAUNCHES, entries), schedule)


def _same(main: MergedMain, plan: LaunchPlan, graph: MultiTenantGraph) -> None:
    """The kernel calls of main must be the launches of the plan, in order."""
    found = []
    for (tenant, position), call in main.operators().items():
        info = graph.tenants[tenant]
        operator = graph.operators[info.first + position]
        found += [(operator.name, first, items) for first, items in call.chunks or ((0, info.batch),)]
    expected = [(graph.operators[launch.operator].name, launch.first, launch.items) for launch in plan.launches]
    for n, (here, there) in enumerate(zip(found, expected)):
        if here != there:
            raise ScheduleError(
                f"kernel call {n} of main is {_text(here)}, expected {_text(there)} as the schedule says; "
                f"run OrderOperators and SplitOperators first"
            )
    if len(found) != len(expected):
        raise ScheduleError(
            f"main has {len(found)} kernel calls, expected {len(expected)} as the schedule says; "
            f"run OrderOperators and SplitOperators first"
        )


def _text(call: tuple[str, int, int]) -> str:
    name, first, items = call
    return f"{name!r} items {first}..{first + items}"
