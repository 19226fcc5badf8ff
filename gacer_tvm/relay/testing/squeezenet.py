"""SqueezeNet (arXiv 1602.07360) 1.0 and 1.1."""

from __future__ import annotations

from gacer_tvm.errors import RelayError
from gacer_tvm.relay import op
from gacer_tvm.relay.ast import Expr, Function
from gacer_tvm.relay.op import nn
from gacer_tvm.relay.op.build import var
from gacer_tvm.relay.testing import layers
from gacer_tvm.relay.testing.init import Workload, create_workload

__all__ = ["get_net", "get_workload"]

# The squeeze width of each fire module (each expands to four times that, twice); 0 is a pooling.
_FIRES = {"1.0": (0, 16, 16, 32, 0, 32, 48, 48, 64, 0, 64), "1.1": (0, 16, 16, 0, 32, 32, 0, 48, 48, 64, 64)}


def _conv(data: Expr, name: str, channels: int, size: int, stride: int = 1, padding: int = 0) -> Expr:
    body = layers.conv2d(
        data,
        name,
        channels=channels,
        kernel_size=(size, size),
        strides=(stride, stride),
        padding=(padding, padding),
    )
    return nn.relu(nn.bias_add(body, var(f"{name}_bias")))  # type: ignore[no-any-return]


def _fire(data: Expr, name: str, width: int) -> Expr:
    squeezed = _conv(data, f"{name}_input_conv", width, 1)
    left = _conv(squeezed, f"{name}_left_conv", 4 * width, 1)
    right = _conv(squeezed, f"{name}_right_conv", 4 * width, 3, padding=1)
    return op.concatenate((left, right), axis=1)


def get_net(batch_size: int, image_shape: tuple[int, ...], num_classes: int, version: str, dtype: str) -> Function:
    """The network as a function of its input and weights."""
    if version not in _FIRES:
        raise RelayError(f"version must be one of {', '.join(_FIRES)}, found {version!r}.")
    data = var("data", shape=(batch_size, *image_shape), dtype=dtype)
    body = _conv(data, "conv1", 96, 7, 2, 3) if version == "1.0" else _conv(data, "conv1", 64, 3, 2, 1)
    count = 0
    for width in _FIRES[version]:
        if width == 0:
            body = nn.max_pool2d(body, pool_size=(3, 3), strides=(2, 2))
        else:
            count += 1
            body = _fire(body, f"fire{count}", width)
    body = _conv(nn.dropout(body, rate=0.5), "conv_final", num_classes, 1)
    return layers.function_of(nn.softmax(nn.batch_flatten(nn.global_avg_pool2d(body))))


def get_workload(
    batch_size: int = 1,
    num_classes: int = 1000,
    version: str = "1.0",
    image_shape: tuple[int, ...] = (3, 224, 224),
    dtype: str = "float32",
) -> Workload:
    """The module and random weights."""
    return create_workload(get_net(batch_size, image_shape, num_classes, version, dtype))
