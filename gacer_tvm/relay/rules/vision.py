"""Type rules of detection operators with static results."""

from __future__ import annotations

from gacer_tvm.relay.dims import RuleError
from gacer_tvm.relay.rules.conv import numbers
from gacer_tvm.relay.rules.registry import rule
from gacer_tvm.relay.types import TensorType, Type
from gacer_tvm.relay.values import OpCall


@rule("vision.roi_align", "vision.roi_pool", inputs=2)
def _roi(call: OpCall) -> Type:
    data, rois = call.tensor(0), call.tensor(1)
    layout = call.attr("layout", "NCHW")
    size = numbers(call.attr("pooled_size"), 2)
    if layout == "NCHW":
        return TensorType((rois.shape[0], data.shape[1], *size), data.dtype)
    if layout == "NHWC":
        return TensorType((rois.shape[0], *size, data.shape[3]), data.dtype)
    raise RuleError(f"layout must be NCHW or NHWC, found {layout!r}")
