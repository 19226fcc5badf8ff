"""Schedules simulated on a device model."""

from __future__ import annotations

import numpy as np

from ..cost.device import Device
from ..cost.model import Cost, InterferingCost
from ..graph.model import MultiTenantGraph
from ..schedule import Schedule
from .engine import Outcome, Program, execute
from .lower import CostTable, Lowering
from .timeline import Score, Timeline

__all__ = ["Simulator", "simulate"]


class Simulator:
    """Simulates any number of schedules of one graph on one device under one cost model.

    Parameters
    ----------
    graph, device, cost
        What runs, where, and what it costs; looked up once for each (operator, items, cores).
    units, bandwidth
        Other capacities than the device's, for experiments; costs stay those of `device`.
    sharing
        ``"proportional"`` or ``"leftover"`` (see `gacer_tvm.sim.engine`); by default as the kind of device has it.
    """

    def __init__(
        self,
        graph: MultiTenantGraph,
        device: Device,
        cost: Cost,
        *,
        units: float | None = None,
        bandwidth: float | None = None,
        sharing: str | None = None,
    ) -> None:
        self.graph = graph
        self.device = device
        self.table = CostTable(graph, device, cost)
        self.units = float(device.units if units is None else units)
        self.bandwidth = device.bandwidth if bandwidth is None else bandwidth
        self.leftover = (sharing or ("leftover" if device.kind == "cuda" else "proportional")) == "leftover"
        self._lower = Lowering(self.table)
        self._friction: list[list[float]] | None = None
        if isinstance(cost, InterferingCost):
            pairs = np.pad(np.maximum(cost.interference(graph, device), 0.0), (0, 1))
            self._friction = pairs.tolist() if pairs.any() else None

    def score(self, schedule: Schedule) -> Score:
        """The figures of a legal schedule, fast."""
        program, _ = self._lower(schedule)
        return self._score(program, self._execute(program))

    def run(self, schedule: Schedule) -> Timeline:
        """The whole time line of a legal schedule."""
        program, chunks = self._lower(schedule)
        outcome = self._execute(program)
        table = np.array(chunks, dtype=np.int64).reshape(-1, 3)
        count = len(chunks)  # the host's tasks, where it has any, stand behind
        return Timeline(
            score=self._score(program, outcome),
            operator=table[:, 0],
            first_item=table[:, 1],
            last_item=table[:, 2],
            tenant=np.array(program.tenant[:count], dtype=np.int64),
            stream=np.array(program.stream[:count], dtype=np.int64),
            cluster=np.array(program.cluster[:count], dtype=np.int64),
            start=np.array(outcome.start[:count]),
            end=np.array(outcome.end[:count]),
            width=np.array(program.width[:count]),
            bandwidth=np.array(program.bandwidth[:count]),
            units=self.units,
        )

    def _execute(self, program: Program) -> Outcome:
        return execute(
            program,
            self.units,
            self.bandwidth,
            leftover=self.leftover,
            sync_seconds=self.device.sync_seconds,
            tenants=len(self.graph.tenants),
            loss=self.device.oversubscription_loss,
            friction=self._friction,
        )

    def _score(self, program: Program, outcome: Outcome) -> Score:
        work = sum(map(float.__mul__, program.seconds, program.width))
        return Score(outcome.makespan, tuple(outcome.latency), work, self.units * outcome.makespan - work)


def simulate(schedule: Schedule, graph: MultiTenantGraph, device: Device, cost: Cost) -> Timeline:
    """Simulate one schedule after checking that it is legal.

    Raises
    ------
    ScheduleError
        Where it is not.
    """
    from ..schedule import check

    return Simulator(graph, device, cost).run(check(schedule, graph))
