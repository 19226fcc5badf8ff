"""Type rules of convolutions and matrix products, which also give weights without annotation their shapes."""

from __future__ import annotations

from collections.abc import Sequence

from gacer_tvm.relay.dims import RuleError, add, div, known, mul, sub, unify
from gacer_tvm.relay.layout import from_primal, to_primal
from gacer_tvm.relay.rules.registry import rule
from gacer_tvm.relay.types import ANY, Dim, TensorType, Type
from gacer_tvm.relay.values import OpCall

__all__ = ["SPATIAL", "conv_type", "conv_transpose_type", "is_depthwise", "matmul_type", "pads"]

SPATIAL = {1: "W", 2: "HW", 3: "DHW"}


def pads(padding: Sequence[int] | int | None, rank: int) -> tuple[tuple[int, int], ...]:
    """Padding before and after each of `rank` spatial dimensions, from the 1, `rank` or `2 * rank` numbers stated."""
    stated = [padding] if isinstance(padding, int) else list(padding or [0])
    numbers = [int(number) for number in stated]
    if len(numbers) == 1:
        numbers *= rank
    if len(numbers) == rank:
        return tuple((number, number) for number in numbers)
    if len(numbers) == 2 * rank:
        return tuple(zip(numbers[:rank], numbers[rank:]))
    raise RuleError(f"padding {numbers} must have 1, {rank} or {2 * rank} numbers")


def numbers(value: Sequence[int] | int | None, rank: int, default: int = 1) -> tuple[int, ...]:
    """An attribute with one number for each spatial dimension."""
    if value is None:
        return (default,) * rank
    stated = [value] if isinstance(value, int) else list(value)
    if len(stated) == 1:
        stated *= rank
    if len(stated) != rank:
        raise RuleError(f"{stated} must have {rank} numbers")
    return tuple(int(number) for number in stated)


def is_depthwise(call: OpCall, rank: int) -> bool:
    """Whether the weight is stored by Relay's depthwise convention: O counts the input channels, I the multiplier."""
    groups = int(call.attr("groups", 1))
    if groups <= 1 or not call.is_known(1):
        return False
    spatial = SPATIAL[rank]
    channels = to_primal(call.shape(0), call.attr("data_layout"), "NC" + spatial)[1]
    return channels == groups and to_primal(call.shape(1), call.attr("kernel_layout"), "OI" + spatial)[0] == groups


def conv_type(call: OpCall, rank: int, out_dtype: str | None = None) -> TensorType:
    """The result of a convolution over `rank` spatial dimensions."""
    spatial = SPATIAL[rank]
    data = call.tensor(0)
    data_layout, kernel_layout = call.attr("data_layout"), call.attr("kernel_layout")
    shape = to_primal(data.shape, data_layout, "NC" + spatial)
    groups = int(call.attr("groups", 1))
    channels, kernel = call.attr("channels"), call.attr("kernel_size")
    if channels is not None and kernel is not None:
        kernel = numbers(kernel, rank)
        if is_depthwise(call, rank):
            stored: tuple[Dim, ...] = (groups, div(channels, groups), *kernel)
        else:
            stored = (channels, div(shape[1], groups), *kernel)
        dtype = call.dtype(1) if call.is_known(1) else data.dtype
        call.assign(1, TensorType(from_primal(stored, "OI" + spatial, kernel_layout), dtype), "the weight")
        sizes: tuple[Dim, ...] = kernel
    else:
        stored = to_primal(call.shape(1), kernel_layout, "OI" + spatial)
        depthwise = is_depthwise(call, rank)
        if not depthwise:
            unify(div(shape[1], groups), stored[1], "the data's channels per group and the weight's input channels")
        sizes = stored[2:]
        if kernel is not None and any(unify(a, b, "kernel_size and the weight") is None for a, b in zip(kernel, sizes)):
            raise RuleError("kernel_size does not fit the weight")
        channels = mul(stored[0], stored[1]) if depthwise else stored[0]
    strides, dilation = numbers(call.attr("strides"), rank), numbers(call.attr("dilation"), rank)
    out: list[Dim] = [shape[0], channels]
    for dim, size, stride, step, (before, after) in zip(
        shape[2:], sizes, strides, dilation, pads(call.attr("padding"), rank)
    ):
        reach = add(mul(sub(size, 1), step), 1)
        full = sub(add(dim, before + after), reach)
        if known(full) and full < 0:  # type: ignore[operator]
            raise RuleError(f"a kernel that reaches over {reach} does not fit data of {dim} padded by {before + after}")
        out.append(add(div(full, stride), 1))
    dtype = out_dtype or call.attr("out_dtype") or data.dtype
    return TensorType(from_primal(out, "NC" + spatial, call.attr("out_layout") or data_layout), dtype)


def conv_transpose_type(call: OpCall, rank: int) -> TensorType:
    """The result of a transposed convolution over `rank` spatial dimensions."""
    spatial = SPATIAL[rank]
    data = call.tensor(0)
    data_layout, kernel_layout = call.attr("data_layout"), call.attr("kernel_layout")
    shape = to_primal(data.shape, data_layout, "NC" + spatial)
    groups = int(call.attr("groups", 1))
    channels, kernel = call.attr("channels"), call.attr("kernel_size")
    if channels is not None and kernel is not None:
        kernel = numbers(kernel, rank)
        stored: tuple[Dim, ...] = (shape[1], div(channels, groups), *kernel)
        dtype = call.dtype(1) if call.is_known(1) else data.dtype
        call.assign(1, TensorType(from_primal(stored, "IO" + spatial, kernel_layout), dtype), "the weight")
    else:
        stored = to_primal(call.shape(1), kernel_layout, "IO" + spatial)
        unify(shape[1], stored[0], "the data's channels and the weight's input channels")
        channels = mul(stored[1], groups)
    strides, dilation = numbers(call.attr("strides"), rank), numbers(call.attr("dilation"), rank)
    extra = numbers(call.attr("output_padding"), rank, 0)
    out: list[Dim] = [shape[0], channels]
    for dim, size, stride, step, more, (before, after) in zip(
        shape[2:], stored[2:], strides, dilation, extra, pads(call.attr("padding"), rank)
    ):
        reach = add(mul(sub(size, 1), step), 1)
        out.append(add(add(mul(sub(dim, 1), stride), reach), more - before - after))
    dtype = call.attr("out_dtype") or data.dtype
    return TensorType(from_primal(out, "NC" + spatial, call.attr("out_layout") or data_layout), dtype)


@rule("nn.conv1d", inputs=2)
def _conv1d(call: OpCall) -> Type:
    return conv_type(call, 1)


@rule("nn.conv2d", "nn.contrib_conv2d_NCHWc", "nn.contrib_depthwise_conv2d_NCHWc", inputs=2)
def _conv2d(call: OpCall) -> Type:
    if call.name != "nn.conv2d":
        return _packed_conv2d(call)
    return conv_type(call, 2)


def _packed_conv2d(call: OpCall) -> TensorType:
    """Blocked layouts, made by TVM's layout pass: the weight's own shape is taken as it is."""
    shape = to_primal(call.shape(0), call.attr("data_layout"), "NCHW")
    stored = to_primal(call.shape(1), call.attr("kernel_layout"), "OIHW")
    out: list[Dim] = [shape[0], stored[0]]
    for dim, size, stride, step, (before, after) in zip(
        shape[2:], stored[2:], numbers(call.attr("strides"), 2), numbers(call.attr("dilation"), 2),
        pads(call.attr("padding"), 2),
    ):  # fmt: skip
        out.append(add(div(sub(add(dim, before + after), add(mul(sub(size, 1), step), 1)), stride), 1))
    layout = call.attr("out_layout") or call.attr("data_layout")
    return TensorType(from_primal(out, "NCHW", layout), call.attr("out_dtype") or call.dtype(0))


@rule("nn.conv3d", inputs=2)
def _conv3d(call: OpCall) -> Type:
    return conv_type(call, 3)


@rule("nn.conv1d_transpose", inputs=2)
def _conv1d_transpose(call: OpCall) -> Type:
    return conv_transpose_type(call, 1)


@rule("nn.conv2d_transpose", inputs=2)
def _conv2d_transpose(call: OpCall) -> Type:
    return conv_transpose_type(call, 2)


@rule("nn.conv3d_transpose", inputs=2)
def _conv3d_transpose(call: OpCall) -> Type:
    return conv_transpose_type(call, 3)


@rule("nn.deformable_conv2d", inputs=3)
def _deformable_conv2d(call: OpCall) -> Type:
    data, _, weight = call.args
    inner = OpCall(call.name, call.attrs, (data, weight), call.expr)
    return conv_type(inner, 2)


def matmul_type(call: OpCall, transpose_a: bool, transpose_b: bool, out_dtype: str | None = None) -> TensorType:
    """The result of a product with a matrix as the second operand."""
    left = call.tensor(0)
    if not left.shape or (transpose_a and len(left.shape) < 2):
        raise RuleError(f"data {left} has too few dimensions")
    inner = left.shape[-2] if transpose_a else left.shape[-1]
    units = call.attr("units")
    if units is not None:
        dtype = call.dtype(1) if call.is_known(1) else left.dtype
        call.assign(1, TensorType((units, inner) if transpose_b else (inner, units), dtype), "the weight")
    else:
        right = call.tensor(1)
        if len(right.shape) != 2:
            raise RuleError(f"the second operand must be a matrix, found {right}")
        unify(inner, right.shape[1 if transpose_b else 0], "the inner dimensions")
        units = right.shape[0 if transpose_b else 1]
    # A transposed first operand moves its last dimension to where the rows were.
    rows = (*left.shape[:-2], left.shape[-1]) if transpose_a else left.shape[:-1]
    return TensorType((*rows, units), out_dtype or call.attr("out_dtype") or left.dtype)


@rule("nn.dense", inputs=2)
def _dense(call: OpCall) -> Type:
    return matmul_type(call, False, True)


@rule("nn.matmul", inputs=2)
def _matmul(call: OpCall) -> Type:
    return matmul_type(call, bool(call.attr("transpose_a", False)), bool(call.attr("transpose_b", False)))


@rule("nn.contrib_dense_pack", inputs=2)
def _dense_pack(call: OpCall) -> Type:
    data, weight = call.tensor(0), call.tensor(1)
    units = mul(weight.shape[0], weight.shape[2])
    return TensorType((data.shape[0], units), call.attr("out_dtype") or data.dtype)


@rule("nn.batch_matmul", inputs=2)
def _batch_matmul(call: OpCall) -> Type:
    return batch_matmul_type(call)


def batch_matmul_type(call: OpCall) -> TensorType:
    """The result of a product of stacks of matrices; the first versions had no attributes and transposed the second."""
    left, right = call.tensor(0), call.tensor(1)
    if len(left.shape) != 3 or len(right.shape) != 3:
        raise RuleError(f"both operands must have three dimensions, found {left} and {right}")
    swap_a, swap_b = bool(call.attr("transpose_a", False)), bool(call.attr("transpose_b", True))
    rows, inner = (left.shape[2], left.shape[1]) if swap_a else (left.shape[1], left.shape[2])
    cols, other = (right.shape[1], right.shape[2]) if swap_b else (right.shape[2], right.shape[1])
    unify(inner, other, "the inner dimensions")
    one, two = left.shape[0], right.shape[0]
    batch = two if one == 1 else one if two == 1 else unify(one, two, "the batches")
    if not (known(one) and known(two)) and one != two:
        batch = ANY
    return TensorType((batch, rows, cols), call.attr("out_dtype") or left.dtype)
