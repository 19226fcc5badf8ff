"""Where passes leave what later passes need: attributes of the module."""

from __future__ import annotations

from typing import Any

import msgspec

from ..errors import ScheduleError
from ..schedule import Schedule, from_json

__all__ = ["LAUNCHES", "SCHEDULE", "attach_schedule", "attached_schedule", "the_schedule"]

# The schedule as JSON text of one line.
SCHEDULE = "gacer.schedule"
# One entry for each kernel call of main, in order (see `AnnotateStreams`).
LAUNCHES = "gacer.launches"


def attach_schedule(module: Any, schedule: Schedule) -> Any:
    """`module` with `schedule` attached."""
    return module.with_attr(SCHEDULE, msgspec.json.encode(schedule).decode())


def attached_schedule(module: Any) -> Schedule | None:
    """The schedule attached to `module`, or None."""
    text = (module.attrs or {}).get(SCHEDULE)
    return None if text is None else from_json(str(text), f"attribute {SCHEDULE!r} of the module")


def the_schedule(given: Schedule | None, module: Any, who: str) -> Schedule:
    """The schedule that a pass was given, or the attached one.

    Raises
    ------
    ScheduleError
        Where there is neither.
    """
    found = given if given is not None else attached_schedule(module)
    if found is None:
        raise ScheduleError(
            f"{who}: no schedule, expected one as an argument or in the module's attribute {SCHEDULE!r}; "
            f"run ScheduleTenants first"
        )
    return found
