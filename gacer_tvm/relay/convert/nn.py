"""Converters of normalizations, activations over an axis, padding, losses and rearrangements of neural networks."""

from __future__ import annotations

import typing

from gacer_tvm._tvm import relax, topi
from gacer_tvm.relay.convert.emitter import Emitter, Rx
from gacer_tvm.relay.convert.layout import change_layout
from gacer_tvm.relay.convert.registry import converter
from gacer_tvm.relay.dims import RuleError, normalize_axis
from gacer_tvm.relay.rules.nn import pad_pairs
from gacer_tvm.relay.values import OpCall


@converter("nn.softmax", "nn.fast_softmax")
def _softmax(e: Emitter, call: OpCall, data: Rx) -> Rx:
    return relax.op.nn.softmax(data, call.attr("axis", -1))


@converter("nn.log_softmax")
def _log_softmax(e: Emitter, call: OpCall, data: Rx) -> Rx:
    return relax.op.nn.log_softmax(data, call.attr("axis", -1))


@converter("nn.batch_norm")
def _batch_norm(e: Emitter, call: OpCall, data: Rx, gamma: Rx, beta: Rx, mean: Rx, variance: Rx) -> typing.Any:
    axis = normalize_axis(call.attr("axis", 1), call.rank(0))
    dtype, stored = call.dtype(0), call.dtype(1)
    epsilon, scale, center = (
        float(call.attr("epsilon", 1e-5)),
        bool(call.attr("scale", True)),
        bool(call.attr("center", True)),
    )
    inner = e.cast(data, stored)
    normed = e.emit(
        relax.op.nn.batch_norm(
            inner, gamma, beta, mean, variance, axis=axis, epsilon=epsilon, center=center, scale=scale, training=False
        )
    )
    # Statistics leave an inference unchanged, so that they need not come out of the kernel.
    return e.cast(relax.TupleGetItem(normed, 0), dtype), mean, variance


def _affine(e: Emitter, call: OpCall, gamma: Rx, beta: Rx) -> tuple[Rx, Rx]:
    """Scale and offset of a normalization; ones and zeros where the attributes turn them off."""
    if not call.attr("scale", True):
        gamma = e.emit(relax.op.ones_like(gamma))
    if not call.attr("center", True):
        beta = e.emit(relax.op.zeros_like(beta))
    return gamma, beta


@converter("nn.layer_norm")
def _layer_norm(e: Emitter, call: OpCall, data: Rx, gamma: Rx, beta: Rx) -> Rx:
    axis = normalize_axis(call.attr("axis", -1), call.rank(0))
    gamma, beta = _affine(e, call, gamma, beta)
    return relax.op.nn.layer_norm(data, gamma, beta, axes=[axis], epsilon=float(call.attr("epsilon", 1e-5)))


@converter("nn.instance_norm")
def _instance_norm(e: Emitter, call: OpCall, data: Rx, gamma: Rx, beta: Rx) -> Rx:
    rank = call.rank(0)
    axis = normalize_axis(call.attr("axis", 1), rank)
    gamma, beta = _affine(e, call, gamma, beta)
    axes = [index for index in range(1, rank) if index != axis]
    return relax.op.nn.instance_norm(
        data, gamma, beta, channel_axis=axis, axes=axes, epsilon=float(call.attr("epsilon", 1e-5))
    )


@converter("nn.group_norm")
def _group_norm(e: Emitter, call: OpCall, data: Rx, gamma: Rx, beta: Rx) -> Rx:
    rank = call.rank(0)
    axis = normalize_axis(call.attr("axis", 1), rank)
    gamma, beta = _affine(e, call, gamma, beta)
    axes = [index for index in range(1, rank) if index != axis]
    return relax.op.nn.group_norm(
        data,
        gamma,
        beta,
        num_groups=int(call.attr("num_groups")),
        channel_axis=axis,
        axes=axes,
        epsilon=float(call.attr("epsilon", 1e-5)),
    )


@converter("nn.l2_normalize")
def _l2_normalize(e: Emitter, call: OpCall, data: Rx) -> Rx:
    axes = [normalize_axis(int(axis), call.rank(0)) for axis in call.attr("axis") or range(call.rank(0))]
    squares = e.emit(relax.op.sum(e.multiply(data, data), axes, True), "sum")
    bounded = e.emit(relax.op.maximum(squares, e.const(float(call.attr("eps")), call.dtype(0))), "maximum")
    return relax.op.divide(data, e.emit(relax.op.sqrt(bounded), "sqrt"))


@converter("nn.lrn")
def _lrn(e: Emitter, call: OpCall, data: Rx) -> Rx:
    size, axis = int(call.attr("size", 5)), normalize_axis(call.attr("axis", 1), call.rank(0))
    alpha, beta, bias = (float(call.attr(name)) for name in ("alpha", "beta", "bias"))
    return e.te(topi.nn.lrn, data, size, axis, alpha, beta, bias, name="lrn")


@converter("nn.batch_flatten")
def _batch_flatten(e: Emitter, call: OpCall, data: Rx) -> Rx:
    data = e.emit(data)
    dims = e.shape(data)
    rest = dims[1:] or [1]
    size: typing.Any = 1
    for dim in rest:
        size = size * dim
    return e.reshape(data, [dims[0], size])


@converter("nn.pad", "dyn.nn.pad")
def _pad(e: Emitter, call: OpCall, data: Rx, *value: Rx) -> Rx:
    pairs = pad_pairs(call)
    mode = call.attr("pad_mode") or "constant"
    place = 2 if call.name.startswith("dyn.") else 1
    if len(call.args) > place:
        fill = float(call.constant(place, "the padding's value").reshape(-1)[0])
    else:
        # Before 0.8 the value was an attribute.
        fill = float(call.attr("pad_value", 0.0) or 0.0)
    cut = [(max(0, -before), max(0, -after)) for before, after in pairs]
    if any(before or after for before, after in cut):
        axes = [axis for axis, (before, after) in enumerate(cut) if before or after]
        dims = e.shape(e.emit(data))
        data = e.emit(
            relax.op.strided_slice(
                data, axes, [cut[axis][0] for axis in axes], [dims[axis] - cut[axis][1] for axis in axes]
            )
        )
    widths = [max(0, width) for pair in pairs for width in pair]
    if not any(widths):
        return data
    modes = {"constant": "constant", "edge": "replicate", "reflect": "reflect"}
    if mode not in modes:
        raise RuleError(f"pad_mode must be constant, edge or reflect, found {mode!r}")
    return relax.op.nn.pad(data, widths, modes[mode], fill)


@converter("nn.mirror_pad")
def _mirror_pad(e: Emitter, call: OpCall, data: Rx) -> Rx:
    pairs = pad_pairs(call)
    before, after = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    mode = str(call.attr("mode", "SYMMETRIC")).upper()
    return e.te(topi.nn.mirror_pad, data, before, after, mode, name="mirror_pad")


@converter("nn.dilate")
def _dilate(e: Emitter, call: OpCall, data: Rx) -> Rx:
    strides = [int(step) for step in call.attr("strides")]
    return e.te(topi.nn.dilate, data, strides, float(call.attr("dilation_value", 0.0)), name="dilate")


@converter("nn.depth_to_space")
def _depth_to_space(e: Emitter, call: OpCall, data: Rx) -> Rx:
    block, layout = int(call.attr("block_size")), call.attr("layout", "NCHW")
    data = change_layout(e, data, layout, "NCHW")
    batch, channels, height, width = e.shape(data)
    inner = channels // (block * block)
    if call.attr("mode", "DCR") == "DCR":
        split, order = [batch, block, block, inner, height, width], [0, 3, 4, 1, 5, 2]
    else:
        split, order = [batch, inner, block, block, height, width], [0, 1, 4, 2, 5, 3]
    moved = e.permute(e.reshape(data, split), order)
    return change_layout(e, e.reshape(moved, [batch, inner, height * block, width * block]), "NCHW", layout)


@converter("nn.space_to_depth")
def _space_to_depth(e: Emitter, call: OpCall, data: Rx) -> Rx:
    block, layout = int(call.attr("block_size")), call.attr("layout", "NCHW")
    data = change_layout(e, data, layout, "NCHW")
    batch, channels, height, width = e.shape(data)
    split = [batch, channels, height // block, block, width // block, block]
    moved = e.permute(e.reshape(data, split), [0, 3, 5, 1, 2, 4])
    shape = [batch, channels * block * block, height // block, width // block]
    return change_layout(e, e.reshape(moved, shape), "NCHW", layout)


@converter("nn.space_to_batch_nd")
def _space_to_batch(e: Emitter, call: OpCall, data: Rx) -> Rx:
    blocks = [int(block) for block in call.attr("block_shape")]
    pairs = [(int(before), int(after)) for before, after in call.attr("paddings")]
    rank, count = call.rank(0), len(blocks)
    widths = [0, 0, *(number for pair in pairs for number in pair), *([0, 0] * (rank - 1 - count))]
    if any(widths):
        data = e.emit(relax.op.nn.pad(data, widths, "constant", float(call.attr("pad_value", 0.0))), "pad")
    dims = e.shape(e.emit(data))
    spatial = [dim // block for dim, block in zip(dims[1:], blocks)]
    split = [dims[0], *(size for pair in zip(spatial, blocks) for size in pair), *dims[1 + count :]]
    inner = [2 + 2 * index for index in range(count)]
    order = [*inner, 0, *(axis - 1 for axis in inner), *range(1 + 2 * count, len(split))]
    batch = dims[0]
    for block in blocks:
        batch = batch * block
    return e.reshape(e.permute(e.reshape(data, split), order), [batch, *spatial, *dims[1 + count :]])


@converter("nn.batch_to_space_nd")
def _batch_to_space(e: Emitter, call: OpCall, data: Rx) -> Rx:
    blocks = [int(block) for block in call.attr("block_shape")]
    crops = [(int(before), int(after)) for before, after in call.attr("crops")]
    count = len(blocks)
    dims = e.shape(e.emit(data))
    batch = dims[0]
    for block in blocks:
        batch = batch // block
    split = [*blocks, batch, *dims[1:]]
    order = [
        count,
        *(axis for index in range(count) for axis in (count + 1 + index, index)),
        *range(2 * count + 1, len(split)),
    ]
    spatial = [dim * block for dim, block in zip(dims[1:], blocks)]
    result = e.reshape(e.permute(e.reshape(data, split), order), [batch, *spatial, *dims[1 + count :]])
    axes = [index + 1 for index, crop in enumerate(crops) if any(crop)]
    if not axes:
        return result
    begin = [crops[axis - 1][0] for axis in axes]
    end = [spatial[axis - 1] - crops[axis - 1][1] for axis in axes]
    return relax.op.strided_slice(result, axes, begin, end)


@converter("nn.cross_entropy", "nn.cross_entropy_with_logits")
def _cross_entropy(e: Emitter, call: OpCall, predictions: Rx, targets: Rx) -> Rx:
    scores = predictions if call.name.endswith("logits") else e.emit(relax.op.log(predictions), "log")
    total = e.emit(relax.op.sum(e.multiply(scores, targets)), "sum")
    batch = call.shape(0)[0]
    if not isinstance(batch, int):
        raise RuleError("the batch must be known before running")
    return relax.op.divide(e.emit(relax.op.negative(total)), e.const(batch, call.dtype(0)))


@converter("nn.nll_loss")
def _nll_loss(e: Emitter, call: OpCall, predictions: Rx, targets: Rx, weights: Rx) -> Rx:
    return relax.op.nn.nll_loss(
        predictions, targets, weights, call.attr("reduction", "mean"), int(call.attr("ignore_index", -100))
    )
