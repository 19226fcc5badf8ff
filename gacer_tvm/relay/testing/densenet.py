"""DenseNet of 121, 161, 169 or 201 layers, in TVM's simplified form.

A block's layers follow one another and only their results are concatenated at the block's end; the connections of the
paper (arXiv 1608.06993) from each layer to all later ones are not there, as they were not in TVM.
"""

from __future__ import annotations

from gacer_tvm.errors import RelayError
from gacer_tvm.relay import op
from gacer_tvm.relay.ast import Expr, Function
from gacer_tvm.relay.op import nn
from gacer_tvm.relay.op.build import var
from gacer_tvm.relay.testing import layers
from gacer_tvm.relay.testing.init import Workload, create_workload

__all__ = ["get_net", "get_workload"]

# Channels of the stem, channels that a layer adds, layers of each block. The 69 is TVM's.
_SPECS = {
    121: (64, 32, (6, 12, 24, 16)),
    161: (96, 48, (6, 12, 36, 24)),
    169: (69, 32, (6, 12, 32, 32)),
    201: (64, 32, (6, 12, 48, 32)),
}


def _norm_relu(data: Expr, name: str) -> Expr:
    return nn.relu(layers.batch_norm_infer(data, name))  # type: ignore[no-any-return]


def _block(data: Expr, count: int, growth: int, bottleneck: int, index: int) -> Expr:
    outs: list[Expr] = []
    body = data
    for layer in range(count):
        tag = f"{index}_{layer}"
        body = layers.conv2d(
            _norm_relu(body, f"batch_1_{tag}"), f"conv2d_1_{tag}", channels=bottleneck * growth, kernel_size=(1, 1)
        )
        body = layers.conv2d(
            _norm_relu(body, f"batch_2_{tag}"),
            f"conv2d_2_{tag}",
            channels=growth,
            kernel_size=(3, 3),
            padding=(1, 1),
        )
        outs.append(body)
    return op.concatenate(outs, 1)


def get_net(
    densenet_size: int = 121,
    classes: int = 1000,
    batch_size: int = 4,
    image_shape: tuple[int, ...] = (3, 224, 224),
    dtype: str = "float32",
    bn_size: int = 4,
) -> Function:
    """The network as a function of its input and weights."""
    if densenet_size not in _SPECS:
        raise RelayError(f"densenet_size must be one of {', '.join(map(str, _SPECS))}, found {densenet_size}.")
    features, growth, blocks = _SPECS[densenet_size]
    body: Expr = layers.conv2d(
        var("data", shape=(batch_size, *image_shape), dtype=dtype),
        "conv1",
        channels=features,
        kernel_size=(7, 7),
        strides=(2, 2),
        padding=(3, 3),
    )
    body = nn.max_pool2d(_norm_relu(body, "batch1"), pool_size=(3, 3), strides=(2, 2), padding=(1, 1))
    for index, count in enumerate(blocks):
        body = _block(body, count, growth, bn_size, index)
        features += count * growth
        if index < len(blocks) - 1:
            features //= 2
            body = layers.conv2d(
                _norm_relu(body, f"batch_t_{index}"), f"conv_t_{index}", channels=features, kernel_size=(1, 1)
            )
            body = nn.avg_pool2d(body, pool_size=(2, 2), strides=(2, 2))
    body = nn.batch_flatten(nn.avg_pool2d(_norm_relu(body, "batch2"), pool_size=(7, 7)))
    return layers.function_of(layers.dense_add_bias(body, "dense", classes))


def get_workload(
    densenet_size: int = 121,
    classes: int = 1000,
    batch_size: int = 4,
    image_shape: tuple[int, ...] = (3, 224, 224),
    dtype: str = "float32",
) -> Workload:
    """The module and random weights."""
    return create_workload(get_net(densenet_size, classes, batch_size, image_shape, dtype))
