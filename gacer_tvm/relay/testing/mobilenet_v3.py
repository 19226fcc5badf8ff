"""MobileNetV3 (arXiv 1905.02244), large and small, as torchvision has them."""

from __future__ import annotations

from gacer_tvm.errors import RelayError
from gacer_tvm.relay import op
from gacer_tvm.relay.ast import Expr, Function
from gacer_tvm.relay.op import nn
from gacer_tvm.relay.op.build import var
from gacer_tvm.relay.testing import layers
from gacer_tvm.relay.testing.init import Workload, create_workload

__all__ = ["get_net", "get_workload"]

# Kernel, expanded channels, output channels, squeeze-and-excite, hard swish, stride of each block.
_LARGE = (
    (3, 16, 16, False, False, 1), (3, 64, 24, False, False, 2), (3, 72, 24, False, False, 1),
    (5, 72, 40, True, False, 2), (5, 120, 40, True, False, 1), (5, 120, 40, True, False, 1),
    (3, 240, 80, False, True, 2), (3, 200, 80, False, True, 1), (3, 184, 80, False, True, 1),
    (3, 184, 80, False, True, 1), (3, 480, 112, True, True, 1), (3, 672, 112, True, True, 1),
    (5, 672, 160, True, True, 2), (5, 960, 160, True, True, 1), (5, 960, 160, True, True, 1),
)  # fmt: skip
_SMALL = (
    (3, 16, 16, True, False, 2), (3, 72, 24, False, False, 2), (3, 88, 24, False, False, 1),
    (5, 96, 40, True, True, 2), (5, 240, 40, True, True, 1), (5, 240, 40, True, True, 1),
    (5, 120, 48, True, True, 1), (5, 144, 48, True, True, 1), (5, 288, 96, True, True, 2),
    (5, 576, 96, True, True, 1), (5, 576, 96, True, True, 1),
)  # fmt: skip
_VARIANTS = {"large": (_LARGE, 1280), "small": (_SMALL, 1024)}


def _activation(data: Expr, hard: bool) -> Expr:
    return layers.hard_swish(data) if hard else nn.relu(data)


def _conv_norm(
    data: Expr, name: str, channels: int, size: int, stride: int = 1, groups: int = 1, dtype: str = "float32"
) -> Expr:
    # The weight of a grouped convolution is stated, because it cannot be inferred.
    weight = var(f"{name}_weight", shape=(channels, 1, size, size), dtype=dtype) if groups > 1 else None
    body = layers.conv2d(
        data,
        name,
        weight=weight,
        channels=channels,
        kernel_size=(size, size),
        strides=(stride, stride),
        padding=(size // 2, size // 2),
        groups=groups,
    )
    return layers.batch_norm_infer(body, f"{name}_bn", epsilon=0.001)


def _rounded(channels: float) -> int:
    """The nearest multiple of 8 that loses no more than a tenth."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


def _excite(data: Expr, name: str, channels: int) -> Expr:
    body: Expr = nn.global_avg_pool2d(data)
    inner = _rounded(channels / 4)
    body = nn.bias_add(layers.conv2d(body, f"{name}_fc1", channels=inner, kernel_size=(1, 1)), var(f"{name}_fc1_bias"))
    body = layers.conv2d(nn.relu(body), f"{name}_fc2", channels=channels, kernel_size=(1, 1))
    body = nn.bias_add(body, var(f"{name}_fc2_bias"))
    return op.multiply(op.clip(body + 3.0, 0.0, 6.0) / 6.0, data)  # type: ignore[no-any-return]


def get_net(
    batch_size: int = 1,
    num_classes: int = 1000,
    image_shape: tuple[int, ...] = (3, 224, 224),
    dtype: str = "float32",
    variant: str = "large",
) -> Function:
    """The network as a function of its input and weights; its result are logits."""
    if variant not in _VARIANTS:
        raise RelayError(f"variant must be one of {', '.join(_VARIANTS)}, found {variant!r}.")
    blocks, last = _VARIANTS[variant]
    body: Expr = var("data", shape=(batch_size, *image_shape), dtype=dtype)
    body = layers.hard_swish(_conv_norm(body, "stem", 16, 3, 2))
    channels = 16
    for index, (size, expanded, out, excite, hard, stride) in enumerate(blocks, 1):
        name, shortcut = f"block{index}", body
        if expanded != channels:
            body = _activation(_conv_norm(body, f"{name}_expand", expanded, 1), hard)
        body = _conv_norm(body, f"{name}_depthwise", expanded, size, stride, expanded, dtype)
        body = _activation(body, hard)
        if excite:
            body = _excite(body, f"{name}_se", expanded)
        body = _conv_norm(body, f"{name}_project", out, 1)
        if stride == 1 and channels == out:
            body = op.add(body, shortcut)
        channels = out
    body = layers.hard_swish(_conv_norm(body, "head", 6 * channels, 1))
    body = nn.batch_flatten(nn.global_avg_pool2d(body))
    body = nn.dropout(layers.hard_swish(layers.dense_add_bias(body, "fc1", last)), rate=0.2)
    return layers.function_of(layers.dense_add_bias(body, "fc2", num_classes))


def get_workload(
    batch_size: int = 1,
    num_classes: int = 1000,
    image_shape: tuple[int, ...] = (3, 224, 224),
    dtype: str = "float32",
    variant: str = "large",
) -> Workload:
    """The module and random weights."""
    return create_workload(get_net(batch_size, num_classes, image_shape, dtype, variant))
