"""Happens-before between launches, as vector clocks: what stream order and events guarantee, nothing more."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["Clocks"]


class Clocks:
    """Vector clocks of launches added one after another.

    ``clock[s]`` of a launch is how many launches of stream s have certainly finished when it starts (on its own stream:
    how many were issued before it). Launch b is ordered after launch a exactly if ``clock(b)[stream(a)] > place(a)``.
    """

    def __init__(self, streams: int) -> None:
        self.streams = streams
        self.stream: list[int] = []
        self.place: list[int] = []
        self.clock: list[list[int]] = []
        self._after: list[list[int]] = [[0] * streams for _ in range(streams)]

    def before(self, stream: int) -> list[int]:
        """Clock that the next launch on `stream` would have without further waits."""
        return list(self._after[stream])

    def needed(self, stream: int, candidates: Iterable[int]) -> list[int]:
        """The fewest of `candidates` that the next launch on `stream` must wait for so that all precede it."""
        clock = self.before(stream)
        waits = []
        for launch in sorted(set(candidates), reverse=True):
            if clock[self.stream[launch]] <= self.place[launch]:
                waits.append(launch)
                self._join(clock, launch)
        return sorted(waits)

    def add(self, stream: int, waits: Iterable[int]) -> list[int]:
        """Append a launch that waits for `waits`; its clock is returned."""
        clock = self.before(stream)
        for launch in waits:
            self._join(clock, launch)
        self.stream.append(stream)
        self.place.append(clock[stream])
        self.clock.append(clock)
        after = list(clock)
        after[stream] += 1
        self._after[stream] = after
        return clock

    def ordered(self, earlier: int, later: int) -> bool:
        """Whether `earlier` certainly finishes before `later` starts."""
        return self.clock[later][self.stream[earlier]] > self.place[earlier]

    def _join(self, clock: list[int], launch: int) -> None:
        for s, count in enumerate(self.clock[launch]):
            if count > clock[s]:
                clock[s] = count
        s = self.stream[launch]
        if clock[s] <= self.place[launch]:
            clock[s] = self.place[launch] + 1
