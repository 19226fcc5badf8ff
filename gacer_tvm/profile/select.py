"""What to measure: drawn in turn from the strata of a space, so that every corner is visited early."""

from __future__ import annotations

import random
from collections.abc import Callable, Hashable, Iterable
from typing import TypeVar

__all__ = ["budgets", "in_turn", "sizes_in_turn"]

T = TypeVar("T")


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


def sizes_in_turn(batch: int) -> list[int]:
    """Chunk sizes ``batch … 1``, the whole one first, then always one far from those before: 8, 1, 3, 5, 2, 4, 6, 7."""
    found = [batch]
    left = [size for size in range(1, batch)]
    while left:
        found.append(max(left, key=lambda s: (min(abs(s - f) / max(s, f) for f in found), -s)))
        left.remove(found[-1])
    return found


def budgets(cores: int, streams: int) -> list[tuple[int, ...]]:
    """Core budgets of so many streams: even shares, one stream with what the others leave, and everything for all."""
    even = max(1, cores // streams)
    found = [(even,) * streams, (max(1, cores - streams + 1), *(1,) * (streams - 1)), (cores,) * streams]
    return list(dict.fromkeys(found))
