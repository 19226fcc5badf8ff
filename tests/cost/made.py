"""Measurements made up from a rule that no prior knows: the right answers of training are then known."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from gacer_tvm.cost.device import Device
from gacer_tvm.cost.facts import Facts
from gacer_tvm.cost.features import prior_of
from gacer_tvm.cost.host import processor
from gacer_tvm.cost.learned import check_sum
from gacer_tvm.cost.rows import Alone, Group, Kernel, Noise, Row, Run, Session, Spread, Stream, Writer

from ..devices import cpu as cpu

DEVICE = cpu(2, "made-up")


def facts(seed: int) -> Facts:
    """A convolution-like kernel."""
    rng = random.Random(seed)
    elements, reduction = 1 << rng.randint(8, 18), 1 << rng.randint(0, 8)
    points = float(elements * reduction)
    return Facts(
        batch=4, chunks=1, flops=2 * points, batched_bytes=8.0 * elements, fixed_bytes=4.0 * reduction * 64, elements=elements,
        itemsize=4, floating=1, opaque=0, nests=1, points=points, main=points, spatial=elements, reduction=reduction,
        reductions=1, reduction_last=reduction, reduction_most=reduction, inner=64, outer=8, dims=2, loads=2, contiguous=1,
        multiply=points, inputs=2, outputs=1,
    )  # fmt: skip


def true_seconds(mine: Facts, items: int, cores: int) -> float:
    """The rule: long reductions run four times slower than the prior says, and chunks a little."""
    prior = float(prior_of([mine], [items], [cores], DEVICE).seconds[0])
    return prior * (4.0 if mine.reduction >= 16 else 1.0) * (1.2 if items < mine.batch else 1.0)


def true_friction(left: Facts, right: Facts) -> float:
    """The rule: two long reductions get in each other's way."""
    return 0.5 if min(left.reduction, right.reduction) >= 16 else 0.0


def spread(seconds: float) -> Spread:
    """Timings without noise."""
    return (round(seconds * 1e6, 4),) * 4


def rows(kernels: int = 40, models: int = 8, sets: int = 4, groups: int = 60, device: Device = DEVICE) -> list[Row]:
    """A whole log: `kernels` kernels at every chunk size on one core and two, `groups` pairs in each set."""
    rng = random.Random(7)
    known = {f"{n:016x}": facts(n) for n in range(kernels)}
    found: list[Row] = [
        Session("s1", device, processor(), {"tvm": "0"}, "2026-01-01T00:00:00+00:00", note="made up"),
        Noise("s1", spread(1e-4), 0.5, 0.0),
    ]
    for n, (key, mine) in enumerate(known.items()):
        found.append(Kernel(key, f"model{n % models}", mine))
        found += [Alone("s1", key, i, c, spread(true_seconds(mine, i, c)), 5, 100.0) for i in (1, 2, 3, 4) for c in (1, 2)]
    keys = list(known)
    for number in range(sets):
        for _ in range(groups):
            left, right = rng.choice(keys), rng.choice(keys)
            members, streams = [], []
            for key in (left, right):
                each = true_seconds(known[key], 4, 1)
                times = max(1, round(1e-3 / each))
                members.append((key, times, each * times))
                streams.append(each * times)
            both = min(streams) * (1 + true_friction(known[left], known[right]))
            whole = both + max(streams) - min(streams)
            ran = tuple(Stream(1, s * 1e6, whole * 1e6, (Run(k, 4, t, s * 1e6),)) for k, t, s in members)
            found.append(Group("s1", f"set{number}", f"0.{len(found)}.0", ran, spread(whole), 5, 100.0))
    return found


def write(path: Path, what: list[Row]) -> Path:
    """A log of these rows."""
    with Writer(path) as writer:
        for row in what:
            writer.write(row)
    return path


def resealed(content: dict[str, Any]) -> str:
    """The text of a model file whose content was changed on purpose."""
    rest = {name: value for name, value in content.items() if name != "check"}
    return json.dumps({**rest, "check": check_sum(rest)})
