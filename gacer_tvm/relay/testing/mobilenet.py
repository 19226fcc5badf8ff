"""MobileNet (arXiv 1704.04861): depthwise and pointwise convolutions in turn."""

from __future__ import annotations

from gacer_tvm.errors import RelayError
from gacer_tvm.relay.ast import Expr, Function
from gacer_tvm.relay.op import nn
from gacer_tvm.relay.op.build import var
from gacer_tvm.relay.testing import layers
from gacer_tvm.relay.testing.init import Workload, create_workload

__all__ = ["get_net", "get_workload", "mobile_net"]

# Input channels, output channels, stride of each separable block, at full width.
_DEEP = (
    (32, 64, 1), (64, 128, 2), (128, 128, 1), (128, 256, 2), (256, 256, 1), (256, 512, 2), (512, 512, 1), (512, 512, 1),
    (512, 512, 1), (512, 512, 1), (512, 512, 1), (512, 1024, 2), (1024, 1024, 1),
)  # fmt: skip
_SHALLOW = (*_DEEP[:6], (512, 1024, 2), (1024, 1024, 2))


def _separable(data: Expr, name: str, channels: int, out: int, stride: int, layout: str, dtype: str) -> Expr:
    axis = layout.index("C")
    shape = (channels, 1, 3, 3) if layout == "NCHW" else (3, 3, channels, 1)
    body: Expr = layers.conv2d(
        data,
        name,
        weight=var(f"{name}_weight", shape=shape, dtype=dtype),
        channels=channels,
        groups=channels,
        kernel_size=(3, 3),
        strides=(stride, stride),
        padding=(1, 1),
        data_layout=layout,
        kernel_layout=layers.conv_kernel_layout(layout, True),
    )
    body = nn.relu(layers.batch_norm_infer(body, f"{name}_bn1", epsilon=1e-5, axis=axis))
    body = layers.conv2d(
        body,
        f"{name}_conv2",
        channels=out,
        kernel_size=(1, 1),
        strides=(1, 1),
        padding=(0, 0),
        data_layout=layout,
        kernel_layout=layers.conv_kernel_layout(layout),
    )
    return nn.relu(layers.batch_norm_infer(body, f"{name}_bn2", epsilon=1e-5, axis=axis))  # type: ignore[no-any-return]


def mobile_net(
    num_classes: int = 1000,
    data_shape: tuple[int, ...] = (1, 3, 224, 224),
    dtype: str = "float32",
    alpha: float = 1.0,
    is_shallow: bool = False,
    layout: str = "NCHW",
) -> Function:
    """The network as a function of its input and weights.

    As in TVM, the first normalization runs along axis 1 in either layout, which is the height in NHWC.
    """
    if layout not in ("NCHW", "NHWC"):
        raise RelayError(f"layout must be NCHW or NHWC, found {layout!r}.")
    body: Expr = layers.conv2d(
        var("data", shape=data_shape, dtype=dtype),
        "conv_block_1_conv",
        channels=int(32 * alpha),
        kernel_size=(3, 3),
        strides=(2, 2),
        padding=(1, 1),
        data_layout=layout,
        kernel_layout=layers.conv_kernel_layout(layout),
    )
    body = nn.relu(layers.batch_norm_infer(body, "conv_block_1_bn", epsilon=1e-5))
    for index, (channels, out, stride) in enumerate(_SHALLOW if is_shallow else _DEEP, 1):
        name = f"separable_conv_block_{index}"
        body = _separable(body, name, int(channels * alpha), int(out * alpha), stride, layout, dtype)
    body = nn.batch_flatten(nn.global_avg_pool2d(body, layout=layout))
    body = nn.bias_add(nn.dense(body, var("fc_weight"), units=num_classes), var("fc_bias"))
    return layers.function_of(nn.softmax(body))


get_net = mobile_net


def get_workload(
    batch_size: int = 1,
    num_classes: int = 1000,
    image_shape: tuple[int, ...] = (3, 224, 224),
    dtype: str = "float32",
    layout: str = "NCHW",
) -> Workload:
    """The module and random weights."""
    return create_workload(mobile_net(num_classes, (batch_size, *image_shape), dtype, layout=layout))
