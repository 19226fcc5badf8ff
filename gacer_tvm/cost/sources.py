"""Where rows come from, and what follows: own measurements are judged on, rows from elsewhere are only learned from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from .rows import LEARNED, Alone, Data

__all__ = ["BUILD", "OTHER_DEVICE", "devices_measured", "is_own", "level", "once", "source_counts", "source_kind"]

BUILD = "build"
"""The source of kernels that `build` measured on its way to a schedule."""

_OWN = frozenset({"", BUILD})
OTHER_DEVICE = 0.3
"""What a row of another device counts beside one of the device that is learned.

The target is the ratio to the prior of the row's own device, so what carries over is which kernels a prior misjudges; how
far it misjudges them depends on caches and cores that no feature knows.
"""


def level(row: Alone) -> float:
    """The time of a row that is learned from, microseconds."""
    return row.s[LEARNED]


def source_kind(source: str) -> str:
    """``profile``, ``build``, or the kind of log (the part of `Alone.source` before the colon)."""
    return source.partition(":")[0] or "profile"


def is_own(row: Alone) -> bool:
    """Whether this package measured it, with its own kernels."""
    return row.source in _OWN


def source_counts(rows: Iterable[Alone]) -> dict[str, int]:
    """How many rows came from which kind of source, the commonest first."""
    return dict(Counter(source_kind(row.source) for row in rows).most_common())


def devices_measured(data: Data) -> tuple[str, ...]:
    """Devices that this package measured on: those of sessions that hold more than rows from elsewhere, or nothing yet."""
    foreign = {r.x for r in data.alone if not is_own(r)} - {r.x for r in data.alone if is_own(r)} - {r.x for r in data.groups}
    return tuple(sorted({s.device.name for x, s in data.sessions.items() if x not in foreign}))


def once(rows: Sequence[Alone]) -> list[Alone]:
    """Each thing once: of what was measured several times (twice in a session, and by every build) the lower quartile.

    As within a measurement: what disturbs only makes longer. Of up to four it is the least.
    """
    same: dict[tuple[object, ...], list[Alone]] = {}
    for row in rows:
        same.setdefault((row.k, row.i, row.c, row.set, is_own(row) or row.source), []).append(row)
    return [sorted(found, key=level)[(len(found) - 1) // 4] for found in same.values()]
