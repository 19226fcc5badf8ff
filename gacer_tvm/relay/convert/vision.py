"""Converters of detection operators with static results."""

from __future__ import annotations

from gacer_tvm._tvm import relax
from gacer_tvm.relay.convert.emitter import Emitter, Rx
from gacer_tvm.relay.convert.layout import change_layout
from gacer_tvm.relay.convert.registry import converter
from gacer_tvm.relay.rules.conv import numbers
from gacer_tvm.relay.values import OpCall


@converter("vision.roi_align")
def _roi_align(e: Emitter, call: OpCall, data: Rx, rois: Rx) -> Rx:
    return relax.op.vision.roi_align(
        data,
        rois,
        pooled_size=numbers(call.attr("pooled_size"), 2),
        spatial_scale=float(call.attr("spatial_scale")),
        sample_ratio=int(call.attr("sample_ratio", -1)),
        aligned=False,
        layout=call.attr("layout", "NCHW"),
        mode=call.attr("mode", "avg"),
    )


@converter("vision.roi_pool")
def _roi_pool(e: Emitter, call: OpCall, data: Rx, rois: Rx) -> Rx:
    layout = call.attr("layout", "NCHW")
    pooled = relax.op.vision.roi_pool(
        change_layout(e, data, layout, "NCHW"),
        rois,
        pooled_size=numbers(call.attr("pooled_size"), 2),
        spatial_scale=float(call.attr("spatial_scale")),
        layout="NCHW",
    )
    return change_layout(e, e.emit(pooled), "NCHW", layout)
