"""Checking what a caller feeds against a tenant's signature."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from ..errors import TenantError
from .signature import TensorSpec, describe

__all__ = ["check_inputs"]


class Signed(Protocol):
    """What has named inputs: a tenant, or its place in an executable."""

    @property
    def label(self) -> str:
        """How messages call it."""

    @property
    def inputs(self) -> Mapping[str, TensorSpec]:
        """Its inputs by name."""


def check_inputs(tenant: Signed, arrays: Mapping[str, Any]) -> None:
    """Raise unless `arrays` are exactly the tenant's inputs.

    Parameters
    ----------
    arrays
        Anything with `shape` and `dtype` (NumPy, TVM, torch, CuPy…) by input name. Nothing is converted: a wrong
        dtype is an error, since a silent cast hides mistakes.

    Raises
    ------
    TenantError
        Naming the tenant, the input, what was expected and what was found.
    """
    expected = describe(tenant.inputs)
    if not isinstance(arrays, Mapping):
        raise TenantError(
            f"{tenant.label}: expected a mapping of input name to array ({expected}), found {type(arrays).__name__}"
        )
    unknown = [name for name in arrays if name not in tenant.inputs]
    if unknown:
        raise TenantError(f"{tenant.label}: it has no input {', '.join(map(repr, unknown))}; its inputs are {expected}")
    missing = [name for name in tenant.inputs if name not in arrays]
    if missing:
        raise TenantError(
            f"{tenant.label}: the input {', '.join(map(repr, missing))} is missing; its inputs are {expected}"
        )
    for name, spec in tenant.inputs.items():
        array = arrays[name]
        if not hasattr(array, "shape") or not hasattr(array, "dtype"):
            raise TenantError(f"{tenant.label}, input {name!r}: expected an array {spec}, found {type(array).__name__}")
        found = TensorSpec(tuple(int(extent) for extent in array.shape), str(array.dtype).removeprefix("torch."))
        if found.shape != spec.shape:
            raise TenantError(f"{tenant.label}, input {name!r}: expected shape {spec.shape}, found {found.shape}")
        if found.dtype != spec.dtype:
            raise TenantError(f"{tenant.label}, input {name!r}: expected dtype {spec.dtype}, found {found.dtype}")
