"""One round of a launch plan issued to streams: fork, launches with their waits, join.

Issued as it is, a round runs at once. Issued while the first stream is captured, it becomes one CUDA graph, in which a
wait is an edge and costs no call:

    stream 0   ●──k0───k2──●──────────k5──◇     ● record   ○ wait   ◇ join
    stream 1   ○──k1───────○─k3──k4───────◇
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import PlanError, RuntimeFailure
from ..plan import Launch, LaunchPlan
from .cuda_driver import Driver
from .replay import Bound

__all__ = ["Issue", "Timers"]


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """No garbage collection: freeing memory of an earlier session would break the capture of this one."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


@dataclass
class Timers:
    """Timed events of a round: its beginning, and the start and end of each launch."""

    began: Any
    spans: list[tuple[Any, Any]] = field(default_factory=list)


class Issue:
    """Issues rounds of one plan.

    Parameters
    ----------
    plan
        Its launches must stand in an order in which everything is issued before it is waited for: CUDA takes a wait for
        an event that nobody has recorded yet as done.
    driver
        The device.
    name
        What to call a launch in messages.

    Raises
    ------
    PlanError
        If a launch waits for a later one.
    """

    def __init__(self, plan: LaunchPlan, driver: Driver, name: Callable[[Launch], str]) -> None:
        for launch in plan.launches:
            late = [w for w in launch.waits if w >= launch.index]
            if late:
                raise PlanError(
                    f"{name(launch)} (launch {launch.index}) waits for launch {late[0]}, which is issued after it; on CUDA "
                    f"a launch can only wait for what was issued before"
                )
        self.plan = plan
        self.driver = driver
        self._name = name
        used = sorted({launch.stream for launch in plan.launches})
        self.streams: dict[int, Any] = {number: driver.stream() for number in used} or {0: driver.stream()}
        # The stream that forks and joins: everything of a round lies between two of its points.
        self.main = self.streams[min(self.streams)]
        self._others = [self.streams[n] for n in sorted(self.streams)[1:]]
        waited = {w for launch in plan.launches for w in launch.waits}
        self._events: Mapping[int, Any] = {w: driver.event() for w in sorted(waited)}
        self._fork = driver.event()
        self._joins = [driver.event() for _ in self._others]

    def round(self, calls: Sequence[Bound], timers: Timers | None = None, in_graph: bool = False) -> None:
        """Issue every launch once.

        Parameters
        ----------
        calls
            Function and arguments of each launch.
        timers
            Timed events to record around each launch.
        in_graph
            The round is being captured, so timed events must become nodes of the graph.
        """
        driver = self.driver
        if timers is not None:
            driver.record(timers.began, self.main, in_graph)
        if self._others:
            driver.record(self._fork, self.main)
            for stream in self._others:
                driver.wait(stream, self._fork)
        for launch, (function, arguments) in zip(self.plan.launches, calls):
            stream = self.streams[launch.stream]
            for before in launch.waits:
                driver.wait(stream, self._events[before])
            if timers is not None:
                driver.record(timers.spans[launch.index][0], stream, in_graph)
            try:
                driver.launch(function, arguments, stream)
            except (RuntimeError, ValueError, TypeError) as error:
                lines = str(error).strip().splitlines() or [type(error).__name__]
                raise RuntimeFailure(f"{self._name(launch)}: its kernel cannot be launched: {lines[0]}") from error
            if timers is not None:
                driver.record(timers.spans[launch.index][1], stream, in_graph)
            event = self._events.get(launch.index)
            if event is not None:
                driver.record(event, stream)
        for stream, event in zip(self._others, self._joins):
            driver.record(event, stream)
            driver.wait(self.main, event)

    def capture(self, calls: Sequence[Bound], timers: Timers | None = None) -> Any:
        """One round as a graph, ready to be launched. Every kernel must have run before: modules load at first use."""
        with _no_collection():
            self.driver.begin_capture(self.main)
            try:
                self.round(calls, timers, in_graph=True)
            except BaseException:
                # A stream left capturing would refuse all further work.
                self._abandon()
                raise
            return self.driver.end_capture(self.main)

    def timers(self) -> Timers:
        """Timed events for a round."""
        event = self.driver.event
        return Timers(event(timed=True), [(event(timed=True), event(timed=True)) for _ in self.plan.launches])

    def _abandon(self) -> None:
        try:
            self.driver.free_graph(self.driver.end_capture(self.main))
        except Exception:  # the capture is broken anyhow; the first error is the one to show
            return
