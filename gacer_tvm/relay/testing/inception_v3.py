"""Inception v3 (arXiv 1512.00567)."""

from __future__ import annotations

from gacer_tvm.relay import op
from gacer_tvm.relay.ast import Expr, Function
from gacer_tvm.relay.op import nn
from gacer_tvm.relay.op.build import var
from gacer_tvm.relay.testing import layers
from gacer_tvm.relay.testing.init import Workload, create_workload

__all__ = ["get_net", "get_workload"]


def _conv(
    data: Expr,
    name: str,
    channels: int,
    kernel: tuple[int, int] = (1, 1),
    pad: tuple[int, int] = (0, 0),
    stride: int = 1,
) -> Expr:
    body: Expr = layers.conv2d(
        data, f"{name}_conv1", channels=channels, kernel_size=kernel, strides=(stride, stride), padding=pad
    )
    return nn.relu(layers.batch_norm_infer(body, f"{name}_bn", epsilon=2e-5, scale=False))  # type: ignore[no-any-return]


def _square(data: Expr, name: str, channels: int, stride: int = 1) -> Expr:
    """A 3x3 convolution that keeps the size, or halves it without padding."""
    return _conv(data, name, channels, (3, 3), (1, 1) if stride == 1 else (0, 0), stride)


def _wide(data: Expr, name: str, channels: int, length: int) -> Expr:
    return _conv(data, name, channels, (1, length), (0, length // 2))


def _tall(data: Expr, name: str, channels: int, length: int) -> Expr:
    return _conv(data, name, channels, (length, 1), (length // 2, 0))


def _pool(data: Expr, kind: str, size: int = 3, stride: int = 1, pad: int = 1) -> Expr:
    options = {"pool_size": (size, size), "strides": (stride, stride), "padding": (pad, pad)}
    if kind == "max":
        return nn.max_pool2d(data, **options)  # type: ignore[no-any-return]
    return nn.avg_pool2d(data, **options, count_include_pad=True)  # type: ignore[no-any-return]


def _block_a(data: Expr, name: str, projection: int) -> Expr:
    one = _conv(data, f"{name}_conv", 64)
    five = _conv(data, f"{name}_tower_conv", 48)
    five = _conv(five, f"{name}_tower_conv_1", 64, (5, 5), (2, 2))
    three = _conv(data, f"{name}_tower_1_conv", 64)
    three = _square(three, f"{name}_tower_1_conv_1", 96)
    three = _square(three, f"{name}_tower_1_conv_2", 96)
    pooled = _conv(_pool(data, "avg"), f"{name}_tower_2_conv", projection)
    return op.concatenate((one, five, three, pooled), axis=1)


def _block_b(data: Expr, name: str) -> Expr:
    three = _square(data, f"{name}_conv", 384, 2)
    double = _conv(data, f"{name}_tower_conv", 64)
    double = _square(double, f"{name}_tower_conv_1", 96)
    double = _square(double, f"{name}_tower_conv_2", 96, 2)
    return op.concatenate((three, double, _pool(data, "max", stride=2, pad=0)), axis=1)


def _block_c(data: Expr, name: str, width: int) -> Expr:
    one = _conv(data, f"{name}_conv", 192)
    seven = _conv(data, f"{name}_tower_conv", width)
    seven = _wide(seven, f"{name}_tower_conv_1", width, 7)
    seven = _tall(seven, f"{name}_tower_conv_2", 192, 7)
    twice = _conv(data, f"{name}_tower_1_conv", width)
    twice = _tall(twice, f"{name}_tower_1_conv_1", width, 7)
    twice = _wide(twice, f"{name}_tower_1_conv_2", width, 7)
    twice = _tall(twice, f"{name}_tower_1_conv_3", width, 7)
    twice = _wide(twice, f"{name}_tower_1_conv_4", 192, 7)
    pooled = _conv(_pool(data, "avg"), f"{name}_tower_2_conv", 192)
    return op.concatenate((one, seven, twice, pooled), axis=1)


def _block_d(data: Expr, name: str) -> Expr:
    three = _conv(data, f"{name}_tower_conv", 192)
    three = _square(three, f"{name}_tower_conv_1", 320, 2)
    seven = _conv(data, f"{name}_tower_1_conv", 192)
    seven = _wide(seven, f"{name}_tower_1_conv_1", 192, 7)
    seven = _tall(seven, f"{name}_tower_1_conv_2", 192, 7)
    seven = _square(seven, f"{name}_tower_1_conv_3", 192, 2)
    return op.concatenate((three, seven, _pool(data, "max", stride=2, pad=0)), axis=1)


def _block_e(data: Expr, name: str, pool: str) -> Expr:
    one = _conv(data, f"{name}_conv", 320)
    three = _conv(data, f"{name}_tower_conv", 384)
    left = _wide(three, f"{name}_tower_mixed_conv", 384, 3)
    right = _tall(three, f"{name}_tower_mixed_conv_1", 384, 3)
    twice = _conv(data, f"{name}_tower_1_conv", 448)
    twice = _square(twice, f"{name}_tower_1_conv_1", 384)
    twice_left = _wide(twice, f"{name}_tower_1_mixed_conv", 384, 3)
    twice_right = _tall(twice, f"{name}_tower_1_mixed_conv_1", 384, 3)
    pooled = _conv(_pool(data, pool), f"{name}_tower_2_conv", 192)
    return op.concatenate((one, left, right, twice_left, twice_right, pooled), axis=1)


def get_net(batch_size: int, num_classes: int, image_shape: tuple[int, ...], dtype: str) -> Function:
    """The network as a function of its input and weights."""
    body: Expr = var("data", shape=(batch_size, *image_shape), dtype=dtype)
    body = _conv(body, "conv", 32, (3, 3), stride=2)
    body = _conv(body, "conv_1", 32, (3, 3))
    body = _conv(body, "conv_2", 64, (3, 3), (1, 1))
    body = _pool(body, "max", stride=2, pad=0)
    body = _conv(body, "conv_3", 80)
    body = _conv(body, "conv_4", 192, (3, 3))
    body = _pool(body, "max", stride=2, pad=0)
    for name, projection in (("mixed", 32), ("mixed_1", 64), ("mixed_2", 64)):
        body = _block_a(body, name, projection)
    body = _block_b(body, "mixed_3")
    for name, width in (("mixed_4", 128), ("mixed_5", 160), ("mixed_6", 160), ("mixed_7", 192)):
        body = _block_c(body, name, width)
    body = _block_d(body, "mixed_8")
    body = _block_e(body, "mixed_9", "avg")
    body = _block_e(body, "mixed_10", "max")
    body = nn.batch_flatten(_pool(body, "avg", 8, 1, 0))
    # The bias is named after a layer that TVM's model no longer had.
    body = nn.bias_add(nn.dense(body, var("fc1_weight"), units=num_classes), var("fc2_bias"), axis=-1)
    return layers.function_of(nn.softmax(body))


def get_workload(
    batch_size: int = 1,
    num_classes: int = 1000,
    image_shape: tuple[int, ...] = (3, 299, 299),
    dtype: str = "float32",
) -> Workload:
    """The module and random weights."""
    return create_workload(get_net(batch_size, num_classes, image_shape, dtype))
