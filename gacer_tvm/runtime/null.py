"""The runtime that executes nothing: it records launches and events, so that everything above it is testable anywhere."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..plan import LaunchPlan
from .replay import Bound
from .streams import ThreadStreams

__all__ = ["NullRuntime", "Record"]


@dataclass
class Record:
    """What a null round saw: launches in the order in which they were made, with their streams."""

    launches: list[tuple[int, int]] = field(default_factory=list)


class NullRuntime:
    """Replays a plan on the same worker threads as the CPU runtime, with kernels that only note their launch.

    Parameters
    ----------
    plan
        What to replay.
    record
        Whether launches are noted; without it a round measures the replay loop itself.
    """

    def __init__(self, plan: LaunchPlan, record: bool = True) -> None:
        self.record = Record()
        calls: list[Bound] = []
        for launch in plan.launches:
            note = (launch.index, launch.stream)
            calls.append((self.record.launches.append, (note,)) if record else (_nothing, ()))
        self._streams = ThreadStreams(plan, calls)

    def round(self) -> None:
        """Replay once."""
        self.record.launches.clear()
        self._streams.round()

    def close(self) -> None:
        """End the worker threads."""
        self._streams.close()


def _nothing() -> None:
    return None
