"""Converters of pooling."""

from __future__ import annotations

from collections.abc import Callable

from gacer_tvm._tvm import relax, topi
from gacer_tvm.relay.convert.conv import flat_pads
from gacer_tvm.relay.convert.emitter import Emitter, Rx
from gacer_tvm.relay.convert.layout import change_layout
from gacer_tvm.relay.convert.registry import converter
from gacer_tvm.relay.layout import parse_layout
from gacer_tvm.relay.rules.conv import SPATIAL, numbers
from gacer_tvm.relay.rules.pool import layout_of, spatial_axes
from gacer_tvm.relay.values import OpCall

__all__ = ["pool"]


def pool(e: Emitter, call: OpCall, rank: int, data: Rx, average: bool) -> Rx:
    """Pooling over `rank` spatial dimensions, by the call's attributes."""
    function = getattr(relax.op.nn, f"{'avg' if average else 'max'}_pool{rank}d")
    options = {"count_include_pad": bool(call.attr("count_include_pad", False))} if average else {}

    def plain(inner: Rx, layout: str) -> Rx:
        return function(
            inner,
            pool_size=list(numbers(call.attr("pool_size"), rank)),
            strides=list(numbers(call.attr("strides"), rank)),
            padding=flat_pads(call, rank),
            dilation=list(numbers(call.attr("dilation"), rank)),
            ceil_mode=bool(call.attr("ceil_mode", False)),
            layout=layout,
            **options,
        )

    return _unblocked(e, call, rank, data, plain)


def _unblocked(e: Emitter, call: OpCall, rank: int, data: Rx, inner: Callable[[Rx, str], Rx]) -> Rx:
    """`inner` applied in the call's layout, or in the plain one around it if that is blocked."""
    layout = layout_of(call, rank)
    if not parse_layout(layout).blocked:
        return inner(data, layout)
    plain = "NC" + SPATIAL[rank]
    return change_layout(e, e.emit(inner(change_layout(e, data, layout, plain), plain)), plain, layout)


@converter("nn.max_pool1d", "nn.avg_pool1d")
def _pool1d(e: Emitter, call: OpCall, data: Rx) -> Rx:
    return pool(e, call, 1, data, "avg" in call.name)


@converter("nn.max_pool2d", "nn.avg_pool2d")
def _pool2d(e: Emitter, call: OpCall, data: Rx) -> Rx:
    return pool(e, call, 2, data, "avg" in call.name)


@converter("nn.max_pool3d", "nn.avg_pool3d")
def _pool3d(e: Emitter, call: OpCall, data: Rx) -> Rx:
    return pool(e, call, 3, data, "avg" in call.name)


@converter("nn.global_max_pool2d", "nn.global_avg_pool2d")
def _global_pool(e: Emitter, call: OpCall, data: Rx) -> Rx:
    reduce = relax.op.mean if "avg" in call.name else relax.op.max
    return reduce(data, list(spatial_axes(call, 2)), True)


def _adaptive(e: Emitter, call: OpCall, rank: int, data: Rx) -> Rx:
    stated = call.attr("output_size")
    axes = spatial_axes(call, rank)
    if stated is None or (not isinstance(stated, int) and not len(stated)):
        return data
    size = numbers(stated, rank)
    average = "avg" in call.name
    if size == (1,) * rank:
        return (relax.op.mean if average else relax.op.max)(data, list(axes), True)

    def plain(inner: Rx, layout: str) -> Rx:
        if average:
            return getattr(relax.op.nn, f"adaptive_avg_pool{rank}d")(inner, list(size), layout)
        function = {1: topi.nn.adaptive_pool1d, 2: topi.nn.adaptive_pool, 3: topi.nn.adaptive_pool3d}[rank]
        return e.te(function, inner, list(size), "max", layout, name=f"adaptive_max_pool{rank}d")

    return _unblocked(e, call, rank, data, plain)


@converter("nn.adaptive_max_pool1d", "nn.adaptive_avg_pool1d")
def _adaptive1d(e: Emitter, call: OpCall, data: Rx) -> Rx:
    return _adaptive(e, call, 1, data)


@converter(
    "nn.adaptive_max_pool2d", "nn.adaptive_avg_pool2d", "contrib.adaptive_max_pool2d", "contrib.adaptive_avg_pool2d"
)
def _adaptive2d(e: Emitter, call: OpCall, data: Rx) -> Rx:
    return _adaptive(e, call, 2, data)


@converter("nn.adaptive_max_pool3d", "nn.adaptive_avg_pool3d")
def _adaptive3d(e: Emitter, call: OpCall, data: Rx) -> Rx:
    return _adaptive(e, call, 3, data)
