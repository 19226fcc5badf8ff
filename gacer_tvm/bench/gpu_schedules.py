"""Schedules searched for beforehand, on a machine without a GPU: one file a cell of the table, bound to its graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from ..errors import ScheduleError
from ..graph.model import MultiTenantGraph
from ..kernels.store import write_beside
from ..schedule import Schedule, check
from .gpu_bench import Bench
from .gpu_results import Results

__all__ = ["Prepared", "prepared_ways", "read", "write"]


class Prepared(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The schedules of one cell.

    Attributes
    ----------
    device
        Name of the device model that they were searched for.
    graph
        Fingerprint of the graph that they are for.
    cost
        Which cost model the searches had, in words.
    ways
        Way of the table (``d``, ``e``, ``f``) to its schedules, best first.
    """

    device: str
    graph: str
    cost: str
    ways: dict[str, tuple[Schedule, ...]]


def cell_file(folder: Path, which: str, dtype: str, batch: int) -> Path:
    """Where the schedules of a cell stand."""
    return folder / f"{which}-{dtype}-b{batch}.json"


def write(prepared: Prepared, path: Path) -> None:
    """Write the schedules of a cell; readers see the old file or the new one."""
    write_beside(path, lambda beside: beside.write_bytes(msgspec.json.encode(prepared)))


def read(path: Path) -> Prepared:
    """Read the schedules of a cell.

    Raises
    ------
    ScheduleError
        Where there is no such file, or it holds something else.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=Prepared)
    except OSError as error:
        raise ScheduleError(f"{path.name}: no schedules prepared ({error.strerror or error})") from error
    except msgspec.DecodeError as error:
        raise ScheduleError(f"{path.name}: expected schedules as gpu_prepare writes them, found {error}") from error


def prepared_ways(
    bench: Bench, results: Results, unit: str, graph: MultiTenantGraph, which: str, dtype: str, batch: int
) -> dict[str, tuple[Schedule, ...]]:
    """The schedules of a cell that fit its graph and device, by way; where there are none, a note says why."""
    if bench.schedules is None:
        return {}
    path = cell_file(bench.schedules, which, dtype, batch)
    try:
        held = read(path)
        for schedule in (schedule for found in held.ways.values() for schedule in found):
            check(schedule, graph, bench.device.name)
    except ScheduleError as error:
        where = "" if path.name in str(error) else f"{path.name}: "
        results.add(unit, "note", note=f"searched here: {where}{error}")
        return {}
    about: dict[str, Any] = {"file": path.name, "cost": held.cost, "ways": {way: len(s) for way, s in held.ways.items()}}
    results.add(unit, "prepared", **about)
    return held.ways
