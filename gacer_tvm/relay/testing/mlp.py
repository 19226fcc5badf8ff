"""A perceptron of three layers."""

from __future__ import annotations

from gacer_tvm.relay.ast import Function
from gacer_tvm.relay.op import nn
from gacer_tvm.relay.op.build import var
from gacer_tvm.relay.testing import layers
from gacer_tvm.relay.testing.init import Workload, create_workload

__all__ = ["get_net", "get_workload"]


def get_net(
    batch_size: int, num_classes: int = 10, image_shape: tuple[int, ...] = (1, 28, 28), dtype: str = "float32"
) -> Function:
    """The network as a function of its input and weights."""
    body = nn.batch_flatten(var("data", shape=(batch_size, *image_shape), dtype=dtype))
    body = nn.relu(layers.dense_add_bias(body, "fc1", 128))
    body = nn.relu(layers.dense_add_bias(body, "fc2", 64))
    return layers.function_of(nn.softmax(layers.dense_add_bias(body, "fc3", num_classes)))


def get_workload(
    batch_size: int, num_classes: int = 10, image_shape: tuple[int, ...] = (1, 28, 28), dtype: str = "float32"
) -> Workload:
    """The module and random weights."""
    return create_workload(get_net(batch_size, num_classes, image_shape, dtype))
