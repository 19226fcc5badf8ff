"""What a schedule out of a log may ask of the compiler: known memories and threads, and code of a bounded size."""

from __future__ import annotations

import math
from typing import Any

from gacer_tvm._tvm import tir, tvm_ffi

__all__ = ["MAX_UNROLL", "SCOPES", "THREADS", "too_much_code"]

SCOPES = frozenset(("", "global", "local", "shared", "shared.dyn"))
THREADS = frozenset(("vthread", *[f"{kind}.{axis}" for kind in ("blockIdx", "threadIdx", "vthread") for axis in "xyz"]))
# The tuners' own choices end at 1024 and 4096; beyond these compiling takes minutes, or all memory.
MAX_UNROLL = 1 << 14
_MAX_LANES = 1 << 10


def too_much_code(function: Any) -> str:
    """Why a scheduled function is not worth compiling, or ""."""
    unrolled, lanes = 1, 1

    def note(loop: Any) -> None:
        nonlocal unrolled, lanes
        extent = int(getattr(loop.extent, "value", 1))
        if int(loop.kind) == int(tir.ForKind.VECTORIZED):
            lanes = max(lanes, extent)
        elif int(loop.kind) == int(tir.ForKind.UNROLLED):
            unrolled = max(unrolled, extent * _unrolled_below(loop.body))

    tvm_ffi.structural_walk(function.body, (tir.For, note))
    if unrolled > MAX_UNROLL:
        return f"the schedule unrolls {unrolled} iterations"
    return f"the schedule vectorizes a loop of {lanes}" if lanes > _MAX_LANES else ""


def _unrolled_below(body: Any) -> int:
    extents: list[int] = []

    def note(loop: Any) -> None:
        if int(loop.kind) == int(tir.ForKind.UNROLLED):
            extents.append(int(getattr(loop.extent, "value", 1)))

    tvm_ffi.structural_walk(body, (tir.For, note))
    # Loops side by side count as if nested: an upper bound.
    return math.prod(extents)
