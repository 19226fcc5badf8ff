"""What the learned cost model is worth: ``python -m gacer_tvm.bench.cost_model DATA --out FOLDER``.

For each of the four model sets a cost model is trained without any kernel of the set's models and without any group that
holds one. It leads one search, the analytic prior another; both schedules and the plain ways are run in turn, while the cores lie
near each other as they did when the data were measured (`gacer_tvm.cost.near`; after five minutes of a set in which they did not,
rounds are taken as they are, and the rate of the exchange tells). The table says what was predicted and what was
measured, and how long the predictions for a search take. ``cost-model.json`` keeps it all.
"""

from __future__ import annotations

import argparse
import functools
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from ..cost import AnalyticPrior, Device
from ..cost.learned import LearnedModel
from ..cost.near import rates_of
from ..cost.predicted import LearnedCost
from ..cost.rows import Data, read_rows
from ..cost.train import of_device, train_on
from ..errors import LogError
from ..executable.build import lower_tenants
from ..executable.measure import Quantiles, interleave
from ..executable.record import schedule_hash
from ..executable.session import open_session
from ..graph.model import MultiTenantGraph
from ..kernels.store import write_beside
from ..plan import check_plan, lower
from ..profile.exchange import probe
from ..profile.steady import Steady
from ..runtime import Constants
from ..schedule import Schedule, make
from ..search import search
from ..sim import Simulator
from .conditions import conditions
from .schedules import SETS
from .schedules_measured import small_set

__all__ = ["Way", "Worth", "as_markdown", "main", "timed_ways", "without"]

# Rounds of each way between two looks at where the cores lie.
_PASS = 5
_PATIENCE = 300.0


class Way(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One schedule: milliseconds of a round as measured (median, deciles) and as each cost model predicted them; its hash.

    Ways of the same hash are one schedule, and were measured as one.
    """

    median: float
    p10: float
    p90: float
    prior: float
    learned: float
    plan: str


class Worth(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One set.

    Attributes
    ----------
    models, batch, size, rounds, conditions
        What was run how.
    ways
        ``sequential``, ``parallel``, ``by the prior`` and ``by the learned model``: the schedules that each led to.
    held_out
        Mean held-out error of the trained model, kernels and groups.
    seconds
        The two batched predictions of a search, all kernels at all chunk sizes and all pairs; and the kernels' facts.
    rows
        Kernels predicted.
    exchange
        Least and greatest rate at which the cores exchanged data meanwhile, GB/s; zeros where there is one core.
    lost
        Seconds measured in vain, since they lay far from each other.
    """

    models: str
    batch: int
    size: int
    rounds: int
    conditions: str
    ways: dict[str, Way]
    held_out: tuple[float, float]
    seconds: float
    facts_seconds: float
    rows: int
    exchange: tuple[float, float]
    lost: float

    def error(self, model: str) -> float:
        """Mean error of a model's makespans over all schedules, each once."""
        once = {w.plan: w for w in self.ways.values()}
        return float(np.mean([abs(getattr(w, model) / w.median - 1.0) for w in once.values()]))


def without(data: Data, held_out: Sequence[str]) -> Data:
    """Measurements without the kernels that one of these models has, and without the groups that hold one."""
    out = set(held_out)
    gone = {k for k, owners in data.having().items() if not owners.isdisjoint(out)}
    return replace(
        data,
        alone=[r for r in data.alone if r.k not in gone],
        groups=[g for g in data.groups if not any(r.k in gone for s in g.g for r in s.runs)],
    )


def measure_set(
    name: str, data: Data, *, batch: int, size: int, seconds: float, rounds: int, seed: int = 0
) -> Worth:
    """Train without the set, search twice, measure."""
    members = SETS[name]
    model = train_on(without(data, members), device=Device.host_cpu().name)
    graph, library, device = lower_tenants(small_set(name, batch, size), "cpu")
    whole = [(o.index, graph.tenants[o.tenant].batch) for o in graph.operators]
    library.ensure(whole)
    learned, prior = LearnedCost(model, counts=library.counts), AnalyticPrior()
    facts_seconds, took, rows = _prediction(graph, library, device, model)
    schedules: dict[str, Schedule] = {
        "sequential": make.sequential(graph, device.name),
        "parallel": make.parallel(graph, device.name, device.cores),
    }
    for way, cost in (("by the prior", prior), ("by the learned model", learned)):
        schedules[way] = search(graph, device, cost, seed=seed, time_budget_s=seconds, top=1).best
    timed, exchange, lost = timed_ways(graph, library, device, schedules, rounds, rates_of(of_device(data, device.name)[0]))
    simulators = {"prior": Simulator(graph, device, prior), "learned": Simulator(graph, device, learned)}
    ways = {}
    for way, schedule in schedules.items():
        predicted = {n: round(1e3 * s.score(schedule).makespan, 3) for n, s in simulators.items()}
        q = timed[way]
        figures = (round(1e3 * v, 3) for v in (q.median, q.at(0.1), q.at(0.9)))
        ways[way] = Way(*figures, **predicted, plan=schedule_hash(schedule))
    scores = model.card.scores
    held_out = scores["kernel"]["learned"].mape, scores["group"]["learned"].mape
    return Worth(
        name, batch, size, rounds, conditions(device), ways, held_out, round(took, 4), round(facts_seconds, 4), rows,
        exchange, lost,
    )  # fmt: skip


def _prediction(
    graph: MultiTenantGraph, library: Any, device: Device, model: LearnedModel
) -> tuple[float, float, int]:
    """Seconds for the facts of the kernels, then for all predictions of a search."""
    cost = LearnedCost(model, counts=library.counts)
    rows = [
        (o.index, items, cores)
        for o in graph.operators
        for items in (range(1, graph.tenants[o.tenant].batch + 1) if o.chunking.divisible else (graph.tenants[o.tenant].batch,))
        for cores in range(1, device.units + 1)
    ]
    began = time.perf_counter()
    cost.estimate(graph, device, rows[:1])
    facts = time.perf_counter() - began
    began = time.perf_counter()
    cost.estimate(graph, device, rows)
    cost.interference(graph, device)
    return facts, time.perf_counter() - began, len(rows)


def timed_ways(
    graph: MultiTenantGraph,
    library: Any,
    device: Device,
    schedules: Mapping[str, Schedule],
    rounds: int,
    known: Sequence[float],
) -> tuple[dict[str, Quantiles], tuple[float, float], float]:
    """Rounds of each schedule in turn; the least and the greatest rate of the exchange meanwhile; seconds lost."""
    # Ways that led to the same schedule are one: between two sessions of it only chance would tell.
    same = {way: schedule_hash(schedule) for way, schedule in schedules.items()}
    plans = {same[way]: lower(schedule, graph) for way, schedule in schedules.items()}
    for plan in plans.values():
        check_plan(plan, graph)
    constants = Constants(graph)

    def some(count: int) -> dict[str, Quantiles]:
        # Memory anew every time: where it lies makes a few percent.
        sessions = {}
        try:
            for name, plan in plans.items():
                sessions[name] = open_session(graph, plan, library, device, constants)
                sessions[name].feed_random()
            return interleave({n: s.round for n, s in sessions.items()}, repeats=count, warmup=3, task="comparing")
        finally:
            for session in sessions.values():
                session.close()

    taken: dict[str, list[float]] = {name: [] for name in plans}
    rates = []
    steady = Steady(probe(library.target, device.units), known, _PATIENCE)
    for first in range(0, rounds, _PASS):
        timed, at = steady(functools.partial(some, min(_PASS, rounds - first)))
        rates.append(round(at, 1))
        for name, q in timed.items():
            taken[name] += q.seconds
    found = {way: Quantiles(tuple(taken[name])) for way, name in same.items()}
    return found, (min(rates), max(rates)), round(steady.lost, 1)


def as_markdown(sets: Sequence[Worth]) -> str:
    """Two tables: what was measured, and what was predicted."""
    lines = [
        f"{sets[0].conditions}; batch {sets[0].batch}, images {sets[0].size} x {sets[0].size}; {sets[0].rounds} rounds of each "
        f"way, taken in turn, cores exchanging {min(e.exchange[0] for e in sets):.0f} to "
        f"{max(e.exchange[1] for e in sets):.0f} GB/s; milliseconds, median (p10 … p90); in brackets what the prior and the "
        "learned model predicted.",
        "",
        "| set | " + " | ".join(sets[0].ways) + " | mean error of makespans: prior, learned |",
        "|---|" + "---|" * (len(sets[0].ways) + 1),
    ]
    for each in sets:
        cells = [
            f"{w.median:.1f} ({w.p10:.1f} … {w.p90:.1f}) [{w.prior / w.median - 1:+.0%}, {w.learned / w.median - 1:+.0%}]"
            for w in each.ways.values()
        ]
        lines.append(f"| {each.models} | {' | '.join(cells)} | {each.error('prior'):.1%}, {each.error('learned'):.1%} |")
    return "\n".join(lines) + "\n"


def main(argv: Sequence[str] | None = None) -> int:
    """Measure every set; print the tables and write the data."""
    parser = argparse.ArgumentParser(prog="python -m gacer_tvm.bench.cost_model", description=__doc__)
    parser.add_argument("data", nargs="+", type=Path, metavar="PATH", help="files of measurements, or folders of them")
    parser.add_argument("--out", type=Path, default=None, metavar="FOLDER", help="where cost-model.json is written")
    parser.add_argument("--sets", nargs="*", choices=sorted(SETS), default=list(SETS))
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int, default=64, help="height and width of images")
    parser.add_argument("--seconds", type=float, default=10.0, help="time budget of each search")
    parser.add_argument("--rounds", type=int, default=25)
    given = parser.parse_args(argv)
    data = read_rows(given.data)
    if not data.alone:
        raise LogError(f"no kernel measurements in {', '.join(map(str, given.data))}; make some with `gacer-tvm profile`")
    done: list[Worth] = []
    for name in given.sets:
        done.append(
            measure_set(name, data, batch=given.batch, size=given.size, seconds=given.seconds, rounds=given.rounds)
        )
        each = done[-1]
        print(
            f"{name}: " + ", ".join(f"{way} {w.median:.1f} ms" for way, w in each.ways.items())
            + f"; {each.rows} kernels and all pairs predicted in {1e3 * each.seconds:.0f} ms",
            flush=True,
        )
        if given.out is not None:
            text = msgspec.json.format(msgspec.json.encode(done), indent=1) + b"\n"
            write_beside(given.out / "cost-model.json", lambda path, text=text: path.write_bytes(text))
    print(as_markdown(done))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
