"""Features of kernels and groups, made of facts for thousands of rows at once. Sizes are logarithms to the base 2."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..graph.model import Buffer, Chunking, LaunchShape, MultiTenantGraph, Operator, TenantInfo, Work
from .base import PRICED, Base, amounts_of
from .device import Device
from .facts import Facts
from .footprint import BYTE
from .model import Estimates
from .prior import AnalyticPrior

__all__ = [
    "ALONE_NAMES",
    "FLAGS",
    "GROUP_NAMES",
    "Members",
    "alone_features",
    "group_features",
    "member_table",
    "pair_features",
    "prior_of",
    "with_base",
]

Array = NDArray[np.float64]

# Features that are no sizes: outside what was seen by any amount is outside.
FLAGS = frozenset({"floating", "opaque", "chunk", "chunks", "gathers", "itemsize", "counted"})
ALONE_NAMES: tuple[str, ...] = (
    "prior", "flops", "batched_bytes", "fixed_bytes", "bytes", "intensity", "elements", "itemsize", "floating",
    "items", "batch", "chunk", "chunks", "cores", "cores_share",
    "grid", "block", "registers", "shared",
    "opaque", "nests", "points", "main_share", "spatial", "reduction", "reductions", "reduction_last", "reduction_most",
    "inner", "inner_lanes", "outer", "dims",
    "loads", "contiguous", "broadcast", "gathers", "guarded",
    "multiply", "divide", "compare", "cast", "slow", "temporary", "inputs", "outputs", "in_cache", "useful", "useful_flops",
    "counted", "busiest", "fused", "slow_operations", "vector_loads", "scalar_loads", "gather_loads", "stores", "scattered",
    "steps", "chains", "lanes", "size", "scratch", "regions", "parallel",
    "lines", "weights_away",
    "activations_away", "code_away", "work_away", "base", *(f"share_{name}" for name in PRICED),
)  # fmt: skip
# Executed in proportion to the items.
_EXECUTED = (
    "fused", "slow_operations", "vector_loads", "scalar_loads", "gather_loads", "stores", "scattered", "steps", "chains",
)  # fmt: skip
_PER_MEMBER = (
    "seconds", "flop_rate", "byte_rate", "intensity", "working_set", "fixed_bytes", "points", "reduction", "inner", "width",
)  # fmt: skip
GROUP_NAMES: tuple[str, ...] = (
    "streams", "cores_asked", "units_asked", "bandwidth_asked", "shared_slowdown", "balance", "total_set", "slow",
    *(f"{how}_{name}" for name in _PER_MEMBER for how in ("least", "most", "mean")),
)  # fmt: skip


def prior_of(facts: Sequence[Facts], items: Sequence[int], cores: Sequence[int], device: Device) -> Estimates:
    """The analytic prior of kernels known by their facts only; cores 0 stands for a device without core budgets."""
    buffers: list[Buffer] = []
    operators: list[Operator] = []
    tenants: list[TenantInfo] = []
    seen: dict[int, int] = {}
    rows = []
    for mine, count, budget in zip(facts, items, cores):
        at = seen.get(id(mine))
        if at is None:
            at = seen[id(mine)] = len(operators)
            buffers.append(Buffer(at, f"y{at}", at, "output", (int(mine.elements),), _dtype(mine), 0, at))
            launch = LaunchShape(mine.tasks, mine.block, mine.registers or None, mine.shared) if mine.tasks else None
            work = Work(mine.flops, int(mine.batched_bytes), int(mine.fixed_bytes))
            divisible = Chunking(mine.batch if mine.chunks else 1, (1,))
            operators.append(Operator(at, at, 0, f"k{at}", f"k{at}", (), (at,), work, divisible, (), launch))
            tenants.append(TenantInfo(f"t{at}", mine.batch, at, 1, {}, {}, ""))
        rows.append((at, int(count), int(budget) or None))
    graph = MultiTenantGraph(tuple(tenants), tuple(operators), tuple(buffers), "")
    return AnalyticPrior().estimate(graph, device, rows)


def _dtype(facts: Facts) -> str:
    if facts.floating:
        return {8: "float64", 2: "float16"}.get(facts.itemsize, "float32")
    return {8: "int64", 1: "int8"}.get(facts.itemsize, "int32")


class _Columns:
    """Facts as columns, scaled to the items of each row."""

    def __init__(self, facts: Sequence[Facts], items: Array) -> None:
        kinds: dict[int, int] = {}
        first: list[Facts] = []
        at = np.empty(len(facts), np.int64)
        for n, mine in enumerate(facts):
            place = kinds.get(id(mine))
            if place is None:
                place = kinds[id(mine)] = len(first)
                first.append(mine)
            at[n] = place
        names = Facts.__struct_fields__
        table = np.array([[getattr(f, name) for name in names] for f in first], np.float64).reshape(-1, len(names))[at]
        self._table = dict(zip(names, table.T))
        self.share = items / self["batch"]

    def __getitem__(self, name: str) -> Array:
        column: Array = self._table[name]
        return column

    def scaled(self, name: str) -> Array:
        column: Array = self._table[name] * self.share
        return column


def alone_features(
    facts: Sequence[Facts],
    items: Sequence[int],
    cores: Sequence[int],
    prior: Estimates,
    device: Device,
    away: Sequence[Sequence[float] | Array],
) -> tuple[Array, Array]:
    """Features and priced amounts of each (kernel, items, cores).

    Parameters
    ----------
    away
        The columns of `gacer_tvm.cost.footprint.Distances`.

    Returns
    -------
    features
        A row of `ALONE_NAMES` each; those that tell of the base, from ``base`` on, are filled in by `with_base`.
    amounts
        A row of `gacer_tvm.cost.base.PRICED` each.
    """
    count, budget = np.asarray(items, np.float64), np.asarray(cores, np.float64)
    budget = np.where(budget > 0, np.minimum(budget, device.units), device.units)
    c = _Columns(facts, count)
    points = np.maximum(1.0, c.scaled("points"))
    moved = c.scaled("batched_bytes") + c["fixed_bytes"]
    lanes = max(1, device.vector_bits // 32) if device.kind == "cpu" else 32
    ago = [np.asarray(each, np.float64) * unit for each, unit in zip(away, (2**20, 2**20, 2**20, 1e6))]
    busiest = _busiest(c, budget)
    executed = {name: c.scaled(name) * busiest for name in _EXECUTED}
    amounts = amounts_of(
        {**executed, "regions": c["regions"], "size": c["size"]},
        c["lines"],
        c["counted"],
        c.scaled("batched_bytes"),
        c["fixed_bytes"],
        c["inputs"] + c["outputs"],
        budget,
        ago,
        np.maximum(1.0, np.floor(c["batch"] / count)),
        c["batched_bytes"],
        c.scaled("flops") + BYTE * moved,
        device,
    )
    found = {
        **{name: _log(values) for name, values in executed.items()},
        "lines": _log(c.scaled("lines")),
        "busiest": busiest,
        "size": _log(c["size"]),
        "scratch": _log(c["scratch"]),
        "parallel": _log(np.maximum(1.0, c.scaled("parallel"))),
        "weights_away": _log(ago[0], 2.0**10),
        "activations_away": _log(ago[1], 2.0**10),
        "code_away": _log(ago[2], 2.0**10),
        "work_away": _log(ago[3], 1e3),
        **{name: np.zeros(len(facts)) for name in ALONE_NAMES[ALONE_NAMES.index("base") :]},
        "prior": _log(prior.seconds * 1e6, 1e-3),
        "flops": _log(c.scaled("flops")),
        "batched_bytes": _log(c.scaled("batched_bytes")),
        "fixed_bytes": _log(c["fixed_bytes"]),
        "bytes": _log(moved),
        "intensity": _log(c.scaled("flops") / np.maximum(1.0, moved)),
        "elements": _log(c.scaled("elements")),
        "items": _log(count),
        "batch": _log(c["batch"]),
        "chunk": (count != c["batch"]).astype(np.float64),
        "cores": _log(budget),
        "cores_share": budget / device.units,
        "grid": _log(c.scaled("tasks")),
        "block": _log(c["block"]),
        "registers": _log(c["registers"]),
        "shared": _log(c["shared"]),
        "points": _log(points),
        "main_share": c.scaled("main") / points,
        "spatial": _log(c.scaled("spatial")),
        "reduction": _log(c["reduction"]),
        "reduction_last": _log(c["reduction_last"]),
        "reduction_most": _log(c["reduction_most"]),
        "inner": _log(c["inner"]),
        "inner_lanes": np.where(c["inner"] > 0, c["inner"] / (np.ceil(c["inner"] / lanes) * lanes + (c["inner"] == 0)), 0.0),
        "outer": _log(c["outer"]),
        "guarded": c["guarded"] / np.maximum(1.0, c["loads"]),
        "multiply": c.scaled("multiply") / points,
        "divide": c.scaled("divide") / points,
        "compare": c.scaled("compare") / points,
        "cast": c.scaled("cast") / points,
        "slow": c.scaled("slow") / points,
        "temporary": _log(c.scaled("temporary")),
        "useful_flops": _log(c.scaled("flops") * c["useful"]),
        "in_cache": _log((moved + c.scaled("temporary")) / max(1, device.cache_bytes), 2**-20),
    }
    return np.stack([found[name] if name in found else c[name] for name in ALONE_NAMES], axis=1), amounts


def with_base(features: Array, amounts: Array, base: Base, seconds: Array) -> Array:
    """Features with the base's `seconds`, and the share that each priced amount has in them."""
    result = features.copy()
    first = ALONE_NAMES.index("base")
    result[:, first] = _log(seconds * 1e6, 1e-3)
    if len(base.prices):
        result[:, first + 1 :] = amounts * base.prices / seconds[:, None]
    return result


def _busiest(c: _Columns, cores: Array) -> Array:
    """Share of all instructions that the thread with most to do executes: parallel tasks are dealt out whole."""
    tasks = np.maximum(1.0, np.round(c.scaled("parallel")))
    threads = np.where(c["regions"] > 0, np.ceil(tasks / cores) / tasks, 1.0)
    result: Array = c["serial"] + (1.0 - c["serial"]) * threads
    return result


class Members:
    """Streams of groups, all groups' streams behind one another, and what runs in each.

    Parameters
    ----------
    group
        The group that each stream belongs to: 0, 0, 1, 1, 1, …
    cores, seconds
        Of each stream: its core budget, and how long it takes without company.
    stream
        The stream that each run belongs to, ascending. A run is a kernel called one or several times.
    facts, items, times, run_seconds
        Of each run: kernel, items, calls, and seconds of all its calls without company.
    width, bandwidth
        Of each run, as in `Estimates`.
    """

    def __init__(
        self,
        group: Sequence[int],
        cores: Sequence[int],
        seconds: Sequence[float],
        stream: Sequence[int],
        facts: Sequence[Facts],
        items: Sequence[int],
        times: Sequence[int],
        run_seconds: Sequence[float],
        width: Sequence[float] | Array,
        bandwidth: Sequence[float] | Array,
    ) -> None:
        self.group, self.stream = np.asarray(group, np.int64), np.asarray(stream, np.int64)
        self.cores, self.seconds = np.asarray(cores, np.float64), np.asarray(seconds, np.float64)
        self.facts = list(facts)
        self.items, self.times = np.asarray(items, np.float64), np.asarray(times, np.float64)
        self.run_seconds = np.asarray(run_seconds, np.float64)
        self.run_width, self.run_bandwidth = np.asarray(width, np.float64), np.asarray(bandwidth, np.float64)
        self.count = int(self.group[-1]) + 1 if len(self.group) else 0
        self._starts = _starts(self.stream)
        self._whole = np.add.reduceat(self.run_seconds, self._starts) if len(self.stream) else self.run_seconds

    def mean(self, values: Array) -> Array:
        """Mean of a value of the runs over each stream, weighted by time."""
        if not len(self.stream):
            return values[:0]
        weight = self.run_seconds / self._whole[self.stream]
        weighted = values * (weight if values.ndim == 1 else weight[:, None])
        result: Array = np.add.reduceat(weighted, self._starts)
        return result

    @property
    def launches(self) -> Array:
        """Calls of each stream."""
        result: Array = np.add.reduceat(self.times, self._starts) if len(self.stream) else self.times
        return result

    @property
    def width(self) -> Array:
        """Units that each stream keeps busy, on average."""
        return self.mean(self.run_width)

    @property
    def bandwidth(self) -> Array:
        """DRAM bytes a second of each stream, on average."""
        return self.mean(self.run_bandwidth)


def _starts(of: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.flatnonzero(np.r_[True, of[1:] != of[:-1]]) if len(of) else np.empty(0, np.int64)


def group_features(members: Members, device: Device) -> Array:
    """A row of `GROUP_NAMES` for each group; the order of a group's streams does not matter."""
    table, names = member_table(members, device)
    starts = _starts(members.group)
    sizes = np.diff(np.r_[starts, len(members.group)])
    low = np.minimum.reduceat(table, starts) if members.count else table
    high = np.maximum.reduceat(table, starts) if members.count else table
    total = np.add.reduceat(table, starts) if members.count else table
    return _assemble(low, high, total, sizes.astype(np.float64), names, device)


def member_table(members: Members, device: Device) -> tuple[Array, tuple[str, ...]]:
    """One row a stream: what `group_features` aggregates. Pairs of many can be made of it without repeating the work."""
    c = _Columns(members.facts, members.items)
    each = members.run_seconds / members.times
    moved = c.scaled("batched_bytes") + c["fixed_bytes"]
    runs = {
        "flop_rate": _log(c.scaled("flops") / each * 1e-9, 2**-10),
        "byte_rate": _log(moved / each * 1e-9, 2**-10),
        "intensity": _log(c.scaled("flops") / np.maximum(1.0, moved)),
        "working_set": _log((moved + c.scaled("temporary")) / max(1, device.cache_bytes), 2**-20),
        "fixed_bytes": _log(c["fixed_bytes"]),
        "points": _log(c.scaled("points")),
        "reduction": _log(c["reduction"]),
        "inner": _log(c["inner"]),
        "width": members.run_width,
        "bandwidth_asked": members.run_bandwidth / device.bandwidth,
        "set": moved + c.scaled("temporary"),
        "slow": c.scaled("slow") / np.maximum(1.0, c.scaled("points")),
    }
    found = dict(zip(runs, members.mean(np.stack(list(runs.values()), axis=1)).T, strict=True))
    found |= {
        "seconds": _log(members.seconds / members.launches * 1e6, 1e-3),
        "cores_asked": members.cores,
        "whole": members.seconds,
    }
    return np.stack(list(found.values()), axis=1), tuple(found)


def _assemble(low: Array, high: Array, total: Array, sizes: Array, names: tuple[str, ...], device: Device) -> Array:
    at = {name: n for n, name in enumerate(names)}
    asked = total[:, at["width"]] / device.units
    streaming = total[:, at["bandwidth_asked"]]
    loss = device.oversubscription_loss
    found = {
        "streams": sizes,
        "cores_asked": total[:, at["cores_asked"]] / device.units,
        "units_asked": asked,
        "bandwidth_asked": streaming,
        "shared_slowdown": np.maximum.reduce([np.ones_like(asked), asked * (1 + loss) - loss, streaming]),
        "balance": low[:, at["whole"]] / high[:, at["whole"]],
        "total_set": _log(total[:, at["set"]] / max(1, device.cache_bytes), 2**-20),
        "slow": total[:, at["slow"]],
    }
    for name in _PER_MEMBER:
        found[f"least_{name}"] = low[:, at[name]]
        found[f"most_{name}"] = high[:, at[name]]
        found[f"mean_{name}"] = total[:, at[name]] / sizes
    return np.stack([found[name] for name in GROUP_NAMES], axis=1)


def pair_features(
    table: Array, names: tuple[str, ...], first: NDArray[np.int64], second: NDArray[np.int64], device: Device
) -> Array:
    """Features of the pairs (first[n], second[n]) of members, as if both ran for the same time."""
    left, right = table[first], table[second]
    low, high, total = np.minimum(left, right), np.maximum(left, right), left + right
    whole = names.index("whole")
    low[:, whole] = high[:, whole] = 1.0
    return _assemble(low, high, total, np.full(len(first), 2.0), names, device)


def _log(values: Array, least: float = 1.0) -> Array:
    return np.log2(np.maximum(values, 0.0) + least) - (math.log2(least) if least < 1 else 0.0)
