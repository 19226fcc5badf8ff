"""How long streams that begin together take when they do nothing worse than share units and bandwidth.

The simulator's rule for CPU cores (`gacer_tvm.sim.engine`, proportional), for a handful of long kernels. What is measured
beyond it is friction, and that is what the learned model is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .device import Device
from .features import Members

__all__ = ["friction_of", "group_seconds", "phases"]

Array = NDArray[np.float64]


def phases(members: Members, device: Device) -> tuple[Array, Array]:
    """For each group the seconds in which several streams run, and those in which the last runs alone."""
    together, last = np.zeros(members.count), np.zeros(members.count)
    width, bandwidth = members.width, members.bandwidth
    bounds = np.searchsorted(members.group, np.arange(members.count + 1))
    for n in range(members.count):
        mine = slice(bounds[n], bounds[n + 1])
        together[n], last[n] = _one(members.seconds[mine], width[mine], bandwidth[mine], device)
    return together, last


def group_seconds(together: Array, last: Array, friction: Array | float) -> Array:
    """Time of each group with `friction` (as in `InterferingCost.interference`) while several streams run."""
    result: Array = last + together * (1.0 + friction)
    return result


def friction_of(measured: Array, together: Array, last: Array) -> Array:
    """The friction that explains a measured group time; the inverse of `group_seconds`."""
    result: Array = (measured - last) / together - 1.0
    return result


def _one(seconds: Sequence[float] | Array, width: Array, bandwidth: Array, device: Device) -> tuple[float, float]:
    order = np.argsort(seconds)
    clock = together = 0.0
    for place, member in enumerate(order):
        running = order[place:]
        step = float(seconds[member]) - clock
        clock = float(seconds[member])
        asked = float(np.sum(width[running])) / device.units
        slow = max(1.0, asked * (1 + device.oversubscription_loss) - device.oversubscription_loss)
        slow = max(slow, float(np.sum(bandwidth[running])) / device.bandwidth)
        if len(running) == 1:
            return together, step * slow
        together += step * slow
    return together, 0.0
