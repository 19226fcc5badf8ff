"""One kernel per chunk size: an operator's PrimFunc rebuilt for fewer items, and given a first item as an argument.

A chunk neither splits nor concatenates tensors. It reads and writes rows of the whole tensors, from the item `lo` on:

    before   kernel(x[8, …], w, y[8, …])                     # eight items
    resize   kernel(x[3, …], w, y[3, …])                     # `at_items`: the same loops over three items, then scheduled
    offset   kernel(x[8, …], w, y[8, …], lo)                 # `with_offset`: rows lo·r … (lo+3)·r of the whole tensors

The offset is added after scheduling, because schedule rules want block bindings that are plain loop variables.
"""

from __future__ import annotations

from typing import Any

from .._tvm import expr_ir, tir, tvm, tvm_ffi
from ..graph.legality import BatchProof, batch_variables, prove
from ..graph.tir_blocks import shape_of

__all__ = ["at_items", "with_offset"]


def at_items(func: Any, outputs: int, batch: int, items: int) -> tuple[Any, tuple[int, ...]]:
    """Rebuild an unscheduled PrimFunc for `items` of its `batch` items.

    Parameters
    ----------
    func
        Unscheduled PrimFunc, divisible along the batch.
    outputs
        How many trailing parameters are outputs.
    batch, items
        Items of the function as it stands, and items wanted.

    Returns
    -------
    func, rows
        The function over ``items``, and for each parameter the rows of axis 0 an item stands for (0: none).

    Raises
    ------
    Refused, OpaqueFunction
        If the function is not divisible.
    """
    proof = prove(func, outputs, batch)
    rows = tuple(proof.rows.get(p, 0) for p in func.params)
    if items == batch:
        return func, rows
    return _resize(func, proof, items), rows


def _resize(func: Any, proof: BatchProof, items: int) -> Any:
    loops = batch_variables(func, proof)
    renewed: dict[Any, Any] = {}
    for buffer, rows in proof.rows.items():
        if rows:
            renewed[buffer] = _buffer_like(buffer, (items * rows, *shape_of(buffer)[1:]))

    def extent(value: Any) -> Any:
        return tir.IntImm(value.ty.dtype, int(value) // proof.items * items)

    variables = [v for v in proof.variables if v is not None]

    def new_loop(loop: Any) -> Any:
        if loop.loop_var not in loops:
            return loop
        return tir.For(loop.loop_var, loop.min, extent(loop.extent), loop.kind, loop.body, loop.thread_binding,
                       loop.annotations)

    def new_iter(iter_var: Any) -> Any:
        if not any(iter_var.var.same_as(v) for v in variables):
            return iter_var
        dom = tvm.ir.Range.from_min_extent(iter_var.dom.min, extent(iter_var.dom.extent))
        return tir.IterVar(dom, iter_var.var, iter_var.iter_type, iter_var.thread_tag)

    body = tvm_ffi.structural_map(
        func.body,
        [
            (tir.For, new_loop),
            (tir.IterVar, new_iter),
            (expr_ir.Var, lambda v: renewed.get(v, v)),
        ],
    )
    params = [renewed.get(p, p) for p in func.params]
    return tir.PrimFunc(params, body, func.ret_type, func.attrs)


def with_offset(func: Any, rows: tuple[int, ...], batch: int) -> Any:
    """Give a scheduled PrimFunc a trailing ``lo: int64``, the first item, over tensors of the whole `batch`.

    Parameters
    ----------
    func
        Scheduled PrimFunc for some number of items.
    rows
        For each buffer parameter, rows of axis 0 an item stands for (0: read whole).
    batch
        Items of the whole tensors.
    """
    lo = tir.Var("lo", "int64")
    whole: dict[Any, Any] = {}
    step: dict[Any, int] = {}
    for param, r in zip(func.params, rows):
        if r:
            whole[param] = _buffer_like(param, (batch * r, *shape_of(param)[1:]))
            step[param] = r

    def first(buffer: Any, index: Any) -> Any:
        move = lo if step[buffer] == 1 else lo * tir.IntImm("int64", step[buffer])
        return index + tir.Cast(index.ty.dtype, move) if str(index.ty.dtype) != "int64" else index + move

    def load(node: Any) -> Any:
        if node.source not in whole:
            return node
        return tir.BufferLoad(whole[node.source], [first(node.source, node.indices[0]), *node.indices[1:]])

    def store(node: Any) -> Any:
        if node.buffer not in whole:
            return node
        return tir.stmt.BufferStore(
            whole[node.buffer], node.value, [first(node.buffer, node.indices[0]), *node.indices[1:]]
        )

    def region(node: Any) -> Any:
        source = node.source if hasattr(node, "source") else node.buffer
        if source not in whole:
            return node
        head = node.region[0]
        moved = tvm.ir.Range.from_min_extent(first(source, head.min), head.extent)
        return tir.stmt.BufferRegion(whole[source], [moved, *node.region[1:]])

    body = tvm_ffi.structural_map(
        func.body,
        [
            (expr_ir.TensorLoad, load),
            (tir.stmt.BufferStore, store),
            (tvm.ir.TensorRegion, region),
        ],
    )
    body = tvm_ffi.structural_map(body, (expr_ir.Var, lambda v: whole.get(v, v)))
    params = [whole.get(p, p) for p in func.params]
    return tir.PrimFunc([*params, lo], body, func.ret_type, func.attrs)


def _buffer_like(buffer: Any, shape: tuple[int, ...]) -> Any:
    dims = [tir.IntImm(old.ty.dtype, new) for old, new in zip(buffer.ty.shape, shape)]
    # A buffer without layout keeps none: that is how TVMScript prints and reads it.
    layout = None if buffer.ty.layout is None else "default"
    return tir.decl_buffer(dims, buffer.ty.dtype, buffer.name, scope=buffer.scope(), layout=layout)
