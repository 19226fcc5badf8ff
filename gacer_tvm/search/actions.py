"""What a search can do to a schedule, as typed values.

An action knows how to apply itself; it raises `IllegalAction` where it does not fit, and the search tries another.
Applying yields a legal schedule again: the order of issue and the per-cluster core budgets follow.
"""

from __future__ import annotations

from dataclasses import dataclass

from msgspec.structs import replace

from ..schedule import Schedule, Stream, TenantSchedule, Wait
from .edit import cluster_cores, compressed, issue_order, set_tenant, with_cluster_cores
from .space import Space

__all__ = [
    "Action",
    "AddPointer",
    "AddWait",
    "IllegalAction",
    "MergeOperator",
    "MovePointer",
    "PlaceBranch",
    "PlaceChunk",
    "RelaxPointer",
    "RemovePointer",
    "RemoveWait",
    "Reorder",
    "SetCores",
    "SetPriority",
    "SetStream",
    "SplitOperator",
]


class IllegalAction(Exception):
    """The action does not fit the schedule."""


@dataclass(frozen=True, slots=True)
class MovePointer:
    """Put one entry of the pointer matrix elsewhere between its neighbours."""

    tenant: int
    column: int
    position: int

    def apply(self, schedule: Schedule, space: Space) -> Schedule:
        pointers = list(schedule.tenants[self.tenant].pointers)
        if not 0 <= self.column < len(pointers) or pointers[self.column] == self.position:
            raise IllegalAction
        pointers[self.column] = self.position
        if pointers != sorted(pointers) or not 0 <= self.position <= space.graph.tenants[self.tenant].count:
            raise IllegalAction
        part = replace(schedule.tenants[self.tenant], pointers=tuple(pointers))
        return _reissued(set_tenant(schedule, self.tenant, part), space)


@dataclass(frozen=True, slots=True)
class AddPointer:
    """Insert a column into the pointer matrix: one position for each tenant, all inside cluster `cluster`."""

    cluster: int
    positions: tuple[int, ...]

    def apply(self, schedule: Schedule, space: Space) -> Schedule:
        tenants = []
        for tenant, part in enumerate(schedule.tenants):
            pointers = [*part.pointers[: self.cluster], self.positions[tenant], *part.pointers[self.cluster :]]
            if pointers != sorted(pointers) or not 0 <= self.positions[tenant] <= space.graph.tenants[tenant].count:
                raise IllegalAction
            tenants.append(replace(part, pointers=tuple(pointers)))
        streams = []
        for stream in schedule.streams:
            cores = cluster_cores(stream, schedule.clusters)
            streams.append(with_cluster_cores(stream, [*cores[: self.cluster + 1], *cores[self.cluster :]]))
        return _reissued(schedule.replace(tenants=tuple(tenants), streams=tuple(streams)), space)


@dataclass(frozen=True, slots=True)
class RemovePointer:
    """Take a column out of the pointer matrix; the two clusters beside it become one, with the budgets of the first."""

    column: int

    def apply(self, schedule: Schedule, space: Space) -> Schedule:
        return _reissued(_without_column(schedule, self.column), space)


@dataclass(frozen=True, slots=True)
class RelaxPointer:
    """Replace a full barrier by waits between pairs of tenants, for a tenant's first operator after it.

    ``pairs`` names (tenant that is awaited, tenant that waits).
    """

    column: int
    pairs: tuple[tuple[int, int], ...]

    def apply(self, schedule: Schedule, space: Space) -> Schedule:
        if not 0 <= self.column < schedule.clusters - 1:
            raise IllegalAction
        waits = set(schedule.waits)
        for before, after in self.pairs:
            last = schedule.tenants[before].pointers[self.column] - 1
            first = schedule.tenants[after].pointers[self.column]
            if before == after or last < 0 or first >= space.graph.tenants[after].count:
                raise IllegalAction
            waits.add(Wait((before, last), (after, first)))
        return _reissued(_without_column(schedule, self.column).replace(waits=_sorted(waits)), space)


@dataclass(frozen=True, slots=True)
class SplitOperator:
    """Cut an operator into chunks, one of the ways of the space; all chunks stay where its first chunk was."""

    tenant: int
    position: int
    sizes: tuple[int, ...]

    def apply(self, schedule: Schedule, space: Space) -> Schedule:
        part = schedule.tenants[self.tenant]
        operator = space.graph.tenants[self.tenant].first + self.position
        if self.sizes not in space.splits[operator] or part.splits.get(self.position) == self.sizes:
            raise IllegalAction
        return set_tenant(schedule, self.tenant, _cut(part, self.position, self.sizes))


@dataclass(frozen=True, slots=True)
class MergeOperator:
    """Run an operator whole again."""

    tenant: int
    position: int

    def apply(self, schedule: Schedule, space: Space) -> Schedule:
        part = schedule.tenants[self.tenant]
        if self.position not in part.splits:
            raise IllegalAction
        return set_tenant(schedule, self.tenant, _cut(part, self.position, None))


@dataclass(frozen=True, slots=True)
class PlaceChunk:
    """Run one chunk of an operator on another stream; stream number ``len(streams)`` makes a new one."""

    tenant: int
    position: int
    chunk: int
    stream: int

    def apply(self, schedule: Schedule, space: Space) -> Schedule:
        part = schedule.tenants[self.tenant]
        streams = list(part.streams_at(self.position))
        if self.chunk >= len(streams) or streams[self.chunk] == self.stream:
            raise IllegalAction
        wider = _with_stream(schedule, self.stream, space)
        streams[self.chunk] = self.stream
        changed = replace(part, placement={**part.placement, self.position: tuple(streams)})
        return _changed(schedule, compressed(set_tenant(wider, self.tenant, changed)))


@dataclass(frozen=True, slots=True)
class PlaceBranch:
    """Run a chain of one tenant's operators, all their chunks, on another (or a new) stream."""

    tenant: int
    positions: tuple[int, ...]
    stream: int

    def apply(self, schedule: Schedule, space: Space) -> Schedule:
        part = schedule.tenants[self.tenant]
        wider = _with_stream(schedule, self.stream, space)
        placement = dict(part.placement)
        for position in self.positions:
            placement[position] = (self.stream,) * len(part.splits.get(position, (0,)))
        return _changed(schedule, compressed(set_tenant(wider, self.tenant, replace(part, placement=placement))))


@dataclass(frozen=True, slots=True)
class SetStream:
    """Move a whole tenant to another (or a new) stream."""

    tenant: int
    stream: int

    def apply(self, schedule: Schedule, space: Space) -> Schedule:
        part = schedule.tenants[self.tenant]
        if part.stream == self.stream and not part.placement:
            raise IllegalAction
        wider = _with_stream(schedule, self.stream, space)
        moved = replace(part, stream=self.stream, placement={})
        return _changed(schedule, compressed(set_tenant(wider, self.tenant, moved)))


@dataclass(frozen=True, slots=True)
class SetCores:
    """Give a stream of a CPU another core budget in one cluster."""

    stream: int
    cluster: int
    cores: int

    def apply(self, schedule: Schedule, space: Space) -> Schedule:
        if space.device.kind != "cpu" or self.cores not in space.cores or self.stream >= len(schedule.streams):
            raise IllegalAction
        stream = schedule.streams[self.stream]
        budgets = [space.device.units if c is None else c for c in cluster_cores(stream, schedule.clusters)]
        if self.cluster >= len(budgets) or budgets[self.cluster] == self.cores:
            raise IllegalAction
        budgets[self.cluster] = self.cores
        streams = list(schedule.streams)
        streams[self.stream] = with_cluster_cores(stream, budgets)
        return schedule.replace(streams=tuple(streams))


@dataclass(frozen=True, slots=True)
class SetPriority:
    """Give a GPU stream another priority."""

    stream: int
    priority: int

    def apply(self, schedule: Schedule, space: Space) -> Schedule:
        if space.device.kind != "cuda" or self.stream >= len(schedule.streams):
            raise IllegalAction
        streams = list(schedule.streams)
        if streams[self.stream].priority == self.priority:
            raise IllegalAction
        streams[self.stream] = replace(streams[self.stream], priority=self.priority)
        return schedule.replace(streams=tuple(streams))


@dataclass(frozen=True, slots=True)
class Reorder:
    """Issue one operator of `tenant` earlier (later): entry `source` of the order expanded goes to place `target`."""

    source: int
    target: int

    def apply(self, schedule: Schedule, space: Space) -> Schedule:
        sequence = [tenant for tenant, count in schedule.order for _ in range(count)]
        if not (0 <= self.source < len(sequence) and 0 <= self.target < len(sequence)) or self.source == self.target:
            raise IllegalAction
        sequence.insert(self.target, sequence.pop(self.source))
        order: list[tuple[int, int]] = []
        done = [0] * len(schedule.tenants)
        rank: dict[tuple[int, int], int] = {}
        cluster = 0
        for tenant in sequence:
            if schedule.clusters > 1:
                mine = schedule.tenants[tenant].cluster_of(done[tenant])
                if mine < cluster:
                    raise IllegalAction
                if mine > cluster and any(
                    done[t] < p.pointers[mine - 1] for t, p in enumerate(schedule.tenants) if p.pointers
                ):
                    raise IllegalAction
                cluster = mine
            rank[(tenant, done[tenant])] = len(rank)
            done[tenant] += 1
            if order and order[-1][0] == tenant:
                order[-1] = (tenant, order[-1][1] + 1)
            else:
                order.append((tenant, 1))
        if any(rank[w.before] >= rank[w.after] for w in schedule.waits) or tuple(order) == schedule.order:
            raise IllegalAction
        return schedule.replace(order=tuple(order))


@dataclass(frozen=True, slots=True)
class AddWait:
    """Let an operator of one tenant wait for an operator of another: ``(tenant, position)`` both."""

    before: tuple[int, int]
    after: tuple[int, int]

    def apply(self, schedule: Schedule, space: Space) -> Schedule:
        wait = Wait(self.before, self.after)
        if self.before[0] == self.after[0] or wait in schedule.waits:
            raise IllegalAction
        return _reissued(schedule.replace(waits=_sorted({*schedule.waits, wait})), space)


@dataclass(frozen=True, slots=True)
class RemoveWait:
    """Drop one of the waits."""

    number: int

    def apply(self, schedule: Schedule, space: Space) -> Schedule:
        if not 0 <= self.number < len(schedule.waits):
            raise IllegalAction
        return schedule.replace(waits=schedule.waits[: self.number] + schedule.waits[self.number + 1 :])


Action = (
    MovePointer
    | AddPointer
    | RemovePointer
    | RelaxPointer
    | SplitOperator
    | MergeOperator
    | PlaceChunk
    | PlaceBranch
    | SetStream
    | SetCores
    | SetPriority
    | Reorder
    | AddWait
    | RemoveWait
)


def _reissued(schedule: Schedule, space: Space) -> Schedule:
    """The order of issue made anew for changed pointers or waits."""
    order = issue_order(space.graph, [t.pointers for t in schedule.tenants], schedule.waits)
    if order is None:
        raise IllegalAction
    return schedule.replace(order=order)


def _changed(before: Schedule, after: Schedule) -> Schedule:
    """`after`, unless renumbering the streams has made it `before` again."""
    if after == before:
        raise IllegalAction
    return after


def _without_column(schedule: Schedule, column: int) -> Schedule:
    if not 0 <= column < schedule.clusters - 1:
        raise IllegalAction
    tenants = [replace(t, pointers=t.pointers[:column] + t.pointers[column + 1 :]) for t in schedule.tenants]
    streams = []
    for stream in schedule.streams:
        cores = cluster_cores(stream, schedule.clusters)
        streams.append(with_cluster_cores(stream, cores[: column + 1] + cores[column + 2 :]))
    return schedule.replace(tenants=tuple(tenants), streams=tuple(streams))


def _cut(part: TenantSchedule, position: int, sizes: tuple[int, ...] | None) -> TenantSchedule:
    splits = {p: s for p, s in part.splits.items() if p != position}
    placement = {p: s for p, s in part.placement.items() if p != position}
    if sizes is not None:
        splits[position] = sizes
    stream = part.streams_at(position)[0]
    if stream != part.stream:
        placement[position] = (stream,) * (1 if sizes is None else len(sizes))
    return replace(part, splits=splits, placement=placement)


def _with_stream(schedule: Schedule, stream: int, space: Space) -> Schedule:
    if stream < len(schedule.streams):
        return schedule
    if stream > len(schedule.streams) or stream >= space.max_streams:
        raise IllegalAction
    # A new stream of a CPU begins with one core; `SetCores` may change that.
    new = Stream(cores=(1,)) if space.device.kind == "cpu" else Stream()
    return schedule.replace(streams=(*schedule.streams, new))


def _sorted(waits: set[Wait]) -> tuple[Wait, ...]:
    return tuple(sorted(waits, key=lambda w: (w.before, w.after)))
