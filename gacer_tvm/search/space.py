"""The space that is searched: which chunk sizes, which core budgets, how streams get their cores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ..cost.device import Device
from ..cost.model import Row
from ..errors import SearchError
from ..graph.model import MultiTenantGraph
from ..schedule import Schedule, Stream

__all__ = ["Space", "budget_cores", "make_space"]


@dataclass(frozen=True)
class Space:
    """The legal choices of each operator.

    Attributes
    ----------
    graph, device
        What is scheduled, and where.
    splits
        For each operator (global index) its ways to be cut other than whole, as tuples of chunk sizes.
    cores
        Core budgets that a stream may have; ``(None,)`` on a GPU.
    max_streams
        Most streams.
    """

    graph: MultiTenantGraph
    device: Device
    splits: tuple[tuple[tuple[int, ...], ...], ...]
    cores: tuple[int | None, ...]
    max_streams: int
    _sizes: tuple[tuple[int, ...], ...] = field(default=(), repr=False)

    def sizes(self, operator: int) -> tuple[int, ...]:
        """Chunk sizes (the whole batch included) that occur in any way to cut `operator`."""
        return self._sizes[operator]

    def rows(self) -> list[Row]:
        """Every cost that a search can ask for: the one batched estimate of a search."""
        return [
            (operator.index, size, cores)
            for operator in self.graph.operators
            for size in self._sizes[operator.index]
            for cores in self.cores
        ]


def make_space(
    graph: MultiTenantGraph,
    device: Device,
    chunk_sizes: Mapping[int, Sequence[int]] | None = None,
    *,
    whole_only: bool = False,
    max_streams: int | None = None,
) -> Space:
    """List the choices.

    Parameters
    ----------
    chunk_sizes
        Operator index to the chunk sizes that may be used (for example those already compiled). Operators not named
        may be cut evenly into 2, 3, 4 and so on pieces; their remainders give at most two sizes each.
    whole_only
        No operator is cut (the temporal ablation).

    Raises
    ------
    SearchError
        Where `chunk_sizes` names an operator or a size that does not exist.
    """
    splits: list[tuple[tuple[int, ...], ...]] = []
    sizes: list[tuple[int, ...]] = []
    for index in chunk_sizes or {}:
        if not 0 <= index < len(graph.operators):
            raise SearchError(f"chunk sizes name operator {index}; expected 0..{len(graph.operators) - 1}")
    for operator in graph.operators:
        batch = graph.tenants[operator.tenant].batch
        ways: list[tuple[int, ...]] = []
        if operator.chunking.divisible and not whole_only:
            allowed = chunk_sizes.get(operator.index) if chunk_sizes is not None else None
            if allowed is None:
                ways = [_even(batch, pieces) for pieces in _piece_counts(batch)]
            else:
                bad = [size for size in allowed if not 1 <= size <= batch]
                if bad:
                    raise SearchError(
                        f"chunk sizes {bad} of operator {operator.name!r}: expected 1..{batch}, the batch of its tenant"
                    )
                ways = _from_sizes(batch, sorted(set(allowed), reverse=True))
        splits.append(tuple(ways))
        sizes.append(tuple(sorted({batch, *(size for way in ways for size in way)})))
    cores: tuple[int | None, ...] = (None,)
    if device.kind == "cpu":
        cores = (None, *range(1, device.units + 1)) if device.units <= 8 else (None, *_powers(device.units))
    # Beyond that, streams would share hardware queues or oversubscribe the cores.
    limit = max_streams or (
        max(len(graph.tenants), 8) if device.kind == "cuda" else max(len(graph.tenants), device.units)
    )
    return Space(graph, device, tuple(splits), cores, min(limit, device.max_concurrent or limit), tuple(sizes))


def budget_cores(schedule: Schedule, device: Device) -> Schedule:
    """Divide the cores of a CPU in each cluster among the streams that have work there.

    Streams that are alone in a cluster get all cores. The remainder of the division goes to the streams with the lower
    numbers. On a GPU the schedule comes back unchanged.
    """
    if device.kind != "cpu":
        return schedule
    clusters = schedule.clusters
    active: list[set[int]] = [set() for _ in range(clusters)]
    for tenant, position in schedule.issue():
        part = schedule.tenants[tenant]
        active[part.cluster_of(position)].update(part.streams_at(position))
    budgets: list[list[int]] = [[1] * clusters for _ in schedule.streams]
    for cluster, streams in enumerate(active):
        for rank, stream in enumerate(sorted(streams)):
            each, more = divmod(device.units, len(streams))
            budgets[stream][cluster] = max(1, each + (1 if rank < more else 0))
    return schedule.replace(
        streams=tuple(
            Stream(cores=(b[0],) if len(set(b)) == 1 else tuple(b), priority=s.priority)
            for s, b in zip(schedule.streams, budgets, strict=True)
        )
    )


def _piece_counts(batch: int) -> list[int]:
    counts = [n for n in (2, 3, 4, 8, 16, 32) if n <= batch]
    return counts if batch not in (5, 6, 7) else [*counts, batch]


def _even(batch: int, pieces: int) -> tuple[int, ...]:
    each, more = divmod(batch, pieces)
    return (each + 1,) * more + (each,) * (pieces - more)


def _from_sizes(batch: int, sizes: Sequence[int]) -> list[tuple[int, ...]]:
    """Ways to add up to the batch: as many as fit of one size, the rest from the smaller ones, largest first."""
    ways: list[tuple[int, ...]] = []
    for start in range(len(sizes)):
        way: list[int] = []
        rest = batch
        for size in sizes[start:]:
            while size <= rest:
                way.append(size)
                rest -= size
        if rest == 0 and len(way) > 1 and tuple(way) not in ways:
            ways.append(tuple(way))
    # Two unequal pieces, as the paper's [5, 3] of batch 8.
    for large in sizes:
        pair = (large, batch - large)
        if 0 < pair[1] < large and pair[1] in sizes and pair not in ways:
            ways.append(pair)
    return ways


def _powers(units: int) -> list[int]:
    found = [1]
    while found[-1] * 2 < units:
        found.append(found[-1] * 2)
    return [*found, units]
