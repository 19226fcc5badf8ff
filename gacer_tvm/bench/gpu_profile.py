"""Measurements for the cost model: kernels alone at several chunk sizes, and whole rounds of random schedules."""

from __future__ import annotations

import time
from typing import Any

import msgspec
import numpy as np

from .._tvm import tvm
from ..executable.measure import interleave
from ..graph.model import MultiTenantGraph
from ..plan import check_plan, lower
from ..schedule import make
from .gpu_bench import Bench
from .gpu_correct import chunk_sizes
from .gpu_results import Results
from .gpu_state import gpu_state

__all__ = ["profile"]

# Shares of the time: what random rounds have of it at the least, and what is kept back at the end.
_FOR_ROUNDS, _KEPT = 0.25, 0.1


def profile(
    bench: Bench,
    results: Results,
    unit: str,
    which: str,
    dtype: str,
    batch: int,
    *,
    seconds: float,
    rounds: int = 7,
    schedules: int = 60,
) -> None:
    """Measure one set until the time is up or `schedules` are done; each timing becomes a line of ``measurements.jsonl``.

    Kernels alone first, for the whole batch and every size that cuts it into equal chunks, the largest first; then rounds.
    A line of kind ``alone`` is one kernel by itself on one stream (each launch between two events of a graph): operator,
    kernel, items of batch, work, launch shape, seconds. A line of kind ``round`` is a schedule with the spans of its
    launches and the seconds of whole rounds: what launches do to each other.
    """
    began = time.monotonic()
    nets = bench.models(which, batch, dtype)
    graph, library = bench.lowered(nets)
    common = {
        "device": bench.device.name, "set": which, "dtype": dtype, "batch": batch, "tvm": tvm.__version__,
        "graph": graph.fingerprint, **gpu_state(),
    }  # fmt: skip

    def left() -> float:
        """The share that is left of the unit's time, or of its time alone on the device where that is less."""
        if seconds <= 0 or bench.turns.seconds == 0:
            return 0.0
        alone = 1.0 if bench.turns.seconds is None else bench.turns.left(0.0) / bench.turns.seconds
        return min(alone, 1 - (time.monotonic() - began) / seconds)

    for items in (n for n in range(batch, 0, -1) if batch % n == 0):
        if left() < _FOR_ROUNDS:
            results.add(unit, "note", note=f"{which}, {dtype}, batch {batch}: no time to measure chunks of {items} or less alone")
            break
        _alone(bench, results, graph, library, nets, items, batch, common, rounds)
    results.add(unit, "profiled", what="alone", left=left())
    seed = 0
    allowed = chunk_sizes(graph, batch)
    while seed < schedules and (not seed or left() > _KEPT):
        schedule = make.random(graph, bench.device.name, seed, chunk_sizes=allowed, cores=bench.device.cores)
        _round(bench, results, graph, library, nets, schedule, common, rounds)
        seed += 1
    results.add(unit, "profiled", what="rounds", count=seed)


def _alone(
    bench: Bench, results: Results, graph: MultiTenantGraph, library: Any, nets: Any, items: int, batch: int,
    common: dict[str, Any], rounds: int,
) -> None:  # fmt: skip
    """All operators on one stream, those that can be cut into equal parts of `items`."""
    schedule = make.sequential(graph, bench.device.name)
    if items != batch:
        tenants = []
        for number, (info, tenant) in enumerate(zip(graph.tenants, schedule.tenants)):
            splits = {
                o.position: (items,) * (batch // items) for o in graph.tenant_operators(number) if o.chunking.divisible
            }
            tenants.append(msgspec.structs.replace(tenant, splits=splits if info.batch == batch else {}))
        schedule = schedule.replace(tenants=tuple(tenants))
    plan = lower(schedule, graph)
    check_plan(plan, graph)
    session = bench.open(graph, plan, library)
    try:
        bench.feed(session, graph, nets)
        with bench.turns.timed():
            spans = np.array(session.timed_rounds(rounds))
    finally:
        session.close()
    seen: set[tuple[int, int]] = set()
    for n, launch in enumerate(plan.launches):
        if (launch.operator, launch.items) in seen:
            continue
        seen.add((launch.operator, launch.items))
        operator = graph.operators[launch.operator]
        kernel = library.get(launch.operator, launch.items)
        flops, moved = operator.work.at(launch.items, graph.tenants[operator.tenant].batch)
        shape = kernel.launch
        results.measurement(
            kind="alone", operator=operator.name, kernel=kernel.key, rule=kernel.rule, items=launch.items, flops=flops,
            bytes=moved, launch=None if shape is None else [shape.grid, shape.block, shape.registers, shape.shared_bytes],
            seconds=[round(float(end - start), 9) for start, end in spans[:, n]], **common,
        )  # fmt: skip


def _round(
    bench: Bench, results: Results, graph: MultiTenantGraph, library: Any, nets: Any, schedule: Any,
    common: dict[str, Any], rounds: int,
) -> None:  # fmt: skip
    plan = lower(schedule, graph)
    check_plan(plan, graph)
    session = bench.open(graph, plan, library)
    try:
        bench.feed(session, graph, nets)
        with bench.turns.timed():
            spans = np.median(np.array(session.timed_rounds(rounds)), axis=0)
            timed = interleave({"round": session.round}, repeats=2 * rounds, warmup=2)["round"]
    finally:
        session.close()
    results.measurement(
        kind="round", schedule=msgspec.to_builtins(schedule), seconds=[round(s, 9) for s in timed.seconds],
        spans=[[round(float(a), 9), round(float(b), 9)] for a, b in spans], **common,
    )  # fmt: skip
