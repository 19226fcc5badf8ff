"""Numbers of Relay text: `3`, `-1i16`, `2.5f64`, `1e-05f`, `inff`."""

from __future__ import annotations

import math
import re

import numpy as np

from gacer_tvm.errors import RelayError

__all__ = ["number_value", "scalar_array"]

_NUMBER = re.compile(r"(-*)(inf|nan|[\d.]+(?:[eE][+-]?\d+)?)([fi]?)(\d*)")
_WIDTHS = {"i": ("16", "32", "64", "8"), "f": ("16", "32", "64")}
# Longer literals cannot be 64-bit integers; Python would take quadratic time to convert them.
_DIGITS = 40


def number_value(text: str) -> tuple[int | float, str]:
    """The value and dtype of a number.

    Parameters
    ----------
    text : str
        A token: any number of minus signs (an even number cancels), digits, an optional suffix `i` or `f` with width.

    Returns
    -------
    (int or float, str)
        An integer without suffix is int32, or int64 if it does not fit; a float without width is float32.

    Raises
    ------
    RelayError
        If the number does not fit its width, or has a width that Relay does not have.
    """
    match = _NUMBER.fullmatch(text)
    if match is None:
        raise RelayError(f"{text[:40]!r} is not a number.")
    signs, digits, suffix, width = match.groups()
    sign = -1 if len(signs) % 2 else 1
    if suffix and width and width not in _WIDTHS[suffix]:
        raise RelayError(
            f"The number {text[:40]!r} has a width that Relay does not have; it has i16, i32, i64, f16, f32, f64."
        )
    if suffix == "f" or not digits.isdigit():
        return sign * float(digits), f"float{width or '32'}"
    if len(digits) > _DIGITS:
        raise RelayError(f"The integer {text[:20]}... does not fit 64 bits.")
    value = sign * int(digits)
    if width or suffix:
        bits = int(width or "32")
    else:
        bits = 32 if -(1 << 31) <= value < 1 << 31 else 64
    if not -(1 << (bits - 1)) <= value < 1 << (bits - 1):
        raise RelayError(f"The integer {text[:40]} does not fit {bits} bits.")
    return value, f"int{bits}"


def scalar_array(text: str) -> np.ndarray:
    """The number as a 0-d array; raises RelayError as `number_value`, and for a float beyond its dtype's range."""
    value, dtype = number_value(text)
    if isinstance(value, float) and math.isfinite(value) and abs(value) > float(np.finfo(dtype).max):
        raise RelayError(f"The number {text[:40]!r} is beyond the range of {dtype}.")
    return np.array(value, dtype)
