"""Type rules of pooling."""

from __future__ import annotations

from gacer_tvm.relay.dims import RuleError, add, ceil_div, div, known, sub
from gacer_tvm.relay.layout import parse_layout
from gacer_tvm.relay.rules.conv import SPATIAL, numbers, pads
from gacer_tvm.relay.rules.registry import rule
from gacer_tvm.relay.types import Dim, TensorType, Type
from gacer_tvm.relay.values import OpCall

__all__ = ["layout_of", "pool_type", "spatial_axes"]


def spatial_axes(call: OpCall, rank: int) -> tuple[int, ...]:
    """Where the spatial dimensions stand in argument 0, by the attribute `layout`."""
    layout = layout_of(call, rank)
    names = [name for name, _ in parse_layout(layout).axes]
    if len(names) != call.rank(0):
        raise RuleError(f"data {call.tensor(0)} has not the layout {layout}")
    try:
        return tuple(names.index(name) for name in SPATIAL[rank])
    except ValueError:
        raise RuleError(f"the layout {layout} lacks one of {', '.join(SPATIAL[rank])}") from None


def layout_of(call: OpCall, rank: int) -> str:
    """The attribute `layout`, channels first where it is not stated."""
    return str(call.attr("layout") or "NC" + SPATIAL[rank])


def pool_type(call: OpCall, rank: int) -> TensorType:
    """The result of pooling over `rank` spatial dimensions."""
    data = call.tensor(0)
    shape: list[Dim] = list(data.shape)
    sizes, strides = numbers(call.attr("pool_size"), rank), numbers(call.attr("strides"), rank)
    dilation = numbers(call.attr("dilation"), rank)
    for axis, size, stride, step, (before, after) in zip(
        spatial_axes(call, rank), sizes, strides, dilation, pads(call.attr("padding"), rank)
    ):
        full = sub(add(shape[axis], before + after), (size - 1) * step + 1)
        if known(full) and full < 0:  # type: ignore[operator]
            raise RuleError(f"a window of {size} does not fit data of {shape[axis]} padded by {before + after}")
        shape[axis] = add(ceil_div(full, stride) if call.attr("ceil_mode", False) else div(full, stride), 1)
    return TensorType(tuple(shape), data.dtype)


@rule("nn.max_pool1d", "nn.avg_pool1d", inputs=1)
def _pool1d(call: OpCall) -> Type:
    return pool_type(call, 1)


@rule("nn.max_pool2d", "nn.avg_pool2d", inputs=1)
def _pool2d(call: OpCall) -> Type:
    return pool_type(call, 2)


@rule("nn.max_pool3d", "nn.avg_pool3d", inputs=1)
def _pool3d(call: OpCall) -> Type:
    return pool_type(call, 3)


@rule("nn.global_max_pool2d", "nn.global_avg_pool2d", inputs=1)
def _global_pool(call: OpCall) -> Type:
    data = call.tensor(0)
    axes = spatial_axes(call, 2)
    return TensorType(tuple(1 if axis in axes else dim for axis, dim in enumerate(data.shape)), data.dtype)


def _adaptive(call: OpCall, rank: int) -> TensorType:
    data = call.tensor(0)
    axes = spatial_axes(call, rank)
    stated = call.attr("output_size")
    shape = list(data.shape)
    if stated is not None and (isinstance(stated, int) or len(stated)):
        for axis, size in zip(axes, numbers(stated, rank)):
            shape[axis] = size
    return TensorType(tuple(shape), data.dtype)


@rule("nn.adaptive_max_pool1d", "nn.adaptive_avg_pool1d", inputs=1)
def _adaptive1d(call: OpCall) -> Type:
    return _adaptive(call, 1)


@rule(
    "nn.adaptive_max_pool2d", "nn.adaptive_avg_pool2d", "contrib.adaptive_max_pool2d", "contrib.adaptive_avg_pool2d",
    inputs=1,
)  # fmt: skip
def _adaptive2d(call: OpCall) -> Type:
    return _adaptive(call, 2)


@rule("nn.adaptive_max_pool3d", "nn.adaptive_avg_pool3d", inputs=1)
def _adaptive3d(call: OpCall) -> Type:
    return _adaptive(call, 3)
