"""ResNet with pre-activation units (arXiv 1603.05027), of 18 to 269 layers, for ImageNet or CIFAR."""

from __future__ import annotations

import typing
from dataclasses import dataclass

from gacer_tvm.errors import RelayError
from gacer_tvm.relay import op
from gacer_tvm.relay.ast import Expr, Function
from gacer_tvm.relay.op import nn
from gacer_tvm.relay.op.build import var
from gacer_tvm.relay.testing import layers
from gacer_tvm.relay.testing.init import Workload, create_workload

__all__ = ["get_net", "get_workload"]

_UNITS = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
    200: (3, 24, 36, 3),
    269: (3, 30, 48, 8),
}
_EPSILON = 2e-5


@dataclass(frozen=True)
class _Plan:
    """How deep and wide: units of each stage, channels of the stem and of each stage."""

    units: tuple[int, ...]
    filters: tuple[int, ...]
    bottleneck: bool


def _plan(num_layers: int, height: int) -> _Plan:
    if height <= 28:
        if (num_layers - 2) % 9 == 0 and num_layers >= 164:
            return _Plan(((num_layers - 2) // 9,) * 3, (16, 64, 128, 256), True)
        if (num_layers - 2) % 6 == 0 and num_layers < 164:
            return _Plan(((num_layers - 2) // 6,) * 3, (16, 16, 32, 64), False)
    elif num_layers in _UNITS:
        wide = num_layers >= 50
        filters = (64, 256, 512, 1024, 2048) if wide else (64, 64, 128, 256, 512)
        return _Plan(_UNITS[num_layers], filters, wide)
    raise RelayError(f"There is no ResNet of {num_layers} layers for images of height {height}.")


class _Builder:
    """The layout-dependent layers."""

    def __init__(self, layout: str) -> None:
        if layout not in ("NCHW", "NHWC"):
            raise RelayError(f"layout must be NCHW or NHWC, found {layout!r}.")
        self.layout = layout
        self.kernel = layers.conv_kernel_layout(layout)

    def norm(self, data: Expr, name: str, **options: typing.Any) -> Expr:
        return layers.batch_norm_infer(data, name, epsilon=_EPSILON, axis=self.layout.index("C"), **options)

    def conv(self, data: Expr, name: str, channels: int, size: int, stride: int = 1) -> Expr:
        return layers.conv2d(
            data,
            name,
            channels=channels,
            kernel_size=(size, size),
            strides=(stride, stride),
            padding=(size // 2, size // 2),
            data_layout=self.layout,
            kernel_layout=self.kernel,
        )

    def unit(self, data: Expr, name: str, channels: int, stride: int, same: bool, bottleneck: bool) -> Expr:
        """One residual unit; the shortcut is the input itself where the shapes match."""
        first = nn.relu(self.norm(data, f"{name}_bn1"))
        if bottleneck:
            body = self.conv(first, f"{name}_conv1", channels // 4, 1, stride)
            body = self.conv(nn.relu(self.norm(body, f"{name}_bn2")), f"{name}_conv2", channels // 4, 3)
            body = self.conv(nn.relu(self.norm(body, f"{name}_bn3")), f"{name}_conv3", channels, 1)
        else:
            body = self.conv(first, f"{name}_conv1", channels, 3, stride)
            body = self.conv(nn.relu(self.norm(body, f"{name}_bn2")), f"{name}_conv2", channels, 3)
        shortcut = data if same else self.conv(first, f"{name}_sc", channels, 1, stride)
        return op.add(body, shortcut)  # type: ignore[no-any-return]


def get_net(
    batch_size: int,
    num_classes: int,
    num_layers: int = 50,
    image_shape: tuple[int, ...] = (3, 224, 224),
    layout: str = "NCHW",
    dtype: str = "float32",
) -> Function:
    """The network as a function of its input and weights."""
    build = _Builder(layout)
    height = image_shape[layout.index("H") - 1]
    plan = _plan(num_layers, height)
    body = build.norm(var("data", shape=(batch_size, *image_shape), dtype=dtype), "bn_data", scale=False)
    if height <= 32:
        body = build.conv(body, "conv0", plan.filters[0], 3)
    else:
        body = build.conv(body, "conv0", plan.filters[0], 7, 2)
        body = nn.relu(build.norm(body, "bn0"))
        body = nn.max_pool2d(body, pool_size=(3, 3), strides=(2, 2), padding=(1, 1), layout=layout)
    for stage, (count, channels) in enumerate(zip(plan.units, plan.filters[1:]), 1):
        for unit in range(1, count + 1):
            stride = 2 if unit == 1 and stage > 1 else 1
            body = build.unit(body, f"stage{stage}_unit{unit}", channels, stride, unit > 1, plan.bottleneck)
    body = nn.relu(build.norm(body, "bn1"))
    body = nn.batch_flatten(nn.global_avg_pool2d(body, layout=layout))
    return layers.function_of(nn.softmax(layers.dense_add_bias(body, "fc1", num_classes)))


def get_workload(
    batch_size: int = 1,
    num_classes: int = 1000,
    num_layers: int = 18,
    image_shape: tuple[int, ...] = (3, 224, 224),
    layout: str = "NCHW",
    dtype: str = "float32",
) -> Workload:
    """The module and random weights."""
    return create_workload(get_net(batch_size, num_classes, num_layers, image_shape, layout, dtype))
