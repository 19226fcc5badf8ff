"""The schedules that a search starts from: the plain ways to run tenants, and what a person would try."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec.structs import replace

from ..cost.device import Device
from ..graph.model import MultiTenantGraph
from ..schedule import Provenance, Schedule, Stream, TenantSchedule, make
from ..sim import Simulator
from .branches import lanes
from .edit import compressed, issue_order
from .space import Space, budget_cores

__all__ = ["baselines", "branched", "packed", "seeds", "with_tail_cluster", "wrapped"]


def baselines(graph: MultiTenantGraph, device: Device) -> list[tuple[str, Schedule]]:
    """Sequential and parallel: what no result may be predicted to be worse than."""
    return [
        ("sequential", make.sequential(graph, device.name)),
        ("parallel", make.parallel(graph, device.name, device.cores)),
    ]


def seeds(space: Space, simulator: Simulator, *, limits: Sequence[float | None] = ()) -> Iterator[tuple[str, Schedule]]:
    """Starting schedules with their names, after the baselines.

    Parameters
    ----------
    limits
        Latency limit of each tenant in seconds, where there are any: those with less time come first.
    """
    graph, device = space.graph, space.device
    parallel = make.parallel(graph, device.name, device.cores)
    count = len(graph.tenants)
    times = [_solo_seconds(graph, simulator, t, None) for t in range(count)]
    shortest = sorted(range(count), key=lambda t: (times[t], t))
    yield "sequential, shortest first", _sequence(graph, device, shortest)
    urgent = shortest
    if any(limit is not None for limit in limits):
        urgent = sorted(range(count), key=lambda t: (limits[t] if limits[t] is not None else float("inf"), times[t], t))
        yield "sequential, least limit first", _sequence(graph, device, urgent)
    if device.kind != "cpu":
        streams = tuple(replace(s, priority=count - 1 - urgent.index(n)) for n, s in enumerate(parallel.streams))
        yield "parallel, urgent first", parallel.replace(streams=streams)
        streams = tuple(replace(s, priority=shortest.index(n)) for n, s in enumerate(parallel.streams))
        yield "parallel, longest first", parallel.replace(streams=streams)
        for lanes_ in range(2, min(count, space.max_streams + 1)):
            yield f"packed on {lanes_} streams", packed(graph, device, simulator, lanes_, cores=None)
        branched_ = branched(space, simulator, parallel)
        if branched_ is not None:
            yield "branches on their own streams", branched_
        return
    if device.units == 1:
        return
    yield "parallel, each with all cores", parallel.replace(streams=tuple(Stream() for _ in parallel.streams))
    yield "parallel, cores by cluster", budget_cores(parallel, device)
    yield "parallel, tail with all cores", with_tail_cluster(parallel, graph, device, simulator)
    for lanes_ in range(2, min(count, device.units, space.max_streams) + 1):
        cores = max(1, device.units // lanes_)
        for name, schedule in (
            (f"packed on {lanes_} streams", packed(graph, device, simulator, lanes_, cores)),
            (f"wrapped around {lanes_} streams", wrapped(graph, device, simulator, lanes_, cores)),
        ):
            yield name, schedule
            yield f"{name}, tail with all cores", with_tail_cluster(schedule, graph, device, simulator)


def _solo_seconds(graph: MultiTenantGraph, simulator: Simulator, tenant: int, cores: int | None) -> float:
    return sum(_operator_seconds(graph, simulator, tenant, cores))


def _operator_seconds(graph: MultiTenantGraph, simulator: Simulator, tenant: int, cores: int | None) -> list[float]:
    rows = [(o.index, graph.tenants[tenant].batch, cores) for o in graph.tenant_operators(tenant)]
    simulator.table.prefetch(rows)
    return [simulator.table[row][0] + simulator.device.launch_seconds for row in rows]


def _sequence(graph: MultiTenantGraph, device: Device, tenants: Sequence[int]) -> Schedule:
    order = tuple((t, graph.tenants[t].count) for t in tenants if graph.tenants[t].count)
    return make.sequential(graph, device.name).replace(order=order)


def branched(space: Space, simulator: Simulator, parallel: Schedule) -> Schedule | None:
    """Parallel, with the chains of each tenant that can overlap on streams of their own; None where there are none."""
    graph = space.graph
    spare = space.max_streams - len(parallel.streams)
    streams = list(parallel.streams)
    tenants = list(parallel.tenants)
    for tenant in range(len(graph.tenants)):
        seconds = _operator_seconds(graph, simulator, tenant, None)
        packed_lanes = lanes(graph, tenant, 1 + spare, seconds)
        placement: dict[int, tuple[int, ...]] = {}
        for lane in packed_lanes[1:]:
            placement.update({p: (len(streams),) for chain in lane for p in chain})
            streams.append(Stream())
            spare -= 1
        tenants[tenant] = replace(tenants[tenant], placement=placement)
    if len(streams) == len(parallel.streams):
        return None
    return parallel.replace(tenants=tuple(tenants), streams=tuple(streams))


def wrapped(graph: MultiTenantGraph, device: Device, simulator: Simulator, streams: int, cores: int) -> Schedule:
    """All operators laid end to end and cut into equal shares, one a stream (McNaughton's wrap-around rule).

    A tenant that is cut runs its first part at the beginning of one stream and its second part at the end of
    another, so the parts do not overlap (unless the tenant alone is longer than a share, where its second part
    waits). The longest tenant goes first, whole.
    """
    seconds = [_operator_seconds(graph, simulator, t, cores) for t in range(len(graph.tenants))]
    share = max(sum(map(sum, seconds)) / streams, max(map(sum, seconds)))
    placement: list[dict[int, tuple[int, ...]]] = [{} for _ in seconds]
    begins: dict[tuple[int, int], float] = {}
    # Streams are filled from their end towards their beginning, and each tenant from its last operator to its first, so
    # that the part that spills over to the next stream is the tenant's first part, and lands at that stream's...
    # end; it is then moved to the beginning by filling that stream's other tenants behind it.
    stream, filled = 0, 0.0
    for tenant in sorted(range(len(seconds)), key=lambda t: (-sum(seconds[t]), t)):
        for position in reversed(range(len(seconds[tenant]))):
            took = seconds[tenant][position]
            if filled + took / 2 > share and stream < streams - 1:
                stream, filled = stream + 1, 0.0
            placement[tenant][position] = (stream,)
            filled += took
    for tenant, times in enumerate(seconds):
        whole = {s for (s,) in placement[tenant].values()}
        first_of = {s: [p for p, (q,) in placement[tenant].items() if q == s] for s in whole}
        for s, positions in first_of.items():
            spilled = len(whole) > 1 and s == max(whole)
            # Early parts are issued first, late parts last, whole tenants in between.
            base = 0.0 if spilled else share if len(whole) > 1 else share / 2
            for position in positions:
                begins[(tenant, position)] = base + sum(times[:position]) * 1e-3
    pointers: list[tuple[int, ...]] = [() for _ in seconds]
    order = issue_order(graph, pointers, key=lambda t, p: begins[(t, p)])
    assert order is not None
    return compressed(
        Schedule(
            graph=graph.fingerprint,
            device=device.name,
            tenants=tuple(
                TenantSchedule(
                    name=info.name, stream=min((s for (s,) in placement[n].values()), default=0), placement=placement[n]
                )
                for n, info in enumerate(graph.tenants)
            ),
            streams=tuple(Stream(cores=(cores,)) for _ in range(streams)),
            order=order,
            provenance=Provenance(strategy="wrapped"),
        )
    )


def packed(graph: MultiTenantGraph, device: Device, simulator: Simulator, streams: int, cores: int | None) -> Schedule:
    """Tenants placed whole on a few streams, the longest first on the stream that is free first (LPT)."""
    load = [0.0] * streams
    placed = [0] * len(graph.tenants)
    times = [_solo_seconds(graph, simulator, t, cores) for t in range(len(graph.tenants))]
    by_stream: list[list[int]] = [[] for _ in range(streams)]
    for tenant_index in sorted(range(len(times)), key=lambda t: (-times[t], t)):
        stream = min(range(streams), key=lambda s: (load[s], s))
        load[stream] += times[tenant_index]
        placed[tenant_index] = stream
        by_stream[stream].append(tenant_index)
    rounds = max(len(tenants) for tenants in by_stream)
    order = []
    for turn in range(rounds):
        order += [(t, graph.tenants[t].count) for s in by_stream for t in s[turn : turn + 1] if graph.tenants[t].count]
    return Schedule(
        graph=graph.fingerprint,
        device=device.name,
        tenants=tuple(TenantSchedule(name=t.name, stream=placed[n]) for n, t in enumerate(graph.tenants)),
        streams=tuple(Stream(cores=() if cores is None else (cores,)) for _ in range(streams)),
        order=tuple(order),
        provenance=Provenance(strategy="packed"),
    )


def with_tail_cluster(schedule: Schedule, graph: MultiTenantGraph, device: Device, simulator: Simulator) -> Schedule:
    """A pointer where the first stream runs dry, so that those left share all cores after it.

    Only for schedules without pointers; the operators that have not begun by then make the second cluster.
    """
    timeline = simulator.run(schedule)
    dry = min(
        (
            float(timeline.end[timeline.stream == s].max())
            for s in range(len(schedule.streams))
            if (timeline.stream == s).any()
        ),
        default=0.0,
    )
    pointers = []
    for index, tenant in enumerate(graph.tenants):
        late = timeline.operator[(timeline.tenant == index) & (timeline.start >= dry)]
        pointers.append((int(late.min()) - tenant.first if len(late) else tenant.count,))
    rank = {key: n for n, key in enumerate(schedule.issue())}
    order = issue_order(graph, pointers, schedule.waits, key=lambda t, p: rank[(t, p)])
    if order is None:
        return schedule
    cut = schedule.replace(
        tenants=tuple(replace(p, pointers=pointers[n]) for n, p in enumerate(schedule.tenants)),
        order=order,
    )
    return budget_cores(cut, device)
