"""The event loop: in-order streams of malleable kernels that share units and memory bandwidth.

A kernel of duration d and width w progresses at rate 1 while the running kernels fit. When they want more units
than there are, the units are shared:

``proportional`` (threads on CPU cores)
    every running kernel slows by the same factor ``max(1, sum w / units, sum b / bandwidth)``. As all slow
    together, the *order* of everything that happens does not depend on the capacity, only the clock does: more
    capacity can never make anything later (no scheduling anomalies).
``leftover`` (blocks on SMs)
    kernels take their width in the order of their start, higher stream priority first; later ones get what is left.
    This is how block schedulers of GPUs behave (a kernel that fills the device holds the others up; what chunks are
    for). Only bandwidth slows all together. Here a larger device may in rare cases be slower: Graham's anomalies.

The clock of progress `v` (virtual time) runs with the unslowed kernels, so that starting and finishing one touches
only those that are held up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import ScheduleError

__all__ = ["Outcome", "Program", "execute"]


@dataclass(frozen=True, slots=True)
class Program:
    """A schedule lowered to lists over chunks (in order of issue) and streams.

    Attributes
    ----------
    seconds, width, bandwidth
        Of each chunk: duration with its overheads, average units and average bytes a second over that duration.
    stream, tenant, cluster, operator
        Of each chunk.
    pending
        How many events each chunk waits for.
    successors
        Chunk to the chunks that wait for its event.
    queues
        Chunks of each stream in order.
    left
        Chunks of each cluster.
    priority
        Of each stream.
    clusters
        How many; `left` has one entry more where there are tasks of no cluster (number -1).
    """

    seconds: list[float]
    width: list[float]
    bandwidth: list[float]
    stream: list[int]
    tenant: list[int]
    cluster: list[int]
    operator: list[int]
    pending: list[int]
    successors: dict[int, list[int]]
    queues: list[list[int]]
    left: list[int]
    priority: list[int]
    clusters: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """Start and end of each chunk, latency of each tenant, in seconds."""

    start: list[float]
    end: list[float]
    latency: list[float]
    makespan: float


def execute(
    program: Program,
    units: float,
    bandwidth: float,
    *,
    leftover: bool,
    sync_seconds: float,
    tenants: int,
    loss: float = 0.0,
    friction: Sequence[Sequence[float]] | None = None,
) -> Outcome:
    """Run `program`.

    Parameters
    ----------
    units, bandwidth
        Capacities.
    leftover
        Which way of sharing, see above.
    sync_seconds
        Cost of a barrier.
    tenants
        How many latencies to tell.
    loss
        Under proportional sharing: what threads beyond the units cost on top, ``slow = x + loss (x - 1)`` for x
        threads a unit.
    friction
        For each pair of operators what they slow each other by beyond that (`InterferingCost.interference`); the last
        row and column, zeros, are for tasks of no operator (-1).

    Raises
    ------
    ScheduleError
        Where streams wait for each other in a circle.
    """
    seconds, width, demand = program.seconds, program.width, program.bandwidth
    stream_of, tenant_of, cluster_of = program.stream, program.tenant, program.cluster
    queues, successors, priority = program.queues, program.successors, program.priority
    pending, left = program.pending.copy(), program.left.copy()
    count = len(seconds)
    start, end, latency = [0.0] * count, [0.0] * count, [0.0] * tenants
    cursor = [0] * len(queues)
    lengths = [len(queue) for queue in queues]
    ordered = leftover and any(priority)
    running: list[int] = []  # chunks at work, first served first
    finish: list[float] = []  # their ends in virtual time, beside `running`
    now = clock = wanted = streaming = rubbing = 0.0
    operator_of = program.operator
    unit_limit, stream_limit = units * (1 + 1e-12), bandwidth * (1 + 1e-12)
    cluster, last = 0, program.clusters - 1
    while cluster < last and left[cluster] == 0:
        cluster += 1
    wake: list[int] = list(range(len(queues)))
    done = 0
    while done < count:
        if len(wake) > 1:
            # What becomes ready at the same moment starts in the order of issue.
            wake = sorted(wake, key=lambda s: queues[s][cursor[s]] if cursor[s] < lengths[s] else count)
        for stream in wake:
            place = cursor[stream]
            if place >= lengths[stream]:
                continue
            chunk = queues[stream][place]
            if pending[chunk] or cluster_of[chunk] > cluster:
                continue
            # pending < 0 marks a chunk as started, so that a stream woken twice does not start it twice.
            pending[chunk] = -1
            start[chunk] = now
            if friction is not None:
                row = friction[operator_of[chunk]]
                for other in running:
                    rubbing += row[operator_of[other]]
            if ordered:
                at = len(running)
                while at and priority[stream_of[running[at - 1]]] < priority[stream]:
                    at -= 1
                running.insert(at, chunk)
                finish.insert(at, clock + seconds[chunk])
            else:
                running.append(chunk)
                finish.append(clock + seconds[chunk])
            wanted += width[chunk]
            streaming += demand[chunk]
        if not running:
            raise ScheduleError(
                f"deadlock: {count - done} of {count} chunks can never start, because streams wait for each other in a "
                f"circle; issue the awaited operators first"
            )
        if wanted <= unit_limit or not leftover:
            until = min(finish)
            which = finish.index(until)
            slow = wanted / units * (1.0 + loss) - loss if wanted > unit_limit else 1.0
            if streaming > stream_limit and streaming > slow * bandwidth:
                slow = streaming / bandwidth
            if rubbing > 0.0:
                slow *= 1.0 + 2.0 * rubbing / len(running)
            now += (until - clock) * slow
            clock = until
        else:
            # First come, first served: full rate while units are left, the rest for the next, nothing after it.
            spare, moved, until, which, cut, rate = units, 0.0, float("inf"), -1, len(running), 0.0
            for at, chunk in enumerate(running):
                need = width[chunk]
                if need <= spare:
                    spare -= need
                    moved += demand[chunk]
                    if finish[at] < until:
                        until, which = finish[at], at
                else:
                    cut, rate = at, spare / need
                    moved += demand[chunk] * rate
                    if rate > 1e-12:
                        late = clock + (finish[at] - clock) / rate
                        if late < until:
                            until, which = late, at
                    break
            step = until - clock
            for at in range(cut + 1, len(running)):
                # Pure latency needs no unit.
                if width[running[at]] <= 0.0 and finish[at] < until:
                    until, which, step = finish[at], at, finish[at] - clock
            for at in range(cut, len(running)):
                if at == cut:
                    finish[at] += step * (1.0 - rate)
                elif width[running[at]] > 0.0:
                    finish[at] += step
            slow = moved / bandwidth if moved > stream_limit else 1.0
            if rubbing > 0.0:
                slow *= 1.0 + 2.0 * rubbing / len(running)
            now += step * slow
            clock = until
        chunk = running.pop(which)
        del finish[which]
        done += 1
        end[chunk] = now
        latency[tenant_of[chunk]] = now
        if running:
            wanted -= width[chunk]
            streaming -= demand[chunk]
            if friction is not None:
                row = friction[operator_of[chunk]]
                for other in running:
                    rubbing -= row[operator_of[other]]
        else:
            wanted = streaming = rubbing = 0.0
        stream = stream_of[chunk]
        cursor[stream] += 1
        left[cluster_of[chunk]] -= 1
        if left[cluster] == 0 and cluster < last:
            # Everything before the pointer is done, so nothing runs and the barrier's cost is plain time.
            while cluster < last and left[cluster] == 0:
                cluster += 1
            if left[cluster]:
                now += sync_seconds
            wake = list(range(len(queues)))
            for after in successors.get(chunk, ()):
                pending[after] -= 1
        elif chunk in successors:
            woken = [stream]
            for after in successors[chunk]:
                pending[after] -= 1
                if pending[after] == 0:
                    woken.append(stream_of[after])
            wake = woken
        else:
            wake = [stream]
    return Outcome(start, end, latency, now)
