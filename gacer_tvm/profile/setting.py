"""What the parts of a collection share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..cost.device import Device
from ..cost.rows import Data
from .kernels import Kernels
from .rounds import Rounds
from .steady import Steady

__all__ = ["Setting"]


@dataclass(frozen=True)
class Setting:
    """One collection.

    Attributes
    ----------
    kernels, rounds, device
        What is measured, and where.
    label
        Of the tenant set.
    known
        What the file holds.
    repeats
        Rounds of each plan.
    noise
        Times the reference kernel and returns its median, microseconds.
    steady
        Measures while the cores lie near each other.
    """

    kernels: Kernels
    rounds: Rounds
    device: Device
    label: str
    known: Data
    repeats: int
    noise: Callable[[], float]
    steady: Steady
