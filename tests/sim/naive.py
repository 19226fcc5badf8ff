"""The simulator's rules once more, as slow and plain as possible: what the event loop is compared with.

It reads the schedule itself (it shares nothing with the lowering), keeps remaining work in exact fractions of a
chunk, and works out every rate anew at every event.
"""

from __future__ import annotations

from gacer_tvm.cost import Device
from gacer_tvm.graph.model import MultiTenantGraph
from gacer_tvm.schedule import Schedule


def naive(
    schedule: Schedule,
    graph: MultiTenantGraph,
    device: Device,
    table: dict[tuple[int, int, int | None], tuple[float, float, float]],
    *,
    leftover: bool,
    units: float,
    bandwidth: float,
    pairs: list[list[float]] | None = None,
) -> dict[tuple[int, int, int], tuple[float, float]]:
    """Start and end of every chunk, by (operator, first item, one past the last)."""
    tasks = []
    for tenant, position in schedule.issue():
        part, info = schedule.tenants[tenant], graph.tenants[tenant]
        operator = graph.operators[info.first + position]
        cluster = part.cluster_of(position)
        low = 0
        for size, stream in zip(part.chunks(position, info.batch), part.streams_at(position), strict=True):
            tasks.append(
                {"op": operator, "low": low, "high": low + size, "stream": stream, "cluster": cluster, "tenant": tenant}
            )
            low += size
    for n, task in enumerate(tasks):
        operator = task["op"]
        task["same"] = [m for m in range(n) if tasks[m]["stream"] == task["stream"]]
        data = set()
        for m in range(n):
            other = tasks[m]
            if other["op"].index in operator.predecessors:
                written = {graph.buffers[b].root for b in other["op"].writes}
                rows = [
                    operator.chunking.rows[k] for k, b in enumerate(operator.reads) if graph.buffers[b].root in written
                ]
                row_local = (
                    operator.chunking.items > 1
                    and other["op"].chunking.items == operator.chunking.items
                    and rows
                    and all(rows)
                )
                if not row_local or (other["low"] < task["high"] and task["low"] < other["high"]):
                    data.add(m)
            for wait in schedule.waits:
                after = graph.tenants[wait.after[0]].first + wait.after[1]
                before = graph.tenants[wait.before[0]].first + wait.before[1]
                if operator.index == after and other["op"].index == before:
                    data.add(m)
        task["needs"] = data
        foreign = [m for m in data if tasks[m]["stream"] != task["stream"]]
        cores = schedule.streams[task["stream"]].cores_in(task["cluster"]) if device.kind == "cpu" else None
        seconds, width, demand = table[(operator.index, task["high"] - task["low"], cores)]
        total = seconds + device.launch_seconds + (device.event_seconds if foreign else 0.0)
        task.update(left=total, width=width * seconds / total, demand=demand * seconds / total)
    now = 0.0
    started: list[int] = []
    begun: dict[int, float] = {}
    ended: dict[int, float] = {}
    opened = min(task["cluster"] for task in tasks)
    while len(ended) < len(tasks):
        for n, task in enumerate(tasks):
            if n in begun or task["cluster"] > opened:
                continue
            if all(m in ended for m in task["needs"]) and all(m in ended for m in task["same"]):
                begun[n] = now
                started.append(n)
        running = sorted(
            (n for n in started if n not in ended),
            key=lambda n: (-schedule.streams[tasks[n]["stream"]].priority if leftover else 0, started.index(n)),
        )
        rates = {}
        if leftover:
            spare = units
            blocked = False
            for n in running:
                need = tasks[n]["width"]
                # A kernel takes its blocks only after those before it have all theirs.
                rates[n] = 0.0 if blocked else min(1.0, spare / need)
                spare -= rates[n] * need
                blocked = blocked or rates[n] < 1.0
            moved = sum(rates[n] * tasks[n]["demand"] for n in running)
            slow = max(1.0, moved / bandwidth)
        else:
            rates = dict.fromkeys(running, 1.0)
            x = sum(tasks[n]["width"] for n in running) / units
            slow = max(1.0, x + device.oversubscription_loss * (x - 1.0) if x > 1 else 1.0)
            slow = max(slow, sum(tasks[n]["demand"] for n in running) / bandwidth)
        if pairs is not None:
            each = [sum(pairs[tasks[n]["op"].index][tasks[m]["op"].index] for m in running if m != n) for n in running]
            slow *= 1 + sum(each) / len(running)
        steps = [(tasks[n]["left"] / rates[n], k, n) for k, n in enumerate(running) if rates[n] > 1e-12]
        step, _, first = min(steps)
        for n in running:
            tasks[n]["left"] -= rates[n] * step
        now += step * slow
        ended[first] = now
        unfinished = [task["cluster"] for n, task in enumerate(tasks) if n not in ended]
        if unfinished and min(unfinished) > opened:
            opened = min(unfinished)
            now += device.sync_seconds
    return {(task["op"].index, task["low"], task["high"]): (begun[n], ended[n]) for n, task in enumerate(tasks)}
