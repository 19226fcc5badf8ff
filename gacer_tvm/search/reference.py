"""GACER's search: coordinate descent over the pointer matrix, alternating with decomposition by residue.

After Yu et al., *GACER: Granularity-Aware ConcurrEncy Regulation for Multi-Tenant Deep Learning*, arXiv 2304.11745:

* Temporal granularity. The pointer matrix has a row for each tenant and a column for each pointer. For 0, 1, 2, …
  pointers, the columns start where they cut every tenant's work evenly; then one entry at a time moves to the place
  that leaves the best objective while all others stay (coordinate descent), round after round until a round changes
  nothing. One pointer more is tried until it does not pay for its synchronization.
* Spatial granularity. The chunks are simulated; the operators during whose run the most of the device lies idle are
  cut into chunks along the batch, and a cut is kept where the objective gets better.
* Both alternate until neither helps.

Synchronization and chunk overhead are in the simulated objective, so they need no weights. With equal work the
objective (makespan) and the residue order schedules alike: residue = units x makespan - work.
"""

from __future__ import annotations

from msgspec.structs import replace as _replace

from ..schedule import Schedule, make
from .edit import issue_order
from .evaluate import Evaluator
from .objective import improves
from .space import Space, budget_cores

__all__ = ["coordinate_descent", "reference_search", "regulate_spatially", "regulate_temporally", "with_pointers"]

# Positions tried on each side of an entry in a line search: far ones first, then nearer ones.
_LINE = 8
# Operators with the largest residue that one spatial round tries to cut.
_CANDIDATES = 12


def reference_search(
    start: Schedule,
    space: Space,
    evaluate: Evaluator,
    *,
    spatial: bool = True,
    temporal: bool = True,
    max_pointers: int = 6,
) -> Schedule:
    """Alternate both regulations from `start` until neither helps; returns the best found."""
    best, key = start, evaluate(start, "start of coordinate descent")
    while True:
        before = key
        if temporal:
            best = regulate_temporally(best, space, evaluate, max_pointers=max_pointers)
        if spatial:
            best = regulate_spatially(best, space, evaluate)
        key = evaluate(best, "round")
        if not improves(key, before):
            return best


def regulate_temporally(schedule: Schedule, space: Space, evaluate: Evaluator, *, max_pointers: int) -> Schedule:
    """Coordinate descent with as many pointers as there are now, then with one more while that helps."""
    best = coordinate_descent(schedule, space, evaluate)
    key = evaluate(best, "pointers moved")
    while best.clusters - 1 < max_pointers:
        trial = coordinate_descent(_one_more_pointer(best, space, evaluate), space, evaluate)
        found = evaluate(trial, "pointer added")
        if not improves(found, key):
            break
        best, key = trial, found
    # A pointer that has become useless only costs.
    for column in reversed(range(best.clusters - 1)):
        trial = with_pointers(best, space, [[p for c, p in enumerate(t.pointers) if c != column] for t in best.tenants])
        found = evaluate(trial, "pointer removed")
        if improves(found, key):
            best, key = trial, found
    return best


def coordinate_descent(schedule: Schedule, space: Space, evaluate: Evaluator) -> Schedule:
    """Move one entry of the pointer matrix at a time until a whole round moves none."""
    best = schedule
    key = evaluate(best, "pointers as they are")
    moved = True
    while moved:
        moved = False
        for column in range(best.clusters - 1):
            for tenant in range(len(best.tenants)):
                for position in _line(best, space, tenant, column):
                    matrix = [list(t.pointers) for t in best.tenants]
                    matrix[tenant][column] = position
                    trial = with_pointers(best, space, matrix)
                    found = evaluate(trial, f"pointer {column} of {best.tenants[tenant].name} moved")
                    if improves(found, key):
                        best, key, moved = trial, found, True
    return best


def _line(schedule: Schedule, space: Space, tenant: int, column: int) -> list[int]:
    """Places for one entry between its neighbours: an even grid over all, and every place close by."""
    pointers = schedule.tenants[tenant].pointers
    low = pointers[column - 1] if column else 0
    high = pointers[column + 1] if column + 1 < len(pointers) else space.graph.tenants[tenant].count
    grid = {low + (high - low) * k // _LINE for k in range(_LINE + 1)}
    near = {pointers[column] + step for step in (-4, -3, -2, -1, 1, 2, 3, 4)}
    return [p for p in sorted(grid | near) if low <= p <= high and p != pointers[column]]


def _one_more_pointer(schedule: Schedule, space: Space, evaluate: Evaluator) -> Schedule:
    """Insert the column that, cutting some cluster at an even share of every tenant's time, is best of those tried."""
    count = schedule.clusters
    options: list[tuple[tuple[float, float], Schedule]] = []
    for cluster in range(count):
        for share in (0.25, 0.5, 0.75):
            matrix = []
            for tenant, part in enumerate(schedule.tenants):
                low = part.pointers[cluster - 1] if cluster else 0
                high = part.pointers[cluster] if cluster < count - 1 else space.graph.tenants[tenant].count
                place = _at_share_of_time(space, evaluate, tenant, low, high, share)
                matrix.append([*part.pointers[:cluster], place, *part.pointers[cluster:]])
            trial = with_pointers(schedule, space, matrix)
            options.append((evaluate(trial, "pointer added"), trial))
    return min(options, key=lambda option: option[0])[1]


def _at_share_of_time(space: Space, evaluate: Evaluator, tenant: int, low: int, high: int, share: float) -> int:
    info = space.graph.tenants[tenant]
    table = evaluate.simulator.table
    times = [table[(info.first + p, info.batch, None)][0] for p in range(low, high)]
    goal, passed = share * sum(times), 0.0
    for offset, seconds in enumerate(times):
        if passed + seconds / 2 >= goal:
            return low + offset
        passed += seconds
    return high


def with_pointers(schedule: Schedule, space: Space, matrix: list[list[int]]) -> Schedule:
    """`schedule` with another pointer matrix: the order of issue and the core budgets follow it."""
    order, waits = make.compose_order([t.count for t in space.graph.tenants], matrix), schedule.waits
    if waits:
        # A start may carry waits; where the new pointers contradict them, they go.
        found = issue_order(space.graph, matrix, waits)
        order, waits = (found, waits) if found is not None else (order, ())
    changed = schedule.replace(
        waits=waits,
        tenants=tuple(_replace(t, pointers=tuple(p)) for t, p in zip(schedule.tenants, matrix, strict=True)),
        order=order,
    )
    return budget_cores(changed, space.device)


def regulate_spatially(schedule: Schedule, space: Space, evaluate: Evaluator) -> Schedule:
    """Cut (or join again) the operators that leave the largest residue, while that helps."""
    best = schedule
    key = evaluate(best, "chunks as they are")
    while True:
        before = key
        for tenant, position in _by_residue(best, space, evaluate):
            operator = space.graph.tenants[tenant].first + position
            current = best.tenants[tenant].splits.get(position)
            for way in (None, *space.splits[operator]):
                if way == current:
                    continue
                trial = _with_split(best, tenant, position, way)
                found = evaluate(trial, f"{space.graph.operators[operator].name} cut into {way or 'one'}")
                if improves(found, key):
                    best, key = trial, found
        if not improves(key, before):
            return best


def _by_residue(schedule: Schedule, space: Space, evaluate: Evaluator) -> list[tuple[int, int]]:
    timeline = evaluate.simulator.run(schedule)
    idle: dict[int, float] = {}
    for operator, residue in zip(timeline.operator.tolist(), timeline.idle_during().tolist(), strict=True):
        if space.splits[operator]:
            idle[operator] = idle.get(operator, 0.0) + residue
    worst = sorted(idle, key=lambda o: (-idle[o], o))[:_CANDIDATES]
    operators = space.graph.operators
    return [(operators[o].tenant, operators[o].position) for o in worst]


def _with_split(schedule: Schedule, tenant: int, position: int, way: tuple[int, ...] | None) -> Schedule:
    part = schedule.tenants[tenant]
    splits = {p: s for p, s in part.splits.items() if p != position}
    if way is not None:
        splits[position] = way
    placement = {p: s for p, s in part.placement.items() if p != position}
    tenants = list(schedule.tenants)
    tenants[tenant] = _replace(part, splits=splits, placement=placement)
    return schedule.replace(tenants=tuple(tenants))
