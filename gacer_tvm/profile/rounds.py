"""Rounds timed launch by launch: kernels are measured where they run, between the kernels that run before and after them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from ..cost.device import Device
from ..executable.session import open_session
from ..graph.model import MultiTenantGraph
from ..kernels.library import KernelLibrary
from ..plan import LaunchPlan, check_plan, lower
from ..runtime import Constants
from ..schedule import Schedule, Stream, make

__all__ = ["Rounds", "chunked"]

Spans = NDArray[np.float64]


def chunked(graph: MultiTenantGraph, device: Device, items: int, cores: int, whole: frozenset[int] = frozenset()) -> Schedule:
    """All tenants in turn on one stream of `cores` cores, every operator that can be cut in chunks of `items`.

    The last chunk takes what is left; operators in `whole`, and those of a smaller batch, are not cut.
    """
    plain = make.sequential(graph, device.name)
    tenants = []
    for number, (info, tenant) in enumerate(zip(graph.tenants, plain.tenants, strict=True)):
        rest = info.batch % items
        sizes = (items,) * (info.batch // items) + ((rest,) if rest else ())
        splits = {
            o.position: sizes
            for o in graph.tenant_operators(number)
            if len(sizes) > 1 and o.chunking.divisible and o.index not in whole
        }
        tenants.append(msgspec.structs.replace(tenant, splits=splits))
    return plain.replace(tenants=tuple(tenants), streams=(Stream(cores=(cores,)),))


class Rounds:
    """Runs schedules of one graph, the parameters in memory once.

    Parameters
    ----------
    graph, library, device
        What runs; kernels that are missing are compiled.
    """

    def __init__(self, graph: MultiTenantGraph, library: KernelLibrary, device: Device) -> None:
        self._graph, self._library, self._device = graph, library, device
        self._constants = Constants(graph)

    def timed(self, schedules: Sequence[Schedule], rounds: int, turns: int = 1) -> list[tuple[LaunchPlan, Spans]]:
        """Time `rounds` rounds of each schedule in each of `turns` turns, which alternate between the schedules.

        Returns
        -------
        timed
            For each schedule its plan, and start and end of every launch in every round: seconds since the round began,
            float64 of shape (rounds x turns, launches, 2), launches in the plan's order.
        """
        plans = [lower(schedule, self._graph) for schedule in schedules]
        sessions: list[Any] = []
        spans: list[list[Any]] = [[] for _ in plans]
        try:
            for plan in plans:
                check_plan(plan, self._graph)
                session = open_session(self._graph, plan, self._library, self._device, self._constants)
                sessions.append(session)
                session.feed_random()
            for turn in range(turns):
                order = range(len(plans)) if turn % 2 == 0 else reversed(range(len(plans)))
                for n in order:
                    spans[n] += sessions[n].timed_rounds(rounds)
        finally:
            for session in sessions:
                session.close()
        return [(plan, np.asarray(taken)) for plan, taken in zip(plans, spans, strict=True)]
