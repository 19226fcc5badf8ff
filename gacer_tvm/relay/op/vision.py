"""Operators of detection: `relay.vision`."""

from __future__ import annotations

from gacer_tvm.relay.op.build import operator, spread

__all__ = ["roi_align", "roi_pool"]

roi_align = operator(
    "vision.roi_align",
    "data, rois",
    "pooled_size, spatial_scale, sample_ratio=-1, layout='NCHW', mode='avg'",
    convert={"pooled_size": spread(2)},
)
roi_pool = operator(
    "vision.roi_pool", "data, rois", "pooled_size, spatial_scale, layout='NCHW'", convert={"pooled_size": spread(2)}
)  # fmt: skip
