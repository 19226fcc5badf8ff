"""The tilings of our own CUDA rules, timed: which one each kernel of a set should have.

Candidates are compiled beforehand where there is no GPU (`prepared`), so that the device is held for no longer than it takes to
run them. What was found goes into a tuning database (`collect`), which `build` takes as ``tuning_logs``:
``python -m gacer_tvm.bench.gpu_tilings --results DIR --out tuning_logs/h100/kernels``.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .. import progress
from .._tvm import tvm
from ..errors import GacerError
from ..graph.model import MultiTenantGraph
from ..kernels import rules
from ..kernels.library import Kernel, KernelLibrary
from ..kernels.request import GENERATION
from ..kernels.rules.base import NotApplicable
from ..kernels.store import KernelStore, write_beside
from ..tune.records import FILES, KernelNote, Records, workload_key
from .gpu_bench import Bench
from .gpu_results import OutOfTime, Results
from .gpu_state import gpu_state

__all__ = ["MOST", "Candidate", "candidates", "collect", "prepared", "time_tilings"]

#: Kernels of a set whose tilings are timed, those with most arithmetic first.
MOST = 16

# Seconds of kernels in one graph: long beside what launching it costs.
_ROW_SECONDS = 1e-3
_MOST_CALLS = 64
_COMPARED = 1 << 16
_INDEX = "tilings-index"


@dataclass(frozen=True)
class Candidate:
    """A kernel of a graph and the tilings it may have.

    Attributes
    ----------
    operator
        One that the kernel belongs to.
    request
        The kernel's key in the library, untuned.
    key
        Its workload key, as tuning databases have it.
    weight
        Floating-point operations of all operators with this kernel.
    tilings
        As text, the default first.
    """

    operator: int
    request: str
    key: str
    weight: float
    tilings: tuple[str, ...]


class _Tiled:
    """A provider that gives every kernel one tiling, where that fits."""

    def __init__(self, tiling: str) -> None:
        self.tiling = tiling

    def __call__(self, func: Any, target: Any, cores: int | None = None) -> tuple[Any, str] | None:
        try:
            return rules.retiled(func, target, 1, self.tiling), f"tiling {self.tiling}"
        except NotApplicable:
            return None


class _Index:
    """Which tilings each kernel has and which stored kernel each of them is: working that out takes longer than to time them."""

    def __init__(self, store: KernelStore | None) -> None:
        self._path = None if store is None else store.folder / _INDEX
        self.tilings: dict[str, list[str]] = {}
        self.kernels: dict[str, str] = {}
        self._read()

    def _read(self) -> None:
        if self._path is not None and self._path.is_file():
            held = json.loads(self._path.read_text())
            self.tilings = {**held["tilings"], **self.tilings}
            self.kernels = {**held["kernels"], **self.kernels}

    def save(self) -> None:
        """Write it, with what others have written since."""
        if self._path is not None:
            self._read()
            text = json.dumps({"tilings": self.tilings, "kernels": self.kernels}, indent=0, sort_keys=True)
            write_beside(self._path, lambda beside: beside.write_text(text))


def candidates(graph: MultiTenantGraph, library: KernelLibrary, most: int | None = None) -> list[Candidate]:
    """The kernels of whole operators that our own rules make, the one with most arithmetic first (`most`: so many)."""
    index = _Index(library.store)
    weights: dict[str, float] = {}
    first: dict[str, int] = {}
    functions: dict[str, Any] = {}
    for operator in graph.operators:
        batch = graph.tenants[operator.tenant].batch
        request = library.request(operator.index, batch)
        flops, moved = operator.work.at(batch, batch)
        # What moves much takes long too: some ten operations a byte are what GPUs do.
        weights[request.key] = weights.get(request.key, 0.0) + flops + 10 * moved
        first.setdefault(request.key, operator.index)
        functions.setdefault(request.key, request.func)
    found: list[Candidate] = []
    for key in sorted(weights, key=lambda k: -weights[k]):
        if most is not None and len(found) >= most:
            break
        if key not in index.tilings:
            with library.target:
                index.tilings[key] = rules.tilings(functions[key], library.target)
        if len(index.tilings[key]) > 1:
            found.append(Candidate(first[key], key, workload_key(functions[key]), weights[key], tuple(index.tilings[key])))
    index.save()
    return found


def prepared(
    bench: Bench, graph: MultiTenantGraph, chosen: Sequence[Candidate]
) -> dict[tuple[Candidate, str], Kernel]:
    """Compile every candidate, or take it from the store; those that do not compile as they are, are left out."""
    index = _Index(bench.store)
    names = {(one, text): f"{one.request} {text}" for one in chosen for text in one.tilings}
    stored = {index.kernels.get(name, "") for name in names.values()} - {""}
    loaded = {} if bench.store is None else bench.store.load(stored, bench.target)
    found: dict[tuple[Candidate, str], Kernel] = {}
    missing: dict[str, list[Candidate]] = {}
    for (one, text), name in names.items():
        key = index.kernels.get(name)
        if key is None or (key and key not in loaded):
            missing.setdefault(text, []).append(one)
        elif key:
            found[one, text] = loaded[key][0]
    with progress.update("compiling tilings", len(missing)) as task:
        for text, having in missing.items():
            library = KernelLibrary(graph, bench.target, providers=(_Tiled(text),), store=bench.store)
            at = {one: graph.tenants[graph.operators[one.operator].tenant].batch for one in having}
            library.ensure((one.operator, batch) for one, batch in at.items())
            for one, batch in at.items():
                kernel = library.get(one.operator, batch)
                good = kernel.rule == f"tiling {text}" and not kernel.workspaces
                index.kernels[names[one, text]] = kernel.key if good else ""
                if good:
                    found[one, text] = kernel
            task.advance(1)
    index.save()
    return found


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
