"""Parameter files: the bytes of `relay.save_param_dict`."""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gacer_tvm.errors import RelayError
from gacer_tvm.relay.ndarray import read_record, write_record

__all__ = ["load_param_dict", "load_params", "save_param_dict", "save_params"]

MAGIC = 0xF7E58D4F05049CB7


def load_params(path: str | os.PathLike[str] | bytes | bytearray | memoryview) -> dict[str, np.ndarray]:
    """The parameters in a file that TVM's `relay.save_param_dict` (or `runtime.save_param_dict`) filled.

    Parameters
    ----------
    path : path or bytes
        A file's name, or its content.

    Returns
    -------
    dict of str to numpy.ndarray
        In the file's order; the arrays own their memory.

    Raises
    ------
    RelayError
        If the file cannot be read, or is not such a file, or is cut off or contradicts itself.
    """
    if isinstance(path, (bytes, bytearray, memoryview)):
        return _parse(memoryview(path).cast("B"), "The parameter bytes")
    try:
        content = Path(path).read_bytes()
    except (OSError, ValueError) as error:
        raise RelayError(f"The parameter file {os.fspath(path)!r} cannot be read: {error}.") from None
    return _parse(memoryview(content), f"The parameter file {os.fspath(path)!r}")


def _parse(data: memoryview, what: str) -> dict[str, np.ndarray]:
    if len(data) < 24:
        raise RelayError(f"{what} is too short: {len(data)} bytes, where the header alone has 24.")
    magic, _, count = struct.unpack_from("<QQQ", data, 0)
    if magic != MAGIC:
        raise RelayError(
            f"{what} was not written by relay.save_param_dict: expected the magic number {MAGIC:#x}, found {magic:#x}."
        )
    # Each name takes eight bytes at least, so a greater count cannot be true.
    if count > (len(data) - 24) // 8:
        raise RelayError(f"{what} claims {count} names, but has only {len(data)} bytes.")
    names, offset = [], 24
    for index in range(count):
        if len(data) - offset < 8:
            raise RelayError(f"{what} is cut off before name {index} of {count}.")
        (length,) = struct.unpack_from("<Q", data, offset)
        offset += 8
        if length > len(data) - offset:
            raise RelayError(f"{what}: name {index} claims {length} bytes, but only {len(data) - offset} are left.")
        try:
            names.append(bytes(data[offset : offset + length]).decode("utf-8"))
        except UnicodeDecodeError:
            raise RelayError(f"{what}: name {index} is not UTF-8 text.") from None
        offset += length
    if len(data) - offset < 8:
        raise RelayError(f"{what} is cut off before the tensors.")
    (arrays,) = struct.unpack_from("<Q", data, offset)
    offset += 8
    if arrays != count:
        raise RelayError(f"{what} has {count} names but {arrays} tensors.")
    found: dict[str, np.ndarray] = {}
    for name in names:
        if name in found:
            raise RelayError(f"{what} has the name {name!r} twice.")
        found[name], offset = read_record(data, offset, f"{what}: {name!r}")
    return found


def save_params(params: Mapping[str, Any], path: str | os.PathLike[str] | None = None) -> bytes:
    """The bytes that `relay.load_param_dict` of any TVM reads.

    Parameters
    ----------
    params : Mapping of str to array
        Anything that `numpy.asarray` or DLPack takes.
    path : path, optional
        Also write them there; the file is written beside and renamed.

    Raises
    ------
    RelayError
        If an array has an element type that TVM's format does not have, or the file cannot be written.
    """
    arrays = {name: _as_array(name, value) for name, value in params.items()}
    parts = [struct.pack("<QQQ", MAGIC, 0, len(arrays))]
    for name in arrays:
        encoded = name.encode("utf-8")
        parts += [struct.pack("<Q", len(encoded)), encoded]
    parts.append(struct.pack("<Q", len(arrays)))
    parts += [write_record(array, f"The parameter {name!r}") for name, array in arrays.items()]
    content = b"".join(parts)
    if path is not None:
        target = Path(path)
        beside = target.with_name(f"{target.name}.{os.getpid()}.part")
        try:
            beside.write_bytes(content)
            beside.replace(target)
        except OSError as error:
            raise RelayError(f"The parameter file {os.fspath(path)!r} cannot be written: {error}.") from None
    return content


def _as_array(name: str, value: Any) -> np.ndarray:
    if isinstance(value, np.ndarray):
        return value
    if hasattr(value, "numpy"):
        value = value.numpy()
    array = np.asarray(value)
    if array.dtype == object:
        raise RelayError(f"The parameter {name!r} is no array but {type(value).__name__}.")
    return array


# TVM's own names, for scripts.
def load_param_dict(param_bytes: bytes | bytearray) -> dict[str, np.ndarray]:
    """As `load_params` of bytes."""
    return load_params(bytes(param_bytes))


def save_param_dict(params: Mapping[str, Any]) -> bytearray:
    """As `save_params` without a path."""
    return bytearray(save_params(params))
