"""Computes shape arithmetic before running: operators on small whole numbers whose values are known.

Frontends derive shapes from other shapes (`shape_of`, then slices, products, concatenations); with static inputs all of
it is known. Only integers and booleans are folded, exactly, so that no rounding differs from what the kernels would do.
"""

from __future__ import annotations

import typing
from collections.abc import Callable

import numpy as np

from gacer_tvm.relay.dims import known, normalize_axes, normalize_axis
from gacer_tvm.relay.slicing import sliced_dim
from gacer_tvm.relay.types import TensorType
from gacer_tvm.relay.values import OpCall, Tensor

__all__ = ["fold"]

Array = np.ndarray[typing.Any, typing.Any]
_MAX_ELEMENTS = 4096
_BINARY: dict[str, Callable[..., typing.Any]] = {
    "add": np.add, "subtract": np.subtract, "multiply": np.multiply, "maximum": np.maximum, "minimum": np.minimum,
    "equal": np.equal, "not_equal": np.not_equal, "less": np.less, "less_equal": np.less_equal, "greater": np.greater,
    "greater_equal": np.greater_equal, "logical_and": np.logical_and, "logical_or": np.logical_or,
}  # fmt: skip


def fold(call: OpCall) -> Array | None:
    """The numbers that a call yields, if they are whole, few, and known before running; else None.

    Parameters
    ----------
    call : OpCall
        With its result type found.
    """
    out = call.out
    if not isinstance(out, TensorType) or not out.is_static or not _whole(out.dtype):
        return None
    size = 1
    for dim in out.shape:
        size *= typing.cast(int, dim)
    if size > _MAX_ELEMENTS:
        return None
    shape = typing.cast("tuple[int, ...]", out.shape)
    if call.name in ("shape_of", "vm.shape_of", "ndarray_size", "contrib.ndarray_size"):
        dims = call.shape(0)
        if not all(known(dim) for dim in dims):
            return None
        numbers = np.array(dims, dtype="int64")
        return (numbers.prod() if call.name.endswith("ndarray_size") else numbers).astype(out.dtype).reshape(shape)
    if call.name in ("zeros", "ones"):
        return np.full(shape, int(call.name == "ones"), dtype=out.dtype)
    operands = _operands(call)
    if operands is None:
        return None
    result = _compute(call, operands, out)
    return None if result is None else np.asarray(result).astype(out.dtype).reshape(shape)


def _whole(dtype: str) -> bool:
    return dtype.startswith(("int", "uint")) or dtype == "bool"


def _operands(call: OpCall) -> list[Array] | None:
    """All operands, a tuple's fields in its place; None unless all are known, whole and few."""
    flat: list[Array] = []
    for arg in call.args:
        for part in arg if isinstance(arg, tuple) else (arg,):
            if not isinstance(part, Tensor) or part.const is None or part.const.size > _MAX_ELEMENTS:
                return None
            flat.append(part.const)
    if not flat or (call.name != "cast" and any(not _whole(str(array.dtype)) for array in flat)):
        return None
    return flat


def _compute(call: OpCall, operands: list[Array], out: TensorType) -> typing.Any:
    name, first = call.name, operands[0]
    if name in _BINARY:
        return _BINARY[name](first, operands[1])
    if name in ("floor_divide", "divide", "floor_mod", "mod", "trunc_divide"):
        return _divide(name, first, operands[1])
    if name in ("cast", "cast_like"):
        # Fractions are cut off; a number outside of the range is left to the kernel.
        fits = np.all(np.isfinite(first)) and np.all(np.abs(first.astype("float64")) < 2**31)
        return first if fits or _whole(str(first.dtype)) else None
    if name in ("reshape", "dyn.reshape", "expand_dims", "squeeze", "copy", "annotation.stop_fusion"):
        return first
    if name == "concatenate":
        return np.concatenate(operands, axis=call.attr("axis", 0))
    if name == "stack":
        return np.stack(operands, axis=call.attr("axis", 0))
    if name == "take" and call.attr("axis") is not None and not call.attr("batch_dims"):
        axis = normalize_axis(int(call.attr("axis")), first.ndim)
        indices, size = operands[1].astype("int64"), first.shape[axis]
        indices = np.where(indices < 0, indices + size, indices)
        return np.take(first, indices, axis=axis) if np.all((indices >= 0) & (indices < size)) else None
    if name in ("strided_slice", "dyn.strided_slice"):
        return _slice(call, first)
    if name in ("prod", "sum", "max", "min"):
        axes = normalize_axes(call.attr("axis"), first.ndim, bool(call.attr("exclude", False)))
        reduce: Callable[..., typing.Any] = getattr(np, name)
        return reduce(first, axis=axes)
    if name == "where":
        return np.where(first, operands[1], operands[2])
    if name == "negative":
        return np.negative(first)
    if name in ("full", "dyn.full", "full_like"):
        return np.full(out.shape, first.reshape(-1)[0])
    return None


def _divide(name: str, left: Array, right: Array) -> Array | None:
    if np.any(right == 0):
        return None
    if name in ("floor_divide", "floor_mod"):
        return left // right if name == "floor_divide" else left % right
    # C's division cuts toward zero.
    quotient = np.sign(left) * np.sign(right) * (np.abs(left) // np.abs(right))
    result: Array = quotient if name != "mod" else left - quotient * right
    return result


def _slice(call: OpCall, data: Array) -> Array:
    from gacer_tvm.relay.rules.transform import slice_spec

    cuts: list[typing.Any] = [slice(None)] * data.ndim
    for axis, bounds in slice_spec(call).items():
        _, (start, stop, step) = sliced_dim(data.shape[axis], bounds)
        cuts[axis] = slice(start, None if stop < 0 else stop, step)
    result: Array = data[tuple(cuts)]
    return result
