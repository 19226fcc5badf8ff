"""Proves that a launch plan computes what its graph says, without a race or a deadlock, however the plan was made.

Nothing of how plans are lowered is believed. Which bytes a launch touches is worked out from its operator, its first
item and its kernel's arguments; what comes before what, from streams and waits alone; where bytes lie, from the
placement. Walking the launches in an order that streams and waits allow, the checker keeps for every range of addresses
its last writer and the readers since, and demands that

* a read finds bytes of its own buffer, and is ordered after the launch that wrote them,
* a write is ordered after the last writer and after every reader since,
* a launch does not write what it reads itself, and every item of every operator is computed exactly once.

Ordering is transitive, so earlier accesses are covered by the ones kept: every conflicting pair (read-write,
write-write) on overlapping memory is ordered, reused memory included, and every order of execution that streams and
waits allow gives the same bytes.
"""

from __future__ import annotations

from bisect import bisect_left

from ..errors import PlanError
from ..graph.model import MultiTenantGraph
from .model import Launch, LaunchPlan

__all__ = ["check_plan"]


def check_plan(plan: LaunchPlan, graph: MultiTenantGraph) -> None:
    """Raise unless every conflicting pair of accesses is ordered, no wait can deadlock, and nothing is left out.

    Raises
    ------
    PlanError
        Naming the two launches (tenant, operator, chunk), the memory they share, and the missing order.
    """
    launches = plan.launches
    _check_launches(plan, graph)
    footprints = _Footprints(plan, graph)
    # What has certainly finished when a launch starts: for each stream, how many of its launches.
    after = [[0] * plan.streams for _ in range(plan.streams)]
    clocks: list[list[int]] = [[]] * len(launches)
    place = [0] * len(launches)
    for n in _topological(plan, graph):
        launch = launches[n]
        own = launch.stream
        clock = after[own].copy()
        for before in launch.waits:
            other = launches[before].stream
            if clock[other] <= place[before]:
                for s, count in enumerate(clocks[before]):
                    if count > clock[s]:
                        clock[s] = count
                clock[other] = max(clock[other], place[before] + 1)
        clocks[n] = clock
        place[n] = clock[own]
        following = clock.copy()
        following[own] += 1
        after[own] = following
        reads, writes = footprints.of(launch)
        for root, space, start, stop in reads:
            cells = space.cells
            for k in space.covering(start, stop):
                cell = cells[k]
                writer = cell.writer
                if cell.root != root:
                    if writer < 0:
                        raise _unwritten(graph, launch, root)
                    raise _overwritten(graph, launches[writer], launch, root)
                if writer >= 0 and clock[launches[writer].stream] <= place[writer]:
                    raise _race(graph, launches[writer], launch, root, "reads what it writes")
                cell.readers[own] = n
        for root, space, start, stop in writes:
            cells = space.cells
            span = space.covering(start, stop)
            for k in span:
                cell = cells[k]
                writer = cell.writer
                if writer >= 0 and clock[launches[writer].stream] <= place[writer]:
                    raise _race(graph, launches[writer], launch, root, "writes the same bytes")
                for reader in cell.readers.values():
                    if clock[launches[reader].stream] <= place[reader]:
                        raise _race(graph, launches[reader], launch, root, "overwrites what it reads")
            space.replace(span, start, _Cell(n, root))


class _Cell:
    """A range of addresses whose last writer is one launch (-1: none), and the last reader of each stream since."""

    __slots__ = ("readers", "root", "writer")

    def __init__(self, writer: int, root: int) -> None:
        self.writer = writer
        self.root = root
        self.readers: dict[int, int] = {}


class _Space:
    """An address space as a sequence of cells: cell k begins at ``starts[k]`` and ends where the next begins."""

    __slots__ = ("cells", "starts")

    def __init__(self, root: int) -> None:
        self.starts = [0]
        self.cells = [_Cell(-1, root)]

    def covering(self, start: int, stop: int) -> range:
        """Numbers of the cells that make up exactly ``[start, stop)``, cut to fit."""
        first = self._cut(start)
        return range(first, self._cut(stop))

    def replace(self, span: range, start: int, cell: _Cell) -> None:
        """Put one cell in the place of those of `span`, which begins at `start`."""
        self.starts[span.start : span.stop] = [start]
        self.cells[span.start : span.stop] = [cell]

    def _cut(self, address: int) -> int:
        starts = self.starts
        n = bisect_left(starts, address)
        if n == len(starts) or starts[n] != address:
            cell = self.cells[n - 1]
            copy = _Cell(cell.writer, cell.root)
            copy.readers = cell.readers.copy()
            starts.insert(n, address)
            self.cells.insert(n, copy)
        return n


# Root buffer, where it lies, first and one past the last byte there.
_Range = tuple[int, _Space, int, int]


class _Footprints:
    """The bytes that each launch touches, weights and other memory that nobody writes left out."""

    def __init__(self, plan: LaunchPlan, graph: MultiTenantGraph) -> None:
        self.graph = graph
        offsets, arena = plan.placement.offsets, plan.placement.arena_bytes
        written = {graph.buffers[b].root for operator in graph.operators for b in operator.writes}
        shared = _Space(-1)
        self.where: dict[int, tuple[_Space, int]] = {}
        for root in {b.root for b in graph.buffers}:
            buffer = graph.buffers[root]
            offset = offsets.get(root)
            if offset is not None:
                if offset < 0 or offset + buffer.nbytes > arena:
                    raise PlanError(
                        f"{buffer.name} lies at {offset}..{offset + buffer.nbytes}, outside the arena of {arena}"
                    )
                self.where[root] = shared, offset
            elif root in written:
                if buffer.kind == "intermediate":
                    raise PlanError(f"{buffer.name} has no place in the arena, expected one for every intermediate")
                # Nobody has written an output before; what lies in an input has always been there.
                self.where[root] = _Space(-1 if buffer.kind == "output" else root), 0
        self._known: dict[int, tuple[list[_Argument], list[_Argument]]] = {}

    def of(self, launch: Launch) -> tuple[list[_Range], list[_Range]]:
        """What `launch` reads and writes."""
        known = self._known.get(launch.operator)
        if known is None:
            known = self._known[launch.operator] = self._arguments(launch.operator)
        first, last = launch.first, launch.first + launch.items
        reads = [
            (root, space, base + first * item, base + last * item) if item else (root, space, base, base + size)
            for root, space, base, item, size in known[0]
        ]
        writes = [
            (root, space, base + first * item, base + last * item) if item else (root, space, base, base + size)
            for root, space, base, item, size in known[1]
        ]
        return reads, writes

    def _arguments(self, index: int) -> tuple[list[_Argument], list[_Argument]]:
        operator = self.graph.operators[index]
        chunking = operator.chunking
        found: list[list[_Argument]] = [[], []]
        for n, b in enumerate(operator.reads + operator.writes):
            buffer = self.graph.buffers[b]
            placed = self.where.get(buffer.root)
            if placed is None or buffer.nbytes == 0:
                continue
            item = 0
            if chunking.divisible and chunking.rows[n]:
                # Rows of axis 0 in C order: an item is a run of bytes, the same in every reshape of the buffer.
                item = buffer.nbytes // buffer.shape[0] * chunking.rows[n]
            found[n >= len(operator.reads)].append((buffer.root, *placed, item, buffer.nbytes))
        return found[0], found[1]


# Root buffer, its space, its address there, bytes an item (0: every chunk touches all of it), bytes.
_Argument = tuple[int, _Space, int, int, int]


def _check_launches(plan: LaunchPlan, graph: MultiTenantGraph) -> None:
    """Every launch is one of its operator, and every operator is computed whole, once."""
    chunks: list[list[tuple[int, int]]] = [[] for _ in graph.operators]
    for n, launch in enumerate(plan.launches):
        if launch.index != n:
            raise PlanError(f"launch {n} has the index {launch.index}; launches must be numbered in their order")
        if not 0 <= launch.operator < len(graph.operators):
            raise PlanError(
                f"launch {n} runs operator {launch.operator}, expected 0..{len(graph.operators) - 1}; lower the schedule "
                f"for this graph"
            )
        if not 0 <= launch.stream < plan.streams:
            raise PlanError(f"{_name(graph, launch)}: stream {launch.stream}, expected 0..{plan.streams - 1}")
        operator = graph.operators[launch.operator]
        if launch.buffers != operator.reads + operator.writes:
            raise PlanError(
                f"{_name(graph, launch)}: arguments are buffers {list(launch.buffers)}, expected "
                f"{list(operator.reads + operator.writes)}"
            )
        batch = graph.tenants[operator.tenant].batch
        if launch.whole != (launch.items == batch):
            raise PlanError(
                f"{_name(graph, launch)}: whole is {launch.whole}, but it computes {launch.items} of {batch} items"
            )
        chunks[launch.operator].append((launch.first, launch.items))
    for operator, parts in zip(graph.operators, chunks):
        batch = graph.tenants[operator.tenant].batch
        parts.sort()
        done = 0
        for first, items in parts:
            if first != done or items < 1:
                break
            done += items
        else:
            if done == batch and (len(parts) == 1 or operator.chunking.divisible):
                continue
        reason = f" (it cannot be cut: {operator.chunking.refusal})" if not operator.chunking.divisible else ""
        raise PlanError(
            f"tenant {graph.tenants[operator.tenant].name!r}, operator {operator.name!r}: launches compute the items "
            f"{', '.join(f'{f}..{f + i}' for f, i in parts) or 'none'}, expected 0..{batch} exactly once{reason}"
        )


def _topological(plan: LaunchPlan, graph: MultiTenantGraph) -> list[int]:
    """An order that respects streams and waits; raises where there is none (a deadlock)."""
    count = len(plan.launches)
    forward = True
    for n, launch in enumerate(plan.launches):
        for other in launch.waits:
            if not 0 <= other < count:
                raise PlanError(f"{_name(graph, launch)} waits for launch {other}, which does not exist")
            forward = forward and other < n
    if forward:
        return list(range(count))
    following: list[list[int]] = [[] for _ in range(count)]
    open_ = [0] * count
    last: dict[int, int] = {}
    for n, launch in enumerate(plan.launches):
        before = [*launch.waits, last[launch.stream]] if launch.stream in last else list(launch.waits)
        for other in before:
            following[other].append(n)
        open_[n] = len(before)
        last[launch.stream] = n
    ready = [n for n, waits in enumerate(open_) if waits == 0]
    order = []
    while ready:
        n = ready.pop()
        order.append(n)
        for then in following[n]:
            open_[then] -= 1
            if open_[then] == 0:
                ready.append(then)
    if len(order) != count:
        stuck = next(n for n, waits in enumerate(open_) if waits)
        raise PlanError(
            f"deadlock: {_name(graph, plan.launches[stuck])} waits, directly or through its stream, for itself; "
            f"expected waits for launches that are issued earlier"
        )
    return order


def _name(graph: MultiTenantGraph, launch: Launch) -> str:
    operator = graph.operators[launch.operator]
    part = "" if launch.whole else f" items {launch.first}..{launch.first + launch.items}"
    return f"tenant {graph.tenants[operator.tenant].name!r}, operator {operator.name!r}{part} (launch {launch.index})"


def _race(graph: MultiTenantGraph, earlier: Launch, later: Launch, root: int, how: str) -> PlanError:
    if earlier is later:
        return PlanError(
            f"overlap on {graph.buffers[root].name}: {_name(graph, later)} writes bytes that it also reads or writes as "
            f"another buffer; expected memory of its own for each"
        )
    return PlanError(
        f"race on {graph.buffers[root].name}: {_name(graph, later)} on stream {later.stream} {how}, "
        f"{_name(graph, earlier)} on stream {earlier.stream}, but nothing orders the two; expected a wait or one stream"
    )


def _unwritten(graph: MultiTenantGraph, launch: Launch, root: int) -> PlanError:
    return PlanError(
        f"race on {graph.buffers[root].name}: {_name(graph, launch)} on stream {launch.stream} reads it before anything "
        f"wrote it, and nothing makes it wait; expected a wait for its writer"
    )


def _overwritten(graph: MultiTenantGraph, earlier: Launch, later: Launch, root: int) -> PlanError:
    return PlanError(
        f"memory of {graph.buffers[root].name}: {_name(graph, later)} reads it, but {_name(graph, earlier)} has "
        f"overwritten it (or it was not written yet); expected buffers whose lifetimes overlap to lie apart"
    )
