"""The short table of the GPU suite, made from its results: medians, spread, and how far the goals are reached."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .gpu_results import Results
from .gpu_table import WAYS

__all__ = ["cells", "summary"]

Cell = dict[str, list[float]]


def cells(results: Results) -> dict[tuple[str, int, str], Cell]:
    """Timings in seconds by (dtype, batch, set) and way, from the last finished attempt at each cell."""
    found: dict[tuple[str, int, str], Cell] = {}
    done = results.done()
    for unit in sorted({line["unit"] for line in results.lines("conditions") if line["unit"] in done}):
        about = results.latest(unit, "conditions")[-1]
        timings: Cell = {}
        for line in results.latest(unit, "timing"):
            timings.setdefault(line["way"], []).extend(line["seconds"])
        if timings:
            found[about["dtype"], about["batch"], about["set"]] = timings
    return found


def summary(results: Results) -> str:
    """Markdown: what is correct, a table for each dtype and batch, the goals, and what failed."""
    lines = ["# GPU suite", "", *_conditions(results), "", *_correct(results)]
    known = cells(results)
    if not known:
        lines += ["", "No cell of the table has been measured yet."]
    for dtype, batch in sorted({(d, b) for d, b, _ in known}, key=lambda key: (key[0] != "float32", key[1] != 8, key[1])):
        lines += ["", f"## {dtype}, batch {batch}: ms a round, median (p10 to p90)", ""]
        lines += _table({which: cell for (d, b, which), cell in known.items() if (d, b) == (dtype, batch)})
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


def _goals(sets: dict[str, Cell]) -> list[str]:
    """The goals, over the sets in which everything that they compare was measured."""
    over_a, over_bc, over_best = [], [], []
    for cell in sets.values():
        if not all(way in cell for way in "abcf"):
            continue
        a, b, c, f = (float(np.median(cell[way])) for way in "abcf")
        over_a.append(a / f)
        over_bc.append(min(b, c) / f)
        over_best.append(min(a, b, c) / f)
    if not over_a:
        return ["Speed-ups of f: nothing to compare yet."]
    return [
        f"f over a, geometric mean of {len(over_a)} sets: {_mean(over_a):.3f} (goal at batch 8: 1.5)",
        f"f over the better of b and c: {_mean(over_bc):.3f} (goal at batch 8: 1.15)",
        f"f over the best of a to c, worst set: {min(over_best):.3f} (goal: 0.98)",
    ]


def _mean(ratios: list[float]) -> float:
    return math.exp(sum(math.log(r) for r in ratios) / len(ratios))


def _conditions(results: Results) -> list[str]:
    found = list(results.lines("conditions"))
    if not found:
        return ["Conditions: nothing measured."]
    last = found[-1]
    gpu = last.get("gpu") or {}
    said = ", ".join(f"{key} {value}" for key, value in gpu.items() if key in ("name", "driver_version", "clocks.max.sm"))
    clocks = sorted({str((line.get("gpu") or {}).get("clocks.sm")) for line in found})
    return [
        f"{said or 'GPU unknown'}; SM clock as found: {', '.join(clocks)}; PyTorch {last.get('torch')}, TF32 off; "
        f"rounds of all ways taken in turn in one process, host-measured to the end of the device's work."
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


def _failures(results: Results) -> list[str]:
    done = results.done()
    lines = [
        f"- {line['unit']}: {line.get('status')} ({line.get('reason', '')})"
        for line in results.lines("end")
        if line.get("status") != "done" and line["unit"] not in done
    ]
    lines += [f"- {line['unit']}, way {line['way']}: {line['reason']}" for line in results.lines("failed")]
    return ["Not measured or failed:", *dict.fromkeys(lines)] if lines else []
