"""The launch plan: a schedule lowered to a flat list of launches with the events that they wait for. Immutable."""

from __future__ import annotations

from dataclasses import dataclass

from ..schedule import Schedule

__all__ = ["Access", "Launch", "LaunchPlan", "Placement"]


@dataclass(frozen=True, slots=True)
class Access:
    """Bytes ``[start, stop)`` of one root buffer."""

    root: int
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Launch:
    """One kernel launch.

    Attributes
    ----------
    index
        Position in `LaunchPlan.launches`, which is the order of issue.
    operator
        Index of the operator it is a chunk of.
    first, items
        The batch items ``[first, first + items)`` that it computes.
    whole
        True if it computes the whole batch (its kernel then takes no first item).
    stream
        Stream that it is issued to.
    cores
        CPU cores it may use; None for all of them.
    buffers
        Buffer index of each kernel argument, reads before writes.
    reads, writes
        The bytes that it touches.
    waits
        Launches of other streams that must have finished before it starts, ascending.
    """

    index: int
    operator: int
    first: int
    items: int
    whole: bool
    stream: int
    cores: int | None
    buffers: tuple[int, ...]
    reads: tuple[Access, ...]
    writes: tuple[Access, ...]
    waits: tuple[int, ...]

    @property
    def kernel(self) -> tuple[int, int, int | None]:
        """Which kernel it runs, as the kernel library is asked for it: (operator, items, cores)."""
        return self.operator, self.items, self.cores


@dataclass(frozen=True, slots=True)
class Placement:
    """Where the intermediates lie.

    Attributes
    ----------
    offsets
        Root buffer → byte offset in the arena; inputs, constants and outputs have memory of their own and are not named.
    arena_bytes
        Size of the arena: the plan's peak of intermediate memory.
    """

    offsets: dict[int, int]
    arena_bytes: int


@dataclass(frozen=True, slots=True)
class LaunchPlan:
    """A schedule lowered.

    Attributes
    ----------
    schedule
        What it was lowered from.
    streams
        How many streams it uses.
    launches
        In the order of issue.
    placement
        Memory of the intermediates.
    """

    schedule: Schedule
    streams: int
    launches: tuple[Launch, ...]
    placement: Placement

    @property
    def kernels(self) -> frozenset[tuple[int, int, int | None]]:
        """The kernels that its launches run."""
        return frozenset(launch.kernel for launch in self.launches)

    @property
    def events(self) -> int:
        """How many launches some other stream waits for."""
        return len({before for launch in self.launches for before in launch.waits})

    def clusters(self) -> tuple[int, ...]:
        """Cluster of each launch."""
        found: list[int] = []
        for tenant, position in self.schedule.issue():
            part = self.schedule.tenants[tenant]
            found += [part.cluster_of(position)] * len(part.splits.get(position, (0,)))
        return tuple(found)

    @property
    def edges(self) -> int:
        """How many waits there are."""
        return sum(len(launch.waits) for launch in self.launches)
