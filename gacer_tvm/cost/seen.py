"""Which rows a model was trained on, in a few bytes a row, so that what it has not seen can be told from what it has.

Each row is hashed by itself: files may be merged, sorted, appended to or lose lines, and the answer stays right.
"""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import Iterable, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from .rows import Alone, Group, encode

__all__ = ["pack", "unseen"]

R = TypeVar("R", Alone, Group)


def pack(rows: Iterable[Alone | Group]) -> str:
    """The digests of rows as text (sorted 32-bit hashes, differences packed, base64)."""
    digests = np.unique(_digests(list(rows)))
    steps = np.diff(digests, prepend=np.uint32(0)).astype("<u4")
    return base64.b64encode(zlib.compress(steps.tobytes(), 9)).decode()


def unseen(rows: Sequence[R], packed: str) -> list[R]:
    """Those of `rows` whose digest is not in `packed`.

    Raises
    ------
    ValueError
        Where `packed` is no such text.
    """
    if not packed:
        return list(rows)
    try:
        raw = zlib.decompress(base64.b64decode(packed, validate=True))
    except zlib.error as error:
        raise ValueError(f"no digests of rows: {error}") from error
    if len(raw) % 4:
        raise ValueError("no digests of rows: cut off")
    known = np.cumsum(np.frombuffer(raw, "<u4"), dtype=np.uint64).astype(np.uint32)
    new = ~np.isin(_digests(rows), known)
    return [row for row, fresh in zip(rows, new) if fresh]


def _digests(rows: Sequence[Alone | Group]) -> NDArray[np.uint32]:
    found = [int.from_bytes(hashlib.blake2b(encode(row), digest_size=4).digest(), "little") for row in rows]
    return np.array(found, np.uint32)
