"""The result list that AutoTVM and the auto-scheduler share: ``[costs, error, seconds spent, timestamp]``."""

from __future__ import annotations

import math
from typing import TypedDict

__all__ = ["BadRecord", "Result", "parse_result", "real"]

# A failed candidate was logged as 1e10 seconds (and as 1e9 by some runners).
_FAILED_SECONDS = 1e8
UNKNOWN_ERROR = 8


class BadRecord(ValueError):
    """A line that is not what it seems to be; internal to the readers, which count the reason."""


class Result(TypedDict):
    """Fields of `LogRecord` that a result list fills."""

    seconds: tuple[float, ...]
    error: int
    tuning_seconds: float | None
    timestamp: float | None


def real(value: object) -> float | None:
    """A finite number as a float; None for anything else (booleans included)."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def parse_result(value: object) -> Result:
    """Type a result list.

    Raises
    ------
    BadRecord
        If it is not one.
    """
    if not isinstance(value, list) or len(value) < 2 or not isinstance(value[0], list):
        raise BadRecord("a result that is not [costs, error, ...]")
    if len(value[0]) > 100_000 or type(value[1]) is not int or not 0 <= value[1] < 100:
        raise BadRecord("a result with an impossible error number or length")
    costs = [real(item) for item in value[0]]
    known = [cost for cost in costs if cost is not None]
    if len(known) != len(costs):
        raise BadRecord("a cost that is not a number")
    return _result(known, value[1], value[2] if len(value) > 2 else None, value[3] if len(value) > 3 else None)


def _result(costs: list[float], error: int, spent: object, timestamp: object) -> Result:
    seconds = tuple(cost for cost in costs if 0.0 < cost < _FAILED_SECONDS)
    if error == 0 and (not seconds or len(seconds) != len(costs)):
        error = UNKNOWN_ERROR
    return Result(
        seconds=seconds if error == 0 else (),
        error=error,
        tuning_seconds=real(spent),
        timestamp=real(timestamp),
    )
