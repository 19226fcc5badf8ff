"""Index expressions of scheduled loops: their values at sample points, how they move with a loop, and how far they reach."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._tvm import expr_ir, tir

__all__ = ["POINTS", "Indices", "children"]

POINTS = 1024
"""Points of the iteration space at which expressions are tried."""

Array = NDArray[np.int64]


class Indices:
    """What is known of the variables of a function's loops and blocks.

    Attributes
    ----------
    samples
        Loop or block variable to its values at the sample points, int64 of shape (`POINTS`,).
    bound
        Block variable to the expression of loops that it stands for.
    """

    def __init__(self) -> None:
        self.samples: dict[Any, Array] = {}
        self.bound: dict[Any, Any] = {}

    def bind(self, var: Any, value: Any) -> None:
        """Let a block's variable stand for an expression."""
        self.samples[var] = self.value(value)
        self.bound[var] = value

    def value(self, expr: Any) -> Any:
        """An expression at the sample points; 1 where it is not understood: a condition on data holds."""
        if isinstance(expr, tir.IntImm):
            return int(expr)
        if isinstance(expr, expr_ir.Var):
            return self.samples.get(expr, 0)
        if isinstance(expr, tir.Cast):
            return self.value(expr.value)
        if isinstance(expr, tir.Not):
            return self.value(expr.a) == 0
        operation = _NUMPY.get(type(expr).__name__)
        if operation is None:
            args = list(getattr(expr, "args", ()))
            name = str(getattr(getattr(expr, "op", None), "name", ""))
            return self.value(args[0]) if name.endswith("likely") and args else 1
        left, right = self.value(expr.a), self.value(expr.b)
        return operation(left, np.where(np.asarray(right) == 0, 1, right) if "Floor" in type(expr).__name__ else right)

    def step(self, indices: Iterable[Any], shape: Iterable[int], var: Any) -> int:
        """By how many elements of a buffer of that shape (0: not known) an access moves with `var`."""
        moves, behind = 0, 1
        for index, extent in zip(reversed(list(indices)), reversed(list(shape))):
            moves += self.stride(index, var) * behind
            behind *= extent
        return moves

    def stride(self, index: Any, var: Any) -> int:
        """By how much an index moves with `var`; 0 where it does not, or not evenly (a remainder moves as what is divided)."""
        if isinstance(index, expr_ir.Var):
            return self.stride(self.bound[index], var) if index in self.bound else int(index.same_as(var))
        if isinstance(index, tir.Add):
            return self.stride(index.a, var) + self.stride(index.b, var)
        if isinstance(index, tir.Sub):
            return self.stride(index.a, var) - self.stride(index.b, var)
        if isinstance(index, tir.Mul) and isinstance(index.b, tir.IntImm):
            return self.stride(index.a, var) * int(index.b)
        if isinstance(index, tir.FloorMod):
            return self.stride(index.a, var)
        return 0

    def moves(self, indices: Iterable[Any], var: Any) -> bool:
        """Whether any of the indices moves with `var`."""
        return any(self.uses(index, var) for index in indices)

    def uses(self, expr: Any, var: Any) -> bool:
        """Whether `var` stands in an expression, or in one that a block's variable stands for."""
        if isinstance(expr, expr_ir.Var):
            return self.uses(self.bound[expr], var) if expr in self.bound else bool(expr.same_as(var))
        return any(self.uses(child, var) for child in children(expr))

    def reach(self, expr: Any, inside: Mapping[Any, int]) -> tuple[int, int] | None:
        """Least and greatest value while the loops `inside` (variable to extent) run and all others stand at 0.

        None where it is not known: an index that is itself loaded.
        """
        if isinstance(expr, tir.IntImm):
            return int(expr), int(expr)
        if isinstance(expr, expr_ir.Var):
            if expr in self.bound:
                return self.reach(self.bound[expr], inside)
            return 0, max(0, inside.get(expr, 1) - 1)
        if isinstance(expr, tir.Cast):
            return self.reach(expr.value, inside)
        kind = type(expr).__name__
        if kind not in ("Add", "Sub", "Mul", "FloorDiv", "FloorMod", "Min", "Max"):
            return None
        left, right = self.reach(expr.a, inside), self.reach(expr.b, inside)
        if left is None or right is None:
            return None
        return _reach(kind, left, right)


def _reach(kind: str, left: tuple[int, int], right: tuple[int, int]) -> tuple[int, int] | None:
    (a, b), (c, d) = left, right
    if kind == "Add":
        return a + c, b + d
    if kind == "Sub":
        return a - d, b - c
    if kind == "Mul":
        corners = (a * c, a * d, b * c, b * d)
        return min(corners), max(corners)
    if kind in ("Min", "Max"):
        return (min(a, c), min(b, d)) if kind == "Min" else (max(a, c), max(b, d))
    if c != d or c <= 0:
        return None
    if kind == "FloorDiv":
        return a // c, b // c
    return (a % c, b % c) if a // c == b // c else (0, c - 1)


def children(expr: Any) -> list[Any]:
    """The expressions that an expression is made of."""
    if isinstance(expr, expr_ir.Call):
        return list(expr.args)
    if isinstance(expr, expr_ir.TensorLoad):
        return list(expr.indices)
    if isinstance(expr, tir.Cast):
        return [expr.value]
    if isinstance(expr, tir.Select):
        return [expr.condition, expr.true_value, expr.false_value]
    parts = [getattr(expr, side, None) for side in ("a", "b")]
    return [part for part in parts if part is not None]


_NUMPY: dict[str, Any] = {
    "Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "FloorDiv": np.floor_divide, "FloorMod": np.mod,
    "Div": np.floor_divide, "Mod": np.mod, "Min": np.minimum, "Max": np.maximum, "LT": np.less,
    "LE": np.less_equal, "GT": np.greater, "GE": np.greater_equal, "EQ": np.equal,
    "NE": np.not_equal, "And": np.logical_and, "Or": np.logical_or,
}  # fmt: skip
