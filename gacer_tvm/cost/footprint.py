"""What a round of a set of tenants touches: whether a kernel finds its weights in the cache is decided by that."""

from __future__ import annotations

from ..graph.model import MultiTenantGraph

__all__ = ["mebibytes", "round_bytes"]


def round_bytes(graph: MultiTenantGraph) -> int:
    """Bytes between two uses of a weight when tenants run in turn: parameters, inputs, outputs, and live intermediates.

    Intermediates count at the peak of those alive at once, since their memory is used again and again.
    """
    last: dict[int, int] = {}
    for operator in graph.operators:
        for index in (*operator.reads, *operator.writes):
            last[graph.buffers[index].root] = operator.index
    held = peak = 0
    seen: set[int] = set()
    total = 0
    for buffer in graph.buffers:
        if buffer.kind != "intermediate" and buffer.root == buffer.index:
            total += buffer.nbytes
    for operator in graph.operators:
        for index in operator.writes:
            root = graph.buffers[index].root
            if graph.buffers[root].kind == "intermediate" and root not in seen:
                seen.add(root)
                held += graph.buffers[root].nbytes
        peak = max(peak, held)
        for index in dict.fromkeys(graph.buffers[b].root for b in (*operator.reads, *operator.writes)):
            if index in seen and last[index] == operator.index:
                held -= graph.buffers[index].nbytes
    return total + peak


def mebibytes(graph: MultiTenantGraph) -> float:
    """`round_bytes` as measurements tell it (`gacer_tvm.cost.rows.Alone.w`)."""
    return round(round_bytes(graph) / 2**20, 2)
