"""Profile stage: kernels measured alone and in groups on the device at hand, as data for the cost model."""

from __future__ import annotations

from .collect import Collected, collect
from .suite import SUITE, suite_tenants

__all__ = ["SUITE", "Collected", "collect", "suite_tenants"]
