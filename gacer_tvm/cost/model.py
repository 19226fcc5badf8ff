"""The contract of every cost model: batched, plain arrays out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ..graph.model import MultiTenantGraph
from .device import Device

__all__ = ["Cost", "Estimates", "InterferingCost", "Row", "UncertainCost"]

Row = tuple[int, int, "int | None"]
"""(operator index, items of the chunk, cores or None for all of them)."""


@dataclass(frozen=True)
class Estimates:
    """What a cost model says of n rows.

    Attributes
    ----------
    seconds
        Time alone on the device, without launch cost; float64, shape (n,).
    width
        Device units (SMs or cores) that the kernel keeps busy on average while it runs alone; float64, shape (n,),
        in ``(0, device.units]``.
    bandwidth
        DRAM bytes a second that it moves while it runs alone; float64, shape (n,).
    """

    seconds: NDArray[np.float64]
    width: NDArray[np.float64]
    bandwidth: NDArray[np.float64]


@runtime_checkable
class Cost(Protocol):
    """A cost model.

    Attributes
    ----------
    name
        Stands in reports and in `schedule.Provenance.cost_model`: ``prior``, ``measured``, ``learned:<hash>`` …
    """

    name: str

    def estimate(self, graph: MultiTenantGraph, device: Device, rows: Sequence[Row]) -> Estimates:
        """Estimate every row in one batch."""
        ...


@runtime_checkable
class InterferingCost(Cost, Protocol):
    """A cost model that also knows how much kernels get in each other's way beyond sharing units and bandwidth."""

    def interference(self, graph: MultiTenantGraph, device: Device) -> NDArray[np.float64]:
        """Extra slowdown of each pair of operators, in one batch.

        Returns
        -------
        pairs
            Symmetric, shape (operators, operators): 0 where two kernels side by side take as long as their shares
            of units and bandwidth say, 0.3 where they take 30 % longer. Negative values count as 0. With r kernels
            at work each is slowed by the mean over the kernels of the sum over their partners.
        """
        ...


@runtime_checkable
class UncertainCost(Cost, Protocol):
    """A cost model that knows how wrong it is."""

    def resolution(self, graph: MultiTenantGraph, device: Device) -> float:
        """How far apart (relative) the makespans of two schedules must be predicted for the model to tell which is less."""
        ...
