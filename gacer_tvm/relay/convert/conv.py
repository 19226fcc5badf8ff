"""Converters of convolutions and matrix products."""

from __future__ import annotations

import typing

from gacer_tvm._tvm import relax, topi
from gacer_tvm.relay.convert.emitter import Emitter, Rx
from gacer_tvm.relay.convert.layout import change_layout, to_layout
from gacer_tvm.relay.convert.registry import converter
from gacer_tvm.relay.dims import RuleError
from gacer_tvm.relay.layout import parse_layout
from gacer_tvm.relay.rules.conv import SPATIAL, is_depthwise, numbers, pads
from gacer_tvm.relay.types import TensorType
from gacer_tvm.relay.values import OpCall

__all__ = ["batch_matmul", "conv", "conv_transpose", "dense", "flat_pads"]


def flat_pads(call: OpCall, rank: int) -> list[int]:
    """Padding as Relax wants it: all numbers before, then all numbers after."""
    pairs = pads(call.attr("padding"), rank)
    return [before for before, _ in pairs] + [after for _, after in pairs]


@converter("nn.conv1d")
def _conv1d(e: Emitter, call: OpCall, data: Rx, weight: Rx) -> Rx:
    return conv(e, call, 1, data, weight)


@converter("nn.conv2d", "nn.contrib_conv2d_NCHWc", "nn.contrib_depthwise_conv2d_NCHWc")
def _conv2d(e: Emitter, call: OpCall, data: Rx, weight: Rx) -> Rx:
    return conv(e, call, 2, data, weight)


@converter("nn.conv3d")
def _conv3d(e: Emitter, call: OpCall, data: Rx, weight: Rx) -> Rx:
    return conv(e, call, 3, data, weight)


def conv(e: Emitter, call: OpCall, rank: int, data: Rx, weight: Rx) -> Rx:
    """A convolution over `rank` spatial dimensions in any layout, grouped and depthwise included.

    Layouts that Relax's kernels know are kept; blocked ones are unblocked around the convolution.
    """
    spatial = SPATIAL[rank]
    data_layout, kernel_layout = call.attr("data_layout"), call.attr("kernel_layout")
    out_layout = call.attr("out_layout") or data_layout
    out_dtype = typing.cast(TensorType, call.out).dtype
    packed = parse_layout(data_layout).blocked or parse_layout(kernel_layout).blocked
    if packed:
        data, data_layout = to_layout(e, data, data_layout, "NC" + spatial), "NC" + spatial
        weight, kernel_layout = to_layout(e, weight, kernel_layout, "OI" + spatial), "OI" + spatial
    groups = int(call.attr("groups", 1))
    if not packed and is_depthwise(call, rank):
        weight, kernel_layout = _unfold_multiplier(e, weight, kernel_layout, spatial)
    if rank == 1 and data_layout == "NWC" and kernel_layout not in ("WIO", "OIW"):
        weight, kernel_layout = change_layout(e, weight, kernel_layout, "WIO"), "WIO"
    data, weight = e.emit(data), e.emit(weight)
    if e.dtype(data) != e.dtype(weight):
        data, weight = e.cast(data, out_dtype), e.cast(weight, out_dtype)
    function = {1: relax.op.nn.conv1d, 2: relax.op.nn.conv2d, 3: relax.op.nn.conv3d}[rank]
    result = e.emit(
        function(
            data,
            weight,
            strides=list(numbers(call.attr("strides"), rank)),
            padding=flat_pads(call, rank),
            dilation=list(numbers(call.attr("dilation"), rank)),
            groups=groups,
            data_layout=data_layout,
            kernel_layout=kernel_layout,
            out_layout=data_layout,
            out_dtype=out_dtype,
        )
    )
    return change_layout(e, result, data_layout, out_layout)


def _unfold_multiplier(e: Emitter, weight: Rx, layout: str, spatial: str) -> tuple[Rx, str]:
    """A depthwise weight stored as (channels, multiplier, ...) as Relax stores it: (channels * multiplier, 1, ...)."""
    weight = e.emit(weight)
    shape = dict(zip(layout, e.shape(weight)))
    if shape["I"] == 1:
        return weight, layout
    primal = "OI" + spatial
    plain = to_layout(e, weight, layout, primal)
    sizes = e.shape(plain)
    return e.reshape(plain, [sizes[0] * sizes[1], 1, *sizes[2:]]), primal


@converter("nn.conv1d_transpose")
def _conv1d_transpose(e: Emitter, call: OpCall, data: Rx, weight: Rx) -> Rx:
    return conv_transpose(e, call, 1, data, weight)


@converter("nn.conv2d_transpose")
def _conv2d_transpose(e: Emitter, call: OpCall, data: Rx, weight: Rx) -> Rx:
    return conv_transpose(e, call, 2, data, weight)


@converter("nn.conv3d_transpose")
def _conv3d_transpose(e: Emitter, call: OpCall, data: Rx, weight: Rx) -> Rx:
    return conv_transpose(e, call, 3, data, weight)


def conv_transpose(e: Emitter, call: OpCall, rank: int, data: Rx, weight: Rx) -> Rx:
    """A transposed convolution; Relax's kernels know one layout only, so that others are permuted around it."""
    spatial = SPATIAL[rank]
    layout = call.attr("data_layout")
    out_dtype = typing.cast(TensorType, call.out).dtype
    data = change_layout(e, data, layout, "NC" + spatial)
    weight = change_layout(e, weight, call.attr("kernel_layout"), "IO" + spatial)
    if e.dtype(data) != e.dtype(weight):
        data, weight = e.cast(data, out_dtype), e.cast(weight, out_dtype)
    names = {1: "conv1d_transpose", 2: "conv2d_transpose", 3: "conv3d_transpose"}
    result = e.emit(
        getattr(relax.op.nn, names[rank])(
            data,
            weight,
            strides=list(numbers(call.attr("strides"), rank)),
            padding=flat_pads(call, rank),
            output_padding=list(numbers(call.attr("output_padding"), rank, 0)),
            dilation=list(numbers(call.attr("dilation"), rank)),
            groups=int(call.attr("groups", 1)),
            data_layout="NC" + spatial,
            kernel_layout="IO" + spatial,
            out_dtype=out_dtype,
        )
    )
    return change_layout(e, result, "NC" + spatial, call.attr("out_layout") or layout)


@converter("nn.deformable_conv2d")
def _deformable_conv2d(e: Emitter, call: OpCall, data: Rx, offset: Rx, weight: Rx) -> Rx:
    layout, kernel = call.attr("data_layout", "NCHW"), call.attr("kernel_layout", "OIHW")
    if layout not in ("NCHW", "NHWC"):
        raise RuleError(f"layout must be NCHW or NHWC, found {layout!r}")
    data, offset = change_layout(e, data, layout, "NCHW"), change_layout(e, offset, layout, "NCHW")
    result = e.te(
        topi.nn.deformable_conv2d_nchw,
        data,
        offset,
        change_layout(e, weight, kernel, "OIHW"),
        list(numbers(call.attr("strides"), 2)),
        flat_pads(call, 2),
        list(numbers(call.attr("dilation"), 2)),
        int(call.attr("deformable_groups", 1)),
        int(call.attr("groups", 1)),
        typing.cast(TensorType, call.out).dtype,
        name="deformable_conv2d",
    )
    return change_layout(e, result, "NCHW", call.attr("out_layout") or layout)


@converter("nn.dense")
def _dense(e: Emitter, call: OpCall, data: Rx, weight: Rx) -> Rx:
    return dense(e, data, weight, typing.cast(TensorType, call.out).dtype)


def dense(e: Emitter, data: Rx, weight: Rx, out_dtype: str) -> Rx:
    """The product with a transposed matrix, accumulated in `out_dtype`."""
    return product(e, data, e.permute(weight, [1, 0]), out_dtype)


def product(e: Emitter, left: Rx, right: Rx, out_dtype: str) -> Rx:
    """The matrix product, accumulated in `out_dtype`."""
    left, right = e.emit(left), e.emit(right)
    if e.dtype(left) != e.dtype(right):
        left, right = e.cast(left, out_dtype), e.cast(right, out_dtype)
    stated = None if e.dtype(left) == out_dtype else out_dtype
    return e.emit(relax.op.matmul(left, right, out_dtype=stated), "matmul")


@converter("nn.matmul")
def _matmul(e: Emitter, call: OpCall, left: Rx, right: Rx) -> Rx:
    rank = call.rank(0)
    if call.attr("transpose_a", False):
        left = e.permute(left, [*range(rank - 2), rank - 1, rank - 2])
    if call.attr("transpose_b", False):
        right = e.permute(right, [1, 0])
    return product(e, left, right, typing.cast(TensorType, call.out).dtype)


@converter("nn.batch_matmul")
def _batch_matmul(e: Emitter, call: OpCall, left: Rx, right: Rx) -> Rx:
    return batch_matmul(e, call, left, right)


def batch_matmul(e: Emitter, call: OpCall, left: Rx, right: Rx) -> Rx:
    """A product of stacks of matrices, with the call's transpositions."""
    if call.attr("transpose_a", False):
        left = e.permute(left, [0, 2, 1])
    if call.attr("transpose_b", True):
        right = e.permute(right, [0, 2, 1])
    return product(e, left, right, typing.cast(TensorType, call.out).dtype)


@converter("nn.contrib_dense_pack")
def _dense_pack(e: Emitter, call: OpCall, data: Rx, weight: Rx) -> Rx:
    weight = e.emit(weight)
    shape = e.shape(weight)
    if len(shape) != 3:
        raise RuleError(f"the packed weight must have three dimensions (blocks, inputs, block), found {shape}")
    # (blocks, inputs, block) holds row `block_index * block + lane` at [block_index, :, lane].
    plain = e.reshape(e.permute(weight, [1, 0, 2]), [shape[1], shape[0] * shape[2]])
    return product(e, data, plain, typing.cast(TensorType, call.out).dtype)
