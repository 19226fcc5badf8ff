"""Layout names such as `NCHW` and `NCHW4c`: axes in upper case, blocks of an axis in lower case behind their size."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from gacer_tvm.relay.dims import RuleError, ceil_div, div, mul
from gacer_tvm.relay.types import Dim

__all__ = ["Layout", "from_primal", "parse_layout", "to_primal", "transformed_shape"]

_TOKEN = re.compile(r"(\d*)([A-Za-z])")


@dataclass(frozen=True, slots=True)
class Layout:
    """A layout taken apart.

    Parameters
    ----------
    axes : tuple of (str, int)
        Each axis with its block size; 0 for the (outer) axis itself.
    """

    axes: tuple[tuple[str, int], ...]

    @property
    def primal(self) -> str:
        """The axes without their blocks, in the order written."""
        return "".join(name for name, _ in self.axes if name.isupper())

    def factor(self, name: str) -> int:
        """The block size of the axis `name` (upper case); 1 when it is not blocked."""
        return next((size for axis, size in self.axes if axis == name.lower()), 1)

    @property
    def blocked(self) -> bool:
        """Whether any axis is split into blocks."""
        return any(name.islower() for name, _ in self.axes)


@lru_cache(maxsize=256)
def parse_layout(text: str) -> Layout:
    """Take a layout's name apart.

    Raises
    ------
    RuleError
        If it is no layout.
    """
    axes: list[tuple[str, int]] = []
    end = 0
    for match in _TOKEN.finditer(text):
        size, name = match.groups()
        if match.start() != end or name.islower() != bool(size) or name in (axis for axis, _ in axes):
            raise RuleError(f"{text!r} is no layout")
        axes.append((name, int(size or 0)))
        end = match.end()
    if end != len(text) or not text or any(n.islower() and n.upper() not in (a for a, _ in axes) for n, _ in axes):
        raise RuleError(f"{text!r} is no layout")
    return Layout(tuple(axes))


def to_primal(shape: Sequence[Dim], layout: str, primal: str) -> tuple[Dim, ...]:
    """A shape in `layout` as one in the unblocked layout `primal`, such as "NCHW"."""
    parsed = parse_layout(layout)
    if len(parsed.axes) != len(shape):
        raise RuleError(f"a tensor of {len(shape)} dimensions has not the layout {layout}")
    if sorted(parsed.primal) != sorted(primal):
        raise RuleError(f"the layout {layout} cannot become {primal}")
    outer = {name: dim for (name, _), dim in zip(parsed.axes, shape)}
    return tuple(mul(outer[name], parsed.factor(name)) for name in primal)


def from_primal(shape: Sequence[Dim], primal: str, layout: str) -> tuple[Dim, ...]:
    """A shape in the unblocked layout `primal` as one in `layout`; the inverse of `to_primal`."""
    parsed = parse_layout(layout)
    if sorted(parsed.primal) != sorted(primal):
        raise RuleError(f"the layout {primal} cannot become {layout}")
    sizes = dict(zip(primal, shape))
    return tuple(size if name.islower() else div(sizes[name], parsed.factor(name)) for name, size in parsed.axes)


def transformed_shape(shape: Sequence[Dim], source: str, target: str) -> tuple[Dim, ...]:
    """The shape after `layout_transform`; a dimension that no block divides is rounded up (its tail is padding)."""
    primal = parse_layout(source).primal
    sizes = dict(zip(primal, to_primal(shape, source, primal)))
    parsed = parse_layout(target)
    if sorted(parsed.primal) != sorted(primal):
        raise RuleError(f"the layout {source} cannot become {target}")
    return tuple(size if name.islower() else ceil_div(sizes[name], parsed.factor(name)) for name, size in parsed.axes)
