"""Cache lines that a scheduled CPU kernel touches: how far its accesses reach in each buffer.

Sizes of tensors say too much where not all of one is read: of a 3 x 3 window over one pixel, eight of nine weights lie under the
padding.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from .indices import Indices

__all__ = ["LINE", "Access", "Touched"]

LINE = 64
"""Bytes of a cache line."""

_Box = tuple[tuple[int, int], ...]
"""Least and greatest index of each dimension."""


class Access(NamedTuple):
    """A load or store: buffer, its shape (0: not known), bytes of an element, indices, the share of its runs that are made."""

    buffer: Any
    shape: tuple[int, ...]
    itemsize: int
    indices: tuple[Any, ...]
    share: float


class Touched:
    """Takes every access of a function, and tells the lines of all of them."""

    def __init__(self, indices: Indices) -> None:
        self._indices = indices
        self._buffers: dict[Any, list[tuple[Access, _Box, float]]] = {}

    def access(self, access: Access, loops: Sequence[tuple[Any, int, str]]) -> None:
        """An access in `loops` (variable, extent, kind)."""
        inside = {var: extent for var, extent, _ in loops}
        reach = self._indices.reach
        box = tuple(
            reach(index, inside) or (0, max(0, extent - 1)) for index, extent in zip(access.indices, access.shape, strict=True)
        )
        # What a condition leaves out may be other places of the box every time, or always the same.
        lines = max(min(1.0, access.share), min(_lines(access, box), self._places(access, loops) * access.share))
        self._buffers.setdefault(access.buffer, []).append((access, box, lines))

    def lines(self) -> float:
        """Lines of all buffers: of several accesses to one, those of the box around them, or of each where they lie apart."""
        total = 0.0
        for parts in self._buffers.values():
            around = tuple((min(low), max(high)) for low, high in (zip(*each) for each in zip(*(box for _, box, _ in parts))))
            each = [lines for _, _, lines in parts]
            total += max(max(each), min(sum(each), _lines(parts[0][0], around)))
        return total

    def _places(self, access: Access, loops: Sequence[tuple[Any, int, str]]) -> float:
        """How many places an access can be at; lanes beside each other are at one where they are in one line."""
        most = 1
        for var, extent, kind in loops:
            if extent > 1 and self._indices.moves(access.indices, var):
                step = abs(self._indices.step(access.indices, access.shape, var)) * access.itemsize
                most *= -(-extent * step // LINE) if kind == "vectorized" and 0 < step < LINE else extent
        return most


def _lines(access: Access, box: _Box) -> float:
    """Lines of a box in a buffer; where rows begin in the middle of a line, what they touch on the average."""
    row, rows, whole, behind = 1, 1, True, 1
    for (low, high), extent in zip(reversed(box), reversed(access.shape)):
        width = min(high - low + 1, extent or high - low + 1)
        if whole:
            # Rows that are touched as a whole lie behind one another.
            row, whole, behind = row * width, width == extent, behind * extent
        else:
            rows *= width
    size = row * access.itemsize
    aligned = rows == 1 or behind * access.itemsize % LINE == 0
    lines = rows * (-(-size // LINE) if aligned else (size - access.itemsize) / LINE + 1)
    every = -(-math.prod(access.shape) * access.itemsize // LINE)
    return max(1.0, min(lines, every) if every else lines)
