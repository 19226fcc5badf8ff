"""The plain ways and a schedule on the same kernels, in one run, taken in turn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..cost import Device
from ..executable.build import assemble, lower_tenants
from ..executable.executable import Executable
from ..executable.measure import Quantiles, interleave
from ..plan import sum_alone
from .conditions import conditions

__all__ = ["Comparison", "compare", "compare_graph"]


@dataclass(frozen=True)
class Comparison:
    """Timings of each way.

    Attributes
    ----------
    conditions
        Machine and versions.
    timings
        Way → timings of whole rounds.
    decision
        How the schedule was chosen.
    arena, alone
        Bytes of intermediates: way → peak; sum of the tenants alone.
    compiled
        Kernels compiled for the comparison.
    recorded
        What was added to the measurements, in words.
    """

    conditions: str
    timings: Mapping[str, Quantiles]
    decision: str
    arena: Mapping[str, int]
    alone: int
    compiled: int
    recorded: str = ""

    def as_text(self) -> str:
        """A table for people."""
        lines = [self.conditions, "", f"{'way':12s} {'median ms':>10s} {'p10':>9s} {'p90':>9s} {'arena MiB':>10s}"]
        for name, q in self.timings.items():
            lines.append(
                f"{name:12s} {q.median * 1e3:10.3f} {q.at(0.1) * 1e3:9.3f} {q.at(0.9) * 1e3:9.3f} "
                f"{self.arena[name] / 2**20:10.2f}"
            )
        lines.append(f"intermediates of the tenants alone, summed: {self.alone / 2**20:.2f} MiB")
        if self.decision:
            lines += ["", self.decision]
        if self.recorded:
            lines.append(self.recorded)
        return "\n".join(lines)


def compare(
    tenants: Mapping[str, Any],
    target: Any = "cpu",
    schedule: Any = "auto",
    *,
    device: Any = None,
    tuning_logs: Any = None,
    cache: Any = True,
    repeats: int = 30,
    search_seconds: float = 20.0,
    seed: int = 0,
    record: Any = None,
) -> Comparison:
    """Build the models three ways on the same kernels and time them (parameters as for `gacer_tvm.build`)."""
    graph, library, found = lower_tenants(tenants, target, device=device, tuning_logs=tuning_logs, cache=cache)
    return compare_graph(
        graph,
        library,
        found,
        schedule,
        repeats=repeats,
        search_seconds=search_seconds,
        seed=seed,
        record=record,
        tuning_logs=tuning_logs,
    )


def compare_graph(
    graph: Any,
    library: Any,
    device: Device,
    schedule: Any = "auto",
    *,
    repeats: int = 30,
    search_seconds: float = 20.0,
    seed: int = 0,
    record: Any = None,
    tuning_logs: Any = None,
) -> Comparison:
    """Like `compare`, for a graph that is lowered already."""
    about = conditions(device)
    sides: dict[str, Executable] = {
        way: assemble(graph, library, device, way) for way in ("sequential", "parallel")
    }
    sides["gacer"] = assemble(
        graph,
        library,
        device,
        schedule,
        search_seconds=search_seconds,
        measure_seconds=search_seconds,
        seed=seed,
        record=record,
        tuning_logs=tuning_logs,
    )
    try:
        rounds = {}
        for name, side in sides.items():
            rounds[name] = side._ready(None).round
        timings = interleave(rounds, repeats=repeats, warmup=3, task="comparing")
        recorder = sides["gacer"].recorder
        if recorder is not None:
            recorder.makespans({name: side.schedule for name, side in sides.items()}, timings)
    finally:
        for side in sides.values():
            side.close()
    decision = sides["gacer"].decision
    return Comparison(
        about,
        timings,
        decision.as_text() if decision is not None else "",
        {name: side.plan.placement.arena_bytes for name, side in sides.items()},
        sum(sum_alone(graph).values()),
        library.compiled,
        recorder.as_text() if recorder is not None else "",
    )
