"""What to measure: rows and groups drawn in turn from the strata of a space, so that every corner is visited early."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Hashable, Iterable, Sequence
from itertools import combinations
from typing import TypeVar

from ..cost.facts import Facts
from ..graph.model import MultiTenantGraph

__all__ = ["Chunk", "budgets", "chunks_of", "groups_of", "in_turn", "kind_of"]

T = TypeVar("T")
Chunk = tuple[int, int]
"""(operator index, items)."""


def in_turn(items: Iterable[T], stratum: Callable[[T], Hashable], seed: int = 0) -> list[T]:
    """All items, one of each stratum, then a second of each, and so on; the order inside a stratum is seeded."""
    strata: dict[Hashable, list[T]] = {}
    for item in items:
        strata.setdefault(stratum(item), []).append(item)
    rng = random.Random(seed)
    for members in strata.values():
        rng.shuffle(members)
    order = list(strata.values())
    rng.shuffle(order)
    return [members[n] for n in range(max(map(len, order), default=0)) for members in order if n < len(members)]


def kind_of(facts: Facts) -> tuple[int, ...]:
    """The sort of kernel: what it computes (reduction, transcendental, gather …) and how intensely, in coarse steps."""
    moved = max(1.0, facts.batched_bytes + facts.fixed_bytes)
    return (
        min(3, facts.reductions),
        int(facts.slow > 0),
        int(facts.gathers > 0),
        int(math.log2(1 + facts.flops / moved) / 2),
    )


def chunks_of(graph: MultiTenantGraph, facts: Sequence[Facts], seed: int = 0) -> list[Chunk]:
    """Every kernel of a graph at every legal chunk size, each once, stratified over kind, size and chunk size."""
    seen: set[tuple[str, int, int]] = set()
    found: list[Chunk] = []
    for operator in graph.operators:
        batch = graph.tenants[operator.tenant].batch
        for items in range(1, batch + 1) if operator.chunking.divisible else (batch,):
            if (operator.kernel, batch, items) not in seen:
                seen.add((operator.kernel, batch, items))
                found.append((operator.index, items))

    def stratum(chunk: Chunk) -> Hashable:
        mine = facts[chunk[0]]
        amount = mine.flops + mine.batched_bytes + mine.fixed_bytes
        return kind_of(mine), int(math.log2(1 + amount) / 3), chunk[1] == mine.batch, int(math.log2(chunk[1]))

    return in_turn(found, stratum, seed)


def budgets(cores: int, streams: int) -> list[tuple[int, ...]]:
    """Core budgets of so many streams: even shares, one stream with what the others leave, and everything for all."""
    even = max(1, cores // streams)
    found = [(even,) * streams, (max(1, cores - streams + 1), *(1,) * (streams - 1)), (cores,) * streams]
    return list(dict.fromkeys(found))


def groups_of(
    graph: MultiTenantGraph,
    facts: Sequence[Facts],
    chunks: Sequence[Chunk],
    cores: int,
    count: int,
    seed: int = 0,
) -> list[tuple[tuple[int, int, int], ...]]:
    """Groups of (operator, items, cores), one member a tenant, stratified over size, budgets and the kinds that meet."""
    rng = random.Random(seed)
    tenants = sorted({graph.operators[o].tenant for o, _ in chunks})
    of_kind: dict[int, dict[Hashable, list[Chunk]]] = {}
    for chunk in chunks:
        mine = facts[chunk[0]]
        size = int(math.log2(1 + mine.flops + mine.batched_bytes + mine.fixed_bytes) / 4)
        of_kind.setdefault(graph.operators[chunk[0]].tenant, {}).setdefault((kind_of(mine)[0], size), []).append(chunk)
    cells: list[tuple[tuple[int, ...], tuple[int, ...], tuple[Hashable, ...]]] = []
    for streams in range(2, max(cores, 3) + 1):
        for members in combinations(tenants, streams):
            for budget in budgets(cores, streams):
                kinds: list[tuple[Hashable, ...]] = [()]
                for tenant in members:
                    kinds = [(*k, own) for k in kinds for own in sorted(of_kind[tenant], key=str)]
                    if len(kinds) > 4096:
                        kinds = rng.sample(kinds, 4096)
                cells += [(members, budget, kind) for kind in kinds]
    # The size of a group and its budgets come first: there are far more cells of large groups than of pairs.
    cells = in_turn(cells, lambda cell: (cell[0], cell[1]), seed)
    found: dict[tuple[tuple[int, int, int], ...], None] = {}
    for _ in range(20):
        for members, budget, kind in cells:
            picked = []
            for tenant, own, share in zip(members, kind, rng.sample(budget, len(budget))):
                picked.append((*rng.choice(of_kind[tenant][own]), share))
            found[tuple(picked)] = None
            if len(found) >= count:
                return list(found)
    return list(found)
