"""The errors of gacer_tvm: every one names what was expected, what was found, and what to do.

`GacerError` is the base; nothing else escapes the public functions for bad input.
"""

from __future__ import annotations

__all__ = [
    "BundleError",
    "DeviceError",
    "GacerError",
    "GraphError",
    "LogError",
    "PlanError",
    "RelayError",
    "RelaySyntaxError",
    "RuntimeFailure",
    "ScheduleError",
    "SearchError",
    "TenantError",
    "UnsupportedOperatorError",
]


class GacerError(Exception):
    """Base of all errors raised by gacer_tvm for something the caller can put right."""


class TenantError(GacerError, ValueError):
    """A model cannot become a tenant, or its inputs do not fit it (name, shape, dtype)."""


class UnsupportedOperatorError(TenantError):
    """A model uses operators that cannot be converted; the message lists all of them with counts and places."""


class RelayError(TenantError):
    """A saved Relay module or parameter file cannot be read, or means nothing sensible."""


class RelaySyntaxError(RelayError):
    """Relay text is not of the grammar at `line` and `column` (from 1), where `expected` should stand."""

    def __init__(self, message: str, line: int = 0, column: int = 0, expected: str = "") -> None:
        super().__init__(message)
        self.line = line
        self.column = column
        self.expected = expected


class GraphError(GacerError):
    """A set of tenants cannot be lowered and merged into one multi-tenant graph."""


class ScheduleError(GacerError, ValueError):
    """A schedule is malformed, illegal for these tenants, or made for another graph or device."""


class SearchError(GacerError):
    """A search cannot start or cannot reach what was asked for (for example an infeasible latency limit)."""


class PlanError(GacerError):
    """A launch plan has a race, a deadlock or a memory overlap; raised before anything runs."""


class DeviceError(GacerError, RuntimeError):
    """The target or device is missing, unknown or lacks what the schedule needs."""


class RuntimeFailure(GacerError, RuntimeError):
    """A kernel failed while an executable ran."""


class BundleError(GacerError, ValueError):
    """A saved executable is incomplete, corrupted, or does not match this installation."""


class LogError(GacerError, ValueError):
    """A tuning log or measurement file cannot be used at all (bad single lines are counted, not raised)."""
