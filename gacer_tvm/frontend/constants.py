"""Relax constants from NumPy arrays and back, without the copies that TVM's own ways make.

The parameters of one network are hundreds of megabytes; `relax.const` copies an array three times, `Tensor.numpy` once.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .._tvm import relax, tvm, tvm_ffi

__all__ = ["array_of", "as_constant", "shared_constant", "value_of"]

_BLOCK = 256
# What TVM's allocator gives on a CPU, in bytes (include/tvm/runtime/device_api.h, kAllocAlignment).
_ALIGNMENT = 64


def value_of(expr: Any) -> np.ndarray | None:
    """The value of a constant, or None for any other expression. It may share the constant's memory: do not write to it."""
    if not isinstance(expr, tvm.ir.GenericConst):
        return None
    return array_of(expr)


def array_of(constant: Any) -> np.ndarray:
    """The value of a constant; see `value_of`."""
    tensor = constant.value
    try:
        return np.from_dlpack(tensor)
    except (BufferError, RuntimeError):  # dtypes that NumPy does not know (bfloat16), or memory of a device
        return np.asarray(tensor.numpy())


def as_constant(array: np.ndarray, dtype: str | None = None) -> Any:
    """A Relax constant of an array in any memory layout, converted to `dtype` where that is another one."""
    name = dtype or str(array.dtype)
    try:
        target = _aligned(array.shape, np.dtype(name))
        tensor = tvm_ffi.from_dlpack(target)
    except (BufferError, RuntimeError, TypeError):  # bfloat16 and its kind
        return relax.const(np.ascontiguousarray(array).reshape(array.shape), name)
    _copy(target, array)
    return relax.const(tensor)


def _aligned(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Memory as TVM aligns it, but NumPy's: it asks for huge pages, and filling it takes a third of the time."""
    size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    raw = np.empty(size + _ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % _ALIGNMENT
    return raw[start : start + size].view(dtype).reshape(shape)


def shared_constant(array: np.ndarray) -> Any:
    """A Relax constant that shares the memory of an array nobody writes to any more; a copy where it cannot be shared.

    Kernels read whole vectors, so memory that does not start where TVM's own would start is copied.
    """
    try:
        tensor = tvm_ffi.from_dlpack(array, require_alignment=_ALIGNMENT, require_contiguous=True)
    except (BufferError, RuntimeError, TypeError, ValueError):
        return as_constant(array)
    return relax.const(tensor)


def _copy(target: np.ndarray, source: np.ndarray) -> None:
    """`target[...] = source`; a large transposed matrix block by block, twice as fast as row by row."""
    if source.ndim != 2 or source.flags.c_contiguous or source.size < 1 << 20:
        np.copyto(target, source, casting="unsafe")
        return
    for row in range(0, source.shape[0], _BLOCK):
        for column in range(0, source.shape[1], _BLOCK):
            block = (slice(row, row + _BLOCK), slice(column, column + _BLOCK))
            np.copyto(target[block], source[block], casting="unsafe")
