"""Schedules for model sets of the paper's kind, found on device models, and the table of what each part contributes.

``python -m gacer_tvm.bench.schedules --out schedules`` lowers the four sets (batch 8; random weights, which no schedule
depends on) for CUDA and for this machine's CPU, searches on every device model, writes
``<out>/<device>/<set>.json`` and the table ``<out>/README.md``. Nothing is measured here: every figure is marked as
simulated (`schedules_measured` adds what was measured on the CPU).
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..cost import AnalyticPrior, Cost, Device
from ..graph.model import MultiTenantGraph
from ..kernels.store import write_beside
from ..schedule import Schedule
from ..search import SearchResult, search

__all__ = ["MEASURED", "SETS", "Ablation", "ablate", "as_markdown", "main", "measured_section", "set_tenants"]

# The heading of the part of the index that is measured.
MEASURED = "# Measured on the CPU"

SETS: dict[str, tuple[str, ...]] = {
    "alexnet+vgg16+resnet18": ("alexnet", "vgg16", "resnet18"),
    "resnet50+vgg16+mobilenet_v3": ("resnet50", "vgg16", "mobilenet_v3"),
    "resnet101+densenet121+mobilenet_v3": ("resnet101", "densenet121", "mobilenet_v3"),
    "lstm+bert+resnet18": ("lstm", "bert", "resnet18"),
}


@dataclasses.dataclass(frozen=True)
class Ablation:
    """What a set gains from each part on one device model; seconds, all simulated.

    Attributes
    ----------
    models, device, cost_model
        What, where, and what the kernels were assumed to cost.
    sequential, parallel
        The plain ways.
    spatial, temporal, both
        GACER's search with chunks only, pointers only, and both.
    beyond
        With branches, waits, priorities, core budgets and order besides.
    bound
        Lower bound of any schedule.
    idle_before, idle_after
        Share of the device left idle (residue) by the better plain way and by the best schedule.
    pointers, cut, streams
        Of the best schedule.
    seconds
        Wall seconds of all searches.
    """

    models: str
    device: str
    cost_model: str
    sequential: float
    parallel: float
    spatial: float
    temporal: float
    both: float
    beyond: float
    bound: float
    idle_before: float
    idle_after: float
    pointers: int
    cut: int
    streams: int
    seconds: float

    @property
    def plain(self) -> float:
        """The better plain way."""
        return min(self.sequential, self.parallel)

    @property
    def gain(self) -> float:
        """How much shorter the best schedule is than the better plain way, as a share of the latter."""
        return 1.0 - self.beyond / self.plain

    @property
    def gap(self) -> float:
        """How far the best schedule is above the bound."""
        return self.beyond / self.bound - 1.0

    def remark(self) -> str:
        """Why there is little to gain, where there is."""
        if self.gain >= 0.01:
            return ""
        room = 1.0 - self.bound / self.plain
        way = "sequential" if self.sequential <= self.parallel else "parallel"
        return f"{way} is within {room:.1%} of the bound: no schedule can gain more than that"


def ablate(
    graph: MultiTenantGraph,
    device: Device,
    models: str,
    cost: Cost | None = None,
    *,
    time_budget_s: float | None = 60.0,
    evaluations: int | None = 20000,
    seed: int = 0,
) -> tuple[Ablation, SearchResult]:
    """Search with each part alone, with both, and with everything; each begins with what those before it found."""
    begin = time.perf_counter()
    model: Cost = cost if cost is not None else AnalyticPrior()
    found: dict[str, SearchResult] = {}
    starts: list[Schedule] = []
    for name, strategy, ablation in (
        ("spatial", "gacer", "spatial"),
        ("temporal", "gacer", "temporal"),
        ("both", "gacer", "both"),
        ("beyond", "evolve", "both"),
    ):
        found[name] = search(
            graph,
            device,
            model,
            strategy=strategy,
            ablation=ablation,
            time_budget_s=time_budget_s,
            evaluations=evaluations,
            seed=seed,
            start=starts if ablation == "both" else (),
        )
        starts.append(found[name].best)
    best = found["beyond"]
    plain = min(best.baselines.values(), key=lambda s: s.makespan)
    row = Ablation(
        models=models,
        device=device.name,
        cost_model=best.cost_model,
        sequential=best.baselines["sequential"].makespan,
        parallel=best.baselines["parallel"].makespan,
        spatial=found["spatial"].seconds,
        temporal=found["temporal"].seconds,
        both=found["both"].seconds,
        beyond=best.seconds,
        bound=best.bound_seconds,
        idle_before=plain.residue / (device.units * plain.makespan),
        idle_after=best.score.residue / (device.units * best.score.makespan),
        pointers=best.best.clusters - 1,
        cut=sum(len(t.splits) for t in best.best.tenants),
        streams=len(best.best.streams),
        seconds=time.perf_counter() - begin,
    )
    return row, best


def as_markdown(rows: Sequence[Ablation], conditions: str) -> str:
    """The index of the schedules folder."""
    lines = [
        "# Schedules",
        "",
        "Makespans are **simulated** on device models, in milliseconds: no figure of this table was measured. "
        + conditions,
        "",
        "*spatial*, *temporal*, *both*: GACER's coordinate descent with chunks only, pointers only, and both. *beyond*: with "
        "branches on several streams, waits between pairs, priorities, core budgets and order besides. *gain*: against the "
        "better of sequential and parallel. *gap*: of the best schedule above the lower bound. *idle*: share of the device "
        "left idle (residue) by the better plain way → by the best schedule.",
    ]
    for device in dict.fromkeys(row.device for row in rows):
        lines += [
            "",
            f"## {device}",
            "",
            "| set | sequential | parallel | spatial | temporal | both | beyond | bound | gain | gap | idle | "
            "pointers, cut, streams |",
            "|---|---|---|---|---|---|---|---|---|---|---|---|",
        ]
        mine = [row for row in rows if row.device == device]
        for r in mine:
            times = (r.sequential, r.parallel, r.spatial, r.temporal, r.both, r.beyond, r.bound)
            lines.append(
                f"| [{r.models}]({device}/{r.models}.json) | "
                + " | ".join(f"{t * 1e3:.3f}" for t in times)
                + f" | {r.gain:.1%} | {r.gap:.1%} | {r.idle_before:.0%} → {r.idle_after:.0%} | "
                f"{r.pointers}, {r.cut}, {r.streams} |"
            )
        remarks = [f"- {r.models}: {r.remark()}" for r in mine if r.remark()]
        if remarks:
            lines += ["", "Little to gain:", *remarks]
    return "\n".join(lines) + "\n"


def measured_section(index: str) -> str:
    """What `schedules_measured` wrote at the end of an index; "" where it wrote nothing yet."""
    _, found, rest = index.partition(MEASURED)
    return f"\n{MEASURED}{rest}" if found else ""


def set_tenants(models: Sequence[str], batch: int = 8, size: int = 224) -> dict[str, Any]:
    """Tenants of a set by name, with random weights.

    Parameters
    ----------
    models
        Names as in `SETS`.
    batch, size
        Batch, and height and width of images; the LSTM takes 16 steps of 256 values, BERT-base 64 words.
    """
    from ..frontend import Tenant
    from ..relay import testing

    image = (3, size, size)
    make: Mapping[str, Callable[[], tuple[Any, Any]]] = {
        "alexnet": lambda: testing.alexnet.get_workload(batch, image_shape=image),
        "vgg16": lambda: testing.vgg.get_workload(batch, image_shape=image, num_layers=16),
        "resnet18": lambda: testing.resnet.get_workload(batch, num_layers=18, image_shape=image),
        "resnet50": lambda: testing.resnet.get_workload(batch, num_layers=50, image_shape=image),
        "resnet101": lambda: testing.resnet.get_workload(batch, num_layers=101, image_shape=image),
        "mobilenet_v3": lambda: testing.mobilenet_v3.get_workload(batch, image_shape=image),
        "densenet121": lambda: testing.densenet.get_workload(121, batch_size=batch, image_shape=image),
        "lstm": lambda: testing.lstm.get_workload(16, 256, batch),
        "bert": lambda: testing.bert.get_workload(batch, seq_length=64),
    }
    return {name: Tenant.from_relay(*make[name](), name=name) for name in models}


def _lowered(models: Sequence[str], target: str, batch: int, size: int) -> MultiTenantGraph:
    """The graph of a set for a target; operators for a GPU carry the launch shapes of their compiled kernels.

    Chunks are not compiled for a table: the prior scales the grid of the whole batch.
    """
    from ..executable.build import lower_tenants

    graph, library, _ = lower_tenants(set_tenants(models, batch, size), target)
    if target == "cpu":
        return graph
    whole = {o.index: graph.tenants[o.tenant].batch for o in graph.operators}
    library.ensure(whole.items())
    operators = tuple(
        dataclasses.replace(o, launch=library.get(o.index, whole[o.index]).launch) for o in graph.operators
    )
    return dataclasses.replace(graph, operators=operators)


def main(argv: Sequence[str] | None = None) -> int:
    """Search on every device model and write schedules and table."""
    parser = argparse.ArgumentParser(prog="python -m gacer_tvm.bench.schedules", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("schedules"))
    parser.add_argument("--sets", nargs="*", choices=sorted(SETS), default=list(SETS))
    parser.add_argument("--devices", nargs="*", default=[*Device.names(), "cpu"], help="GPU models, and cpu")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int, default=224, help="height and width of images")
    parser.add_argument("--seconds", type=float, default=60.0, help="time budget of each of the four searches")
    given = parser.parse_args(argv)
    rows = []
    gpus = [Device.named(d) for d in given.devices if d != "cpu"]
    for name in given.sets:
        targets = (["nvidia-h200"] if gpus else []) + (["cpu"] if "cpu" in given.devices else [])
        for target in targets:
            graph = _lowered(SETS[name], target, given.batch, given.size)
            for device in gpus if target != "cpu" else [Device.host_cpu()]:
                row, result = ablate(graph, device, name, AnalyticPrior(), time_budget_s=given.seconds)
                result.best.save(given.out / device.name / f"{name}.json")
                rows.append(row)
                print(f"{name} on {device.name}: gain {row.gain:.1%}, gap {row.gap:.1%}, {row.seconds:.0f} s")
    conditions = (
        f"Batch {given.batch}, images {given.size} x {given.size}, float32, kernels and launch shapes of TVM's default rules "
        "(for sm_90, on every GPU model), costs by the analytic prior."
    )
    index = given.out / "README.md"
    text = as_markdown(rows, conditions)
    if index.exists():
        text += measured_section(index.read_text())
    write_beside(index, lambda path: path.write_text(text))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
