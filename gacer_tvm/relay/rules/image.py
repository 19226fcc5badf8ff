"""Type rules of resizing and sampling images."""

from __future__ import annotations

import math

from gacer_tvm.relay.dims import RuleError, add, div, known, mul, sub
from gacer_tvm.relay.layout import from_primal, to_primal
from gacer_tvm.relay.rules.conv import SPATIAL, numbers, pads
from gacer_tvm.relay.rules.registry import rule
from gacer_tvm.relay.types import Any, Dim, TensorType, Type
from gacer_tvm.relay.values import OpCall

__all__ = ["resized_sizes", "scaled"]


def resized_sizes(call: OpCall, rank: int) -> tuple[int, ...]:
    """The sizes that a resize states, by attribute or (`dyn.`) by a constant argument."""
    stated = call.attr("size") if len(call.args) < 2 else call.ints(1, "size")
    return numbers(stated, rank)


def _resize(call: OpCall, rank: int) -> TensorType:
    spatial = SPATIAL[rank]
    layout = call.attr("layout")
    shape = to_primal(call.shape(0), layout, "NC" + spatial)
    out = (*shape[:2], *resized_sizes(call, rank))
    return TensorType(from_primal(out, "NC" + spatial, layout), call.attr("out_dtype") or call.dtype(0))


@rule("image.resize1d", inputs=1)
def _resize1d(call: OpCall) -> Type:
    return _resize(call, 1)


@rule("image.resize2d", "image.resize", "dyn.image.resize2d")
def _resize2d(call: OpCall) -> Type:
    return _resize(call, 2)


@rule("image.resize3d", inputs=1)
def _resize3d(call: OpCall) -> Type:
    return _resize(call, 3)


def scaled(dim: Dim, scale: float) -> Dim:
    """A dimension times a factor, rounded half away from zero as TVM's `round` did."""
    return dim if isinstance(dim, Any) else math.floor(dim * scale + 0.5)


def _scales(call: OpCall, names: tuple[str, ...]) -> list[float]:
    if len(call.args) > 1:
        return [float(call.constant(index, name).reshape(-1)[0]) for index, name in enumerate(names, 1)]
    return [float(call.attr(name)) for name in names]


@rule("nn.upsampling", "dyn.nn.upsampling")
def _upsampling(call: OpCall) -> Type:
    shape = to_primal(call.shape(0), call.attr("layout"), "NCHW")
    sizes = [scaled(dim, scale) for dim, scale in zip(shape[2:], _scales(call, ("scale_h", "scale_w")))]
    return TensorType(from_primal((*shape[:2], *sizes), "NCHW", call.attr("layout")), call.dtype(0))


@rule("nn.upsampling3d", "dyn.nn.upsampling3d")
def _upsampling3d(call: OpCall) -> Type:
    shape = to_primal(call.shape(0), call.attr("layout"), "NCDHW")
    scales = _scales(call, ("scale_d", "scale_h", "scale_w"))
    sizes = [scaled(dim, scale) for dim, scale in zip(shape[2:], scales)]
    return TensorType(from_primal((*shape[:2], *sizes), "NCDHW", call.attr("layout")), call.dtype(0))


@rule("image.crop_and_resize", inputs=3)
def _crop_and_resize(call: OpCall) -> Type:
    layout = call.attr("layout")
    shape = to_primal(call.shape(0), layout, "NCHW")
    out = (call.shape(1)[0], shape[1], *numbers(call.attr("crop_size"), 2))
    return TensorType(from_primal(out, "NCHW", layout), call.attr("out_dtype") or call.dtype(0))


@rule("image.grid_sample", inputs=2)
def _grid_sample(call: OpCall) -> Type:
    data, grid = call.tensor(0), call.tensor(1)
    if call.attr("layout", "NCHW") not in ("NCHW", "NCDHW"):
        raise RuleError(f"layout must be NCHW or NCDHW, found {call.attr('layout')!r}")
    return TensorType((*data.shape[:2], *grid.shape[2:]), data.dtype)


@rule("image.affine_grid", inputs=1)
def _affine_grid(call: OpCall) -> Type:
    size = tuple(int(dim) for dim in call.attr("target_shape"))
    return TensorType((call.shape(0)[0], len(size), *size), call.dtype(0))


@rule("image.dilation2d", inputs=2)
def _dilation2d(call: OpCall) -> Type:
    layout = call.attr("data_layout", "NCHW")
    shape = to_primal(call.shape(0), layout, "NCHW")
    kernel = to_primal(call.shape(1), call.attr("kernel_layout", "IHW"), "IHW")
    out: list[Dim] = list(shape[:2])
    for dim, size, stride, step, (before, after) in zip(
        shape[2:], kernel[1:], numbers(call.attr("strides"), 2), numbers(call.attr("dilations"), 2),
        pads(call.attr("padding"), 2),
    ):  # fmt: skip
        full = sub(add(dim, before + after), add(mul(sub(size, 1), step), 1))
        if known(full) and full < 0:  # type: ignore[operator]
            raise RuleError("the kernel is larger than the padded data")
        out.append(add(div(full, stride), 1))
    return TensorType(from_primal(out, "NCHW", layout), call.attr("out_dtype") or call.dtype(0))
