"""TVM's bytes for one tensor, as parameter files and base64 in JSON hold them.

Little-endian: u64 magic, u64 reserved, i32 device type, i32 device id, i32 ndim, u8 type code, u8 bits, u16 lanes,
i64 shape[ndim], i64 number of bytes, data in row-major order. (`src/runtime/ndarray.h`, SaveDLTensor, TVM 0.6 to 0.19.)
"""

from __future__ import annotations

import math
import struct
from typing import Any

import ml_dtypes
import numpy as np

from gacer_tvm.errors import RelayError

__all__ = ["read_record", "write_record"]

MAGIC = 0xDD5E40F096B4A13F
_HEAD = struct.Struct("<QQiiiBBH")
_MAX_NDIM = 32

_DTYPES: dict[tuple[int, int], Any] = {
    (0, 8): np.int8,
    (0, 16): np.int16,
    (0, 32): np.int32,
    (0, 64): np.int64,
    (1, 1): np.bool_,
    (1, 8): np.uint8,
    (1, 16): np.uint16,
    (1, 32): np.uint32,
    (1, 64): np.uint64,
    (2, 16): np.float16,
    (2, 32): np.float32,
    (2, 64): np.float64,
    (4, 16): ml_dtypes.bfloat16,
    # How TVM writes booleans since DLPack has a code for them; Relay's TVM wrote one-bit unsigned integers.
    (6, 8): np.bool_,
    (10, 8): ml_dtypes.float8_e4m3fn,
    (12, 8): ml_dtypes.float8_e5m2,
}
_CODES = {np.dtype(dtype): key for key, dtype in _DTYPES.items() if key != (6, 8)}


def read_record(data: memoryview | bytes, offset: int, what: str) -> tuple[np.ndarray, int]:
    """The tensor at `offset`, and where its record ends.

    Parameters
    ----------
    data : bytes-like
    offset : int
    what : str
        Whose tensor it is, for messages.

    Returns
    -------
    (numpy.ndarray, int)
        The array owns its memory.

    Raises
    ------
    RelayError
        If the record is cut off or contradicts itself. Nothing is allocated before the bytes are known to be there.
    """
    left = len(data) - offset
    if left < _HEAD.size:
        raise RelayError(
            f"{what} is cut off: a tensor's record begins with {_HEAD.size} bytes, {max(left, 0)} are left."
        )
    magic, _, _, _, ndim, code, bits, lanes = _HEAD.unpack_from(data, offset)
    if magic != MAGIC:
        raise RelayError(f"{what} is no tensor of TVM: expected the magic number {MAGIC:#x}, found {magic:#x}.")
    if not 0 <= ndim <= _MAX_NDIM:
        raise RelayError(f"{what} claims {ndim} dimensions; 0 to {_MAX_NDIM} are possible.")
    dtype = _DTYPES.get((code, bits))
    if dtype is None or lanes != 1:
        raise RelayError(f"{what} has an element type that is not supported: code {code}, {bits} bits, {lanes} lanes.")
    offset += _HEAD.size
    if len(data) - offset < 8 * (ndim + 1):
        raise RelayError(f"{what} is cut off within its shape of {ndim} dimensions.")
    *shape, nbytes = struct.unpack_from(f"<{ndim + 1}q", data, offset)
    offset += 8 * (ndim + 1)
    if any(dim < 0 for dim in shape):
        raise RelayError(f"{what} has a negative dimension in its shape {tuple(shape)}.")
    expected = np.dtype(dtype).itemsize * math.prod(shape)
    if math.prod(max(dim, 1) for dim in shape) >= 1 << 60:
        # With a dimension of 0 it has no bytes, yet numpy cannot have such a shape.
        raise RelayError(f"{what} has an impossible shape {tuple(shape)}.")
    if nbytes != expected:
        raise RelayError(f"{what} has shape {tuple(shape)}, that is {expected} bytes, but states {nbytes} bytes.")
    if nbytes > len(data) - offset:
        raise RelayError(f"{what} claims {nbytes} bytes of data, but only {len(data) - offset} are left.")
    raw = np.frombuffer(data, dtype=np.uint8, count=nbytes, offset=offset).copy()
    if dtype is np.bool_:
        # Any other byte than 0 and 1 in a bool array would be undefined behaviour in numpy.
        array = np.not_equal(raw, 0).reshape(shape)
    else:
        array = raw.view(dtype).reshape(shape)
    return array, offset + nbytes


def write_record(array: np.ndarray, what: str) -> bytes:
    """TVM's bytes for an array; raises RelayError if TVM has no such element type.

    Parameters
    ----------
    array : numpy.ndarray
    what : str
        Whose tensor it is, for messages.
    """
    key = _CODES.get(array.dtype.newbyteorder("="))
    if key is None:
        raise RelayError(f"{what} has the element type {array.dtype}, which TVM's format does not have.")
    data = np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<"), copy=False)).tobytes()
    head = _HEAD.pack(MAGIC, 0, 1, 0, array.ndim, key[0], key[1], 1)
    return head + struct.pack(f"<{array.ndim + 1}q", *array.shape, len(data)) + data
