"""Sorts of kernels, coarse enough that each has several and fine enough that a model may be wrong about one of them."""

from __future__ import annotations

import math

from .facts import Facts

__all__ = ["kind_of", "kind_text"]


def kind_of(facts: Facts) -> tuple[int, int, int, int]:
    """Reduction loops (3: or more), whether it has transcendental functions, whether it gathers, steps of intensity."""
    moved = max(1.0, facts.batched_bytes + facts.fixed_bytes)
    return (
        min(3, facts.reductions),
        int(facts.slow > 0),
        int(facts.gathers > 0),
        int(math.log2(1 + facts.flops / moved) / 2),
    )


def kind_text(facts: Facts) -> str:
    """The kind in words."""
    reductions, slow, gathers, step = kind_of(facts)
    parts = [f"{reductions}{' or more' if reductions == 3 else ''} reduction loop{'s' if reductions > 1 else ''}"]
    if not reductions:
        parts = ["no reduction"]
    parts += ["exp, tanh ..."] if slow else []
    parts += ["gathers"] if gathers else []
    return ", ".join([*parts, f"{4**step - 1} to {4 ** (step + 1) - 1} FLOP/byte"])
