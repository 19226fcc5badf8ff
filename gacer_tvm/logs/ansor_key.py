"""Workload keys of the auto-scheduler: ``["md5", shapes...]`` or ``["registered function", arguments...]``."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import lru_cache

from .workload import flat_shape_cuts

__all__ = ["WorkloadKey", "parse_key"]

_MD5 = re.compile(r"^[0-9a-f]{32}$")
_MAX_RANK = 8
_MAX_EXTENT = 1 << 31

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class WorkloadKey:
    """A parsed key.

    Attributes
    ----------
    name
        The md5, or the registered function's name.
    hashed
        Whether `name` is an md5.
    shapes
        The shapes of inputs and output of a hashed key (the likeliest cut, where the key is one flat list); empty where
        the key has none, as in 2020.
    cuts
        All sensible cuts of a flat list; `shapes` is the first.
    arguments
        The arguments of a named key.
    """

    name: str
    hashed: bool
    shapes: tuple[Shape, ...] = ()
    cuts: tuple[tuple[Shape, ...], ...] = ()
    arguments: tuple[object, ...] = ()


@lru_cache(maxsize=65536)
def parse_key(text: str) -> WorkloadKey | None:
    """Parse a workload key; None if it is not one."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, list) or not value or not isinstance(value[0], str) or not value[0]:
        return None
    name, arguments = value[0], value[1:]
    if not _MD5.match(name):
        return WorkloadKey(name[:200], False, arguments=tuple(arguments))
    if all(isinstance(item, list) for item in arguments):
        shapes = [_shape(item) for item in arguments]
        if any(shape is None for shape in shapes):
            return WorkloadKey(name, True)
        found = tuple(shape for shape in shapes if shape is not None)
        return WorkloadKey(name, True, found, (found,) if found else ())
    flat = _shape(arguments, 64)
    if flat is None:
        return WorkloadKey(name, True)
    cuts = tuple(tuple(cut) for cut in flat_shape_cuts(flat))
    return WorkloadKey(name, True, cuts[0] if cuts else (), cuts)


def _shape(value: object, longest: int = _MAX_RANK) -> Shape | None:
    if not isinstance(value, list) or len(value) > longest:
        return None
    if any(type(extent) is not int or not 0 < extent < _MAX_EXTENT for extent in value):
        return None
    return tuple(value)
