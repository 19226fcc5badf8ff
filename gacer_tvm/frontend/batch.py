"""Finding the batch axis of each input.

What is found here is only where the batch *enters*; whether an operator may be cut along it is proved later, operator by
operator, from its index expressions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import TenantError
from .signature import TensorSpec, describe

__all__ = ["AUTO", "find_batch"]

AUTO = "auto"


def find_batch(
    who: str,
    inputs: Mapping[str, TensorSpec],
    outputs: Mapping[str, TensorSpec],
    given: Any = AUTO,
    symbolic: Mapping[str, int] | None = None,
) -> tuple[int | None, dict[str, int | None]]:
    """The batch size and the batch axis of each input.

    Parameters
    ----------
    who
        The tenant, for messages.
    inputs, outputs
        Static signature.
    given
        ``"auto"`` to find them; an int: this axis of every input that has it with the common extent; a mapping from
        input name to axis or None; None: the tenant has no batch.
    symbolic
        Axes known from a symbolic batch extent that was bound; they beat the guess of ``"auto"``.

    Returns
    -------
    batch, axes
        The extent (None without a batch) and the axis of each input (None where an input has no batch).

    Raises
    ------
    TenantError
        When the given axes do not exist or their extents differ.
    """
    none: dict[str, int | None] = dict.fromkeys(inputs)
    if given is None:
        return None, none
    if isinstance(given, str):
        if given != AUTO:
            raise TenantError(
                f"{who}: batch_axis is {given!r}; expected 'auto', an axis, a mapping of input to axis, or None"
            )
        if symbolic:
            return _checked(who, inputs, {**none, **symbolic})
        return _leading(inputs, outputs)
    if isinstance(given, Mapping):
        unknown = [name for name in given if name not in inputs]
        if unknown:
            raise TenantError(
                f"{who}: batch_axis names {unknown}, which are no inputs; the inputs are {describe(inputs)}"
            )
        return _checked(who, inputs, {**none, **given})
    axis = int(given)
    extents = [spec.shape[axis] for spec in inputs.values() if -len(spec.shape) <= axis < len(spec.shape)]
    if not extents:
        raise TenantError(f"{who}: no input has an axis {axis}; the inputs are {describe(inputs)}")
    axes = {
        name: axis if -len(spec.shape) <= axis < len(spec.shape) and spec.shape[axis] == extents[0] else None
        for name, spec in inputs.items()
    }
    return _checked(who, inputs, axes)


def _leading(
    inputs: Mapping[str, TensorSpec], outputs: Mapping[str, TensorSpec]
) -> tuple[int | None, dict[str, int | None]]:
    """Axis 0 of the inputs, when its extent leads an output too: the convention of every framework."""
    none: dict[str, int | None] = dict.fromkeys(inputs)
    leading_out = {spec.shape[0] for spec in outputs.values() if spec.shape}
    for spec in inputs.values():
        if spec.shape and spec.shape[0] in leading_out:
            batch = spec.shape[0]
            return batch, {name: 0 if s.shape and s.shape[0] == batch else None for name, s in inputs.items()}
    return None, none


def _checked(
    who: str, inputs: Mapping[str, TensorSpec], axes: Mapping[str, int | None]
) -> tuple[int | None, dict[str, int | None]]:
    result: dict[str, int | None] = {}
    extents: dict[str, int] = {}
    for name, spec in inputs.items():
        axis = axes[name]
        if axis is None:
            result[name] = None
            continue
        if not -len(spec.shape) <= axis < len(spec.shape):
            raise TenantError(f"{who}, input {name!r}: batch axis {axis} does not exist in {spec}")
        result[name] = axis % len(spec.shape)
        extents[name] = spec.shape[axis]
    if len(set(extents.values())) > 1:
        raise TenantError(f"{who}: the batch axes have different extents: {extents}; a tenant has one batch size")
    return (next(iter(extents.values())) if extents else None), result
