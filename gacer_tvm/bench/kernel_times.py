"""The kernels of one model, timed where they run, in whole rounds: which of them loses the most time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..graph.model import MultiTenantGraph
from ..kernels.library import KernelLibrary

__all__ = ["Kernel", "kernel_times", "lost", "worst"]

_ROUNDS = 12


@dataclass(frozen=True)
class Kernel:
    """One kernel of a model.

    Attributes
    ----------
    name, rule
        The first operator that calls it, and the rule that made it.
    calls
        Calls of it in one round.
    ms
        Median over rounds of a call, the mean of its calls.
    flops, size
        Floating-point operations, and bytes of its operands and results, one call.
    """

    name: str
    rule: str
    calls: int
    ms: float
    flops: float
    size: float


def kernel_times(session: Any, graph: MultiTenantGraph, library: KernelLibrary) -> tuple[Kernel, ...]:
    """Every kernel of a session whose plan cuts nothing; the one that takes most of a round first."""
    launches = session.plan.launches
    spans = np.asarray(session.timed_rounds(_ROUNDS))
    taken = spans[:, :, 1] - spans[:, :, 0]
    calls: dict[str, list[int]] = {}
    for launch in launches:
        calls.setdefault(library.key(*launch.kernel), []).append(launch.index)
    rows = []
    for which in calls.values():
        launch = launches[which[0]]
        operator = graph.operators[launch.operator]
        rows.append(
            Kernel(
                operator.name.partition("/")[2],
                library.get(*launch.kernel).rule,
                len(which),
                float(np.median(taken[:, which].mean(axis=1))) * 1e3,
                operator.work.flops,
                float(operator.work.batched_bytes + operator.work.fixed_bytes),
            )
        )
    return tuple(sorted(rows, key=lambda k: -k.ms * k.calls))


def lost(kernels: Sequence[Kernel]) -> dict[str, float]:
    """Milliseconds of a round that each kernel takes beyond what the model's best rates would need.

    The best rates are the highest floating-point operations and bytes a millisecond of any kernel of the model; a kernel
    needs the longer of both.
    """
    rate = max((k.flops / k.ms for k in kernels if k.ms > 0), default=0.0)
    stream = max((k.size / k.ms for k in kernels if k.ms > 0), default=0.0)

    def needed(kernel: Kernel) -> float:
        return max(kernel.flops / rate if rate else 0.0, kernel.size / stream if stream else 0.0)

    return {k.name: (k.ms - needed(k)) * k.calls for k in kernels}


def worst(kernels: Sequence[Kernel]) -> str:
    """The kernel that loses the most time, in a few words; empty without kernels."""
    if not kernels:
        return ""
    loss = lost(kernels)
    kernel = max(kernels, key=lambda k: loss[k.name])
    times = f"{kernel.calls} x " if kernel.calls > 1 else ""
    return f"{kernel.name[:32]}: {times}{kernel.ms:.2f} ms, {loss[kernel.name]:.2f} lost"
