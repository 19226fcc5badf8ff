"""A schedule on a graph lowered to the event loop's lists: chunks, streams, and which chunk waits for which."""

from __future__ import annotations

from collections.abc import Iterable

from ..cost.device import Device
from ..cost.model import Cost, Row
from ..graph.model import MultiTenantGraph
from ..schedule import Schedule
from .engine import Program

__all__ = ["CostTable", "Lowering", "local_edges"]


def _add_host(
    issue_seconds: float,
    seconds: list[float],
    width: list[float],
    bandwidth: list[float],
    stream_of: list[int],
    tenant_of: list[int],
    cluster_of: list[int],
    pending: list[int],
    successors: dict[int, list[int]],
    queues: list[list[int]],
) -> None:
    """The host that launches chunk after chunk, as one more stream of tasks that need no unit.

    Its tasks stand behind the chunks in every list, and in no cluster (-1): pointers do not hold the host up.
    """
    count = len(seconds)
    queues.append(list(range(count, 2 * count)))
    for chunk in range(count):
        successors.setdefault(count + chunk, []).append(chunk)
        pending[chunk] += 1
        seconds.append(issue_seconds)
        width.append(0.0)
        bandwidth.append(0.0)
        stream_of.append(len(queues) - 1)
        tenant_of.append(tenant_of[chunk])
        cluster_of.append(-1)
        pending.append(0)


class CostTable:
    """Looked-up costs: filled by batched estimates, read one by one.

    Each entry is (seconds alone, units, bytes a second).
    """

    def __init__(self, graph: MultiTenantGraph, device: Device, cost: Cost) -> None:
        self.graph = graph
        self.device = device
        self.cost = cost
        self._rows: dict[Row, tuple[float, float, float]] = {}

    def prefetch(self, rows: Iterable[Row]) -> None:
        """Estimate all rows not yet known in one batch."""
        missing = [row for row in dict.fromkeys(rows) if row not in self._rows]
        if not missing:
            return
        found = self.cost.estimate(self.graph, self.device, missing)
        units = float(self.device.units)
        for row, seconds, width, bandwidth in zip(
            missing, found.seconds.tolist(), found.width.tolist(), found.bandwidth.tolist(), strict=True
        ):
            # A kernel alone runs at rate 1 by definition, so it cannot want more than there is.
            self._rows[row] = (seconds, min(width, units), min(bandwidth, self.device.bandwidth))

    def __getitem__(self, row: Row) -> tuple[float, float, float]:
        entry = self._rows.get(row)
        if entry is None:
            self.prefetch([row])
            entry = self._rows[row]
        return entry


def local_edges(graph: MultiTenantGraph) -> list[list[tuple[int, bool]]]:
    """For each operator its predecessors, and whether a chunk needs only the overlapping items of the predecessor.

    It does where both can be cut into the same items and every argument that it reads from the predecessor follows the
    batch (`Chunking.rows` is not 0).
    """
    edges: list[list[tuple[int, bool]]] = []
    for operator in graph.operators:
        mine = []
        for before in operator.predecessors:
            writer = graph.operators[before]
            written = {graph.buffers[b].root for b in writer.writes}
            rows = [
                operator.chunking.rows[n] if n < len(operator.chunking.rows) else 0
                for n, b in enumerate(operator.reads)
                if graph.buffers[b].root in written
            ]
            same = operator.chunking.items == writer.chunking.items and operator.chunking.items > 1
            mine.append((before, same and bool(rows) and all(rows)))
        edges.append(mine)
    return edges


class Lowering:
    """Lowers any number of schedules of one graph on one device under one cost model."""

    def __init__(self, table: CostTable) -> None:
        self.table = table
        self.graph = table.graph
        self.device = table.device
        self._edges = local_edges(table.graph)
        self._first = [t.first for t in self.graph.tenants]
        self._batch = [t.batch for t in self.graph.tenants]

    def __call__(self, schedule: Schedule) -> tuple[Program, list[tuple[int, int, int]]]:
        """Lower `schedule`, which must be legal for the graph.

        Returns
        -------
        program
            For `execute`.
        chunks
            For each chunk (operator index, first item, one past its last item).
        """
        device, table = self.device, self.table
        launch, event = device.launch_seconds, device.event_seconds
        on_cpu = device.kind == "cpu"
        seconds: list[float] = []
        width: list[float] = []
        bandwidth: list[float] = []
        stream_of: list[int] = []
        tenant_of: list[int] = []
        cluster_of: list[int] = []
        pending: list[int] = []
        successors: dict[int, list[int]] = {}
        queues: list[list[int]] = [[] for _ in schedule.streams]
        left = [0] * schedule.clusters
        chunks: list[tuple[int, int, int]] = []
        made: list[range | None] = [None] * len(self.graph.operators)
        cores = [[s.cores_in(c) for c in range(schedule.clusters)] if on_cpu else None for s in schedule.streams]
        waits: dict[int, list[int]] = {}
        for wait in schedule.waits:
            before = self._first[wait.before[0]] + wait.before[1]
            waits.setdefault(self._first[wait.after[0]] + wait.after[1], []).append(before)
        done = [0] * len(schedule.tenants)
        cluster_now = [0] * len(schedule.tenants)
        for tenant, run in schedule.order:
            part = schedule.tenants[tenant]
            batch, first = self._batch[tenant], self._first[tenant]
            pointers, splits, placement = part.pointers, part.splits, part.placement
            cluster = cluster_now[tenant]
            for position in range(done[tenant], done[tenant] + run):
                while cluster < len(pointers) and pointers[cluster] <= position:
                    cluster += 1
                index = first + position
                sizes = splits.get(position, (batch,))
                streams = placement.get(position)
                begin = len(chunks)
                low = 0
                for n, size in enumerate(sizes):
                    stream = part.stream if streams is None else streams[n]
                    chunk = len(chunks)
                    high = low + size
                    budget = cores[stream]
                    alone, units, moved = table[(index, size, None if budget is None else budget[cluster])]
                    events = 0
                    for before, local in self._edges[index]:
                        earlier = made[before]
                        assert earlier is not None, "operators are issued after what they read"
                        for other in earlier:
                            if stream_of[other] == stream:
                                continue  # in-order streams need no event
                            if local and (chunks[other][1] >= high or chunks[other][2] <= low):
                                continue
                            successors.setdefault(other, []).append(chunk)
                            events += 1
                    if waits and index in waits:
                        for before in waits[index]:
                            earlier = made[before]
                            assert earlier is not None, "waits name operators issued earlier"
                            for other in earlier:
                                if stream_of[other] != stream:
                                    successors.setdefault(other, []).append(chunk)
                                    events += 1
                    total = alone + launch + (event if events else 0.0)
                    share = alone / total
                    seconds.append(total)
                    width.append(units * share)
                    bandwidth.append(moved * share)
                    stream_of.append(stream)
                    tenant_of.append(tenant)
                    cluster_of.append(cluster)
                    pending.append(events)
                    queues[stream].append(chunk)
                    chunks.append((index, low, high))
                    low = high
                made[index] = range(begin, len(chunks))
                left[cluster] += len(sizes)
            done[tenant] += run
            cluster_now[tenant] = cluster
        if device.issue_seconds > 0:
            _add_host(
                device.issue_seconds,
                seconds,
                width,
                bandwidth,
                stream_of,
                tenant_of,
                cluster_of,
                pending,
                successors,
                queues,
            )
            left.append(len(chunks))
        program = Program(
            seconds,
            width,
            bandwidth,
            stream_of,
            tenant_of,
            cluster_of,
            [index for index, _, _ in chunks] + [-1] * (len(seconds) - len(chunks)),
            pending,
            successors,
            queues,
            left,
            [s.priority for s in schedule.streams] + [0] * (len(queues) - len(schedule.streams)),
            schedule.clusters,
        )
        return program, chunks
