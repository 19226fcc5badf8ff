"""Small networks of kinds that the model sets lack: sound, text, images from images, other normalizations.

Written for the kernel benchmark: each is the characteristic part of a known architecture at a size that runs in
milliseconds, with seeded weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["NETS", "make"]


class _Gpt(nn.Module):
    """Decoder blocks with a causal mask (pre-norm, GELU by tanh), and logits."""

    def __init__(self, steps: int, hidden: int = 512, layers: int = 2, heads: int = 8, vocabulary: int = 1000) -> None:
        super().__init__()
        self.heads = heads
        self.tokens, self.places = nn.Embedding(vocabulary, hidden), nn.Embedding(steps, hidden)
        self.blocks = nn.ModuleList(
            nn.ModuleList(
                [
                    nn.LayerNorm(hidden), nn.Linear(hidden, 3 * hidden), nn.Linear(hidden, hidden),
                    nn.LayerNorm(hidden), nn.Linear(hidden, 4 * hidden), nn.Linear(4 * hidden, hidden),
                ]
            )
            for _ in range(layers)
        )  # fmt: skip
        self.norm, self.head = nn.LayerNorm(hidden), nn.Linear(hidden, vocabulary, bias=False)
        self.register_buffer("order", torch.arange(steps))
        self.register_buffer("past", torch.ones(steps, steps, dtype=torch.bool).tril())

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.tokens(tokens) + self.places(self.order)
        for block in self.blocks:
            first, mix, out, second, wide, narrow = block  # type: ignore[misc]
            x = x + out(self._attend(mix(first(x))))
            x = x + narrow(functional.gelu(wide(second(x)), approximate="tanh"))
        logits: Tensor = self.head(self.norm(x))
        return logits

    def _attend(self, mixed: Tensor) -> Tensor:
        batch, steps, width = mixed.shape
        q, k, v = (
            p.view(batch, steps, self.heads, -1).transpose(1, 2) for p in mixed.split(width // 3, 2)
        )  # fmt: skip
        scores = (q @ k.transpose(-2, -1)) / math.sqrt(q.shape[-1])
        weights = scores.masked_fill(~self.past, float("-inf")).softmax(-1)
        return (weights @ v).transpose(1, 2).reshape(batch, steps, width // 3)


class _Causal(nn.Module):
    """Dilated causal convolutions with residuals (TCN, arXiv 1803.01271)."""

    def __init__(self, channels: int = 64, layers: int = 6) -> None:
        super().__init__()
        self.first, self.last = nn.Conv1d(32, channels, 1), nn.Conv1d(channels, 16, 1)
        self.wide = nn.ModuleList(nn.Conv1d(channels, channels, 3, dilation=1 << i) for i in range(layers))
        self.mix = nn.ModuleList(nn.Conv1d(channels, channels, 1) for _ in range(layers))

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for i, (wide, mix) in enumerate(zip(self.wide, self.mix, strict=True)):
            x = torch.relu(x + mix(torch.relu(wide(functional.pad(x, (2 << i, 0))))))
        y: Tensor = self.last(x)
        return y


def _audio() -> nn.Module:
    """Strided convolutions over a waveform, as wav2vec's encoder begins."""
    layers: list[nn.Module] = []
    channels = 1
    for out, kernel, stride in ((64, 10, 5), (64, 3, 2), (128, 3, 2), (128, 3, 2), (256, 3, 2)):
        layers += [nn.Conv1d(channels, out, kernel, stride), nn.GroupNorm(1, out), nn.GELU()]
        channels = out
    return nn.Sequential(*layers)


def _twice(channels: int, out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, out, 3, padding=1), nn.BatchNorm2d(out), nn.ReLU(),
        nn.Conv2d(out, out, 3, padding=1), nn.BatchNorm2d(out), nn.ReLU(),
    )  # fmt: skip


class _Unet(nn.Module):
    """U-Net (arXiv 1505.04597): down, and up again by transposed convolutions and joined skips."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        sizes = [width << i for i in range(4)]
        self.down = nn.ModuleList(_twice(c, o) for c, o in zip([3, *sizes], sizes))
        self.up = nn.ModuleList(nn.ConvTranspose2d(2 * o, o, 2, 2) for o in reversed(sizes[:-1]))
        self.join = nn.ModuleList(_twice(2 * o, o) for o in reversed(sizes[:-1]))
        self.head = nn.Conv2d(width, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        kept: list[Tensor] = []
        for down in self.down:
            x = down(functional.max_pool2d(x, 2) if kept else x)
            kept.append(x)
        kept.pop()
        for up, join in zip(self.up, self.join, strict=True):
            x = join(torch.cat([up(x), kept.pop()], 1))
        y: Tensor = self.head(x)
        return y


def _style() -> nn.Module:
    """Style transfer (arXiv 1603.08155): reflected borders, instance norms, nearest upsampling, a 9x9 to three channels."""
    layers: list[nn.Module] = []
    channels = 3
    for out, kernel, stride in ((32, 9, 1), (64, 3, 2), (128, 3, 2), (128, 3, 1), (128, 3, 1), (64, 3, 0), (32, 3, 0)):
        layers += [nn.Upsample(scale_factor=2)] if stride == 0 else []
        layers += [nn.ReflectionPad2d(kernel // 2), nn.Conv2d(channels, out, kernel, max(1, stride))]
        layers += [nn.InstanceNorm2d(out, affine=True), nn.ReLU()]
        channels = out
    return nn.Sequential(*layers, nn.ReflectionPad2d(4), nn.Conv2d(channels, 3, 9))


def _super_resolution() -> nn.Module:
    """Sub-pixel super-resolution (arXiv 1609.05158) by three."""
    return nn.Sequential(
        nn.Conv2d(1, 64, 5, padding=2), nn.Tanh(), nn.Conv2d(64, 64, 3, padding=1), nn.Tanh(),
        nn.Conv2d(64, 32, 3, padding=1), nn.Tanh(), nn.Conv2d(32, 9, 3, padding=1), nn.PixelShuffle(3),
    )  # fmt: skip


class _Diffusion(nn.Module):
    """The block of a diffusion model: group norms, SiLU, attention over pixels."""

    def __init__(self, channels: int = 64) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(4, channels, 3, padding=1), nn.Conv2d(channels, 4, 3, padding=1)
        self.norms = nn.ModuleList(nn.GroupNorm(8, channels) for _ in range(4))
        self.convs = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))
        self.mix, self.out = nn.Conv2d(channels, 3 * channels, 1), nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = y = self.first(x)
        for norm, conv in zip(self.norms, self.convs):
            y = conv(functional.silu(norm(y)))
        x = x + y
        batch, channels, height, width = x.shape
        q, k, v = self.mix(self.norms[2](x)).reshape(batch, 3 * channels, -1).chunk(3, 1)
        weights = (q.transpose(1, 2) @ k / math.sqrt(channels)).softmax(-1)
        x = x + self.out((v @ weights.transpose(1, 2)).reshape(batch, channels, height, width))
        result: Tensor = self.last(functional.silu(self.norms[3](x)))
        return result


class _Detector(nn.Module):
    """A detector's neck: SiLU, split and joined channels, pooling pyramid, upsampling, a head."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()

        def unit(channels: int, out: int, kernel: int = 1, stride: int = 1) -> nn.Sequential:
            conv = nn.Conv2d(channels, out, kernel, stride, kernel // 2, bias=False)
            return nn.Sequential(conv, nn.BatchNorm2d(out), nn.SiLU())

        w = width
        self.stem = nn.Sequential(unit(3, w, 3, 2), unit(w, 2 * w, 3, 2), unit(2 * w, 4 * w, 3, 2))
        self.inner = nn.Sequential(unit(2 * w, 2 * w, 3), unit(2 * w, 2 * w, 3))
        self.join, self.down = unit(6 * w, 4 * w), unit(4 * w, 8 * w, 3, 2)
        self.squeeze, self.pyramid = unit(8 * w, 4 * w), unit(16 * w, 8 * w)
        self.up, self.head = unit(12 * w, 4 * w), nn.Conv2d(4 * w, 85, 1)

    def forward(self, x: Tensor) -> Tensor:
        left, right = self.stem(x).chunk(2, 1)
        x = self.join(torch.cat([left, right, right + self.inner(right)], 1))
        levels = [self.squeeze(self.down(x))]
        for _ in range(3):
            levels.append(functional.max_pool2d(levels[-1], 5, 1, 2))
        y = functional.interpolate(self.pyramid(torch.cat(levels, 1)), scale_factor=2.0)
        result: Tensor = self.head(self.up(torch.cat([y, x], 1))).sigmoid()
        return result


#: Constructor and the shape of one item.
NETS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "audio": (_audio, (1, 16000)),
    "detector": (_Detector, (3, 320, 320)),
    "diffusion": (_Diffusion, (4, 32, 32)),
    "gpt": (lambda: _Gpt(256), (256,)),
    "style": (_style, (3, 128, 128)),
    "super_resolution": (_super_resolution, (1, 112, 112)),
    "tcn": (_Causal, (32, 256)),
    "unet": (_Unet, (3, 128, 128)),
}


def make(name: str, batch: int, *, seed: int = 0) -> tuple[nn.Module, tuple[Any, ...]]:
    """A network of `NETS` with seeded random weights, in evaluation mode, and example inputs."""
    constructor, shape = NETS[name]
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        module = constructor().eval()
        inputs = torch.randint(0, 1000, (batch, *shape)) if len(shape) == 1 else torch.randn(batch, *shape)
        return module, (inputs,)
