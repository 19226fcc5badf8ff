"""The tilings of our own CUDA rules, timed: which one each kernel of a set should have.

Candidates can be compiled where there is no GPU (``gpu_prepare --tilings``), so that the device is held for no longer than it
takes to run them. What was found goes into a tuning database (`collect`), which `build` takes as ``tuning_logs``:
``python -m gacer_tvm.bench.gpu_tilings --results DIR --out tuning_logs/h100/kernels``.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .._tvm import tvm
from ..errors import GacerError
from ..graph.model import MultiTenantGraph
from ..kernels.library import Kernel
from ..kernels.request import GENERATION
from ..tune.records import FILES, KernelNote, Records
from .gpu_bench import Bench
from .gpu_candidates import candidates, prepared
from .gpu_results import OutOfTime, Results
from .gpu_state import gpu_state

__all__ = ["collect", "time_tilings"]

# Seconds of kernels in one graph: long beside what launching it costs.
_ROW_SECONDS = 1e-3
_MOST_CALLS = 64
_COMPARED = 1 << 16


def time_tilings(
    bench: Bench,
    results: Results,
    unit: str,
    which: str,
    dtype: str,
    batch: int,
    *,
    most: int | None = None,
) -> None:
    """Time every tiling of a set's kernels on the device; one line each, and whether it computes what the default does."""
    nets = bench.models(which, batch, dtype)
    graph, library = bench.lowered(nets)
    chosen = candidates(graph, library, most)
    ready = prepared(bench, graph, chosen)
    from ..runtime.cuda_driver import cuda_driver

    results.add(unit, "state", **gpu_state(), set=which, dtype=dtype, batch=batch, tvm=tvm.__version__)
    timer = _Timer(cuda_driver())
    with bench.turns.timed():
        for one in chosen:
            name = graph.operators[one.operator].name
            expected: np.ndarray | None = None
            timer.arguments(graph, one.operator)
            for text in one.tilings:
                if (one, text) not in ready:
                    continue
                if bench.turns.left(math.inf) <= 0:
                    raise OutOfTime(f"out of time for timing before {name}")
                try:
                    seconds, found = timer.time(ready[one, text])
                except (RuntimeError, ValueError) as failure:
                    results.add(unit, "refused", kernel=name, key=one.key, tiling=text, reason=str(failure)[-300:])
                    continue
                expected = found if expected is None else expected
                scale = float(np.abs(expected).max()) or 1.0
                error = float(np.abs(found - expected).max()) / scale
                results.add(
                    unit, "tiling", kernel=name, key=one.key, tiling=text, default=text == one.tilings[0],
                    seconds=[round(s, 10) for s in seconds], error=error if math.isfinite(error) else None,
                )  # fmt: skip


class _Timer:
    """Times kernels in rows of calls, each row one graph."""

    def __init__(self, driver: Any) -> None:
        self._driver = driver
        self._stream = driver.stream()
        self._tensors: list[Any] = []
        self._rng = np.random.default_rng(0)

    def arguments(self, graph: MultiTenantGraph, operator: int) -> None:
        """Random values for what an operator reads, and memory for its one result."""
        held = graph.operators[operator]
        self._tensors = []
        for buffer in (*held.reads, *held.writes):
            info = graph.buffers[buffer]
            shape, dtype = tuple(info.shape), np.dtype(info.dtype)
            if "float" in dtype.name:
                # Drawn once and repeated: making the largest weights anew takes longer than all that is timed.
                drawn = self._rng.standard_normal(min(math.prod(shape), 1 << 20)).astype(np.float32) * 0.1
                values = np.resize(drawn, shape).astype(dtype)
            else:
                values = np.zeros(shape, dtype)
            self._tensors.append(tvm.runtime.tensor(values, self._driver.tvm_device))

    def time(self, kernel: Kernel, rows: int = 5) -> tuple[list[float], np.ndarray]:
        """Seconds of a call in each of so many rows, and some of the result's values."""
        calls = max(2, min(_MOST_CALLS, int(_ROW_SECONDS / max(self._row(kernel, 4, 1)[0], 1e-6))))
        seconds = self._row(kernel, calls, rows)
        result = self._tensors[-1].numpy().reshape(-1)
        # A value here and there: comparing all takes longer than all that is timed.
        return seconds, result[:: max(1, result.size // _COMPARED)].astype(np.float64)

    def _row(self, kernel: Kernel, calls: int, rows: int) -> list[float]:
        driver, stream = self._driver, self._stream
        arguments = tuple(self._tensors)
        # Modules load at their first use, which a capture forbids.
        driver.launch(kernel.call, arguments, stream)
        driver.finish(stream)
        driver.begin_capture(stream)
        for _ in range(calls):
            driver.launch(kernel.call, arguments, stream)
        graph = driver.end_capture(stream)
        try:
            driver.replay(graph, stream)
            found = []
            for _ in range(rows):
                start, end = driver.event(timed=True), driver.event(timed=True)
                driver.record(start, stream)
                driver.replay(graph, stream)
                driver.record(end, stream)
                driver.finish(end)
                found.append(driver.seconds(start, end) / calls)
        finally:
            driver.free_graph(graph)
        return found


def collect(results: Results, out: Path, tolerance: float = 2e-2) -> int:
    """Put the best tiling of each kernel that was timed into a tuning database; how many kernels it then has.

    Parameters
    ----------
    results
        Of a suite that ran units of kind ``tilings``.
    out
        Folder of the database; made or continued.
    tolerance
        Largest difference from the default's result, relative to its largest value, of a tiling that may be chosen.

    Raises
    ------
    GacerError
        Where nothing was timed.
    """
    lines = list(results.lines("tiling"))
    if not lines:
        raise GacerError(f"{results.file}: no line of kind 'tiling'; run the suite's units `tilings/...` first")
    out.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        (out / name).touch()
    records = Records.open(out)
    kernels: dict[str, list[dict[str, Any]]] = {}
    for line in lines:
        kernels.setdefault(line["key"], []).append(line)
    for key, tried in kernels.items():
        right = [line for line in tried if line["error"] is not None and line["error"] <= tolerance]
        default = next((line for line in tried if line["default"]), None)
        if default is None or not right:
            continue
        for line in tried:
            records.tilings.commit(key, line["tiling"], line["seconds"] if line in right else [])
        best = min(right, key=lambda line: float(np.median(line["seconds"])))
        records.kernels[key] = KernelNote(
            name=default["kernel"], default=float(np.median(default["seconds"])), tuned=float(np.median(best["seconds"])),
            tiling=best["tiling"], generation=GENERATION, cores=1,
        )  # fmt: skip
    records.save_notes()
    return len(records.kernels)


def main(arguments: Sequence[str] | None = None) -> int:
    """Collect the timings of a suite into a tuning database."""
    parser = argparse.ArgumentParser(prog="python -m gacer_tvm.bench.gpu_tilings", description=__doc__)
    parser.add_argument("--results", type=Path, required=True, help="folder of the suite's results")
    parser.add_argument("--out", type=Path, required=True, help="folder of the tuning database")
    given = parser.parse_args(arguments)
    count = collect(Results(given.results), given.out)
    print(json.dumps({"kernels": count, "database": str(given.out)}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
