"""The two constant matrices that the auto-scheduler's Winograd DAGs print shortened (``..(OMITTED)..``).

Toom-Cook, F(m, 3): the points below are those of Barabasz et al. (arXiv 1803.10986), which TVM has always used.
"""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache

__all__ = ["data_matrix", "output_matrix"]

_POINTS: dict[int, tuple[Fraction, ...]] = {
    4: (Fraction(0), Fraction(-1), Fraction(1)),
    6: (Fraction(0), Fraction(-1), Fraction(1), Fraction(1, 2), Fraction(-2)),
    8: tuple(Fraction(p) for p in ("0", "-1", "1", "1/2", "-1/2", "2", "-2")),
}


def output_matrix(alpha: int) -> tuple[tuple[float, ...], ...] | None:
    """A, of shape (alpha, alpha - 2): powers of the points, and the point at infinity. None for an unknown tile."""
    points = _POINTS.get(alpha)
    if points is None:
        return None
    m = alpha - 2
    rows = [tuple(float(point**power) for power in range(m)) for point in points]
    return (*rows, tuple(float(column == m - 1) for column in range(m)))


@lru_cache(maxsize=8)
def data_matrix(alpha: int) -> tuple[tuple[float, ...], ...] | None:
    """B, of shape (alpha, alpha): column i holds the coefficients of prod over k != i of (x - point k)."""
    points = _POINTS.get(alpha)
    if points is None:
        return None
    columns = []
    for skipped in range(alpha - 1):
        polynomial = _product([point for k, point in enumerate(points) if k != skipped])
        # The filter's matrix divides by the polynomial's value at its own point; the first one is kept positive.
        if skipped == 0 and sum(c * points[0] ** k for k, c in enumerate(polynomial)) < 0:
            polynomial = [-c for c in polynomial]
        columns.append([*polynomial, Fraction(0)])
    columns.append(_product(list(points)))
    return tuple(tuple(float(columns[j][i]) for j in range(alpha)) for i in range(alpha))


def _product(points: list[Fraction]) -> list[Fraction]:
    """Coefficients, constant first, of the product of (x - point)."""
    polynomial = [Fraction(1)]
    for point in points:
        shifted = [Fraction(0), *polynomial]
        polynomial = [a - point * b for a, b in zip(shifted, [*polynomial, Fraction(0)], strict=True)]
    return polynomial
