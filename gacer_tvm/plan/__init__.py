"""Plan stage: a schedule is lowered to launches, events and memory, and the result is proved free of races."""

from __future__ import annotations

from .checker import check_plan
from .lower import lower
from .memory import sum_alone
from .model import Access, Launch, LaunchPlan, Placement

__all__ = ["Access", "Launch", "LaunchPlan", "Placement", "check_plan", "lower", "sum_alone"]
