"""Cost stage: device models and what a kernel costs alone."""

from __future__ import annotations

from .device import Device, GpuLimits
from .model import Cost, Estimates, InterferingCost, Row
from .prior import AnalyticPrior
from .random_cost import RandomCost
from .recorded import RecordedCost

__all__ = [
    "AnalyticPrior",
    "Cost",
    "Device",
    "Estimates",
    "GpuLimits",
    "InterferingCost",
    "RandomCost",
    "RecordedCost",
    "Row",
]
