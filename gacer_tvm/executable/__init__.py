"""Executable stage: everything put together, run, measured, saved and loaded."""

from __future__ import annotations

from .build import build, lower_tenants
from .executable import Executable
from .measure import Quantiles, interleave
from .profile import Profile, Span
from .report import Report

__all__ = ["Executable", "Profile", "Quantiles", "Report", "Span", "build", "interleave", "lower_tenants"]
