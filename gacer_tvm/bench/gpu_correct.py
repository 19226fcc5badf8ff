"""Correctness on the GPU: every schedule of a set gives what PyTorch gives on the same device."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from ..errors import GacerError
from ..executable.choose import choose
from ..graph.model import MultiTenantGraph
from ..plan import LaunchPlan, check_plan, lower
from ..schedule import Schedule, make
from .gpu_bench import Bench, Net
from .gpu_results import OutOfTime, Results
from .gpu_schedules import prepared_ways
from .gpu_torch import references

__all__ = ["BATCH", "RANDOMS", "TOLERANCE", "chunk_sizes", "correct", "largest_error", "random_schedules"]

#: What the suite checks: the batch, and how many random schedules.
BATCH, RANDOMS = 8, 20

# Largest error allowed, relative to the largest value of the output.
TOLERANCE = {"float32": 1e-3, "float16": 2e-2}


def correct(
    bench: Bench, results: Results, unit: str, which: str, dtype: str, *, batch: int, randoms: int, seconds: float
) -> None:
    """Run a set under sequential, parallel, auto and random schedules; one line a schedule.

    Raises
    ------
    GacerError
        At the end, if any schedule failed or was wrong.
    """
    began = time.monotonic()
    nets = bench.models(which, batch, dtype)
    expected = references(nets, bench.torch_device)
    graph, library = bench.lowered(nets)
    known = {line["schedule"] for line in results.lines("correct", unit) if line.get("ok")}
    tries: dict[str, int] = {}
    for line in results.lines("try", unit):
        tries[line["schedule"]] = tries.get(line["schedule"], 0) + 1
    found = prepared_ways(bench, results, unit, graph, which, dtype, batch).get("f", ())
    wrong = []
    # A schedule that took an earlier attempt down with it has its turn after all others.
    plans = sorted(_plans(bench, graph, library, batch, randoms, seconds, found), key=lambda plan: tries.get(plan[0], 0))
    for name, made in plans:
        if name in known:
            continue
        if time.monotonic() - began > seconds:
            raise OutOfTime(f"out of time before schedule {name!r}")
        results.add(unit, "try", schedule=name)
        try:
            plan, session = made()
            if session is None:
                session = bench.open(graph, plan, library)
            bench.feed(session, graph, nets)
            try:
                errors = []
                # The first round also warms up, the second is the captured one by itself.
                for _ in range(2):
                    session.round()
                    errors.append(largest_error(session, graph, nets, expected))
                error = max(errors)
            finally:
                session.close()
        except Exception as failure:  # the driver's and TVM's errors are of many kinds
            reason = f"{type(failure).__name__}: {str(failure)[:500]}"
            results.add(unit, "correct", schedule=name, ok=False, error=None, reason=reason)
            if not isinstance(failure, GacerError):
                # What comes from the driver stays: whatever this process did next would fail too.
                raise
            wrong.append(name)
            continue
        ok = bool(error <= TOLERANCE[dtype])
        results.add(
            unit, "correct", schedule=name, ok=ok, error=error, tolerance=TOLERANCE[dtype], launches=len(plan.launches),
            streams=len({launch.stream for launch in plan.launches}), edges=plan.edges,
        )  # fmt: skip
        if not ok:
            wrong.append(name)
    if wrong:
        raise GacerError(f"{which} in {dtype} differs from PyTorch under: {', '.join(wrong)}")


def chunk_sizes(graph: MultiTenantGraph, batch: int) -> dict[int, Sequence[int]]:
    """Few sizes, so that twenty random schedules do not compile every size of every operator."""
    sizes = sorted({batch // 2, batch - batch // 2, 3 * batch // 8, batch - 3 * batch // 8} - {0})
    return {operator.index: tuple(sizes) for operator in graph.operators if operator.chunking.divisible}


def largest_error(
    session: Any, graph: MultiTenantGraph, nets: list[Net], expected: dict[str, list[np.ndarray]]
) -> float:
    """Over all outputs, the largest difference relative to the largest expected value; infinite where not finite."""
    worst = 0.0
    for net in nets:
        info = next(t for t in graph.tenants if t.name == net.name)
        for buffer, reference in zip(info.outputs.values(), expected[net.name], strict=True):
            found = session.fetch(buffer).astype(np.float32)
            if not np.isfinite(found).all():
                return float("inf")
            worst = max(worst, float(np.abs(found - reference).max() / max(float(np.abs(reference).max()), 1e-6)))
    return worst


def _plans(
    bench: Bench, graph: MultiTenantGraph, library: Any, batch: int, randoms: int, seconds: float,
    found: Sequence[Schedule],
) -> Iterator[tuple[str, Any]]:  # fmt: skip
    name = bench.device.name

    def checked(schedule: Any) -> Callable[[], tuple[LaunchPlan, None]]:
        def made() -> tuple[LaunchPlan, None]:
            plan = lower(schedule, graph)
            check_plan(plan, graph)
            return plan, None

        return made

    def auto() -> Any:
        # Whatever wins, its answers are checked: this measurement needs no turn on the device.
        budget = min(bench.search_seconds, seconds / 10)
        plan, session, _ = choose(
            graph, library, bench.device, here=True, search_seconds=budget, measure_seconds=budget, found=found
        )
        return plan, session

    yield "sequential", checked(make.sequential(graph, name))
    yield "parallel", checked(make.parallel(graph, name, bench.device.cores))
    yield "auto", auto
    for seed, schedule in enumerate(random_schedules(bench, graph, batch, randoms)):
        yield f"random-{seed}", checked(schedule)


def random_schedules(bench: Bench, graph: MultiTenantGraph, batch: int, count: int) -> Iterator[Schedule]:
    """The random schedules whose answers are checked, always the same ones."""
    allowed = chunk_sizes(graph, batch)
    for seed in range(count):
        yield make.random(graph, bench.device.name, seed, chunk_sizes=allowed, cores=bench.device.cores)
