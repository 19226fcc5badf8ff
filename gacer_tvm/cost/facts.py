"""What can be told of a kernel from its TIR, as numbers: the raw material of the learned model's features.

Facts are of the whole batch; what a chunk does follows from them (`gacer_tvm.cost.features`), so that no chunk has to be
lowered for a prediction. No name goes in.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from ..graph.model import MultiTenantGraph, Operator

if TYPE_CHECKING:
    from ..kernels.counts import Counts

__all__ = ["Facts", "KernelCounts", "ShareFacts", "facts_of", "facts_on", "graph_facts"]

KernelCounts = Callable[[int, "int | None"], "Counts | None"]
"""What the kernel of (operator, cores) executes at the whole batch; the same object for the same kernel. Cores None: all."""

class Facts(msgspec.Struct, frozen=True, array_like=True):
    """Facts of one kernel at its whole batch.

    Attributes
    ----------
    batch
        Items of the whole batch; `chunks` is 1 where it may be cut, else 0.
    flops, batched_bytes, fixed_bytes
        As in `Work`.
    elements, itemsize, floating
        Elements written, bytes of one, whether they are floating point.
    tasks, block, registers, shared
        Launch shape of the whole batch where known, else 0.
    opaque
        1 where the body is no sequence of plain loop nests: all below are 0 then.
    nests, points
        Loop nests, and block runs of all of them together.
    main
        Block runs of the largest nest; what follows is of it.
    spatial, reduction
        Its data-parallel points, and how long each one's reduction is (1: none).
    reductions, reduction_last, reduction_most
        How many reduction loops, the extent of the innermost and of the longest.
    inner, outer, dims
        Extents of its innermost spatial loop and of the longest other one, and how many are longer than 1.
    loads, contiguous, broadcast, gathers
        Loads of its stores: all, those that move by one element with the innermost spatial loop, those that do not
        move with it, those whose index is itself loaded.
    guarded
        Loads under a bounds condition (padding).
    multiply, divide, compare, cast, slow
        Operations over all nests, in block runs: products, divisions, comparisons and selections, casts, transcendental
        functions.
    temporary
        Bytes of buffers that live inside the kernel.
    inputs, outputs
        Number of parameters.
    useful
        Share of the points that are no padding: a 3 x 3 window over one pixel multiplies eight zeros of nine.
    counted
        1 where what the scheduled kernel executes is known (`gacer_tvm.kernels.counts.Counts`), else 0, and all below too.
    parallel, regions, serial, fused, slow_operations, vector_loads, scalar_loads, gather_loads, stores, scattered, steps,
    chains, lanes, size, scratch, lines
        As in `Counts`, in its order.
    """

    batch: int
    chunks: int
    flops: float
    batched_bytes: float
    fixed_bytes: float
    elements: float
    itemsize: int
    floating: int
    tasks: int = 0
    block: int = 0
    registers: int = 0
    shared: int = 0
    opaque: int = 1
    nests: int = 0
    points: float = 0.0
    main: float = 0.0
    spatial: float = 0.0
    reduction: float = 0.0
    reductions: int = 0
    reduction_last: int = 0
    reduction_most: int = 0
    inner: int = 0
    outer: int = 0
    dims: int = 0
    loads: int = 0
    contiguous: int = 0
    broadcast: int = 0
    gathers: int = 0
    guarded: int = 0
    multiply: float = 0.0
    divide: float = 0.0
    compare: float = 0.0
    cast: float = 0.0
    slow: float = 0.0
    temporary: float = 0.0
    inputs: int = 0
    outputs: int = 0
    useful: float = 1.0
    counted: int = 0
    parallel: int = 0
    regions: int = 0
    serial: float = 0.0
    fused: float = 0.0
    slow_operations: float = 0.0
    vector_loads: float = 0.0
    scalar_loads: float = 0.0
    gather_loads: float = 0.0
    stores: float = 0.0
    scattered: float = 0.0
    steps: float = 0.0
    chains: float = 0.0
    lanes: float = 0.0
    size: float = 0.0
    scratch: float = 0.0
    lines: float = 0.0


_COUNTED = Facts.__struct_fields__[Facts.__struct_fields__.index("counted") + 1 :]


def graph_facts(graph: MultiTenantGraph, counts: KernelCounts | None = None) -> tuple[Facts, ...]:
    """Facts of every operator of a graph; those that share a kernel share the work of looking at it.

    Parameters
    ----------
    counts
        What an operator's kernel executes (`gacer_tvm.kernels.library.KernelLibrary.counts`); unknown by default.
    """
    seen: dict[tuple[str, int, int], Facts] = {}
    found = []
    for operator in graph.operators:
        at = (operator.kernel, graph.tenants[operator.tenant].batch, len(operator.writes))
        shape = (operator.kernel,) if graph.module is None else ()
        if shape or at not in seen:
            seen[at] = facts_of(graph, operator, None if counts is None else counts(operator.index, None))
        found.append(seen[at])
    return tuple(found)


def facts_on(
    graph: MultiTenantGraph, facts: tuple[Facts, ...], counts: KernelCounts | None, cores: int
) -> tuple[Facts, ...]:
    """`facts` of a graph with what the kernels execute that run on so many cores: tuned ones may be others there."""
    if counts is None or not any(f.counted for f in facts):
        return facts
    found: dict[tuple[int, int], Facts] = {}
    result = []
    for operator, known in zip(graph.operators, facts, strict=True):
        whole, own = counts(operator.index, None), counts(operator.index, cores)
        if own is None or own is whole:
            result.append(known)
            continue
        at = id(known), id(own)
        if at not in found:
            found[at] = msgspec.structs.replace(known, **_counted(own))
        result.append(found[at])
    return tuple(result)


class ShareFacts:
    """Facts of a graph's operators for each number of cores that is asked for, each worked out once."""

    def __init__(self, graph: MultiTenantGraph, counts: KernelCounts | None = None) -> None:
        self._graph, self._counts = graph, counts
        self._whole = graph_facts(graph, counts)
        self._on: dict[int, tuple[Facts, ...]] = {}

    def on(self, cores: int | None) -> tuple[Facts, ...]:
        """Of the kernels that run on so many cores; None or 0: on all."""
        if not cores:
            return self._whole
        if cores not in self._on:
            self._on[cores] = facts_on(self._graph, self._whole, self._counts, cores)
        return self._on[cores]


def facts_of(graph: MultiTenantGraph, operator: Operator, counts: Counts | None = None) -> Facts:
    """Facts of one operator, and of what its kernel executes where that is known."""
    outputs = [graph.buffers[b] for b in operator.writes] or [graph.buffers[b] for b in operator.reads[:1]]
    launch, work = operator.launch, operator.work
    elements = sum(math.prod(b.shape) for b in outputs)
    dtype = outputs[0].dtype if outputs else "float32"
    plain: dict[str, Any] = {
        "batch": graph.tenants[operator.tenant].batch,
        "chunks": int(operator.chunking.divisible),
        "flops": float(work.flops),
        "batched_bytes": float(work.batched_bytes),
        "fixed_bytes": float(work.fixed_bytes),
        "elements": float(elements),
        "itemsize": max(1, sum(b.nbytes for b in outputs) // max(1, elements)),
        "floating": int(dtype.startswith(("float", "bfloat"))),
        "inputs": len(operator.reads),
        "outputs": len(operator.writes),
    }
    if launch is not None:
        plain.update(tasks=launch.grid, block=launch.block, registers=launch.registers or 0, shared=launch.shared_bytes or 0)
    if graph.module is not None:
        from .body import OpaqueFunction, body_facts

        with contextlib.suppress(OpaqueFunction):
            plain.update(body_facts(graph.module[operator.kernel]))
    if counts is not None:
        plain.update(_counted(counts))
    return Facts(**plain)


def _counted(counts: Counts) -> dict[str, Any]:
    return {**dict(zip(_COUNTED, msgspec.structs.astuple(counts), strict=True)), "counted": 1}
