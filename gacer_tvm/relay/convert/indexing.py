"""Converters of gathering and scattering."""

from __future__ import annotations

from gacer_tvm._tvm import relax, topi
from gacer_tvm.relay.convert.emitter import Emitter, Rx
from gacer_tvm.relay.convert.registry import converter
from gacer_tvm.relay.dims import normalize_axis
from gacer_tvm.relay.values import OpCall


@converter("take")
def _take(e: Emitter, call: OpCall, data: Rx, indices: Rx) -> Rx:
    mode = call.attr("mode") or "clip"
    axis, batch = call.attr("axis"), int(call.attr("batch_dims") or 0)
    batch += call.rank(1) if batch < 0 else 0
    if axis is None:
        data, axis = e.reshape(data, [-1]), 0
    axis = normalize_axis(int(axis), call.rank(0))
    if batch or call.rank(1) == 0:
        return e.te(topi.take, data, indices, axis, batch, mode, name="take")
    return relax.op.take(data, indices, axis, mode)


@converter("gather")
def _gather(e: Emitter, call: OpCall, data: Rx, indices: Rx) -> Rx:
    return relax.op.gather_elements(data, indices, normalize_axis(int(call.attr("axis")), call.rank(0)))


@converter("gather_nd")
def _gather_nd(e: Emitter, call: OpCall, data: Rx, indices: Rx) -> Rx:
    # Relay keeps the index tuple first, as the library does; Relax keeps it last.
    return e.te(topi.gather_nd, data, indices, int(call.attr("batch_dims") or 0), name="gather_nd")


@converter("scatter", "scatter_add", "scatter_elements")
def _scatter_elements(e: Emitter, call: OpCall, data: Rx, indices: Rx, updates: Rx) -> Rx:
    reduction = "add" if call.name == "scatter_add" else call.attr("reduction", "update")
    return relax.op.scatter_elements(data, indices, updates, int(call.attr("axis", 0)), reduction)


@converter("scatter_nd")
def _scatter_nd(e: Emitter, call: OpCall, data: Rx, indices: Rx, updates: Rx) -> Rx:
    return e.te(topi.scatter_nd, data, indices, updates, call.attr("mode", "update"), name="scatter_nd")


@converter("adv_index")
def _adv_index(e: Emitter, call: OpCall, inputs: list[Rx]) -> Rx:
    return e.te(lambda data, *indices: topi.adv_index(data, list(indices)), *inputs, name="adv_index")


@converter("unravel_index")
def _unravel_index(e: Emitter, call: OpCall, indices: Rx, shape: Rx) -> Rx:
    return e.te(topi.unravel_index, indices, shape, name="unravel_index")


@converter("sparse_to_dense")
def _sparse_to_dense(e: Emitter, call: OpCall, indices: Rx, values: Rx, default: Rx) -> Rx:
    shape = [int(dim) for dim in call.attr("output_shape")]

    def dense(places, numbers, fill):  # type: ignore[no-untyped-def]
        return topi.sparse_to_dense(places, shape, numbers, fill())

    return e.te(dense, indices, values, default, name="sparse_to_dense")
