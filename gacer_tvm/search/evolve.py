"""Evolution over typed actions, seeded by the reference search."""

from __future__ import annotations

import random

from ..schedule import Schedule
from .actions import IllegalAction
from .evaluate import Evaluator
from .propose import Proposer

__all__ = ["evolve"]


def evolve(
    population: list[Schedule],
    propose: Proposer,
    evaluate: Evaluator,
    rng: random.Random,
    *,
    size: int = 16,
    patience: int = 3000,
) -> Schedule:
    """Mutate the better schedules, keep those that are better still.

    Each child is a parent (the better of two drawn) after one to four actions. A child replaces the worst of the
    population where it is better than that and no one in it has the same key. Ends when `patience` children in a
    row bring no new best.

    Parameters
    ----------
    population
        Schedules to begin with, at least one.
    size
        Schedules kept.
    """
    pool = sorted(((evaluate(s, "population"), n, s) for n, s in enumerate(population)), key=lambda e: e[:2])[:size]
    born = len(population)
    best = pool[0][0]
    stale = 0
    while stale < patience:
        parent = min(rng.choice(pool), rng.choice(pool), key=lambda e: e[:2])
        child, done = parent[2], []
        for _ in range(1 + min(3, int(rng.expovariate(1.2)))):
            action = propose(child)
            if action is None:
                continue
            try:
                child = action.apply(child, propose.space)
            except IllegalAction:
                continue
            done.append(action)
        stale += 1
        if not done:
            continue
        key = evaluate(child, done)
        if key in {e[0] for e in pool}:
            continue
        if len(pool) < size or key < pool[-1][0]:
            born += 1
            pool.append((key, born, child))
            pool.sort(key=lambda e: e[:2])
            del pool[size:]
        if key < best:
            best, stale = key, 0
    return pool[0][2]
