"""Our own CUDA rules by name, their tilings as text, and which one a kernel gets untuned."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection
from dataclasses import asdict
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
RULES: dict[str, tuple[type, Callable[[tir.PrimFunc, Any], tir.PrimFunc], Callable[[], Collection[Any]]]] = {
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
    for name in RULES:
        try:
            default(name, func)
        except NotApplicable:
            continue
        return [_text(name, tile) for tile in _ranked(name, func)]
    return []


def default(name: str, func: tir.PrimFunc) -> tir.PrimFunc:
    """The kernel of `func` by one rule, untuned.

    Raises
    ------
    NotApplicable
        Where the rule does not fit.
    """
    return _run(lambda f, _: RULES[name][1](f, _ranked(name, f)[0]), func, None)


def _ranked(name: str, func: tir.PrimFunc) -> list[Any]:
    """The tiles of a rule that may be worth a trial, the default first."""
    tiles = RULES[name][2]()
    if not isinstance(tiles, dict):
        return list(tiles)
    p = product(func, depth_first=True)
    s, rows, columns, depth = p.extents

    def seconds(tile: Any) -> float:
        """Steps of the reduction, as often as it takes until every block has been on an SM."""
        step, resident = tiles[tile]
        blocks = s * math.ceil(rows / tile.rows) * math.ceil(columns / tile.columns)
        return float(math.ceil(depth / tile.depth) * step * math.ceil(blocks / (_SMS * resident)))

    def fits(tile: Any) -> bool:
        """Whether it is not mostly padding, and has an order of the reduction to choose where it chooses one."""
        return bool(tile.rows < 2 * max(rows, 16) and tile.columns < 2 * max(columns, 16) and (p.taps or not tile.taps_first))

    return sorted(filter(fits, tiles), key=seconds) or [min(tiles, key=lambda t: t.rows * t.columns)]


def _run(rule: Callable[[tir.PrimFunc, Any], tir.PrimFunc], func: tir.PrimFunc, tile: Any) -> tir.PrimFunc:
    try:
        return rule(func, tile)
    except NotApplicable:
        raise
    except (tvm.s_tir.ScheduleError, RuntimeError, ValueError, TypeError, IndexError) as error:
        lines = str(error).strip().splitlines()
        raise NotApplicable(f"{type(error).__name__}: {lines[0] if lines else ''}") from error


def _text(name: str, tile: Any) -> str:
    return json.dumps({"rule": name, **asdict(tile)}, sort_keys=True)
