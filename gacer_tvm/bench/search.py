"""How fast the simulator and the search are, how they grow, and how often the search is right where all can be tried.

``python -m gacer_tvm.bench.search [--quick] [--plot FILE] [--json FILE]``. Models are synthetic (operator lists of
realistic sizes, `gacer_tvm.graph.synthetic_models`), so neither TVM's compiler nor a device takes part; times are
of one process, in processor seconds.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import random
import time
from collections.abc import Sequence
from pathlib import Path

from ..cost import AnalyticPrior, Cost, Device, RandomCost
from ..graph.model import MultiTenantGraph
from ..graph.synthetic import random_graph
from ..graph.synthetic_models import MODEL_SETS, model_set
from ..schedule import make
from ..search import make_space, search
from ..search.exhaustive import best_of_all
from ..search.objective import Objective
from ..sim import Simulator

__all__ = ["Growth", "Optimality", "Speed", "growth", "main", "optimality", "speed"]


@dataclasses.dataclass(frozen=True)
class Speed:
    """Simulations and a full search of one model set on one device model.

    Attributes
    ----------
    models, device, operators
        What and where.
    per_second
        Schedules simulated in a processor second: parallel as it is, and random ones (cut, several streams).
    search_seconds, evaluations, stopped_by, gap
        A search with the default budgets.
    """

    models: str
    device: str
    operators: int
    per_second: float
    random_per_second: float
    search_seconds: float
    evaluations: int
    stopped_by: str
    gap: float


@dataclasses.dataclass(frozen=True)
class Growth:
    """A search on random tenants of growing size.

    Attributes
    ----------
    tenants, operators
        How many tenants, and operators in all.
    microseconds
        Processor time to simulate one operator of a parallel schedule.
    reference_seconds, evaluations, stopped_by
        The reference search until it converges, and how many schedules it tried.
    search_seconds, search_evaluations
        The default search, which stops when it converges or has tried its 20,000 schedules.
    """

    tenants: int
    operators: int
    microseconds: float
    reference_seconds: float
    evaluations: int
    stopped_by: str
    search_seconds: float
    search_evaluations: int


@dataclasses.dataclass(frozen=True)
class Optimality:
    """The search against every schedule of small spaces.

    Attributes
    ----------
    strategy, cases
        Which search, and how many cases.
    optimal
        Share of the cases with a result as good as the best of all (or better: the search's space is larger).
    worst_gap
        Greatest ``found / best of all - 1``; negative where the search was better everywhere.
    """

    strategy: str
    cases: int
    optimal: float
    worst_gap: float


def speed(sets: Sequence[int], devices: Sequence[Device], *, time_budget_s: float = 60.0) -> list[Speed]:
    """Time simulations and searches of the model sets."""
    rows = []
    for number in sets:
        graph = model_set(number)
        for device in devices:
            simulator = Simulator(graph, device, AnalyticPrior())
            some = [make.random(graph, device.name, seed, cores=device.cores) for seed in range(20)]
            rate = _rate(simulator, [make.parallel(graph, device.name, device.cores)])
            random_rate = _rate(simulator, some)
            begin = time.process_time()
            result = search(graph, device, time_budget_s=time_budget_s)
            rows.append(
                Speed(
                    ", ".join(MODEL_SETS[number]),
                    device.name,
                    len(graph.operators),
                    rate,
                    random_rate,
                    time.process_time() - begin,
                    result.evaluations,
                    result.stopped_by,
                    result.gap,
                )
            )
    return rows


def growth(sizes: Sequence[tuple[int, int]], device: Device, *, time_budget_s: float = 600.0) -> list[Growth]:
    """Time simulations, the reference search and the default search of random tenants: ``(tenants, operators of each)``."""
    rows = []
    for tenants, operators in sizes:
        graph = random_graph(1, tenants=tenants, operators=operators)
        simulator = Simulator(graph, device, AnalyticPrior())
        rate = _rate(simulator, [make.parallel(graph, device.name, device.cores)])
        begin = time.process_time()
        reference = search(graph, device, strategy="gacer", time_budget_s=time_budget_s)
        between = time.process_time()
        default = search(graph, device, time_budget_s=time_budget_s)
        rows.append(
            Growth(
                tenants,
                len(graph.operators),
                1e6 / rate / len(graph.operators),
                between - begin,
                reference.evaluations,
                reference.stopped_by,
                time.process_time() - between,
                default.evaluations,
            )
        )
    return rows


def optimality(cases: int, strategies: Sequence[str] = ("gacer", "evolve")) -> list[Optimality]:
    """Compare the search with every schedule: 2 or 3 tenants of 5 operators, one pointer, up to four operators cut in two.

    Devices (H200, Titan V, a CPU of four cores), cost models (prior, random) and objectives take turns.
    """
    gaps: dict[str, list[float]] = {strategy: [] for strategy in strategies}
    for seed in range(cases):
        graph, device, cost, sizes, objective = _small_case(seed)
        space = make_space(graph, device, sizes)
        _, best = best_of_all(space, Simulator(graph, device, cost), Objective(objective))
        for strategy in strategies:
            result = search(
                graph,
                device,
                cost,
                chunk_sizes=sizes,
                strategy=strategy,
                max_pointers=1,
                objective=objective,
                seed=seed,
                time_budget_s=None,
            )
            gaps[strategy].append(result.seconds / best - 1)
    return [
        Optimality(strategy, cases, sum(gap <= 1e-9 for gap in found) / cases, max(found))
        for strategy, found in gaps.items()
    ]


def _small_case(seed: int) -> tuple[MultiTenantGraph, Device, Cost, dict[int, list[int]], str]:
    device = (Device.named("nvidia-h200"), Device.named("nvidia-titan-v"), _four_cores())[seed % 3]
    cost: Cost = AnalyticPrior() if seed % 2 else RandomCost(seed, 1e-4)
    graph = random_graph(seed, tenants=2 + seed % 2, operators=5, scale=0.2)
    rng = random.Random(seed)
    divisible = [o.index for o in graph.operators if o.chunking.divisible]
    cut = set(rng.sample(divisible, min(4, len(divisible))))
    sizes = {o.index: [4] if o.index in cut else [] for o in graph.operators}
    return graph, device, cost, sizes, ("makespan", "mean_latency")[seed // 2 % 2]


def _four_cores() -> Device:
    return dataclasses.replace(Device.host_cpu(), name="cpu-4x", units=4)


def _rate(simulator: Simulator, schedules: Sequence) -> float:  # type: ignore[type-arg]
    """Schedules a processor second: the best of three runs of at least 0.3 s."""
    for schedule in schedules:
        simulator.score(schedule)
    best = 0.0
    for _ in range(3):
        begin, count = time.process_time(), 0
        while time.process_time() - begin < 0.3:
            for schedule in schedules:
                simulator.score(schedule)
            count += len(schedules)
        best = max(best, count / (time.process_time() - begin))
    return best


def _plot(rows: Sequence[Growth], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 4))
    for tenants, mark in zip(sorted({row.tenants for row in rows}), "os^v"):
        mine = [row for row in rows if row.tenants == tenants]
        operators = [row.operators for row in mine]
        axes.loglog(operators, [r.search_seconds for r in mine], f"C0{mark}-", label=f"default search (s), {tenants} tenants")
        axes.loglog(
            operators, [r.reference_seconds for r in mine], f"C1{mark}-", label=f"reference search (s), {tenants} tenants"
        )
        simulated = [r.microseconds * r.operators / 1e3 for r in mine]
        axes.loglog(operators, simulated, f"C2{mark}-", label=f"one simulation (ms), {tenants} tenants")
    ends = [min(row.operators for row in rows), max(row.operators for row in rows)]
    axes.loglog(ends, [n * rows[0].search_seconds / ends[0] for n in ends], "k:", label="linear")
    axes.set_xlabel("operators of all tenants")
    axes.set_ylabel("processor time")
    axes.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark and print Markdown tables."""
    parser = argparse.ArgumentParser(prog="python -m gacer_tvm.bench.search", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one set, few sizes, few cases")
    parser.add_argument("--plot", type=Path, default=None, help="write the growth as a picture")
    parser.add_argument("--json", type=Path, default=None, help="write every row")
    given = parser.parse_args(argv)
    h200, host = Device.named("nvidia-h200"), Device.host_cpu()
    speeds = speed([1] if given.quick else [0, 1, 2, 3], [h200, host], time_budget_s=10 if given.quick else 60)
    print("| models | device | operators | simulated/s | random/s | search s | schedules | stopped by | gap |")
    print("|---|---|---|---|---|---|---|---|---|")
    for s in speeds:
        print(
            f"| {s.models} | {s.device} | {s.operators} | {s.per_second:.0f} | {s.random_per_second:.0f} | "
            f"{s.search_seconds:.1f} | {s.evaluations} | {s.stopped_by} | {s.gap:.1%} |"
        )
    sizes = [(3, 20), (3, 60)] if given.quick else [(3, 20), (3, 40), (3, 80), (3, 160), (8, 25), (8, 50), (8, 100), (8, 200)]
    rows = growth(sizes, h200)
    print("\n| tenants | operators | us an operator | reference s | schedules | stopped by | default s | schedules |")
    print("|---|---|---|---|---|---|---|---|")
    for g in rows:
        print(
            f"| {g.tenants} | {g.operators} | {g.microseconds:.2f} | {g.reference_seconds:.1f} | {g.evaluations} | "
            f"{g.stopped_by} | {g.search_seconds:.1f} | {g.search_evaluations} |"
        )
    found = optimality(6 if given.quick else 60)
    print("\n| strategy | cases | solved to optimality | worst gap |\n|---|---|---|---|")
    for o in found:
        print(f"| {o.strategy} | {o.cases} | {o.optimal:.0%} | {o.worst_gap:.2%} |")
    if given.plot is not None:
        _plot(rows, given.plot)
    if given.json is not None:
        everything = {
            "speed": [dataclasses.asdict(r) for r in speeds],
            "growth": [dataclasses.asdict(r) for r in rows],
            "optimality": [dataclasses.asdict(r) for r in found],
        }
        given.json.write_text(json.dumps(everything, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
