"""Facts of one function by itself: what a log's computation is to the cost model."""

from __future__ import annotations

from typing import Any

from .facts import Facts, facts_of

__all__ = ["function_facts", "shape_facts"]

# First axes up to here may be batches; longer ones are rows of a matrix.
_LARGEST_BATCH = 64


def function_facts(function: Any, outputs: int = 1) -> Facts:
    """Facts of an unscheduled PrimFunc, as they would be of an operator of a graph that calls it.

    The batch is the first axis of the output where the function can be cut along it (`gacer_tvm.graph.legality`), else 1.

    Parameters
    ----------
    function
        PrimFunc in destination-passing style with static shapes.
    outputs
        How many trailing parameters are outputs.
    """
    from ..graph.legality import prove_chunking
    from ..graph.model import Buffer, MultiTenantGraph, Operator, TenantInfo
    from ..graph.tir_blocks import shape_of
    from ..graph.work import count_work, nbytes

    params = list(function.params)
    shapes = [shape_of(p) for p in params]
    dtypes = [str(p.ty.dtype) for p in params]
    first = shapes[-1][0] if shapes[-1] else 1
    chunking = prove_chunking(function, outputs, first if first <= _LARGEST_BATCH else 1)
    edge = len(params) - outputs
    buffers = tuple(
        Buffer(n, f"log/{n}", 0, "input" if n < edge else "output", shape, dtype, nbytes(shape, dtype), n)
        for n, (shape, dtype) in enumerate(zip(shapes, dtypes))
    )
    operator = Operator(
        0, 0, 0, "log/0", "main", tuple(range(edge)), tuple(range(edge, len(params))), count_work(function, chunking),
        chunking, (),
    )  # fmt: skip
    tenant = TenantInfo("log", chunking.items, 0, 1, {}, {}, "")
    return facts_of(MultiTenantGraph((tenant,), (operator,), buffers, "", {"main": function}), operator)


def shape_facts(flops: float, sizes: list[tuple[int, int]], outputs: int, floating: bool) -> Facts:
    """Facts of a computation of which only the work and the tensors are known: opaque, of one item.

    Parameters
    ----------
    flops
        Arithmetic operations.
    sizes
        (elements, bytes of one) of every tensor, the outputs last.
    outputs
        How many of them are outputs.
    floating
        Whether the elements are floating point.
    """
    written = sizes[len(sizes) - outputs :]
    return Facts(
        batch=1,
        chunks=0,
        flops=flops,
        batched_bytes=0.0,
        fixed_bytes=float(sum(count * size for count, size in sizes)),
        elements=float(sum(count for count, _ in written)),
        itemsize=written[0][1],
        floating=int(floating),
        inputs=len(sizes) - outputs,
        outputs=outputs,
    )
