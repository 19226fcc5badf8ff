"""Operator lists of well-known models at realistic sizes, written down from their architectures: no weights, no TVM.

Convolutions stand for conv + bias/batch-norm + activation (+ residual add) fused, float32. Launch shapes follow the
tiles of TVM's default GPU rules: 32 x 64 outputs a block of 128 threads for convolutions and matmuls, one output a
thread for the rest.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from .model import LaunchShape, MultiTenantGraph
from .synthetic import Layer, make_graph

__all__ = ["MODELS", "MODEL_SETS", "model_graph", "model_layers", "model_set"]


class _Builder:
    """Collects layers; every method returns the position of what it added."""

    def __init__(self, batch: int) -> None:
        self.batch = batch
        self.layers: list[Layer] = []

    def add(
        self,
        kind: str,
        flops: float,
        read: float,
        written: float,
        fixed: float,
        inputs: tuple[int, ...],
        launch: LaunchShape,
    ) -> int:
        """Figures of one item; `read`, `written` and `fixed` in elements."""
        self.layers.append(
            Layer(
                kind,
                flops * self.batch,
                int(4 * (read + written) * self.batch),
                int(4 * fixed),
                tuple(sorted({i for i in inputs if i >= 0})),
                True,
                launch,
            )
        )
        return len(self.layers) - 1

    def gemm(
        self,
        kind: str,
        rows: int,
        columns: int,
        depth: int,
        read: float,
        inputs: tuple[int, ...],
        *,
        fixed: float | None = None,
        groups: int = 1,
    ) -> int:
        """`rows` (of one item) x `columns` outputs of `depth` multiply-adds each."""
        grid = math.ceil(rows * self.batch / 32) * math.ceil(columns / 64) * groups
        return self.add(
            kind,
            2.0 * rows * columns * depth * groups,
            read,
            rows * columns * groups,
            columns * depth * groups if fixed is None else fixed,
            inputs,
            LaunchShape(grid, 128, 64, 6912),
        )

    def conv(self, size: int, cin: int, cout: int, kernel: int, stride: int, source: int, *, add: int = -1) -> int:
        """A square convolution on `size` x `size`; `add` is a residual joined into it."""
        out = -(-size // stride)
        read = size * size * cin + (out * out * cout if add >= 0 else 0)
        return self.gemm("conv2d", out * out, cout, cin * kernel * kernel, read, (source, add))

    def depthwise(self, size: int, channels: int, kernel: int, stride: int, source: int) -> int:
        out = -(-size // stride)
        return self.pointwise(
            "depthwise",
            out * out * channels,
            size * size * channels,
            (source,),
            flops=2.0 * kernel * kernel,
            fixed=channels * kernel * kernel,
        )

    def pointwise(
        self, kind: str, outputs: int, read: float, inputs: tuple[int, ...], *, flops: float = 1.0, fixed: float = 0.0
    ) -> int:
        grid = max(1, math.ceil(outputs * self.batch / 256))
        return self.add(kind, flops * outputs, read, outputs, fixed, inputs, LaunchShape(grid, 256, 32, 0))

    def dense(self, cin: int, cout: int, source: int) -> int:
        return self.gemm("dense", 1, cout, cin, cin, (source,))


def _alexnet(b: _Builder) -> None:
    x = b.conv(224, 3, 64, 11, 4, -1)
    x = b.pointwise("max_pool", 27 * 27 * 64, 55 * 55 * 64, (x,), flops=9)
    x = b.conv(27, 64, 192, 5, 1, x)
    x = b.pointwise("max_pool", 13 * 13 * 192, 27 * 27 * 192, (x,), flops=9)
    for cin, cout in ((192, 384), (384, 256), (256, 256)):
        x = b.conv(13, cin, cout, 3, 1, x)
    x = b.pointwise("max_pool", 6 * 6 * 256, 13 * 13 * 256, (x,), flops=9)
    for cin, cout in ((9216, 4096), (4096, 4096), (4096, 1000)):
        x = b.dense(cin, cout, x)


def _vgg16(b: _Builder) -> None:
    x, size, cin = -1, 224, 3
    for cout, depth in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(depth):
            x = b.conv(size, cin, cout, 3, 1, x)
            cin = cout
        size //= 2
        x = b.pointwise("max_pool", size * size * cin, 4 * size * size * cin, (x,), flops=4)
    for before, after in ((25088, 4096), (4096, 4096), (4096, 1000)):
        x = b.dense(before, after, x)


def _resnet(depths: tuple[int, ...], bottleneck: bool) -> Callable[[_Builder], None]:
    def build(b: _Builder) -> None:
        x = b.conv(224, 3, 64, 7, 2, -1)
        x = b.pointwise("max_pool", 56 * 56 * 64, 112 * 112 * 64, (x,), flops=9)
        size, cin = 56, 64
        for stage, depth in enumerate(depths):
            mid = 64 << stage
            cout = mid * 4 if bottleneck else mid
            for block in range(depth):
                stride = 2 if stage and not block else 1
                skip = b.conv(size, cin, cout, 1, stride, x) if cin != cout or stride > 1 else x
                if bottleneck:
                    y = b.conv(size, cin, mid, 1, 1, x)
                    y = b.conv(size, mid, mid, 3, stride, y)
                    x = b.conv(size // stride, mid, cout, 1, 1, y, add=skip)
                else:
                    y = b.conv(size, cin, cout, 3, stride, x)
                    x = b.conv(size // stride, cout, cout, 3, 1, y, add=skip)
                size, cin = size // stride, cout
        x = b.pointwise("avg_pool", cin, size * size * cin, (x,), flops=size * size)
        b.dense(cin, 1000, x)

    return build


def _mobilenet_v3(b: _Builder) -> None:
    x = b.conv(224, 3, 16, 3, 2, -1)
    size, cin = 112, 16
    # (kernel, expansion, out, squeeze-and-excite, stride) of MobileNetV3-Large.
    for kernel, wide, cout, squeeze, stride in (
        (3, 16, 16, 0, 1),
        (3, 64, 24, 0, 2),
        (3, 72, 24, 0, 1),
        (5, 72, 40, 1, 2),
        (5, 120, 40, 1, 1),
        (5, 120, 40, 1, 1),
        (3, 240, 80, 0, 2),
        (3, 200, 80, 0, 1),
        (3, 184, 80, 0, 1),
        (3, 184, 80, 0, 1),
        (3, 480, 112, 1, 1),
        (3, 672, 112, 1, 1),
        (5, 672, 160, 1, 2),
        (5, 960, 160, 1, 1),
        (5, 960, 160, 1, 1),
    ):
        y = b.conv(size, cin, wide, 1, 1, x) if wide != cin else x
        y = b.depthwise(size, wide, kernel, stride, y)
        out = size // stride
        if squeeze:
            s = b.pointwise("avg_pool", wide, out * out * wide, (y,), flops=out * out)
            s = b.dense(wide, max(8, wide // 4), s)
            s = b.dense(max(8, wide // 4), wide, s)
            y = b.pointwise("multiply", out * out * wide, out * out * wide + wide, (y, s))
        x = b.conv(out, wide, cout, 1, 1, y, add=x if stride == 1 and cin == cout else -1)
        size, cin = out, cout
    x = b.conv(7, 160, 960, 1, 1, x)
    x = b.pointwise("avg_pool", 960, 49 * 960, (x,), flops=49)
    x = b.dense(960, 1280, x)
    b.dense(1280, 1000, x)


def _densenet121(b: _Builder) -> None:
    x = b.conv(224, 3, 64, 7, 2, -1)
    x = b.pointwise("max_pool", 56 * 56 * 64, 112 * 112 * 64, (x,), flops=9)
    size, channels = 56, 64
    for stage, depth in enumerate((6, 12, 24, 16)):
        for _ in range(depth):
            y = b.pointwise("bn_relu", size * size * channels, size * size * channels, (x,), flops=3)
            y = b.conv(size, channels, 128, 1, 1, y)
            y = b.conv(size, 128, 32, 3, 1, y)
            channels += 32
            x = b.pointwise("concat", size * size * channels, size * size * channels, (x, y), flops=0)
        if stage < 3:
            x = b.pointwise("bn_relu", size * size * channels, size * size * channels, (x,), flops=3)
            x = b.conv(size, channels, channels // 2, 1, 1, x)
            channels, size = channels // 2, size // 2
            x = b.pointwise("avg_pool", size * size * channels, 4 * size * size * channels, (x,), flops=4)
    x = b.pointwise("avg_pool", channels, size * size * channels, (x,), flops=size * size)
    b.dense(channels, 1000, x)


def _lstm(b: _Builder, steps: int = 32, hidden: int = 512, layers: int = 2) -> None:
    below = [-1] * steps
    for _ in range(layers):
        state, above = -1, []
        for step in range(steps):
            gates = b.gemm("dense_gates", 1, 4 * hidden, 2 * hidden, 2 * hidden, (below[step], state))
            state = b.pointwise("lstm_cell", 2 * hidden, 5 * hidden, (gates, state), flops=8)
            above.append(state)
        below = above
    b.dense(hidden, 1000, below[-1])


def _bert(b: _Builder, layers: int = 12, words: int = 128, wide: int = 768, heads: int = 12) -> None:
    x = b.pointwise("embedding", words * wide, words * wide, (), flops=2)
    for _ in range(layers):
        q, k, v = (b.gemm("dense", words, wide, wide, words * wide, (x,)) for _ in range(3))
        s = b.gemm("matmul_qk", words, words, wide // heads, 2 * words * wide, (q, k), fixed=0, groups=heads)
        s = b.pointwise("softmax", heads * words * words, heads * words * words, (s,), flops=5)
        a = b.gemm(
            "matmul_v", words, wide // heads, words, words * wide + heads * words * words, (s, v), fixed=0, groups=heads
        )
        x2 = b.gemm("dense_add", words, wide, wide, 2 * words * wide, (a, x))
        x2 = b.pointwise("layer_norm", words * wide, words * wide, (x2,), flops=6)
        h = b.gemm("dense_gelu", words, 4 * wide, wide, words * wide, (x2,))
        x = b.gemm("dense_add", words, wide, 4 * wide, 5 * words * wide, (h, x2))
        x = b.pointwise("layer_norm", words * wide, words * wide, (x,), flops=6)
    b.dense(wide, 768, x)


MODELS: dict[str, Callable[[_Builder], None]] = {
    "alexnet": _alexnet,
    "vgg16": _vgg16,
    "resnet18": _resnet((2, 2, 2, 2), False),
    "resnet50": _resnet((3, 4, 6, 3), True),
    "resnet101": _resnet((3, 4, 23, 3), True),
    "mobilenet_v3": _mobilenet_v3,
    "densenet121": _densenet121,
    "lstm": _lstm,
    "bert": _bert,
}

MODEL_SETS: tuple[tuple[str, ...], ...] = (
    ("alexnet", "vgg16", "resnet18"),
    ("resnet50", "vgg16", "mobilenet_v3"),
    ("resnet101", "densenet121", "mobilenet_v3"),
    ("lstm", "bert", "resnet18"),
)


def model_layers(model: str, batch: int = 8) -> list[Layer]:
    """The layers of one of `MODELS`."""
    builder = _Builder(batch)
    MODELS[model](builder)
    return builder.layers


def model_graph(models: tuple[str, ...], batch: int = 8) -> MultiTenantGraph:
    """A multi-tenant graph of some of `MODELS`, named by model; a model named again gets a number."""
    named: dict[str, tuple[int, list[Layer]]] = {}
    for model in models:
        name = model if model not in named else f"{model}_{sum(n.startswith(model) for n in named) + 1}"
        named[name] = (batch, model_layers(model, batch))
    return make_graph(named)  # type: ignore[arg-type]


def model_set(number: int, batch: int = 8) -> MultiTenantGraph:
    """One of the four sets of `MODEL_SETS`."""
    return model_graph(MODEL_SETS[number], batch)
