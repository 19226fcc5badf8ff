"""Random weights for models, drawn as TVM's `relay.testing.init` drew them."""

from __future__ import annotations

import typing
from collections.abc import Callable, Sequence

import numpy as np

from gacer_tvm.errors import RelayError
from gacer_tvm.relay.ast import Function, IRModule
from gacer_tvm.relay.infer import infer_types
from gacer_tvm.relay.types import TensorType

__all__ = ["Workload", "create_workload", "xavier"]

Array = np.ndarray[typing.Any, typing.Any]
Workload = tuple[IRModule, dict[str, Array]]
Initializer = Callable[[str, tuple[int, ...], np.random.RandomState], Array]
# What parameters that are no weights start as, by the end of their name.
_CONSTANT = {"bias": 0.0, "gamma": 1.0, "beta": 0.0, "mean": 0.0, "var": 1.0}


def xavier(name: str, shape: tuple[int, ...], rng: np.random.RandomState) -> Array:
    """Uniform weights of the scale `sqrt(3 / mean of fan-in and fan-out)`.

    Parameters
    ----------
    name : str
        A weight's name; one that holds "depthwise" is scaled by its kernel alone.
    shape : tuple of int
        At least two dimensions: (out, in, ...).
    rng : numpy.random.RandomState
    """
    if len(shape) < 2:
        raise RelayError(f"The weight {name} of shape {shape} needs at least two dimensions to be drawn.")
    window = float(np.prod(shape[2:])) if len(shape) > 2 else 1.0
    factor = window if "depthwise" in name else (shape[1] + shape[0]) * window / 2.0
    scale = np.sqrt(3.0 / factor)
    return rng.uniform(-scale, scale, size=shape)


def create_workload(
    net: Function,
    initializer: Initializer | None = None,
    seed: int = 0,
    inputs: Sequence[str] = ("data",),
) -> Workload:
    """A module with inferred types, and random values for all parameters that are no inputs.

    Parameters
    ----------
    net : Function
    initializer : callable, optional
        Draws a weight from its name, shape and a generator; `xavier` by default.
    seed : int
    inputs : sequence of str
        Names of parameters that get no value.

    Returns
    -------
    module : IRModule
    params : dict of str to numpy.ndarray
        In the order of the parameters.
    """
    module = infer_types(IRModule.from_expr(net))
    rng = np.random.RandomState(seed)
    draw = initializer or xavier
    params: dict[str, Array] = {}
    for param in module["main"].params:
        type_ = param.type_annotation
        name = param.name_hint
        if name in inputs or name in params:
            continue
        if not isinstance(type_, TensorType) or not type_.is_static:
            raise RelayError(f"The parameter %{name} has the type {type_}; weights must be tensors of known shape.")
        shape = typing.cast("tuple[int, ...]", type_.shape)
        kind = next((end for end in _CONSTANT if name.endswith(end)), None)
        if name.endswith("weight"):
            value = draw(name, shape, rng)
        elif kind is not None:
            value = np.full(shape, _CONSTANT[kind])
        else:
            raise RelayError(f"%{name} ends in none of weight, {', '.join(_CONSTANT)}: its initial value is not known.")
        params[name] = value.astype(type_.dtype)
    return module, params
