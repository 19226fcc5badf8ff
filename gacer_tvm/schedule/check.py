"""Is a schedule legal for a graph? Every refusal names the tenant, the operator, what was expected and found."""

from __future__ import annotations

from ..errors import ScheduleError
from ..graph.model import MultiTenantGraph, Operator
from .schedule import FORMAT, Schedule, TenantSchedule

__all__ = ["check"]


def check(schedule: Schedule, graph: MultiTenantGraph, device: str | None = None) -> Schedule:
    """Return `schedule` if it is legal for `graph` (and made for `device`, where given).

    Raises
    ------
    ScheduleError
        Naming the tenant, the operator, what was expected, what was found and what to do.
    """
    if schedule.format != FORMAT:
        raise ScheduleError(f"schedule has format {schedule.format}, expected {FORMAT}; write it anew with search()")
    if schedule.graph != graph.fingerprint:
        raise ScheduleError(
            f"schedule was made for graph {schedule.graph}, these tenants are graph {graph.fingerprint}"
            f"{_tenant_difference(schedule, graph)}; search again for these tenants"
        )
    if device is not None and schedule.device != device:
        raise ScheduleError(
            f"schedule was made for device {schedule.device!r}, expected {device!r}; search again on this device"
        )
    names = [tenant.name for tenant in schedule.tenants]
    expected = [tenant.name for tenant in graph.tenants]
    if names != expected:
        raise ScheduleError(f"schedule names tenants {names}, expected {expected} in this order")
    if not schedule.streams:
        raise ScheduleError("schedule has no stream, expected at least one")
    clusters = schedule.clusters
    for number, stream in enumerate(schedule.streams):
        if len(stream.cores) not in (0, 1, clusters) or any(c < 1 for c in stream.cores):
            raise ScheduleError(
                f"stream {number}: cores {list(stream.cores)}, expected none, one positive number, or one for each of "
                f"the {clusters} clusters"
            )
    for index, tenant in enumerate(schedule.tenants):
        _check_tenant(schedule, graph, index, tenant)
    _check_order(schedule, graph)
    _check_waits(schedule, graph)
    return schedule


def _tenant_difference(schedule: Schedule, graph: MultiTenantGraph) -> str:
    theirs = [tenant.name for tenant in schedule.tenants]
    ours = [tenant.name for tenant in graph.tenants]
    if theirs != ours:
        return f" (its tenants are {theirs}, these are {ours})"
    return " (same tenant names, but another model, shape, batch or lowering)"


def _check_tenant(schedule: Schedule, graph: MultiTenantGraph, index: int, tenant: TenantSchedule) -> None:
    operators = graph.tenant_operators(index)
    count, batch = len(operators), graph.tenants[index].batch
    if len(tenant.pointers) != schedule.clusters - 1:
        raise ScheduleError(
            f"tenant {tenant.name!r}: {len(tenant.pointers)} pointers, expected {schedule.clusters - 1} as "
            f"{schedule.tenants[0].name!r} has; every tenant needs equally many"
        )
    if any(not 0 <= p <= count for p in tenant.pointers) or list(tenant.pointers) != sorted(tenant.pointers):
        raise ScheduleError(
            f"tenant {tenant.name!r}: pointers {list(tenant.pointers)}, expected ascending positions in 0..{count}"
        )
    _check_stream(schedule, tenant, None, tenant.stream)
    for position, sizes in tenant.splits.items():
        operator = _operator_at(operators, tenant, position, "splits")
        if not operator.chunking.divisible and tuple(sizes) != (batch,):
            raise ScheduleError(
                f"tenant {tenant.name!r}, operator {operator.name!r}: split into {list(sizes)}, but it cannot be cut: "
                f"{operator.chunking.refusal}; remove the split"
            )
        if any(s < 1 for s in sizes) or sum(sizes) != batch:
            raise ScheduleError(
                f"tenant {tenant.name!r}, operator {operator.name!r}: chunks {list(sizes)}, expected positive sizes "
                f"that add up to the batch {batch}"
            )
    for position, streams in tenant.placement.items():
        operator = _operator_at(operators, tenant, position, "placement")
        chunks = len(tenant.chunks(position, batch))
        if len(streams) != chunks:
            raise ScheduleError(
                f"tenant {tenant.name!r}, operator {operator.name!r}: {len(streams)} streams for {chunks} chunks; "
                f"give one stream a chunk"
            )
        for stream in streams:
            _check_stream(schedule, tenant, operator, stream)


def _operator_at(operators: tuple[Operator, ...], tenant: TenantSchedule, position: int, where: str) -> Operator:
    if not 0 <= position < len(operators):
        raise ScheduleError(
            f"tenant {tenant.name!r}: {where} names position {position}, expected 0..{len(operators) - 1}"
        )
    return operators[position]


def _check_stream(schedule: Schedule, tenant: TenantSchedule, operator: Operator | None, stream: int) -> None:
    if not 0 <= stream < len(schedule.streams):
        where = f", operator {operator.name!r}" if operator is not None else ""
        raise ScheduleError(
            f"tenant {tenant.name!r}{where}: stream {stream}, expected 0..{len(schedule.streams) - 1}"
        )


def _check_order(schedule: Schedule, graph: MultiTenantGraph) -> None:
    done = [0] * len(graph.tenants)
    cluster = 0
    for tenant, count in schedule.order:
        if not 0 <= tenant < len(done) or count < 1:
            raise ScheduleError(f"order entry ({tenant}, {count}): expected a tenant index and a positive count")
        first, last = done[tenant], done[tenant] + count - 1
        info = graph.tenants[tenant]
        if last >= info.count:
            raise ScheduleError(
                f"order issues {last + 1} operators of tenant {info.name!r}, expected exactly {info.count}"
            )
        part = schedule.tenants[tenant]
        low, high = part.cluster_of(first), part.cluster_of(last)
        if low < cluster:
            raise ScheduleError(
                f"order issues operator {first} of tenant {info.name!r} (cluster {low}) after cluster {cluster} has "
                f"begun; issue cluster by cluster"
            )
        if high > low and any(
            done[t] < _cluster_end(schedule, graph, t, high - 1) for t in range(len(done)) if t != tenant
        ):
            raise ScheduleError(
                f"order entry ({tenant}, {count}) crosses pointer {high - 1} of tenant {info.name!r} before the others "
                f"have reached theirs; issue cluster by cluster"
            )
        if low > cluster and any(
            done[t] < _cluster_end(schedule, graph, t, low - 1) for t in range(len(done)) if t != tenant
        ):
            raise ScheduleError(
                f"order begins cluster {low} of tenant {info.name!r} before the others have finished cluster {low - 1}"
            )
        cluster = max(cluster, high)
        done[tenant] += count
    for tenant, issued in enumerate(done):
        info = graph.tenants[tenant]
        if issued != info.count:
            raise ScheduleError(
                f"order issues {issued} operators of tenant {info.name!r}, expected exactly {info.count}"
            )


def _cluster_end(schedule: Schedule, graph: MultiTenantGraph, tenant: int, cluster: int) -> int:
    pointers = schedule.tenants[tenant].pointers
    return pointers[cluster] if cluster < len(pointers) else graph.tenants[tenant].count


def _check_waits(schedule: Schedule, graph: MultiTenantGraph) -> None:
    if not schedule.waits:
        return
    rank = {key: n for n, key in enumerate(schedule.issue())}
    for wait in schedule.waits:
        for end in (wait.before, wait.after):
            if end not in rank:
                raise ScheduleError(
                    f"wait {wait.before} -> {wait.after}: no operator {end}; expected (tenant, position)"
                )
        if rank[wait.before] >= rank[wait.after]:
            raise ScheduleError(
                f"{_end(graph, wait.after)} waits for {_end(graph, wait.before)}, which is issued later and would "
                f"deadlock; issue it first"
            )


def _end(graph: MultiTenantGraph, end: tuple[int, int]) -> str:
    info = graph.tenants[end[0]]
    return f"tenant {info.name!r}, operator {graph.operators[info.first + end[1]].name!r}"
