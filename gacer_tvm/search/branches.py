"""The chains of a tenant's graph: what can run side by side inside one tenant."""

from __future__ import annotations

from ..graph.model import MultiTenantGraph

__all__ = ["chains", "lanes"]


def chains(graph: MultiTenantGraph, tenant: int) -> list[tuple[int, ...]]:
    """Cover the tenant's operators by chains, each continued by a reader of its last operator.

    Where an operator has several readers, the one with the most work behind it continues the chain; the others
    begin chains of their own (for a residual block: the main path, and the projection beside it). Positions ascend
    inside a chain; the chains come in order of their first operator.
    """
    info = graph.tenants[tenant]
    behind = [0.0] * info.count
    for operator in reversed(graph.tenant_operators(tenant)):
        after = [behind[s - info.first] for s in graph.successors[operator.index]]
        behind[operator.position] = 1.0 + max(after, default=0.0)
    taken = [False] * info.count
    found: list[tuple[int, ...]] = []
    for start in range(info.count):
        if taken[start]:
            continue
        chain = [start]
        taken[start] = True
        while True:
            free = [s - info.first for s in graph.successors[info.first + chain[-1]] if not taken[s - info.first]]
            if not free:
                break
            chain.append(max(free, key=lambda p: (behind[p], -p)))
            taken[chain[-1]] = True
        found.append(tuple(chain))
    return found


def lanes(graph: MultiTenantGraph, tenant: int, most: int, seconds: list[float]) -> list[list[tuple[int, ...]]]:
    """Pack the chains into at most `most` lanes so that chains of a lane do not overlap when nothing limits them.

    Parameters
    ----------
    seconds
        Duration of each position, for the earliest possible times.

    Returns
    -------
    lanes
        The first holds the longest chain; chains that fit nowhere go to it too.
    """
    info = graph.tenants[tenant]
    end = [0.0] * info.count
    for operator in graph.tenant_operators(tenant):
        begin = max((end[p - info.first] for p in operator.predecessors), default=0.0)
        end[operator.position] = begin + seconds[operator.position]
    packed: list[list[tuple[int, ...]]] = []
    free: list[float] = []
    for chain in sorted(chains(graph, tenant), key=lambda c: end[c[0]] - seconds[c[0]]):
        begin, finish = end[chain[0]] - seconds[chain[0]], end[chain[-1]]
        fitting = [n for n, until in enumerate(free) if until <= begin + 1e-12]
        lane = fitting[0] if fitting else len(packed) if len(packed) < most else 0
        if lane == len(packed):
            packed.append([])
            free.append(0.0)
        packed[lane].append(chain)
        free[lane] = max(free[lane], finish)
    packed.sort(key=lambda lane: (-sum(seconds[p] for c in lane for p in c), lane[0]))
    return packed
