"""The deep Q-network for Atari games (Mnih et al., Nature 2015)."""

from __future__ import annotations

from gacer_tvm.relay.ast import Expr, Function
from gacer_tvm.relay.op import nn
from gacer_tvm.relay.op.build import var
from gacer_tvm.relay.testing import layers
from gacer_tvm.relay.testing.init import Workload, create_workload

__all__ = ["get_net", "get_workload"]


def get_net(
    batch_size: int,
    num_actions: int = 18,
    image_shape: tuple[int, ...] = (4, 84, 84),
    dtype: str = "float32",
    layout: str = "NCHW",
) -> Function:
    """The network as a function of its input and weights."""
    body: Expr = var("data", shape=(batch_size, *image_shape), dtype=dtype)
    for index, (channels, size, stride) in enumerate(((32, 8, 4), (64, 4, 2), (64, 3, 1)), 1):
        body = layers.conv2d(
            body,
            f"conv{index}",
            kernel_size=(size, size),
            strides=(stride, stride),
            padding=(0, 0),
            channels=channels,
            data_layout=layout,
            kernel_layout=layers.conv_kernel_layout(layout),
        )
        body = nn.relu(nn.bias_add(body, var(f"conv{index}_bias"), layout.index("C")))
    body = nn.relu(layers.dense_add_bias(nn.batch_flatten(body), "dense1", 512))
    return layers.function_of(layers.dense_add_bias(body, "dense2", num_actions))


def get_workload(
    batch_size: int,
    num_actions: int = 18,
    image_shape: tuple[int, ...] = (4, 84, 84),
    dtype: str = "float32",
    layout: str = "NCHW",
) -> Workload:
    """The module and random weights."""
    return create_workload(get_net(batch_size, num_actions, image_shape, dtype, layout))
