"""What goes into a Relax function and what comes out: ordered names with static shapes and dtypes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from .._tvm import relax, tvm
from ..errors import TenantError

__all__ = ["TensorSpec", "flat_types", "tensor_spec", "symbols", "unique_names"]


class TensorSpec(NamedTuple):
    """Shape and dtype of one tensor; unpacks as ``shape, dtype``."""

    shape: tuple[int, ...]
    dtype: str

    def __str__(self) -> str:
        return f"{self.dtype}[{', '.join(map(str, self.shape))}]"


def tensor_spec(ty: Any, who: str) -> TensorSpec:
    """Static shape and dtype of a Relax type.

    Parameters
    ----------
    ty
        The type of a variable or a result.
    who
        What carries it, for the message ("tenant 'a', input 'x'").

    Raises
    ------
    TenantError
        When it is no tensor, or its rank, dtype or an extent is unknown.
    """
    if not isinstance(ty, relax.TensorType):
        raise TenantError(f"{who}: expected a tensor, found {str(ty).strip()}")
    if ty.shape is None or not isinstance(ty.shape, relax.ShapeExpr):
        raise TenantError(f"{who}: its shape is unknown; give one with shapes={{name: (…)}}")
    open_dims = [str(extent) for extent in ty.shape.values if not isinstance(extent, tvm.tirx.IntImm)]
    if open_dims:
        raise TenantError(
            f"{who}: the extents {', '.join(open_dims)} are symbolic; a tenant has static shapes: give batch=…, or "
            f"shapes={{name: (…)}} for every input with a symbolic extent"
        )
    dtype = str(ty.dtype)
    if not dtype:
        raise TenantError(f"{who}: its dtype is unknown")
    return TensorSpec(tuple(int(extent) for extent in ty.shape.values), dtype)


def flat_types(ty: Any) -> list[Any]:
    """The tensor types inside a (nested) tuple type, in order."""
    if isinstance(ty, relax.TupleType):
        return [leaf for item in ty.fields for leaf in flat_types(item)]
    return [ty]


def symbols(variables: Iterable[Any]) -> dict[str, list[tuple[str, int]]]:
    """Where each symbolic extent stands: name of the symbol -> [(variable, axis), …], in order of appearance."""
    found: dict[str, list[tuple[str, int]]] = {}
    for var in variables:
        shape = getattr(var.ty, "shape", None)
        if not isinstance(shape, relax.ShapeExpr):
            continue
        for axis, extent in enumerate(shape.values):
            if isinstance(extent, tvm.tirx.Var):
                found.setdefault(extent.name, []).append((var.name, axis))
    return found


def unique_names(wanted: Sequence[str | None], prefix: str) -> list[str]:
    """`wanted` with blanks replaced by ``prefix0``, ``prefix1``, … and repeated names told apart by a number."""
    taken: set[str] = set()
    result = []
    for position, name in enumerate(wanted):
        base = name or f"{prefix}{position}"
        unique, suffix = base, 1
        while unique in taken:
            unique, suffix = f"{base}_{suffix}", suffix + 1
        taken.add(unique)
        result.append(unique)
    return result


def describe(specs: Mapping[str, TensorSpec]) -> str:
    """``x: float32[1, 3], y: int64[2]`` for messages."""
    return ", ".join(f"{name}: {spec}" for name, spec in specs.items())
