"""Type rules of normalizations, activations over an axis, padding, losses and rearrangements of neural networks."""

from __future__ import annotations

from gacer_tvm.relay.dims import RuleError, add, div, known, mul, normalize_axis, product, unify
from gacer_tvm.relay.layout import from_primal, to_primal
from gacer_tvm.relay.rules.registry import rule
from gacer_tvm.relay.types import Dim, TensorType, TupleType, Type
from gacer_tvm.relay.values import OpCall

__all__ = ["pad_pairs"]


@rule("nn.softmax", "nn.log_softmax", "nn.fast_softmax", inputs=1)
def _softmax(call: OpCall) -> Type:
    normalize_axis(call.attr("axis", -1), call.rank(0))
    return call.tensor(0)


@rule("nn.batch_norm", inputs=5)
def _batch_norm(call: OpCall) -> Type:
    data = call.tensor(0)
    axis = normalize_axis(call.attr("axis", 1), len(data.shape))
    vector = TensorType((data.shape[axis],), data.dtype)
    names = ("gamma", "beta", "moving_mean", "moving_var")
    if call.is_known(1) and call.dtype(1) != data.dtype:
        # Mixed precision: half data with single statistics.
        vector = TensorType(vector.shape, call.dtype(1))
    for index, name in enumerate(names, 1):
        vector = call.assign(index, vector, name)
    return TupleType((data, vector, vector))


@rule("nn.layer_norm", "nn.group_norm", "nn.instance_norm", inputs=3)
def _norm(call: OpCall) -> Type:
    data = call.tensor(0)
    default = -1 if call.name == "nn.layer_norm" else 1
    axis = normalize_axis(call.attr("axis", default), len(data.shape))
    vector = TensorType((data.shape[axis],), data.dtype)
    call.assign(1, vector, "gamma")
    call.assign(2, vector, "beta")
    groups = call.attr("num_groups", 1)
    if call.name == "nn.group_norm" and known(data.shape[axis]) and (groups < 1 or data.shape[axis] % groups):
        raise RuleError(f"{groups} groups do not divide {data.shape[axis]} channels")
    return data


@rule("nn.l2_normalize", "nn.lrn", inputs=1)
def _same(call: OpCall) -> Type:
    return call.tensor(0)


@rule("nn.batch_flatten", inputs=1)
def _batch_flatten(call: OpCall) -> Type:
    data = call.tensor(0)
    if not data.shape:
        raise RuleError("data must have at least one dimension")
    return TensorType((data.shape[0], product(data.shape[1:])), data.dtype)


def pad_pairs(call: OpCall) -> tuple[tuple[int, int], ...]:
    """The widths before and after each dimension that a padding call states."""
    if call.name.startswith("dyn."):
        flat = call.ints(1, "pad_width")
        pairs = list(zip(flat[::2], flat[1::2]))
    else:
        pairs = [(int(pair[0]), int(pair[1])) for pair in call.attr("pad_width")]
    if len(pairs) != call.rank(0):
        raise RuleError(f"pad_width names {len(pairs)} dimensions, the data {call.tensor(0)} has {call.rank(0)}")
    return tuple(pairs)


@rule("nn.pad", "nn.mirror_pad", "dyn.nn.pad")
def _pad(call: OpCall) -> Type:
    data = call.tensor(0)
    shape = tuple(add(dim, before + after) for dim, (before, after) in zip(data.shape, pad_pairs(call)))
    if any(known(dim) and dim < 0 for dim in shape):  # type: ignore[operator]
        raise RuleError(f"padding {call.attr('pad_width')} leaves a negative dimension of {data}")
    return TensorType(shape, data.dtype)


@rule("nn.dilate", inputs=1)
def _dilate(call: OpCall) -> Type:
    data = call.tensor(0)
    strides = call.attr("strides")
    if len(strides) != len(data.shape):
        raise RuleError(f"strides {list(strides)} must have one number for each dimension of {data}")
    shape = tuple(add(mul(add(dim, -1), int(step)), 1) for dim, step in zip(data.shape, strides))
    return TensorType(shape, data.dtype)


def _image_shape(call: OpCall) -> list[Dim]:
    return list(to_primal(call.shape(0), call.attr("layout", "NCHW"), "NCHW"))


@rule("nn.depth_to_space", inputs=1)
def _depth_to_space(call: OpCall) -> Type:
    block = int(call.attr("block_size"))
    shape = _image_shape(call)
    out = (shape[0], div(shape[1], block * block), mul(shape[2], block), mul(shape[3], block))
    return TensorType(from_primal(out, "NCHW", call.attr("layout", "NCHW")), call.dtype(0))


@rule("nn.space_to_depth", inputs=1)
def _space_to_depth(call: OpCall) -> Type:
    block = int(call.attr("block_size"))
    shape = _image_shape(call)
    out = (shape[0], mul(shape[1], block * block), div(shape[2], block), div(shape[3], block))
    return TensorType(from_primal(out, "NCHW", call.attr("layout", "NCHW")), call.dtype(0))


@rule("nn.space_to_batch_nd", inputs=1)
def _space_to_batch(call: OpCall) -> Type:
    data = call.tensor(0)
    blocks, paddings = call.attr("block_shape"), call.attr("paddings")
    shape = list(data.shape)
    for index, (block, (before, after)) in enumerate(zip(blocks, paddings), 1):
        shape[index] = div(add(shape[index], int(before) + int(after)), int(block))
        shape[0] = mul(shape[0], int(block))
    return TensorType(tuple(shape), data.dtype)


@rule("nn.batch_to_space_nd", inputs=1)
def _batch_to_space(call: OpCall) -> Type:
    data = call.tensor(0)
    blocks, crops = call.attr("block_shape"), call.attr("crops")
    shape = list(data.shape)
    for index, (block, (before, after)) in enumerate(zip(blocks, crops), 1):
        shape[index] = add(mul(shape[index], int(block)), -int(before) - int(after))
        shape[0] = div(shape[0], int(block))
    return TensorType(tuple(shape), data.dtype)


@rule("nn.cross_entropy", "nn.cross_entropy_with_logits", inputs=2)
def _cross_entropy(call: OpCall) -> Type:
    predictions, targets = call.tensor(0), call.tensor(1)
    if len(predictions.shape) != 2 or len(targets.shape) != 2:
        raise RuleError(f"predictions and targets must be matrices, found {predictions} and {targets}")
    for left, right in zip(predictions.shape, targets.shape):
        unify(left, right, "the dimensions of predictions and targets")
    return TensorType((), predictions.dtype)


@rule("nn.nll_loss", inputs=3)
def _nll_loss(call: OpCall) -> Type:
    predictions, targets = call.tensor(0), call.tensor(1)
    if len(predictions.shape) != len(targets.shape) + 1:
        raise RuleError(f"predictions must have one dimension more than targets, found {predictions} and {targets}")
    return TensorType(targets.shape if call.attr("reduction", "mean") == "none" else (), predictions.dtype)
