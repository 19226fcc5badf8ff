"""When a schedule is legal, the slow way: straight from the words of its docstrings."""

from __future__ import annotations

from gacer_tvm.graph.model import MultiTenantGraph
from gacer_tvm.schedule import Schedule


def is_legal(schedule: Schedule, graph: MultiTenantGraph) -> bool:
    """Whether `schedule` means something for `graph`."""
    if schedule.graph != graph.fingerprint or [t.name for t in schedule.tenants] != [
        t.name for t in graph.tenants
    ]:
        return False
    streams = range(len(schedule.streams))
    clusters = len(schedule.tenants[0].pointers) + 1
    if not schedule.streams:
        return False
    for stream in schedule.streams:
        if len(stream.cores) not in (0, 1, clusters) or any(c < 1 for c in stream.cores):
            return False
    for index, part in enumerate(schedule.tenants):
        info, operators = graph.tenants[index], graph.tenant_operators(index)
        marks = list(part.pointers)
        if (
            len(marks) != clusters - 1
            or marks != sorted(marks)
            or any(m not in range(info.count + 1) for m in marks)
        ):
            return False
        if part.stream not in streams:
            return False
        for position, sizes in part.splits.items():
            if position not in range(info.count) or any(s < 1 for s in sizes) or sum(sizes) != info.batch:
                return False
            if len(sizes) > 1 and not operators[position].chunking.divisible:
                return False
        for position, chosen in part.placement.items():
            if position not in range(info.count) or any(s not in streams for s in chosen):
                return False
            if len(chosen) != len(part.splits.get(position, (info.batch,))):
                return False
    issued: list[tuple[int, int]] = []
    done = [0] * len(graph.tenants)
    for tenant, count in schedule.order:
        if tenant not in range(len(graph.tenants)) or count < 1:
            return False
        issued += [(tenant, done[tenant] + k) for k in range(count)]
        done[tenant] += count
    if done != [t.count for t in graph.tenants]:
        return False
    cluster = [sum(p <= position for p in schedule.tenants[t].pointers) for t, position in issued]
    if cluster != sorted(cluster):
        return False
    return all(
        w.before in issued and w.after in issued and issued.index(w.before) < issued.index(w.after)
        for w in schedule.waits
    )
