"""Kernel times as a sum of what is executed and moved, each at a price of its own: what the trees correct.

Trees cannot go beyond what they have seen; a sum with prices that are never negative can. It is fitted to relative errors, by
non-negative least squares (Lawson and Hanson 1974, as in SciPy), from rows whose kernels' executed instructions are known.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .device import Device

__all__ = ["PRICED", "Base", "amounts_of", "fit_base"]

Array = NDArray[np.float64]

#: What has a price: instructions of the thread that has most to do, and bytes for each core.
PRICED: tuple[str, ...] = (
    "fused", "slow_operations", "vector_loads", "scalar_loads", "gather_loads", "stores", "scattered", "steps", "chains",
    "batched_bytes", "cached_weights", "fetched_weights", "shared_bytes", "call", "fork",
)  # fmt: skip
# A round that touches less than this share of the last-level cache leaves weights there until the next.
_STAYS = 0.7


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
    counts: dict[str, Array], counted: Array, batched: Array, fixed: Array, cores: Array, round_bytes: Array, device: Device
) -> Array:
    """A row of `PRICED` for each kernel; zeros where what is executed is not known.

    Parameters
    ----------
    counts
        Executed by the thread with most to do: ``fused`` … ``chains``, and ``regions``.
    counted
        1 where they are known.
    batched, fixed
        Bytes of the chunk's own rows, and of everything else.
    cores, round_bytes
        Core budget, and what a round touches.
    """
    stays = round_bytes < _STAYS * max(1, device.cache_bytes)
    several = cores > 1
    found = {
        **{name: counts[name] for name in PRICED[: PRICED.index("batched_bytes")]},
        "batched_bytes": batched / cores,
        "cached_weights": fixed / cores * stays,
        "fetched_weights": fixed / cores * ~stays,
        "shared_bytes": (batched + fixed * ~stays) * several,
        "call": np.ones_like(cores),
        "fork": counts["regions"] * several,
    }
    result: Array = np.stack([found[name] for name in PRICED], axis=1) * counted[:, None]
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
