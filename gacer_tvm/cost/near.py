"""Whether the cores of a machine lay near each other while it was measured.

Each turn of the profiler notes the rate at which cores read what others wrote (`gacer_tvm.profile.exchange`). On two virtual
cores of a Zen 4 server that rate was seen to jump between 70 and 25 GB/s for half a minute at a time, as the host moved them
onto dies that share no cache and back; kernels on both cores then took 1.1 times (compute-bound) to 4.9 times as long, those
on one core the same. Rows of such times are of another machine, so to speak, and are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from .rows import Alone, Data, Group

__all__ = ["NEAR", "best_rate", "is_near", "near_only", "rates_of"]

NEAR = 0.45
"""Cores are near each other at this share of the best rate of their machine, and above (two on one core reach 1.6 times that)."""


def best_rate(rates: Sequence[float]) -> float:
    """What cores reach when they are near each other, of the rates noted (GB/s); 0 where none was.

    The upper decile: where two threads change places between writing and reading, each reads what is its own, which is luck.
    """
    noted = [r for r in rates if r > 0.0]
    return float(np.quantile(noted, 0.9)) if noted else 0.0


def rates_of(data: Data) -> list[float]:
    """The rates that a log notes."""
    return [n.e for n in data.noise]


def is_near(rate: float, best: float) -> bool:
    """Whether a rate is that of cores near each other; one that was not noted counts as such."""
    return rate <= 0.0 or rate >= NEAR * best


def near_only(data: Data) -> tuple[Data, int]:
    """The rows measured while cores were near each other, and how many were not.

    Data of one device only: rates of several do not compare.
    """
    best = best_rate(rates_of(data))

    def keep(row: Alone | Group) -> bool:
        return is_near(row.e, best)

    alone, groups = [r for r in data.alone if keep(r)], [r for r in data.groups if keep(r)]
    return replace(data, alone=alone, groups=groups), len(data.alone) + len(data.groups) - len(alone) - len(groups)
