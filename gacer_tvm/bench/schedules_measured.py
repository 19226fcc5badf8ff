"""The four model sets on this machine's CPU: sequential, parallel and GACER in one run, taken in turn, and their time lines.

``python -m gacer_tvm.bench.schedules_measured --out schedules`` writes the schedules that won, the figures as data
(``<out>/<device>/measured.json``) and the last section of ``<out>/README.md``. Inputs are small, so that a run takes minutes.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from .. import models
from ..cost import Device, RecordedCost
from ..executable.build import lower_tenants
from ..executable.choose import choose, measure_alone
from ..executable.measure import interleave
from ..executable.record import Recorder
from ..executable.session import open_session
from ..graph.model import MultiTenantGraph
from ..kernels.store import write_beside
from ..plan import LaunchPlan, check_plan, lower
from ..runtime import Constants
from ..schedule import make
from ..sim import simulate
from .conditions import conditions
from .schedules import MEASURED, SETS

__all__ = ["MeasuredSet", "MeasuredWay", "as_markdown", "main", "measure_set", "small_set", "timeline_difference", "with_section"]

_NO_IMAGES = ("lstm", "bert")


class MeasuredWay(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One way of running a set.

    Attributes
    ----------
    median, p10, p90
        Milliseconds of a round, all tenants.
    predicted
        Makespan in the simulator, milliseconds, from kernels measured alone on this machine.
    timeline
        Mean distance between the simulated and the measured end of a kernel, as a share of the measured makespan.
    """

    median: float
    p10: float
    p90: float
    predicted: float
    timeline: float


class MeasuredSet(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One model set: `ways` by name; `kept` says which way GACER ended with ("sequential" where regulation did not pay)."""

    models: str
    conditions: str
    batch: int
    size: int
    rounds: int
    kept: str
    ways: dict[str, MeasuredWay]


def small_set(name: str, batch: int, size: int) -> dict[str, Any]:
    """The tenants of a set of `SETS`, on images of `size` x `size`."""
    return {m: models.tenant(m, batch, None if m in _NO_IMAGES else size) for m in SETS[name]}


def measure_set(
    graph: MultiTenantGraph,
    library: Any,
    device: Device,
    *,
    seconds: float,
    rounds: int,
    seed: int = 0,
    record: str | Path | None = None,
) -> tuple[LaunchPlan, str, dict[str, MeasuredWay]]:
    """GACER's plan for a set, which way it is, and the timings of every way; kept in `record` too, where one is named."""
    constants = Constants(graph)
    recorder = None if record is None else Recorder(record, graph, library, device)
    cost = RecordedCost(measure_alone(graph, library, device, constants, record=recorder))
    best, session, decision = choose(
        graph,
        library,
        device,
        here=True,
        seed=seed,
        search_seconds=seconds,
        measure_seconds=seconds,
        cost=cost,
        record=recorder,
    )
    session.close()
    plans = {
        "sequential": lower(make.sequential(graph, device.name), graph),
        "parallel": lower(make.parallel(graph, device.name, device.cores), graph),
        "gacer": best,
    }
    sessions = {}
    try:
        for way, plan in plans.items():
            check_plan(plan, graph)
            sessions[way] = open_session(graph, plan, library, device, constants)
            sessions[way].feed_random()
        timings = interleave(
            {way: s.round for way, s in sessions.items()}, repeats=rounds, warmup=3, task="comparing"
        )
        if recorder is not None:
            recorder.makespans({way: plan.schedule for way, plan in plans.items()}, timings)
        ways = {}
        for way, plan in plans.items():
            spans = np.median(np.asarray(sessions[way].timed_rounds(7)), axis=0)
            predicted, difference = timeline_difference(plan, graph, device, cost, spans)
            q = timings[way]
            figures = (q.median, q.at(0.1), q.at(0.9), predicted)
            ways[way] = MeasuredWay(*(round(1e3 * f, 3) for f in figures), round(difference, 4))
    finally:
        for opened in sessions.values():
            opened.close()
    return best, decision.chosen, ways


def timeline_difference(
    plan: LaunchPlan, graph: MultiTenantGraph, device: Device, cost: Any, spans: np.ndarray
) -> tuple[float, float]:
    """Lay the simulated time line of a plan's schedule beside a measured one.

    Parameters
    ----------
    spans
        Measured start and end of each launch, seconds; float64 of shape (launches, 2).

    Returns
    -------
    makespan, difference
        Simulated makespan in seconds; mean absolute difference of the ends of kernels over the measured makespan.
    """
    line = simulate(plan.schedule, graph, device, cost)
    at = {(int(o), int(f)): float(e) for o, f, e in zip(line.operator, line.first_item, line.end, strict=True)}
    simulated = np.array([at[launch.operator, launch.first] for launch in plan.launches])
    return line.makespan, float(np.abs(simulated - spans[:, 1]).mean() / spans[:, 1].max())


def as_markdown(sets: Sequence[MeasuredSet]) -> str:
    """The section of the index."""
    first = sets[0]
    lines = [
        MEASURED,
        "",
        f"{first.conditions}; batch {first.batch}, images {first.size} x {first.size}; {first.rounds} rounds of each way, "
        "taken in turn in one run; milliseconds, median (p10 … p90). *predicted*: the simulator's makespan from kernels "
        "measured alone. *time line*: mean distance of the simulated end of a kernel from the measured one, as a share of "
        "the round. *kept*: what GACER ended with; it keeps a plain way unless a schedule clearly beats it.",
        "",
        "| set | way | measured | predicted | time line | GACER kept |",
        "|---|---|---|---|---|---|",
    ]
    for each in sets:
        for way, w in each.ways.items():
            lines.append(
                f"| {each.models if way == 'sequential' else ''} | {way} | {w.median:.1f} ({w.p10:.1f} … {w.p90:.1f}) | "
                f"{w.predicted:.1f} ({w.predicted / w.median - 1:+.0%}) | {w.timeline:.1%} | "
                f"{each.kept if way == 'gacer' else ''} |"
            )
    return "\n".join(lines) + "\n"


def with_section(text: str, section: str) -> str:
    """`text` with the measured section at its end, in place of an older one."""
    return text.split(MEASURED)[0].rstrip("\n") + "\n\n" + section


def main(argv: Sequence[str] | None = None) -> int:
    """Measure every set and write schedules, data and table."""
    parser = argparse.ArgumentParser(prog="python -m gacer_tvm.bench.schedules_measured", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("schedules"))
    parser.add_argument("--sets", nargs="*", choices=sorted(SETS), default=list(SETS))
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int, default=64, help="height and width of images")
    parser.add_argument("--seconds", type=float, default=20.0, help="time budget of each search, and of measuring in it")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--record", type=Path, default=None, help="a device's folder of measurements to add to")
    given = parser.parse_args(argv)
    done: list[MeasuredSet] = []
    for name in given.sets:
        graph, library, device = lower_tenants(small_set(name, given.batch, given.size), "cpu")
        about = conditions(device)
        plan, kept, ways = measure_set(
            graph, library, device, seconds=given.seconds, rounds=given.rounds, record=given.record
        )
        folder = given.out / device.name
        plan.schedule.save(folder / f"{name}-{given.size}.json")
        done.append(MeasuredSet(name, about, given.batch, given.size, given.rounds, kept, ways))
        text = msgspec.json.format(msgspec.json.encode(done), indent=1) + b"\n"
        write_beside(folder / "measured.json", lambda path, text=text: path.write_bytes(text))
        print(f"{name}: " + ", ".join(f"{way} {w.median:.1f} ms" for way, w in ways.items()) + f"; kept {kept}")
    index = given.out / "README.md"
    before = index.read_text() if index.exists() else "# Schedules\n"
    write_beside(index, lambda path: path.write_text(with_section(before, as_markdown(done))))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
