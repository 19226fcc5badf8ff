"""What the GPU suite needs, made without a GPU: ``python -m gacer_tvm.bench.gpu_prepare --out DIR --cache CACHE``.

For every cell of the table the schedules of ways d, e and f, searched for under measurements of an earlier run where there
are some, else under the analytic prior; and the compiled kernels of these schedules and of those whose answers are checked.
``python -m gacer_tvm.bench.gpu --schedules DIR --cache CACHE`` then has nothing left to search or to compile.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch  # noqa: F401  # before TVM: of two copies of CUDA's runtime the first one loaded counts

from .._tvm import tvm
from ..cost import AnalyticPrior, Device, RecordedCost
from ..errors import DeviceError, GacerError, ScheduleError
from ..graph.model import MultiTenantGraph
from ..kernels.store import KernelStore
from ..kernels.target import make_target
from ..models import SETS
from ..plan import check_plan, lower
from ..schedule import Schedule
from ..search import search
from ..tune.provider import providers
from .gpu_bench import Bench, plain_nets
from .gpu_candidates import MOST, candidates
from .gpu_candidates import prepared as compiled_tilings
from .gpu_correct import BATCH, RANDOMS, chunk_sizes, random_schedules
from .gpu_schedules import Prepared, cell_file, read, write

__all__ = ["main", "measured_cost", "prepare", "preparing_bench"]

_ABLATIONS = {"d": "spatial", "e": "temporal", "f": "both"}
_TOP = 6


def preparing_bench(cache: str, device: str, tuning_logs: Sequence[str] = (), size: int = 224) -> Bench:
    """A place that compiles for a GPU and has none.

    Raises
    ------
    DeviceError
        Where TVM's CUDA runtime is not loaded: kernels would end as source.
    """
    if not tvm.runtime.enabled("cuda"):
        raise DeviceError(
            "TVM's CUDA runtime is not loaded, so that kernels would end as source and not be stored; it needs libcuda.so.1 "
            "and libcudart.so.13 to load: put folders that have them on LD_LIBRARY_PATH (no GPU is needed, the driver's "
            "library or a stand-in for it is)"
        )
    return Bench(
        target=make_target(device),
        device=Device.named(device),
        torch_device="cpu",
        open=_no_session,
        nets=lambda which, batch: plain_nets(which, batch, size),
        sets=SETS,
        store=KernelStore(cache),
        providers=providers(list(tuning_logs)) if tuning_logs else (),
    )


def _no_session(*_: Any, **__: Any) -> Any:
    raise DeviceError("there is no GPU here to open a session on; gpu_prepare only searches and compiles")


def measured_cost(
    graph: MultiTenantGraph, device: Device, lines: Iterable[dict[str, Any]], which: str, dtype: str, batch: int
) -> tuple[Any, str]:
    """The cost model of a cell, and in words which: measurements of its operators on the device, else the prior.

    Parameters
    ----------
    lines
        Lines of ``measurements.jsonl``; those of kind ``alone`` of this set, dtype, batch and device count.
    """
    index = {operator.name: operator for operator in graph.operators}
    by_operator: dict[tuple[int, int, int | None], list[float]] = {}
    unknown, others = 0, set()
    for line in lines:
        if line.get("kind") != "alone" or (line["set"], line["dtype"], line["batch"]) != (which, dtype, batch):
            continue
        if line["device"] != device.name:
            others.add(line["device"])
        elif line["operator"] in index:
            by_operator.setdefault((index[line["operator"]].index, line["items"], None), []).extend(line["seconds"])
        else:
            unknown += 1
    notes = [f"measurements on {', '.join(sorted(others))} do not count"] if others else []
    notes += [f"{unknown} lines name operators that these models do not have"] if unknown else []
    if not by_operator:
        return AnalyticPrior(), "; ".join(["analytic prior", *notes])
    held = {at: max(float(np.median(seconds)), 1e-7) for at, seconds in by_operator.items()}
    by_kernel: dict[tuple[str, int, int | None], list[float]] = {}
    for (number, items, cores), seconds in held.items():
        by_kernel.setdefault((graph.operators[number].kernel, items, cores), []).append(seconds)
    cost = RecordedCost(held, by_kernel={at: float(np.median(found)) for at, found in by_kernel.items()})
    return cost, "; ".join([f"{len(held)} operators and sizes measured on {device.name}, the rest by the prior", *notes])


def prepare(
    bench: Bench, folder: Path, which: str, dtype: str, batch: int, *, lines: Sequence[dict[str, Any]] = (),
    seconds: float = 60.0, randoms: int = RANDOMS, say: Callable[[str], None] = lambda text: None, tilings: bool = False,
) -> Prepared:  # fmt: skip
    """Search the schedules of one cell, write them to `folder`, and compile every kernel that its units use.

    Schedules found earlier for the same graph and device under the same cost model are kept.

    Parameters
    ----------
    lines
        Measurements; see `measured_cost`.
    seconds
        Most seconds for each of the three searches.
    randoms
        So many random schedules are checked by the correctness unit.
    say
        Told what is done.
    tilings
        Compile the tilings that the unit ``tilings`` times, too.
    """
    graph, library = bench.lowered(bench.models(which, batch, dtype))
    cost, told = measured_cost(graph, bench.device, lines, which, dtype, batch)
    prepared = _searched(bench, graph, cost, told, cell_file(folder, which, dtype, batch), seconds, say)
    whole = {(o.index, graph.tenants[o.tenant].batch) for o in graph.operators}
    schedules = [schedule for found in prepared.ways.values() for schedule in found]
    if batch == BATCH:
        # The only batch at which answers are checked and chunks are measured.
        schedules += random_schedules(bench, graph, batch, randoms)
        sizes = {**chunk_sizes(graph, batch)}
        halves = [batch // n for n in range(2, batch + 1) if batch % n == 0]
        whole |= {(number, items) for number, some in sizes.items() for items in {*some, *halves}}
    plans = [lower(schedule, graph) for schedule in schedules]
    for plan in plans:
        check_plan(plan, graph)
    began = time.monotonic()
    count = library.ensure({*whole, *(at for plan in plans for at in plan.kernels)})
    say(f"{count} kernels compiled in {time.monotonic() - began:.0f} s")
    if tilings:
        chosen = candidates(graph, library, MOST)
        say(f"{len(compiled_tilings(bench, graph, chosen))} tilings of {len(chosen)} kernels ready")
    return prepared


def _searched(
    bench: Bench, graph: MultiTenantGraph, cost: Any, told: str, path: Path, seconds: float, say: Callable[[str], None]
) -> Prepared:
    try:
        held = read(path)
    except ScheduleError:
        held = None
    if held is not None and (held.device, held.graph, held.cost) == (bench.device.name, graph.fingerprint, told):
        say(f"schedules of {path.name} kept: {told}")
        return held
    ways: dict[str, tuple[Schedule, ...]] = {}
    for way, ablation in _ABLATIONS.items():
        found = search(
            graph, bench.device, cost, ablation=ablation, time_budget_s=seconds, evaluations=None, top=_TOP, start=_best(ways)
        )
        ways[way] = tuple(ranked.schedule for ranked in found.ranked)
        plain = min(score.makespan for score in found.baselines.values())
        say(f"{way}: predicted {found.seconds * 1e3:.3f} ms, the better plain way {plain * 1e3:.3f} ms")
    prepared = Prepared(bench.device.name, graph.fingerprint, told, ways)
    write(prepared, path)
    say(f"{path.name} written: {told}")
    return prepared


def _best(ways: dict[str, tuple[Schedule, ...]]) -> list[Schedule]:
    """What the full search starts from besides its own: the best under both ablations."""
    return [found[0] for found in ways.values()] if {"d", "e"} <= set(ways) else []


def main(arguments: Sequence[str] | None = None) -> int:
    """Prepare all cells, those at batch 8 first."""
    parser = argparse.ArgumentParser(prog="python -m gacer_tvm.bench.gpu_prepare", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the schedules")
    parser.add_argument("--cache", required=True, metavar="DIR", help="folder of the compiled kernels")
    parser.add_argument("--measurements", type=Path, action="append", default=[], metavar="FILE", help="measurements.jsonl")
    parser.add_argument("--device", default="nvidia-h100", metavar="NAME", help="device model")
    parser.add_argument("--only", action="append", default=[], metavar="TEXT", help="only cells SET-DTYPE-bBATCH with TEXT")
    parser.add_argument("--seconds", type=float, default=60.0, help="for each of a cell's three searches")
    parser.add_argument("--tuning-logs", action="append", default=[], metavar="PATH", help="tuning records (repeatable)")
    parser.add_argument("--tilings", action="store_true", help="compile the tilings that are to be timed, too")
    parser.add_argument("--size", type=int, default=224, help="image size")
    given = parser.parse_args(arguments)
    try:
        bench = preparing_bench(given.cache, given.device, given.tuning_logs, given.size)
    except DeviceError as error:
        parser.exit(1, f"{error}\n")
    lines = [json.loads(text) for path in given.measurements for text in path.read_text().splitlines() if text.strip()]
    failed = 0
    for batch in (8, 1, 32):
        for dtype in ("float32", "float16"):
            for which in SETS:
                name = f"{which}-{dtype}-b{batch}"
                if given.only and not any(text in name for text in given.only):
                    continue
                try:
                    prepare(
                        bench, given.out, which, dtype, batch, lines=lines, seconds=given.seconds, tilings=given.tilings,
                        say=lambda text, name=name: print(f"{name}: {text}", flush=True),  # type: ignore[misc]
                    )  # fmt: skip
                except GacerError as error:
                    failed += 1
                    print(f"{name}: FAILED: {error}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
