"""``python -m gacer_tvm.bench.kernels``: CPU kernels, one by one, and whole models beside ONNX Runtime.

Kernels are those of the default rules; ``--tuning-logs`` adds a line with the kernels of a database, and ``--trials`` tunes
them into it first.

Both run the same network with the same number of threads, in turns, so that a busy machine disturbs both; figures are
medians. The last column names the kernel that loses the most time against the best rates of its model; ``--kernels`` adds
the slowest kernels of each model.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .._tvm import relax, tir, tvm
from ..errors import GacerError
from ..frontend import normalize
from ..graph.lower import fuse
from ..kernels import layout, rules
from ..kernels.library import Provider
from ..kernels.target import make_target
from ..tune.provider import providers
from ..tune.tune import tune
from .conditions import conditions
from .kernel_models import MODELS, load
from .kernel_times import Kernel, flops_of, kernel_times, worst

__all__ = ["Measured", "main", "measure"]


@dataclass(frozen=True)
class Measured:
    """A model measured.

    Attributes
    ----------
    model, batch, cores
        What was run, and with how many threads.
    ours_ms, theirs_ms
        Medians of gacer_tvm's untuned kernels and of ONNX Runtime, same threads, in turns.
    error
        Largest difference of any output, over the largest absolute value of that output.
    prepare_s, schedule_s, compile_s
        Seconds of layout rewrites and fusion, of the schedule rules, and of TVM's compilation.
    rules
        How many kernels each rule made.
    kernels
        Each kernel alone; empty unless asked for.
    """

    model: str
    batch: int
    cores: int
    ours_ms: float
    theirs_ms: float
    error: float
    prepare_s: float
    schedule_s: float
    compile_s: float
    rules: dict[str, int]
    kernels: tuple[Kernel, ...] = field(default=())


def measure(
    model: str,
    batch: int = 1,
    cores: int | None = None,
    repeats: int = 30,
    kernels: bool = False,
    best: bool = False,
    tuning_logs: Path | None = None,
) -> Measured:
    """Build `model`, check it against ONNX Runtime, and time both in turns.

    Parameters
    ----------
    model
        A name that `main` lists.
    batch, cores, repeats
        Items, threads of each runtime (all cores by default), timed runs of each.
    kernels
        Also time every kernel alone.
    best
        Report the fastest run rather than the median, for a machine that others use.
    tuning_logs
        Databases whose schedules are preferred to the rules; None measures untuned kernels.
    """
    import onnxruntime

    cores = cores or os.cpu_count() or 1
    tvm.get_global_func("runtime.config_threadpool")(1, cores)
    tenant, onnx_model, feeds = load(model, batch)
    target = make_target("llvm")
    start = time.perf_counter()
    module = fuse(layout.prepare(normalize(tenant).module, target), target, model)
    prepared = time.perf_counter()
    found = providers([tuning_logs]) if tuning_logs is not None else ()
    used: dict[str, str] = {}
    work: dict[str, float] = {}
    with target:
        for var, func in list(module.functions_items()):
            if isinstance(func, tir.PrimFunc):
                work[var.name_hint] = flops_of(func)
                module[var], used[var.name_hint] = _scheduled(func, target, cores, found)
        scheduled = time.perf_counter()
        machine = relax.VirtualMachine(tvm.compile(module, target), tvm.cpu())
    compiled = time.perf_counter()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = cores
    session = onnxruntime.InferenceSession(onnx_model, options)
    run_ours = machine["main"]
    # With one thread each, the time that the thread ran: what others do on the machine then matters less.
    clock = time.thread_time if cores == 1 else time.perf_counter
    arguments = [tvm.runtime.tensor(feeds[name]) for name in tenant.inputs]
    fed = {i.name: feeds[name] for i, name in zip(session.get_inputs(), tenant.inputs, strict=True)}
    error = _error(run_ours(*arguments), session.run(None, fed))
    ours, theirs = _in_turns(
        lambda: run_ours(*arguments), lambda: session.run(None, fed), repeats, best, clock
    )
    return Measured(
        model,
        batch,
        cores,
        ours,
        theirs,
        error,
        prepared - start,
        scheduled - prepared,
        compiled - scheduled,
        dict(Counter(used.values())),
        kernel_times(module, target, used, work, clock) if kernels else (),
    )


def _scheduled(func: Any, target: Any, cores: int, found: tuple[Provider, ...]) -> tuple[Any, str]:
    """The kernel as it will be compiled, and what made it."""
    for provider in found:
        record = provider(func, target)
        if record is not None:
            made = record[0].without_attr("global_symbol")
            for key, value in (func.attrs or {}).items():
                made = made.with_attr(key, value)
            return made, record[1]
    result = rules.schedule(func, target, cores)
    return result.func, result.rule


def _error(ours: Any, theirs: list[np.ndarray]) -> float:
    results = [ours] if hasattr(ours, "numpy") else list(ours)
    worst = 0.0
    for a, b in zip(results, theirs, strict=True):
        # Outputs that are all but zero (a detector that sees nothing) are compared absolutely.
        worst = max(worst, float(np.abs(a.numpy() - b).max() / max(1e-2, np.abs(b).max())))
    return worst


def _in_turns(first: Any, second: Any, repeats: int, best: bool, clock: Any) -> tuple[float, float]:
    """Medians (or minima) in milliseconds of two calls that alternate."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(3):
        first()
        second()
    for _ in range(repeats):
        for call, taken in ((first, times[0]), (second, times[1])):
            call()
            start = clock()
            call()
            taken.append(clock() - start)
    pick = min if best else statistics.median
    return pick(times[0]) * 1e3, pick(times[1]) * 1e3


def _arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m gacer_tvm.bench.kernels", description=__doc__)
    parser.add_argument("models", nargs="*", help=f"all by default: {', '.join(MODELS)}")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--kernels", type=int, default=0, metavar="N", help="also the N slowest kernels of each")
    parser.add_argument("--cores", type=int, default=None, help="threads of each runtime; all cores by default")
    parser.add_argument("--best", action="store_true", help="fastest runs instead of medians, on a busy machine")
    parser.add_argument(
        "--tuning-logs", type=Path, default=None, metavar="FOLDER", help="also the kernels of a database"
    )
    parser.add_argument(
        "--trials", type=int, default=0, metavar="N", help="first tune them: N trials of each kernel"
    )
    parser.add_argument("--longest", type=int, default=None, metavar="N", help="tune only the N longest")
    parsed = parser.parse_args(given)
    # Not `choices`: argparse holds an empty list of names against them.
    unknown = [m for m in parsed.models if m not in MODELS]
    if unknown:
        parser.error(f"there is no model {unknown[0]!r}; expected some of {', '.join(MODELS)}")
    if parsed.trials and parsed.tuning_logs is None:
        parser.error("--trials needs --tuning-logs FOLDER")
    parsed.models = parsed.models or list(MODELS)
    return parsed


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table."""
    given = _arguments(arguments)
    print(conditions())
    head = (
        "model", "batch", "cores", "ours ms", "ORT ms", "ratio", "error", "prepare s", "rules s", "compile s", "kernels",
        "worst",
    )  # fmt: skip
    print("| " + " | ".join(head) + " |\n|" + " --- |" * len(head))
    ways = [None] if given.tuning_logs is None else [None, given.tuning_logs]
    for model, logs in ((m, way) for m in given.models for way in ways):
        try:
            if logs is not None and given.trials:
                tenant = load(model, given.batch)[0]
                tune([tenant], "cpu", logs, given.trials, rounds=1, cores=given.cores, longest=given.longest)
            m = measure(model, given.batch, given.cores, given.repeats, True, given.best, logs)
        except GacerError as error:
            print(f"| {model} | {given.batch} | failed: {error} |" + " |" * (len(head) - 3), flush=True)
            continue
        made = ", ".join(f"{n} {rule}" for rule, n in sorted(m.rules.items()))
        row = (
            m.model, m.batch, m.cores, f"{m.ours_ms:.2f}", f"{m.theirs_ms:.2f}", f"{m.ours_ms / m.theirs_ms:.2f}",
            f"{m.error:.0e}", f"{m.prepare_s:.1f}", f"{m.schedule_s:.1f}", f"{m.compile_s:.1f}", made,
            worst(m.kernels),
        )  # fmt: skip
        print("| " + " | ".join(str(x) for x in row) + " |", flush=True)
        for kernel in m.kernels[: given.kernels]:
            rate = kernel.flops / max(kernel.ms, 1e-9) / 1e6
            print(
                f"    {kernel.ms:8.3f} ms x{kernel.calls:<3} {rate:7.1f} GFLOP/s  {kernel.rule:12} {kernel.name[:70]}"
            )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
