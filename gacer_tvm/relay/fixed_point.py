"""The whole-number arithmetic behind quantized operators: real multipliers as 31-bit significands and shifts.

After gemmlowp's fixed-point scheme (https://github.com/google/gemmlowp/blob/master/doc/quantization.md), as TVM applied
it.
"""

from __future__ import annotations

import math
import typing

import numpy as np

__all__ = ["multiplier_shift", "multipliers_shifts"]

Array = np.ndarray[typing.Any, typing.Any]


def multiplier_shift(factor: float) -> tuple[int, int]:
    """`factor` as `(significand, exponent)`: about `significand * 2**(exponent - 31)`, 2**30 <= significand < 2**31.

    Parameters
    ----------
    factor : float
        Not negative.
    """
    if factor == 0.0:
        return 0, 0
    fraction, exponent = math.frexp(factor)
    # Halves go away from zero, as C's round does.
    significand = math.floor(fraction * (1 << 31) + 0.5)
    if significand == 1 << 31:
        significand //= 2
        exponent += 1
    return significand, exponent


def multipliers_shifts(factors: Array) -> tuple[Array, Array]:
    """`multiplier_shift` of each number, as two int64 arrays of the same shape."""
    pairs = [multiplier_shift(float(factor)) for factor in factors.reshape(-1)]
    significands, exponents = (np.array([pair[side] for pair in pairs], "int64") for side in (0, 1))
    return significands.reshape(factors.shape), exponents.reshape(factors.shape)
