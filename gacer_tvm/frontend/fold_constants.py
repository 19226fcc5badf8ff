"""Folding operators whose arguments are all constants, in NumPy where that is exact.

TVM's `FoldConstant` builds and runs one small program for each operator that it folds (24 s for DenseNet-121). Moves,
casts and the four correctly rounded operations give the same bits in NumPy at once; whatever else is constant is left
to TVM.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .._tvm import relax, tvm
from .constants import as_constant, value_of
from .straighten import Walk, call_name, main_block, rebuild

__all__ = ["fold_constants"]


_LARGEST_FILLED = 1 << 16  # elements


def _ints(values: Any) -> tuple[int, ...]:
    return tuple(int(value) for value in values)


def _shape(expr: Any) -> tuple[int, ...]:
    return _ints(expr.values)


def _is_float(array: np.ndarray) -> bool:
    return array.dtype in (np.float32, np.float64)


def _divide(a: np.ndarray, b: np.ndarray) -> np.ndarray | None:
    return np.divide(a, b) if _is_float(a) else None


def _arithmetic(ufunc: np.ufunc) -> Callable[..., np.ndarray | None]:
    # Half floats are computed in wider registers by some code generators, so only the common types are folded here.
    def fold(a: np.ndarray, b: np.ndarray) -> np.ndarray | None:
        return ufunc(a, b) if _is_float(a) or a.dtype.kind in "iu" else None

    return fold


_BINARY: dict[str, Callable[..., np.ndarray | None]] = {
    "relax.add": _arithmetic(np.add),
    "relax.subtract": _arithmetic(np.subtract),
    "relax.multiply": _arithmetic(np.multiply),
    "relax.divide": _divide,
}


def _fold_call(call: Any) -> np.ndarray | None:
    """The value of a call with constant arguments, or None where NumPy is not asked."""
    name = call_name(call)
    if not name:
        return None
    if name in ("relax.full", "relax.zeros", "relax.ones"):
        return _filled(call, name)
    if name == "relax.concat":
        values = [value_of(item) for item in call.args[0].fields] if isinstance(call.args[0], relax.Tuple) else []
        arrays = [value for value in values if value is not None]
        if not arrays or len(arrays) != len(values) or call.attrs.axis is None:
            return None
        return np.concatenate(arrays, axis=int(call.attrs.axis))
    first = value_of(call.args[0]) if len(call.args) else None
    if first is None:
        return None
    if name in _BINARY:
        second = value_of(call.args[1])
        return None if second is None or second.dtype != first.dtype else _BINARY[name](first, second)
    if name == "relax.matmul":
        second = value_of(call.args[1])
        if second is None or second.dtype != first.dtype or not _is_float(first):
            return None
        # Summed in float64: closer to the true value than any order of float32 sums.
        product: np.ndarray = np.matmul(first, second, dtype="float64")
        return product.astype(str(call.attrs.out_dtype or first.dtype))
    if name == "relax.permute_dims":
        return np.transpose(first, None if call.attrs.axes is None else _ints(call.attrs.axes))
    if name == "relax.reshape" and isinstance(call.args[1], relax.ShapeExpr):
        return first.reshape(_shape(call.args[1]))
    if name == "relax.broadcast_to" and isinstance(call.args[1], relax.ShapeExpr):
        return np.broadcast_to(first, _shape(call.args[1]))
    if name == "relax.expand_dims":
        return np.expand_dims(first, _ints(call.attrs.axis))
    if name == "relax.squeeze":
        return np.squeeze(first, None if call.attrs.axis is None else _ints(call.attrs.axis))
    if name == "relax.sqrt":
        return np.sqrt(first) if _is_float(first) else None
    if name == "relax.take":
        indices, axis = value_of(call.args[1]), call.attrs.axis
        if indices is None or axis is None or not indices.size:
            return None
        inside = indices.min() >= 0 and indices.max() < first.shape[int(axis)]
        return np.take(first, indices, axis=int(axis)) if inside else None
    if name == "relax.astype":
        target = np.dtype(str(call.attrs.dtype)) if str(call.attrs.dtype) in _PLAIN else None
        # A float out of an integer's range has no defined value, and differs between processors.
        exact = target is not None and (first.dtype.kind in "iub" or target.kind == "f")
        return first.astype(target) if exact and first.dtype.name in _PLAIN else None
    return None


_PLAIN = {
    "bool",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "float16",
    "float32",
    "float64",
}


def _filled(call: Any, name: str) -> np.ndarray | None:
    """A tensor of one number; large ones are cheaper to make than to keep."""
    if not isinstance(call.args[0], relax.ShapeExpr):
        return None
    shape = _shape(call.args[0])
    number = value_of(call.args[1]) if name == "relax.full" else np.array(name == "relax.ones")
    dtype = str(call.attrs.dtype or (number.dtype if number is not None else ""))
    if number is None or dtype not in _PLAIN or np.prod(shape, dtype="int64") > _LARGEST_FILLED:
        return None
    return np.full(shape, number, dtype)


def _is_constant(expr: Any) -> bool:
    if isinstance(expr, relax.Tuple):
        return all(_is_constant(item) for item in expr.fields)
    return not isinstance(expr, relax.Var)


def fold_constants(module: Any) -> Any:
    """Replace every operator of constants by its value.

    Rewrite
    -------
    ``permute_dims(const)`` → ``const``

    Parameters
    ----------
    module
        IRModule with a straight `main` (`straighten.single_block`).
    """

    def rewrite(walk: Walk, var: Any, call: Any) -> Any:
        with np.errstate(all="ignore"):
            value = _fold_call(call)
        if value is None:
            return None
        spec = walk.builder.normalize(call).ty
        return as_constant(value.reshape(_shape(spec.shape)), str(spec.dtype))

    module = rebuild(module, rewrite)
    if any(_left_over(binding.value) for binding in main_block(module)):
        module = relax.transform.FoldConstant()(module)
        module = rebuild(module, rewrite)
    return module


def _left_over(value: Any) -> bool:
    return isinstance(value, relax.Call) and isinstance(value.op, tvm.ir.Op) and all(map(_is_constant, value.args))
