"""The tables of the GPU suite, made from its results: medians, spread, and how far the goals are reached.

What is not measured says so; nothing is filled in.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..models import SETS
from .gpu_results import Results

__all__ = ["WAYS", "cells", "readme_table", "summary"]

WAYS = {
    "a": "own graphs, back to back",
    "b": "own graphs, a stream each",
    "c": "one graph, parallel",
    "d": "GACER, spatial only",
    "e": "GACER, temporal only",
    "f": "GACER",
    "g": "PyTorch eager",
    "h": "PyTorch eager, a stream each",
    "i1": "torch.compile, graphs in turn",
    "i2": "torch.compile, a stream each",
}

# Seconds of every round by way.
Cell = dict[str, list[float]]


def cells(results: Results) -> dict[tuple[str, int, str], Cell]:
    """Timings in seconds by (dtype, batch, set) and way, from the attempt at each cell that has most of them."""
    attempts: dict[str, list[list[dict[str, Any]]]] = {}
    for line in results.lines():
        if line["kind"] == "begin":
            attempts.setdefault(line["unit"], []).append([])
        elif line["kind"] in ("conditions", "timing") and line["unit"] in attempts:
            attempts[line["unit"]][-1].append(line)
    found: dict[tuple[str, int, str], Cell] = {}
    for unit in sorted(attempts):
        # Of two equally long ones the later one.
        lines = max(reversed(attempts[unit]), key=len)
        about = [line for line in lines if line["kind"] == "conditions"]
        timings: Cell = {}
        for line in lines:
            if line["kind"] == "timing":
                timings.setdefault(line["way"], []).extend(line["seconds"])
        if about and timings:
            found[about[-1]["dtype"], about[-1]["batch"], about[-1]["set"]] = timings
    return found


def readme_table(results: Results | None, sets: Sequence[str], batch: int = 8) -> str:
    """Every set and precision at one batch size: ms a round, median (p10 to p90), of every way."""
    known = {} if results is None else cells(results)
    head = ["set", *WAYS, "f over a", "f over the better of b, c"]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for which in sets:
        for dtype in ("float32", "float16"):
            cell = known.get((dtype, batch, which))
            if cell is None:
                row = ["not yet measured", *[""] * (len(head) - 2)]
            else:
                row = ["" if way not in cell else _spread(np.array(cell[way]) * 1e3) for way in WAYS]
                row += ["" if ratio is None else f"{ratio:.3f}" for ratio in _ratios(cell)[:2]]
            lines.append(f"| {which}, {dtype} | {' | '.join(row)} |")
    return "\n".join(lines)


def summary(results: Results) -> str:
    """Markdown: what is correct, a table for each dtype and batch, the goals, and what failed."""
    lines = ["# GPU suite", "", *_conditions(results), "", *_correct(results)]
    lines += ["", *_sanitized(results)]
    known = cells(results)
    if not known:
        lines += ["", "No cell of the table has been measured yet."]
    for dtype, batch in sorted({(d, b) for d, b, _ in known}, key=lambda key: (key[0] != "float32", key[1] != 8, key[1])):
        lines += ["", f"## {dtype}, batch {batch}: ms a round, median (p10 to p90)", ""]
        lines += _table({which: cell for (d, b, which), cell in known.items() if (d, b) == (dtype, batch)})
    ours = [which for which in SETS if any(w == which for _, _, w in known)]
    if known and not ours:
        lines[2:2] = ["**A rehearsal on tiny models: its figures mean nothing.**", ""]
    if ours:
        lines += ["", "## All ways, batch 8: ms a round, median (p10 to p90)", "", readme_table(results, tuple(SETS))]
    lines += ["", *_failures(results)]
    return "\n".join(lines).rstrip() + "\n"


def _table(sets: dict[str, Cell]) -> list[str]:
    names = list(sets)
    lines = [f"| way | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for way, label in WAYS.items():
        row = []
        for cell in sets.values():
            values = cell.get(way)
            row.append("–" if not values else _spread(np.array(values) * 1e3))
        lines.append(f"| {way} {label} | {' | '.join(row)} |")
    lines += ["", *_goals(sets)]
    return lines


def _spread(ms: Any) -> str:
    return f"{np.median(ms):.3f} ({np.quantile(ms, 0.1):.3f} to {np.quantile(ms, 0.9):.3f})"


def _ratios(cell: Cell) -> tuple[float | None, float | None, float | None]:
    """How many times faster f is than a, than the better of b and c, and than the best of the three."""
    median = {way: float(np.median(cell[way])) for way in "abcf" if way in cell}
    if len(median) < 4:
        return None, None, None
    f, between = median["f"], min(median["b"], median["c"])
    return median["a"] / f, between / f, min(median["a"], between) / f


def _goals(sets: dict[str, Cell]) -> list[str]:
    """The goals, over the sets in which everything that they compare was measured."""
    known = [found for found in (_ratios(cell) for cell in sets.values()) if found[0] is not None]
    if not known:
        return ["Speed-ups of f: nothing to compare yet."]
    over_a, over_bc, over_best = (list(ratios) for ratios in zip(*known))
    return [
        f"f over a, geometric mean of {len(over_a)} sets: {_mean(over_a):.3f} (goal at batch 8: 1.5)",
        f"f over the better of b and c: {_mean(over_bc):.3f} (goal at batch 8: 1.15)",
        f"f over the best of a to c, worst set: {min(over_best):.3f} (goal: 0.98)",
    ]


def _mean(ratios: Sequence[Any]) -> float:
    return math.exp(sum(math.log(r) for r in ratios) / len(ratios))


def _conditions(results: Results) -> list[str]:
    found = list(results.lines("conditions"))
    told = sorted({line["note"] for line in results.lines("note")})
    notes = [*([""] if told else []), *(f"- {note}" for note in told)]
    if not found:
        return ["Conditions: nothing measured.", *notes]
    last = found[-1]
    gpu = last.get("gpu") or {}
    said = ", ".join(f"{key} {value}" for key, value in gpu.items() if key in ("name", "driver_version", "clocks.max.sm"))
    clocks = sorted({str((line.get("gpu") or {}).get("clocks.sm")) for line in found})
    names = ("torch", "cuda", "cudnn", "tvm", "gacer_tvm", "python")
    versions = ", ".join(f"{name} {last[name]}" for name in names if name in last)
    return [
        f"{said or 'GPU unknown'}; SM clock as found: {', '.join(clocks)}; {versions}; TF32 off; "
        f"CUDA_DEVICE_MAX_CONNECTIONS {last.get('connections')}; rounds of all ways taken in turn in one process, "
        f"host-measured to the end of the device's work.",
        *notes,
    ]


def _correct(results: Results) -> list[str]:
    lines = []
    for unit in sorted({line["unit"] for line in results.lines("correct")}):
        by_schedule = {line["schedule"]: line for line in results.lines("correct", unit)}
        good = [line for line in by_schedule.values() if line["ok"]]
        worst = max((line["error"] for line in good), default=float("nan"))
        bad = [name for name, line in by_schedule.items() if not line["ok"]]
        lines.append(
            f"- {unit}: {len(good)} of {len(by_schedule)} schedules right, largest relative error {worst:.2g}"
            + (f"; WRONG: {', '.join(bad)}" if bad else "")
        )
    return ["Correctness against PyTorch on the same GPU:", *lines] if lines else ["Correctness: nothing run yet."]


def _sanitized(results: Results) -> list[str]:
    latest = {line["tool"]: line for line in results.lines("sanitized")}
    return [
        f"compute-sanitizer {tool}: "
        + (f"{'clean' if line['clean'] else 'ERRORS'} ({line['summary']})" if line["ran"] else f"not run, {line['reason']}")
        for tool, line in latest.items()
    ]


def _failures(results: Results) -> list[str]:
    done = results.done()
    lines = [
        f"- {line['unit']}: {line.get('status')} ({line.get('reason', '')})"
        for line in results.lines("end")
        if line.get("status") != "done" and line["unit"] not in done
    ]
    # The last word on each unit is enough.
    lines = list({text.split(":")[0]: text for text in lines}.values())
    lines += [f"- {line['unit']}, way {line['way']}: {line['reason']}" for line in results.lines("failed")]
    return ["Not measured or failed:", *dict.fromkeys(lines)] if lines else []
