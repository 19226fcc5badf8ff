"""Schedule stage: the frozen schedule value, its legality, its file, and the schedules that need no search."""

from __future__ import annotations

from . import make
from .check import check
from .file import from_json, to_json
from .schedule import Provenance, Schedule, Stream, TenantSchedule, Wait

__all__ = ["Provenance", "Schedule", "Stream", "TenantSchedule", "Wait", "check", "from_json", "make", "to_json"]
