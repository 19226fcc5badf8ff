"""``python -m gacer_tvm.bench.kernels``: CPU kernels, one by one, and whole models beside ONNX Runtime.

Kernels are those of the default rules; ``--tuning-logs`` adds a line with the kernels of a database, and ``--trials`` tunes
them into it first.

Both run the same network with the same number of threads, in turns, so that a busy machine disturbs both; figures are
medians. Where a virtual machine's cores lie decides times on several of them: the rate at which they exchange data stands
beside the figures (`gacer_tvm.profile.exchange`), and turns in which they lay far from each other do not count. The last
column names the kernel that loses the most time against the best rates of its model; ``--kernels`` adds the slowest kernels
of each model.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..cost.device import Device
from ..cost.near import best_rate, is_near
from ..errors import GacerError
from ..executable.build import lower_tenants
from ..executable.measure import settled_seconds
from ..executable.session import open_session
from ..plan import lower
from ..profile.exchange import Exchange
from ..schedule import Stream, make
from ..tune.tune import tune
from .conditions import conditions
from .kernel_models import MODELS, load
from .kernel_times import Kernel, kernel_times, worst

__all__ = ["Measured", "main", "measure"]

# So many times the turns are taken where a host moves the cores apart: those are left out.
_PATIENCE = 3
# Seconds of untimed calls at the start of a turn.
_SETTLED = 0.03


@dataclass(frozen=True)
class Measured:
    """A model measured.

    Attributes
    ----------
    model, batch, cores
        What was run, and with how many threads.
    ours_ms, theirs_ms
        Medians of gacer_tvm and of ONNX Runtime, same threads, in turns; inputs given and outputs taken are part of both.
    exchange
        Least and greatest rate at which the cores exchanged data meanwhile, GB/s; zeros for one core.
    left_out
        Turns that do not count, because the cores lay far from each other.
    error
        Largest difference of any output, over the largest absolute value of that output.
    lower_s, compile_s
        Seconds from the model to the graph, and of the kernels' scheduling and compilation.
    rules
        How many kernels each rule made.
    kernels
        Each kernel as it runs in a round.
    """

    model: str
    batch: int
    cores: int
    ours_ms: float
    theirs_ms: float
    exchange: tuple[float, float]
    left_out: int
    error: float
    lower_s: float
    compile_s: float
    rules: dict[str, int]
    kernels: tuple[Kernel, ...]


def measure(
    model: str,
    batch: int = 1,
    cores: int | None = None,
    repeats: int = 30,
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
    best
        Report the fastest run rather than the median, for a machine that others use.
    tuning_logs
        Databases whose schedules are preferred to the rules; None measures untuned kernels.
    """
    import onnxruntime

    host = Device.host_cpu()
    cores = cores or host.units
    tenant, onnx_model, feeds = load(model, batch)
    start = time.perf_counter()
    graph, library, device = lower_tenants(
        {model: tenant}, "cpu", device=replace(host, units=cores), tuning_logs=tuning_logs, cache=False
    )
    lowered = time.perf_counter()
    schedule = make.sequential(graph, device.name).replace(streams=(Stream(cores=(cores,)),))
    session = open_session(graph, lower(schedule, graph), library, device)
    compiled = time.perf_counter()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = cores
    other = onnxruntime.InferenceSession(onnx_model, options)
    fed = {i.name: feeds[name] for i, name in zip(other.get_inputs(), tenant.inputs, strict=True)}
    (info,) = graph.tenants

    def ours() -> list[Any]:
        for name, buffer in info.inputs.items():
            session.feed(buffer, feeds[name])
        session.round()
        return [session.fetch(buffer) for buffer in info.outputs.values()]

    def theirs() -> list[Any]:
        return list(other.run(None, fed))

    try:
        error = _error(ours(), theirs())
        taken = _in_turns(ours, theirs, repeats, best, Exchange(library.target, cores) if cores > 1 else None)
        kernels = kernel_times(session, graph, library)
    finally:
        session.close()
    made = Counter(library.get(*launch.kernel).rule for launch in session.plan.launches)
    return Measured(model, batch, cores, *taken, error, lowered - start, compiled - lowered, dict(made), kernels)


def _error(ours: list[np.ndarray], theirs: list[np.ndarray]) -> float:
    worst = 0.0
    for a, b in zip(ours, theirs, strict=True):
        # Outputs that are all but zero (a detector that sees nothing) are compared absolutely.
        worst = max(worst, float(np.abs(a - b).max() / max(1e-2, np.abs(b).max())))
    return worst


def _in_turns(
    first: Any, second: Any, repeats: int, best: bool, exchange: Exchange | None
) -> tuple[float, float, tuple[float, float], int]:
    """Medians (or minima) in milliseconds of two calls that alternate, rates of the exchange meanwhile, turns left out."""
    turns: list[tuple[float, float]] = []
    rates: list[float] = []
    for _ in range(3):
        first()
        second()
    kept = 0
    for _ in range(_PATIENCE * repeats):
        if exchange is not None:
            rates.append(exchange.rate() / 1e9)
        turns.append((settled_seconds(first, _SETTLED), settled_seconds(second, _SETTLED)))
        kept += exchange is None or is_near(rates[-1], best_rate(rates))
        if kept >= repeats:
            break
    # What was near is known at the end; turns between cores far apart count only where there are no others.
    best_known = best_rate(rates)
    near = [t for t, r in zip(turns, rates) if is_near(r, best_known)] if exchange is not None else turns
    some = near if 2 * len(near) >= repeats else turns
    pick = min if best else statistics.median
    ours, theirs = (pick([t[n] for t in some]) * 1e3 for n in range(2))
    return ours, theirs, (min(rates, default=0.0), max(rates, default=0.0)), len(turns) - len(some)


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
        "model", "batch", "cores", "ours ms", "ORT ms", "ratio", "error", "exchange GB/s", "far turns", "lower s", "kernels s",
        "kernels", "worst",
    )  # fmt: skip
    print("| " + " | ".join(head) + " |\n|" + " --- |" * len(head))
    ways = [None] if given.tuning_logs is None else [None, given.tuning_logs]
    for model, logs in ((m, way) for m in given.models for way in ways):
        try:
            if logs is not None and given.trials:
                tenant = load(model, given.batch)[0]
                cores = given.cores or Device.host_cpu().units
                tune([tenant], "cpu", logs, given.trials, rounds=1, cores=cores, longest=given.longest)
            m = measure(model, given.batch, given.cores, given.repeats, given.best, logs)
        except GacerError as error:
            print(f"| {model} | {given.batch} | failed: {error} |" + " |" * (len(head) - 3), flush=True)
            continue
        made = ", ".join(f"{n} {rule}" for rule, n in sorted(m.rules.items()))
        row = (
            m.model, m.batch, m.cores, f"{m.ours_ms:.2f}", f"{m.theirs_ms:.2f}", f"{m.ours_ms / m.theirs_ms:.2f}",
            f"{m.error:.0e}", "{:.0f} to {:.0f}".format(*m.exchange), m.left_out,
            f"{m.lower_s:.1f}", f"{m.compile_s:.1f}", made,
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
