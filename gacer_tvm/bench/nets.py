"""The vision networks of the four model sets in plain PyTorch, for machines that have no torchvision.

Each computes what torchvision's network of the same name computes, with its parameters in the same order (a test holds
them against each other), so that figures are comparable with published ones.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["NETS", "make", "small"]


class _Flatten(nn.Sequential):
    """Layers on images, then layers on rows."""

    def __init__(self, features: nn.Module, pool: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.features, self.pool, self.head = features, pool, head

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(torch.flatten(self.pool(self.features(x)), 1))
        return y


def _alexnet() -> nn.Module:
    features = nn.Sequential(
        nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(),
        nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(),
        nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2),
    )  # fmt: skip
    head = nn.Sequential(
        nn.Dropout(), nn.Linear(9216, 4096), nn.ReLU(), nn.Dropout(), nn.Linear(4096, 4096), nn.ReLU(),
        nn.Linear(4096, 1000),
    )  # fmt: skip
    return _Flatten(features, nn.AdaptiveAvgPool2d((6, 6)), head)


def _vgg16() -> nn.Module:
    layers: list[nn.Module] = []
    channels = 3
    for width in (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0):
        if width == 0:
            layers.append(nn.MaxPool2d(2, 2))
        else:
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
            channels = width
    head = nn.Sequential(
        nn.Linear(25088, 4096), nn.ReLU(), nn.Dropout(), nn.Linear(4096, 4096), nn.ReLU(), nn.Dropout(),
        nn.Linear(4096, 1000),
    )  # fmt: skip
    return _Flatten(nn.Sequential(*layers), nn.AdaptiveAvgPool2d((7, 7)), head)


class _Residual(nn.Module):
    """A basic (two 3x3) or bottleneck (1x1, 3x3, 1x1) block; the stride is in the first or the only inner 3x3."""

    def __init__(self, channels: int, width: int, stride: int, bottleneck: bool) -> None:
        super().__init__()
        out = width * 4 if bottleneck else width
        if bottleneck:
            self.conv1, self.bn1 = nn.Conv2d(channels, width, 1, bias=False), nn.BatchNorm2d(width)
            self.conv2, self.bn2 = nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
            self.conv3, self.bn3 = nn.Conv2d(width, out, 1, bias=False), nn.BatchNorm2d(out)
        else:
            self.conv1, self.bn1 = nn.Conv2d(channels, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
            self.conv2, self.bn2 = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        self.bottleneck = bottleneck
        self.downsample: nn.Module | None = None
        if stride != 1 or channels != out:
            self.downsample = nn.Sequential(nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out))

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        if self.bottleneck:
            y = self.bn3(self.conv3(torch.relu(y)))
        return torch.relu(y + (x if self.downsample is None else self.downsample(x)))


def _resnet(depths: tuple[int, ...], bottleneck: bool) -> nn.Module:
    layers: list[nn.Module] = [
        nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1)
    ]  # fmt: skip
    channels = 64
    for stage, depth in enumerate(depths):
        width = 64 << stage
        for block in range(depth):
            layers.append(_Residual(channels, width, 2 if stage and not block else 1, bottleneck))
            channels = width * 4 if bottleneck else width
    return _Flatten(nn.Sequential(*layers), nn.AdaptiveAvgPool2d(1), nn.Linear(channels, 1000))


def _unit(channels: int, out: int, kernel: int, stride: int, groups: int, act: type[nn.Module] | None) -> nn.Sequential:
    layers: list[nn.Module] = [
        nn.Conv2d(channels, out, kernel, stride, kernel // 2, groups=groups, bias=False), nn.BatchNorm2d(out, 1e-3)
    ]  # fmt: skip
    return nn.Sequential(*layers, *([act()] if act is not None else []))


class _Excite(nn.Module):
    """Squeeze and excitation: channels scaled by what their means say."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        squeezed = max(8, (channels // 4 + 4) // 8 * 8)
        # Rounding to a multiple of 8 must not take away more than a tenth.
        squeezed += 8 if squeezed < 0.9 * (channels // 4) else 0
        self.down, self.up = nn.Conv2d(channels, squeezed, 1), nn.Conv2d(squeezed, channels, 1)
        self.gate = nn.Hardsigmoid()

    def forward(self, x: Tensor) -> Tensor:
        mean = torch.nn.functional.adaptive_avg_pool2d(x, 1)
        scale: Tensor = self.gate(self.up(torch.relu(self.down(mean))))
        return x * scale


class _Inverted(nn.Module):
    """MobileNetV3's inverted residual: widen, depthwise, (excite,) narrow."""

    def __init__(
        self, channels: int, kernel: int, wide: int, out: int, excite: bool, act: type[nn.Module], stride: int
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = [_unit(channels, wide, 1, 1, 1, act)] if wide != channels else []
        layers.append(_unit(wide, wide, kernel, stride, wide, act))
        if excite:
            layers.append(_Excite(wide))
        self.block = nn.Sequential(*layers, _unit(wide, out, 1, 1, 1, None))
        self.added = stride == 1 and channels == out

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.block(x)
        return x + y if self.added else y


# Kernel, widened channels, channels out, squeeze-and-excite, hard swish, stride (arXiv 1905.02244, table 1).
_MOBILE = (
    (3, 16, 16, 0, 0, 1), (3, 64, 24, 0, 0, 2), (3, 72, 24, 0, 0, 1), (5, 72, 40, 1, 0, 2), (5, 120, 40, 1, 0, 1),
    (5, 120, 40, 1, 0, 1), (3, 240, 80, 0, 1, 2), (3, 200, 80, 0, 1, 1), (3, 184, 80, 0, 1, 1), (3, 184, 80, 0, 1, 1),
    (3, 480, 112, 1, 1, 1), (3, 672, 112, 1, 1, 1), (5, 672, 160, 1, 1, 2), (5, 960, 160, 1, 1, 1), (5, 960, 160, 1, 1, 1),
)  # fmt: skip


def _mobilenet_v3() -> nn.Module:
    layers: list[nn.Module] = [_unit(3, 16, 3, 2, 1, nn.Hardswish)]
    channels = 16
    for kernel, wide, out, excite, swish, stride in _MOBILE:
        act = nn.Hardswish if swish else nn.ReLU
        layers.append(_Inverted(channels, kernel, wide, out, bool(excite), act, stride))
        channels = out
    layers.append(_unit(channels, 960, 1, 1, 1, nn.Hardswish))
    head = nn.Sequential(nn.Linear(960, 1280), nn.Hardswish(), nn.Dropout(0.2), nn.Linear(1280, 1000))
    return _Flatten(nn.Sequential(*layers), nn.AdaptiveAvgPool2d(1), head)


class _Dense(nn.Module):
    """DenseNet's layer: 128 channels by 1x1, 32 new ones by 3x3, joined to what came in."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(channels), nn.Conv2d(channels, 128, 1, bias=False)
        self.norm2, self.conv2 = nn.BatchNorm2d(128), nn.Conv2d(128, 32, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(torch.relu(self.norm1(x)))
        return torch.cat([x, self.conv2(torch.relu(self.norm2(y)))], 1)


def _densenet121() -> nn.Module:
    layers: list[nn.Module] = [
        nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1)
    ]  # fmt: skip
    channels = 64
    for depth in (6, 12, 24, 16):
        if channels != 64:
            layers += [
                nn.BatchNorm2d(channels), nn.ReLU(), nn.Conv2d(channels, channels // 2, 1, bias=False), nn.AvgPool2d(2, 2)
            ]  # fmt: skip
            channels //= 2
        for _ in range(depth):
            layers.append(_Dense(channels))
            channels += 32
    layers += [nn.BatchNorm2d(channels), nn.ReLU()]
    return _Flatten(nn.Sequential(*layers), nn.AdaptiveAvgPool2d(1), nn.Linear(channels, 1000))


NETS: dict[str, Any] = {
    "alexnet": _alexnet,
    "vgg16": _vgg16,
    "resnet18": lambda: _resnet((2, 2, 2, 2), False),
    "resnet50": lambda: _resnet((3, 4, 6, 3), True),
    "resnet101": lambda: _resnet((3, 4, 23, 3), True),
    "mobilenet_v3": _mobilenet_v3,
    "densenet121": _densenet121,
}


class _Words(nn.Module):
    """Tokens to two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.mix = nn.Embedding(50, 16), nn.Linear(16, 16)

    def forward(self, tokens: Tensor) -> dict[str, Tensor]:
        x = torch.tanh(self.mix(self.table(tokens)))
        return {"all": x, "mean": x.mean(1)}


def small(name: str, batch: int, *, seed: int = 0) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """``image`` or ``words``: a network of a few operators, for rehearsals, and example inputs."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        if name == "words":
            return _Words().eval(), (torch.randint(0, 50, (batch, 4)),)
        features = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU())
        return _Flatten(features, nn.AdaptiveAvgPool2d(1), nn.Linear(8, 5)).eval(), (torch.randn(batch, 3, 8, 8),)


def make(name: str, batch: int, size: int = 224, *, seed: int = 0) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """A network of `NETS` with seeded random weights of ordinary size, in evaluation mode, and example inputs.

    Parameters
    ----------
    name, batch, size, seed
        As for `gacer_tvm.models.torch_model`.
    """
    from ..models.vision import settle

    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        module = NETS[name]()
        settle(torch, module, size)
        return module.eval(), (torch.randn(batch, 3, size, size),)
