"""The table of converters, filled by the modules beside it."""

from __future__ import annotations

import typing
from collections.abc import Callable

__all__ = ["CONVERTERS", "Converter", "converter"]

# (emitter, call, one Relax expression for each argument, lists of them for tuples) -> expression, or tuple of them.
Converter = Callable[..., typing.Any]
CONVERTERS: dict[str, Converter] = {}


def converter(*names: str) -> Callable[[Converter], Converter]:
    """Register a function as the converter of the operators `names`."""

    def register(function: Converter) -> Converter:
        for name in names:
            CONVERTERS[name] = function
        return function

    return register
