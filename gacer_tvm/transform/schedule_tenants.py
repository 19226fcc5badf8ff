"""The custom scheduling pass: search, then attach the schedule."""

from __future__ import annotations

import os
from typing import Any

from .._tvm import tvm
from ..cost import Device
from ..cost.of_target import target_device
from ..errors import ScheduleError
from ..graph.model import MultiTenantGraph
from ..graph.read import read_graph
from ..schedule import Schedule, check, make
from ..search import search
from .attributes import attach_schedule

__all__ = ["ScheduleTenants"]


@tvm.transform.module_pass(opt_level=0, name="ScheduleTenants")
class ScheduleTenants:
    """Finds a schedule for a merged module and attaches it.

    Rewrite
    -------
    The code stays as it is; the module gets the attribute ``gacer.schedule``, the schedule as JSON, which
    `OrderOperators`, `SplitOperators`, `AnnotateStreams` and `Regulate` take when they are given none.

    Parameters
    ----------
    schedule
        ``"auto"`` searches (a prediction under the cost model; nothing is measured here), ``"sequential"`` and
        ``"parallel"`` are the plain ways, a `Schedule` or the path of one is checked and taken.
    device
        Device model; by default that of the current target, or this machine's CPU.
    **options
        For ``"auto"``, what `gacer_tvm.search` takes: cost, objective, seed, time_budget_s, ….

    Raises
    ------
    ScheduleError
        If the schedule is not legal for the module or made for another device.
    GraphError
        If the module is not a merged one.
    """

    def __init__(self, schedule: Any = "auto", device: Device | None = None, **options: Any) -> None:
        if options and schedule != "auto":
            raise ScheduleError(f"ScheduleTenants: {sorted(options)} are for a search, but schedule is {schedule!r}")
        self.schedule = schedule
        self.device = device
        self.options = options

    def transform_module(self, module: Any, context: Any) -> Any:
        graph = read_graph(module, values=False)
        device = self.device
        if device is None:
            target = tvm.target.Target.current(allow_none=True)
            device = Device.host_cpu() if target is None else target_device(target)
        return attach_schedule(module, check(self._made(graph, device), graph, device.name))

    def _made(self, graph: MultiTenantGraph, device: Device) -> Schedule:
        if isinstance(self.schedule, Schedule):
            return self.schedule
        if self.schedule == "auto":
            return search(graph, device, **self.options).best
        if self.schedule == "sequential":
            return make.sequential(graph, device.name)
        if self.schedule == "parallel":
            return make.parallel(graph, device.name, device.cores)
        if isinstance(self.schedule, str | os.PathLike):
            return Schedule.load(self.schedule)
        raise ScheduleError(
            f"ScheduleTenants: schedule is a {type(self.schedule).__name__}; expected 'auto', 'sequential', "
            f"'parallel', a Schedule, or the path of one"
        )
