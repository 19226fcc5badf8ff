"""What a plan means, the slow way: all pairs of launches, all bytes, nothing clever.

Happens-before is the transitive closure of stream order and waits. A plan is sound if it has no cycle, if every two
launches that touch a byte of which at least one writes it are ordered, and if every byte read was last written as a
byte of the same buffer.
"""

from __future__ import annotations

from gacer_tvm.graph.model import MultiTenantGraph
from gacer_tvm.plan import Launch, LaunchPlan

# Address space ("arena" or a root buffer), first and one past the last byte, root buffer.
Range = tuple[object, int, int, int]


def happens_before(plan: LaunchPlan) -> list[set[int]] | None:
    """For each launch those that must have finished before it starts; None if some launch waits for itself."""
    direct: list[set[int]] = [set(launch.waits) for launch in plan.launches]
    for launch in plan.launches:
        same = [other.index for other in plan.launches[: launch.index] if other.stream == launch.stream]
        if same:
            direct[launch.index].add(same[-1])
    closed = [set(before) for before in direct]
    changed = True
    while changed:
        changed = False
        for before in closed:
            more = set().union(*(closed[b] for b in before)) - before if before else set()
            if more:
                before |= more
                changed = True
    return None if any(n in before for n, before in enumerate(closed)) else closed


def touched(plan: LaunchPlan, graph: MultiTenantGraph, launch: Launch) -> tuple[list[Range], list[Range]]:
    """Bytes that a launch reads and writes, by the operator's definition: its items of batched arguments, all of others."""
    operator = graph.operators[launch.operator]
    found: tuple[list[Range], list[Range]] = ([], [])
    for n, b in enumerate(operator.reads + operator.writes):
        buffer = graph.buffers[b]
        start, stop = 0, buffer.nbytes
        rows = operator.chunking.rows[n] if operator.chunking.items > 1 else 0
        if rows:
            row = buffer.nbytes // buffer.shape[0]
            start, stop = launch.first * rows * row, (launch.first + launch.items) * rows * row
        root = graph.buffers[buffer.root]
        space: object = root.index
        if root.index in plan.placement.offsets:
            space = "arena"
            start, stop = (
                start + plan.placement.offsets[root.index],
                stop + plan.placement.offsets[root.index],
            )
        found[n >= len(operator.reads)].append((space, start, stop, root.index))
    return found


def is_sound(plan: LaunchPlan, graph: MultiTenantGraph) -> bool:
    """Whether every execution that streams and waits allow computes what the graph says."""
    before = happens_before(plan)
    if before is None:
        return False
    for root, offset in plan.placement.offsets.items():
        if offset < 0 or offset + graph.buffers[root].nbytes > plan.placement.arena_bytes:
            return False
    ranges = [touched(plan, graph, launch) for launch in plan.launches]
    writes = [(n, *r) for n, (_, written) in enumerate(ranges) for r in written]
    reads = [(n, *r) for n, (read, _) in enumerate(ranges) for r in read]
    everything = [(*w, True) for w in writes] + [(*r, False) for r in reads]
    for a, (n, space, start, stop, _, _) in enumerate(everything[: len(writes)]):
        for b, (m, space2, start2, stop2, _, _) in enumerate(everything):
            if a == b or space != space2 or max(start, start2) >= min(stop, stop2):
                continue
            if n == m or (n not in before[m] and m not in before[n]):
                return False
    bounds = sorted({(str(s), x) for _, s, start, stop, _ in writes + reads for x in (start, stop)})
    for n, space, start, stop, root in reads:
        kind = graph.buffers[root].kind
        cells = [x for s, x in bounds if s == str(space) and start <= x < stop]
        for cell in cells:
            earlier = [
                (m, written)
                for m, s, first, end, written in writes
                if s == space and first <= cell < end and m in before[n]
            ]
            if not earlier:
                if kind in ("input", "constant") and space != "arena":
                    continue
                return False
            last = max(earlier, key=lambda w: len(before[w[0]]))
            if last[1] != root:
                return False
    return True


def live_together(plan: LaunchPlan, graph: MultiTenantGraph) -> list[tuple[str, str]]:
    """Pairs of buffers that share an address although neither is certainly dead before the other is written."""
    before = happens_before(plan)
    assert before is not None
    users: dict[int, set[int]] = {}
    for launch in plan.launches:
        operator = graph.operators[launch.operator]
        for b in operator.reads + operator.writes:
            users.setdefault(graph.buffers[b].root, set()).add(launch.index)
    offsets = plan.placement.offsets
    found = []
    for a in offsets:
        for b in offsets:
            if a >= b or max(offsets[a], offsets[b]) >= min(
                offsets[a] + graph.buffers[a].nbytes, offsets[b] + graph.buffers[b].nbytes
            ):
                continue
            first_dead = all(x in before[y] for x in users[a] for y in users[b])
            second_dead = all(y in before[x] for x in users[a] for y in users[b])
            if not first_dead and not second_dead:
                found.append((graph.buffers[a].name, graph.buffers[b].name))
    return found
