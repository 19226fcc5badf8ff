"""AlexNet in its one-column form (arXiv 1404.5997), as torchvision has it."""

from __future__ import annotations

from gacer_tvm.relay.ast import Expr, Function
from gacer_tvm.relay.op import nn
from gacer_tvm.relay.op.build import var
from gacer_tvm.relay.testing import layers
from gacer_tvm.relay.testing.init import Workload, create_workload

__all__ = ["get_net", "get_workload"]

# Channels, kernel, stride, padding of each convolution, and whether a pooling follows.
_CONVS = (
    (64, 11, 4, 2, True),
    (192, 5, 1, 2, True),
    (384, 3, 1, 1, False),
    (256, 3, 1, 1, False),
    (256, 3, 1, 1, True),
)


def get_net(
    batch_size: int = 1,
    num_classes: int = 1000,
    image_shape: tuple[int, ...] = (3, 224, 224),
    dtype: str = "float32",
) -> Function:
    """The network as a function of its input and weights; its result are logits."""
    body: Expr = var("data", shape=(batch_size, *image_shape), dtype=dtype)
    for index, (channels, size, stride, pad, pooled) in enumerate(_CONVS, 1):
        name = f"conv{index}"
        body = layers.conv2d(
            body, name, channels=channels, kernel_size=(size, size), strides=(stride, stride), padding=(pad, pad)
        )
        body = nn.relu(nn.bias_add(body, var(f"{name}_bias")))
        if pooled:
            body = nn.max_pool2d(body, pool_size=(3, 3), strides=(2, 2))
    body = nn.batch_flatten(nn.adaptive_avg_pool2d(body, (6, 6)))
    for name in ("fc6", "fc7"):
        body = nn.relu(layers.dense_add_bias(nn.dropout(body), name, 4096))
    return layers.function_of(layers.dense_add_bias(body, "fc8", num_classes))


def get_workload(
    batch_size: int = 1,
    num_classes: int = 1000,
    image_shape: tuple[int, ...] = (3, 224, 224),
    dtype: str = "float32",
) -> Workload:
    """The module and random weights."""
    return create_workload(get_net(batch_size, num_classes, image_shape, dtype))
