"""Kernel times as a sum of what is executed and moved, each at a price of its own: what the trees correct.

Trees cannot go beyond what they have seen; a sum with prices that are never negative can. It is fitted to relative errors, by
non-negative least squares (Lawson and Hanson 1974, as in SciPy), from rows whose kernels' executed instructions are known.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .device import Device

__all__ = ["PRICED", "Base", "amounts_of", "fit_base"]

Array = NDArray[np.float64]

#: What has a price: instructions of the thread that has most to do, bytes for each core, and what a call brings in besides:
#: the descriptions of its arguments, and its code (statements).
PRICED: tuple[str, ...] = (
    "fused", "slow_operations", "vector_loads", "scalar_loads", "gather_loads", "stores", "scattered", "steps", "chains",
    "weights_0", "weights_1", "weights_2", "weights_3", "activations_0", "activations_1", "activations_2", "activations_3",
    "arguments_0", "arguments_1", "arguments_2", "arguments_3", "call_0", "call_1", "call_2", "call_3",
    "size_0", "size_1", "size_2", "size_3", "shared_bytes", "fork",
)  # fmt: skip
# What is touched is priced by how long ago it was: at a core's own cache, on the way to the last-level one, at half of it,
# and beyond it; in between by both neighbours' prices, as logarithms lie.
_OWN_CACHE = 0.5 * 2**20
_LINE = 64.0
# What a call brings in besides, by how much was computed since: operations, as logarithms.
_WORK = np.log2([1e5, 3e6, 1e8, 3e9])


class Base:
    """The prices.

    Parameters
    ----------
    prices
        Seconds of one of each of `PRICED`; empty where there was nothing to fit, and the prior stands.
    """

    def __init__(self, prices: Sequence[float] | Array) -> None:
        self.prices = np.asarray(prices, np.float64)

    def seconds(self, amounts: Array, prior: Array) -> Array:
        """Seconds of each row of `amounts`; the prior's where what is executed is not known (a row of zeros)."""
        if not len(self.prices):
            return prior
        known = amounts.any(axis=1)
        result: Array = np.where(known, np.maximum(amounts @ self.prices, 1e-8), prior)
        return result


def amounts_of(
    counts: dict[str, Array],
    lines: Array,
    counted: Array,
    batched: Array,
    fixed: Array,
    arguments: Array,
    cores: Array,
    away: Sequence[Array],
    calls: Array,
    whole: Array,
    work: Array,
    device: Device,
) -> Array:
    """A row of `PRICED` for each kernel; zeros where what is executed is not known.

    Parameters
    ----------
    counts
        Executed by the thread with most to do: ``fused`` … ``chains``; and ``regions`` and ``size``.
    lines
        Cache lines that the whole batch touches; 0 where that is not known.
    counted
        1 where they are known.
    batched, fixed
        Bytes of the chunk's own rows, and of everything else.
    arguments, cores, away
        Tensors that the kernel takes, core budget, and how many bytes ago weights, activations and code were touched.
    calls
        Chunks of this size that a batch has, one after the other: what all of them read is far away for the first only.
    whole, work
        Bytes of the whole batch's rows: what is read first was written so many bytes before, at the least; operations of
        a call.
    """
    several = cores > 1
    found = {name: counts[name] for name in PRICED[: PRICED.index("weights_0")]}
    # Of weights under padding nobody reads anything.
    fixed = np.where(lines > 0, np.minimum(fixed, _LINE * lines), fixed)
    last = max(4.0 * _OWN_CACHE, 2.0 * device.cache_bytes)
    nodes = np.log2([_OWN_CACHE, math.sqrt(_OWN_CACHE * last / 4), last / 4, last])
    near, first = (fixed + batched) / cores, 1.0 / calls
    touched = (
        ("weights", fixed / cores, away[0], near, nodes),
        ("activations", batched / cores, away[1] + whole / cores, None, nodes),
        ("arguments", arguments, away[3], work, _WORK), ("call", np.ones_like(cores), away[3], work, _WORK),
        ("size", counts["size"], away[3], work, _WORK),
    )  # fmt: skip
    for what, amount, ago, again, at in touched:
        shares = _between(ago, at)
        if again is not None:
            shares = first[:, None] * shares + (1.0 - first)[:, None] * _between(np.minimum(ago, again), at)
        found |= {f"{what}_{node}": amount * shares[:, node] for node in range(4)}
    found |= {"shared_bytes": (batched + fixed) * several, "fork": counts["regions"] * several}
    result: Array = np.stack([found[name] for name in PRICED], axis=1) * counted[:, None]
    return result


def _between(ago: Array, at: Array) -> Array:
    """Shares of the four nodes, shape (n, 4), of what was touched so long ago."""
    place = np.interp(np.log2(np.maximum(ago, 1.0)), at, np.arange(4.0))
    result: Array = np.clip(1.0 - np.abs(place[:, None] - np.arange(4.0)), 0.0, 1.0)
    return result


def fit_base(amounts: Array, seconds: Array, weight: Array | None = None) -> Base:
    """The prices that bring the relative errors down most."""
    from scipy.optimize import nnls

    known = amounts.any(axis=1)
    if known.sum() < 2 * len(PRICED):
        return Base(())
    rows = amounts[known] / seconds[known, None]
    share = np.sqrt(weight[known]) if weight is not None else np.ones(int(known.sum()))
    scale = np.maximum(np.abs(rows).max(axis=0), 1e-300)
    found, _ = nnls(rows / scale * share[:, None], share)
    return Base(found / scale)
