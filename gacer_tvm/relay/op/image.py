"""Operators on images: `relay.image`."""

from __future__ import annotations

import typing

from gacer_tvm.relay.ast import Call, Constant, Expr
from gacer_tvm.relay.op.build import call, const, operator, padding, spread

__all__ = ["affine_grid", "crop_and_resize", "dilation2d", "grid_sample", "resize1d", "resize2d", "resize3d"]


def _resize(rank: int, layout: str) -> typing.Any:
    def roi(value: typing.Any) -> list[float]:
        value = value.data.tolist() if isinstance(value, Constant) else value
        return [0.0] * (2 * rank) if value is None else [float(number) for number in value]

    attrs = f"size, roi=None, layout={layout!r}, method='linear', coordinate_transformation_mode='half_pixel', "
    attrs += "rounding_method='', cubic_alpha=-0.5, cubic_exclude=0, extrapolation_value=0.0, out_dtype=None"
    return operator(f"image.resize{rank}d", "data", attrs, convert={"size": spread(rank), "roi": roi})


resize1d = _resize(1, "NCW")
_static_resize2d = _resize(2, "NCHW")
resize3d = _resize(3, "NCDHW")


def resize2d(
    data: typing.Any,
    size: typing.Any,
    roi: typing.Any = None,
    layout: str = "NCHW",
    method: str = "linear",
    coordinate_transformation_mode: str = "half_pixel",
    rounding_method: str = "",
    cubic_alpha: float = -0.5,
    cubic_exclude: int = 0,
    extrapolation_value: float = 0.0,
    out_dtype: str | None = None,
) -> Call:
    """An image of another size."""
    if isinstance(size, Constant):
        size = [int(number) for number in size.data.reshape(-1)]
    if not isinstance(size, Expr):
        options = (coordinate_transformation_mode, rounding_method, cubic_alpha, cubic_exclude, extrapolation_value)
        return typing.cast(Call, _static_resize2d(data, size, roi, layout, method, *options, out_dtype))
    attrs = {
        "layout": layout,
        "method": method,
        "coordinate_transformation_mode": coordinate_transformation_mode,
        "rounding_method": rounding_method,
        "cubic_alpha": cubic_alpha,
        "cubic_exclude": cubic_exclude,
        "extrapolation_value": extrapolation_value,
        "out_dtype": out_dtype,
    }
    region = roi if isinstance(roi, Expr) else const([0.0] * 4 if roi is None else list(roi), "float32")
    return call("dyn.image.resize2d", [data, size, region], attrs)


crop_and_resize = operator(
    "image.crop_and_resize",
    "data, boxes, box_indices",
    "crop_size, layout, method='bilinear', extrapolation_value=0, out_dtype=None",
    convert={"crop_size": spread(2)},
)
dilation2d = operator(
    "image.dilation2d",
    "data, weight",
    "strides=(1, 1), padding=(0, 0), dilations=(1, 1), data_layout='NCHW', kernel_layout='IHW', out_dtype=''",
    convert={"strides": spread(2), "padding": padding(2), "dilations": spread(2)},
)
affine_grid = operator("image.affine_grid", "data", "target_shape=None")
grid_sample = operator(
    "image.grid_sample",
    "data, grid",
    "method='bilinear', layout='NCHW', padding_mode='zeros', align_corners=True",
)
