"""The demo's table: each tenant alone, then all of them under each way, in one run and in turn."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..executable import Executable, Quantiles
from ..progress import update

__all__ = ["Row", "Table", "measure"]

WAYS = ("sequential", "parallel", "gacer")


@dataclass(frozen=True)
class Row:
    """One tenant, or all of them: timings by way (seconds until it is done), and its error."""

    name: str
    timings: Mapping[str, Quantiles]
    error: float


@dataclass(frozen=True)
class Table:
    """What `measure` found.

    Attributes
    ----------
    rows
        One a tenant, and one of the whole round.
    idle
        Way → core-seconds that the process left idle in a round (the measured residue), median.
    arena
        Way → peak bytes of intermediates.
    outside
        Timings of whole rounds in ONNX Runtime, by way.
    """

    rows: tuple[Row, ...]
    idle: Mapping[str, float]
    arena: Mapping[str, int]
    outside: Mapping[str, Quantiles]

    def as_text(self) -> str:
        """The table for people; milliseconds, median and p90."""

        def cell(timed: Quantiles | None) -> str:
            return f"{timed.median * 1e3:8.2f} {timed.at(0.9) * 1e3:8.2f}" if timed else f"{'':17s}"

        head = "".join(f" | {way:^17s}" for way in ("alone", *WAYS))
        unit = "".join(f" | {'median':>8s} {'p90':>8s}" for _ in range(4))
        lines = [f"{'tenant':10s}{head} | largest relative error", f"{'(ms)':10s}{unit} | against ONNX Runtime"]
        for row in self.rows:
            cells = "".join(f" | {cell(row.timings.get(way))}" for way in ("alone", *WAYS))
            lines.append(f"{row.name:10s}{cells} | {row.error:.1e}")
        blank = f" | {'':17s}"
        lines.append(
            f"{'residue':10s}{blank}" + "".join(f" | {self.idle[w] * 1e3:8.2f} core-ms" + " " for w in WAYS) + " | idle"
        )
        lines.append(
            f"{'memory':10s}{blank}" + "".join(f" | {self.arena[w] / 2**20:8.2f} MiB     " for w in WAYS) + " | peak"
        )
        for name, timed in self.outside.items():
            lines.append(
                f"ONNX Runtime, {name}: median {timed.median * 1e3:.2f} ms, p90 {timed.at(0.9) * 1e3:.2f} ms (same run)"
            )
        return "\n".join(lines)


def measure(
    together: Mapping[str, Executable],
    alone: Mapping[str, Executable],
    inputs: Mapping[str, Mapping[str, np.ndarray]],
    outside: Any,
    *,
    repeats: int = 30,
) -> Table:
    """Time everything in turn.

    Parameters
    ----------
    together
        Way → executable of all tenants.
    alone
        Tenant → executable of it alone (all cores).
    inputs
        Real inputs of one round.
    outside
        `OnnxRuntime` on the same models.
    repeats
        Rounds of each side.
    """
    errors = _errors(together["gacer"].run(inputs), outside.sequential(inputs))
    cores = together["gacer"].device.units
    sessions = {way: exe._ready(inputs) for way, exe in together.items()}
    single = {name: exe._ready({name: inputs[name]}) for name, exe in alone.items()}
    rounds: dict[str, list[float]] = {}
    idle: dict[str, list[float]] = {way: [] for way in together}
    # What each launch of a way does is learned in rounds of their own, so that the clocks do not burden the others.
    ends: dict[str, dict[str, list[float]]] = {way: {name: [] for name in inputs} for way in together}
    with update("measuring the demo", repeats) as task:
        for turn in range(repeats + 2):
            for way, session in sessions.items():
                busy, began = time.process_time(), time.perf_counter()
                session.round()
                took = time.perf_counter() - began
                if turn >= 2:
                    rounds.setdefault(way, []).append(took)
                    idle[way].append(cores * took - (time.process_time() - busy))
            for name, session in single.items():
                _timed(rounds, f"alone {name}", session.round, turn >= 2)
            _timed(rounds, "outside sequential", lambda: outside.sequential(inputs), turn >= 2)
            _timed(rounds, "outside parallel", lambda: outside.parallel(inputs), turn >= 2)
            if turn >= 2:
                task.advance()
    for way, session in sessions.items():
        _tenant_ends(together[way], session, ends[way], max(5, repeats // 3))
    rows = [
        Row(
            name,
            {
                "alone": Quantiles(tuple(rounds[f"alone {name}"])),
                **{way: Quantiles(tuple(ends[way][name])) for way in together},
            },
            errors[name],
        )
        for name in inputs
    ]
    summed = [sum(t) for t in zip(*(rounds[f"alone {name}"] for name in inputs))]
    whole = {"alone": Quantiles(tuple(summed)), **{way: Quantiles(tuple(rounds[way])) for way in together}}
    return Table(
        (*rows, Row("all", whole, max(errors.values()))),
        {way: float(np.median(values)) for way, values in idle.items()},
        {way: exe.plan.placement.arena_bytes for way, exe in together.items()},
        {way: Quantiles(tuple(rounds[f"outside {way}"])) for way in ("sequential", "parallel")},
    )


def _timed(rounds: dict[str, list[float]], name: str, call: Any, keep: bool) -> None:
    began = time.perf_counter()
    call()
    if keep:
        rounds.setdefault(name, []).append(time.perf_counter() - began)


def _tenant_ends(executable: Executable, session: Any, ends: dict[str, list[float]], count: int) -> None:
    graph = executable.graph
    for spans in session.timed_rounds(count):
        last = dict.fromkeys(ends, 0.0)
        for launch, (_, end) in zip(executable.plan.launches, spans, strict=True):
            name = graph.tenants[graph.operators[launch.operator].tenant].name
            last[name] = max(last[name], end)
        for name, end in last.items():
            ends[name].append(end)


def _errors(found: Mapping[str, Any], expected: Mapping[str, Any]) -> dict[str, float]:
    """Largest difference of a tenant's outputs, relative to the largest value that ONNX Runtime gives."""
    errors = {}
    for name, arrays in expected.items():
        errors[name] = max(
            float(np.max(np.abs(np.asarray(a) - b)) / np.max(np.abs(b))) for a, b in zip(found[name], arrays, strict=True)
        )
    return errors
