"""VGG (arXiv 1409.1556) of 11, 13, 16 or 19 layers, with or without batch normalization."""

from __future__ import annotations

from gacer_tvm.errors import RelayError
from gacer_tvm.relay.ast import Expr, Function
from gacer_tvm.relay.op import nn
from gacer_tvm.relay.op.build import var
from gacer_tvm.relay.testing import layers
from gacer_tvm.relay.testing.init import Workload, create_workload

__all__ = ["get_net", "get_workload"]

_REPEATS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
_FILTERS = (64, 128, 256, 512, 512)


def get_net(
    batch_size: int,
    image_shape: tuple[int, ...],
    num_classes: int,
    dtype: str,
    num_layers: int = 11,
    batch_norm: bool = False,
) -> Function:
    """The network as a function of its input and weights."""
    if num_layers not in _REPEATS:
        raise RelayError(f"num_layers must be one of {', '.join(map(str, _REPEATS))}, found {num_layers}.")
    body: Expr = var("data", shape=(batch_size, *image_shape), dtype=dtype)
    for stage, (repeats, channels) in enumerate(zip(_REPEATS[num_layers], _FILTERS), 1):
        for layer in range(1, repeats + 1):
            name = f"conv{stage}_{layer}"
            body = layers.conv2d(body, name, kernel_size=(3, 3), padding=(1, 1), channels=channels)
            body = nn.bias_add(body, var(f"{name}_bias"))
            if batch_norm:
                body = layers.batch_norm_infer(body, f"bn{stage}_{layer}")
            body = nn.relu(body)
        body = nn.max_pool2d(body, pool_size=(2, 2), strides=(2, 2))
    body = nn.batch_flatten(body)
    for name in ("fc6", "fc7"):
        body = nn.dropout(nn.relu(layers.dense_add_bias(body, name, 4096)), rate=0.5)
    return layers.function_of(nn.softmax(layers.dense_add_bias(body, "fc8", num_classes)))


def get_workload(
    batch_size: int,
    num_classes: int = 1000,
    image_shape: tuple[int, ...] = (3, 224, 224),
    dtype: str = "float32",
    num_layers: int = 11,
    batch_norm: bool = False,
) -> Workload:
    """The module and random weights."""
    return create_workload(get_net(batch_size, image_shape, num_classes, dtype, num_layers, batch_norm))
