"""Converters of resizing and sampling images."""

from __future__ import annotations

import typing

from gacer_tvm._tvm import relax, topi
from gacer_tvm.relay.convert.emitter import Emitter, Rx
from gacer_tvm.relay.convert.layout import change_layout
from gacer_tvm.relay.convert.registry import converter
from gacer_tvm.relay.dims import RuleError
from gacer_tvm.relay.layout import parse_layout, to_primal
from gacer_tvm.relay.rules.conv import SPATIAL, numbers, pads
from gacer_tvm.relay.rules.image import resized_sizes
from gacer_tvm.relay.types import TensorType
from gacer_tvm.relay.values import OpCall

# Names of interpolation methods over the versions.
_METHODS = {
    "nearest_neighbor": "nearest_neighbor", "nearest": "nearest_neighbor", "linear": "linear", "bilinear": "linear",
    "trilinear": "linear", "cubic": "cubic", "bicubic": "cubic",
}  # fmt: skip


def _method(name: str) -> str:
    if name not in _METHODS:
        raise RuleError(f"method must be one of {', '.join(_METHODS)}, found {name!r}")
    return _METHODS[name]


def _coordinates(call: OpCall) -> str:
    stated = call.attr("coordinate_transformation_mode")
    if stated:
        return str(stated)
    # `image.resize` of 0.6 had only align_corners.
    return "align_corners" if call.attr("align_corners", False) else "asymmetric"


def resize(e: Emitter, data: Rx, layout: str, size: list[int], options: dict[str, typing.Any], out_dtype: str) -> Rx:
    """Resize the spatial dimensions of a tensor.

    Parameters
    ----------
    layout : str
        Unblocked, or blocked in its channels.
    size : list of int
    options : dict
        `method`, `coordinate_transformation_mode`, `rounding_method`, `cubic_alpha`, `cubic_exclude`,
        `extrapolation_value`, `roi`.
    out_dtype : str
    """
    rank = len(size)
    if parse_layout(layout).blocked:
        plain = "NC" + SPATIAL[rank]
        inner = resize(e, change_layout(e, data, layout, plain), plain, size, options, out_dtype)
        return change_layout(e, inner, plain, layout)
    data = e.emit(data)
    if rank == 2 and e.dtype(data) == out_dtype:
        return e.emit(relax.op.image.resize2d(data, tuple(size), layout=layout, **options))
    function = {1: topi.image.resize1d, 2: topi.image.resize2d, 3: topi.image.resize3d}[rank]
    return e.te(
        function,
        data,
        options["roi"],
        size,
        layout,
        options["method"],
        options["coordinate_transformation_mode"],
        options["rounding_method"],
        options["cubic_alpha"],
        options["cubic_exclude"],
        options["extrapolation_value"],
        out_dtype,
        name=f"resize{rank}d",
    )


def _resize_call(e: Emitter, call: OpCall, data: Rx, rank: int) -> Rx:
    roi = call.attr("roi")
    if call.name.startswith("dyn.") and len(call.args) > 2:
        roi = [float(number) for number in call.constant(2, "roi").reshape(-1)]
    options = {
        "method": _method(call.attr("method", "linear")),
        "coordinate_transformation_mode": _coordinates(call),
        "rounding_method": call.attr("rounding_method", ""),
        "cubic_alpha": float(call.attr("cubic_alpha", -0.5)),
        "cubic_exclude": int(call.attr("cubic_exclude", 0)),
        "extrapolation_value": float(call.attr("extrapolation_value", 0.0)),
        "roi": tuple(float(number) for number in roi) if roi else (0.0,) * (2 * rank),
    }
    out = typing.cast(TensorType, call.out)
    return resize(e, data, call.attr("layout"), list(resized_sizes(call, rank)), options, out.dtype)


@converter("image.resize1d")
def _resize1d(e: Emitter, call: OpCall, data: Rx) -> Rx:
    return _resize_call(e, call, data, 1)


@converter("image.resize2d", "image.resize", "dyn.image.resize2d")
def _resize2d(e: Emitter, call: OpCall, data: Rx, *_sizes: Rx) -> Rx:
    return _resize_call(e, call, data, 2)


@converter("image.resize3d")
def _resize3d(e: Emitter, call: OpCall, data: Rx) -> Rx:
    return _resize_call(e, call, data, 3)


def _upsample(e: Emitter, call: OpCall, data: Rx, rank: int, mode: str) -> Rx:
    layout = call.attr("layout")
    out = typing.cast(TensorType, call.out)
    size = to_primal(out.shape, layout, "NC" + SPATIAL[rank])[2:]
    if not all(isinstance(dim, int) for dim in size):
        raise RuleError(f"the result's shape must be known before running, found {out}")
    options = {
        "method": _method(call.attr("method", "nearest_neighbor")),
        "coordinate_transformation_mode": mode,
        "rounding_method": "",
        "cubic_alpha": -0.5,
        "cubic_exclude": 0,
        "extrapolation_value": 0.0,
        "roi": (0.0,) * (2 * rank),
    }
    return resize(e, data, layout, [typing.cast(int, dim) for dim in size], options, out.dtype)


@converter("nn.upsampling", "dyn.nn.upsampling")
def _upsampling(e: Emitter, call: OpCall, data: Rx, *_scales: Rx) -> Rx:
    return _upsample(e, call, data, 2, "align_corners" if call.attr("align_corners", False) else "asymmetric")


@converter("nn.upsampling3d", "dyn.nn.upsampling3d")
def _upsampling3d(e: Emitter, call: OpCall, data: Rx, *_scales: Rx) -> Rx:
    return _upsample(e, call, data, 3, call.attr("coordinate_transformation_mode", "half_pixel"))


@converter("image.crop_and_resize")
def _crop_and_resize(e: Emitter, call: OpCall, data: Rx, boxes: Rx, indices: Rx) -> Rx:
    return e.te(
        topi.image.crop_and_resize,
        data,
        boxes,
        indices,
        list(numbers(call.attr("crop_size"), 2)),
        call.attr("layout"),
        call.attr("method", "bilinear"),
        float(call.attr("extrapolation_value", 0.0)),
        typing.cast(TensorType, call.out).dtype,
        name="crop_and_resize",
    )


@converter("image.grid_sample")
def _grid_sample(e: Emitter, call: OpCall, data: Rx, grid: Rx) -> Rx:
    return e.te(
        topi.image.grid_sample,
        data,
        grid,
        call.attr("method", "bilinear"),
        call.attr("layout", "NCHW"),
        call.attr("padding_mode", "zeros"),
        bool(call.attr("align_corners", True)),
        name="grid_sample",
    )


@converter("image.affine_grid")
def _affine_grid(e: Emitter, call: OpCall, data: Rx) -> Rx:
    return e.te(topi.image.affine_grid, data, [int(dim) for dim in call.attr("target_shape")], name="affine_grid")


@converter("image.dilation2d")
def _dilation2d(e: Emitter, call: OpCall, data: Rx, weight: Rx) -> Rx:
    layout, kernel = call.attr("data_layout", "NCHW"), call.attr("kernel_layout", "IHW")
    data, weight = change_layout(e, data, layout, "NCHW"), change_layout(e, weight, kernel, "IHW")
    pairs = pads(call.attr("padding"), 2)
    result = e.te(
        topi.image.dilation2d_nchw,
        data,
        weight,
        list(numbers(call.attr("strides"), 2)),
        [before for before, _ in pairs] + [after for _, after in pairs],
        list(numbers(call.attr("dilations"), 2)),
        typing.cast(TensorType, call.out).dtype,
        name="dilation2d",
    )
    return change_layout(e, result, "NCHW", layout)
