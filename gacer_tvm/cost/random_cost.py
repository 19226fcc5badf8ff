"""Random costs: search and simulator tested with neither device nor training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..graph.model import MultiTenantGraph
from .device import Device
from .model import Estimates, Row

__all__ = ["RandomCost"]


class RandomCost:
    """A random but consistent cost: seconds grow with the items, fall with the cores; same seed, same answer.

    Parameters
    ----------
    seed
        Seed of everything.
    scale
        Typical seconds of a kernel.
    """

    def __init__(self, seed: int = 0, scale: float = 1e-3) -> None:
        self.name = f"random:{seed}"
        self._seed = seed
        self._scale = scale

    def estimate(self, graph: MultiTenantGraph, device: Device, rows: Sequence[Row]) -> Estimates:
        """Estimate every row; see `gacer_tvm.cost.model.Cost`."""
        seconds = np.empty(len(rows))
        width = np.empty(len(rows))
        bandwidth = np.empty(len(rows))
        for n, (index, items, cores) in enumerate(rows):
            rng = np.random.default_rng((self._seed, index))
            base, fixed, full, demand, parallel = rng.random(5)
            batch = graph.tenants[graph.operators[index].tenant].batch
            share = items / batch
            seconds[n] = self._scale * (0.05 + base * (share * (1 - 0.3 * fixed) + 0.3 * fixed))
            if device.kind == "cpu":
                used = min(cores or device.units, device.units)
                seconds[n] *= (1 - 0.9 * parallel) + 0.9 * parallel / used
                width[n] = used
            else:
                width[n] = max(1e-3, device.units * min(1.0, 0.05 + 1.2 * full * share))
            bandwidth[n] = device.bandwidth * 0.6 * demand
        return Estimates(seconds, width, bandwidth)
