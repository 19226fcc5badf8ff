"""Matching given arrays with a function's parameters."""

from __future__ import annotations

import typing
import warnings
from collections.abc import Mapping, Sequence

import numpy as np

from gacer_tvm.errors import RelayError
from gacer_tvm.relay.ast import Constant, Function, Var
from gacer_tvm.relay.dims import agree
from gacer_tvm.relay.types import TensorType

__all__ = ["match_weights", "unique_names"]

Array = np.ndarray[typing.Any, typing.Any]


def unique_names(params: Sequence[Var]) -> dict[int, str]:
    """A name for each parameter; a repeated one gets a number."""
    taken: set[str] = set()
    names: dict[int, str] = {}
    for param in params:
        base = param.name_hint or "p"
        name, count = base, 0
        while name in taken:
            count += 1
            name = f"{base}_{count}"
        taken.add(name)
        names[id(param)] = name
    return names


def match_weights(main: Function, names: dict[int, str], params: Mapping[str, typing.Any] | None) -> dict[str, Array]:
    """The given weights as arrays of the parameters' types."""
    given = dict(params or {})
    weights: dict[str, Array] = {}
    for param in main.params:
        name = names[id(param)]
        if name not in given:
            continue
        array = _array(given.pop(name), name)
        stated = param.type_annotation
        if not isinstance(stated, TensorType):
            raise RelayError(f"%{name} is {stated} and cannot be given as a parameter.")
        if not agree(stated, TensorType(tuple(array.shape), str(array.dtype))):
            raise RelayError(
                f"The parameter {name!r} is Tensor[{tuple(array.shape)}, {array.dtype}], but @main states {stated}."
            )
        weights[name] = array
    if given and not weights:
        raise RelayError(
            f"None of the {len(given)} given parameters ({_some(given)}) is a parameter of @main "
            f"({_some(names.values())}): they belong to another module."
        )
    if given:
        warnings.warn(f"{len(given)} given parameters are not used by @main: {_some(given)}.", stacklevel=3)
    return weights


def _some(names: typing.Iterable[str]) -> str:
    listed = list(names)
    return ", ".join(listed[:5]) + (", ..." if len(listed) > 5 else "")


def _array(value: typing.Any, name: str) -> Array:
    if isinstance(value, Constant):
        return value.data
    if isinstance(value, np.ndarray):
        return value
    if hasattr(value, "numpy"):
        return np.asarray(value.numpy())
    try:
        return np.asarray(value)
    except (TypeError, ValueError):
        raise RelayError(f"The parameter {name!r} is no array but {type(value).__name__}.") from None
