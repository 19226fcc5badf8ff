"""Our own CUDA rules by name, their tilings as text, and which one a kernel gets untuned."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

from ..._tvm import tir, tvm
from .base import NotApplicable
from .direct import DirectTile, direct, direct_tiles
from .gemm import GemmTile, gemm, gemm_tiles
from .product import product
from .tensor_gemm import TensorTile, tensor_gemm, tensor_tiles
from .thin import ThinTile, thin, thin_tiles

__all__ = ["RULES", "apply", "default", "tilings"]

#: In the order in which they are asked.
RULES: dict[str, tuple[type, Callable[[tir.PrimFunc, Any], tir.PrimFunc], Callable[[], list[Any]]]] = {
    "thin": (ThinTile, thin, thin_tiles),
    "tensor gemm": (TensorTile, tensor_gemm, tensor_tiles),
    "gemm": (GemmTile, gemm, gemm_tiles),
    "direct": (DirectTile, direct, direct_tiles),
}
# Streaming multiprocessors that a grid should fill; the GPUs in use have 80 to 132.
_SMS = 132


def apply(func: tir.PrimFunc, tiling: str) -> tir.PrimFunc:
    """The kernel of `func` under one of `tilings`.

    Raises
    ------
    NotApplicable
        If the tiling is none of this version's, or none for this function.
    """
    try:
        held = json.loads(tiling)
        kind, rule, _ = RULES[held.pop("rule")]
        tile = kind(**held)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise NotApplicable(f"tiling {tiling!r}: {error}") from error
    return _run(rule, func, tile)


def tilings(func: tir.PrimFunc) -> list[str]:
    """Every tiling of the first rule that fits, the default first; none where none fits."""
    for name, (_, _, tiles) in RULES.items():
        try:
            default(name, func)
        except NotApplicable:
            continue
        first = _choose(name, func)
        others = [t for t in tiles() if t != first and _fits(name, t, func)]
        return [_text(name, tile) for tile in [first, *others]]
    return []


def default(name: str, func: tir.PrimFunc) -> tir.PrimFunc:
    """The kernel of `func` by one rule, untuned.

    Raises
    ------
    NotApplicable
        Where the rule does not fit.
    """
    return _run(lambda f, _: RULES[name][1](f, _choose(name, f)), func, None)


def _fits(name: str, tile: Any, func: tir.PrimFunc) -> bool:
    """Whether a tile is not mostly padding, and has an order of the reduction to choose where it chooses one."""
    if name not in ("gemm", "tensor gemm"):
        return True
    try:
        _, rows, columns, _ = product(func, depth_first=True, taps_first=tile.taps_first).extents
    except NotApplicable:
        return False
    return bool(tile.rows < 2 * max(rows, 16) and tile.columns < 2 * max(columns, 16))


def _choose(name: str, func: tir.PrimFunc) -> Any:
    tiles = RULES[name][2]()
    if name not in ("gemm", "tensor gemm"):
        return tiles[0]
    s, rows, columns, _ = product(func, depth_first=True).extents

    def cost(tile: Any) -> tuple[float, int]:
        """Waves of blocks, each as long as its tile is large; small tiles read their operands more often."""
        blocks = s * math.ceil(rows / tile.rows) * math.ceil(columns / tile.columns)
        work = tile.rows * tile.columns
        reads = 1 + 16 * (1 / tile.rows + 1 / tile.columns)
        return max(blocks / _SMS, 1.0) * work * reads, -work

    return min(tiles, key=cost)


def _run(rule: Callable[[tir.PrimFunc, Any], tir.PrimFunc], func: tir.PrimFunc, tile: Any) -> tir.PrimFunc:
    try:
        return rule(func, tile)
    except NotApplicable:
        raise
    except (tvm.s_tir.ScheduleError, RuntimeError, ValueError, TypeError, IndexError) as error:
        lines = str(error).strip().splitlines()
        raise NotApplicable(f"{type(error).__name__}: {lines[0] if lines else ''}") from error


def _text(name: str, tile: Any) -> str:
    return json.dumps({"rule": name, **tile.as_dict()}, sort_keys=True)
