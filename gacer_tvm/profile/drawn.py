"""Networks drawn at random: layers of sizes that no published network happens to have, so that training data covers them."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

from ..relay import op
from ..relay.ast import Expr
from ..relay.op import nn
from ..relay.op.build import var
from ..relay.testing import layers
from ..relay.testing.init import Workload, create_workload

__all__ = ["drawn_workload"]

_LAYERS = 12
# The most that one layer computes for an item, and that its weights hold.
_MOST_FLOPS = 3e8
_MOST_WEIGHTS = 1 << 21
_ACTIVATIONS: tuple[Callable[[Any], Any], ...] = (
    nn.relu,
    nn.relu,
    op.sigmoid,
    op.tanh,
    layers.hard_swish,
    lambda x: nn.leaky_relu(x, alpha=0.1),
    lambda x: op.clip(x, 0.0, 6.0),
    lambda x: x * op.sigmoid(x),
    lambda x: x,
)


def drawn_workload(number: int, batch: int) -> Workload:
    """Network `number`, the same every time: every third works on sequences, the others on images.

    Returns
    -------
    module, params
        As the networks of `gacer_tvm.relay.testing` give them; float32.
    """
    rng = random.Random(f"drawn {number}")
    body = _sequence(rng, batch) if number % 3 == 2 else _image(rng, batch)
    return create_workload(layers.function_of(body))


def _log_uniform(rng: random.Random, least: int, most: int, multiple: int = 1) -> int:
    value = math.exp(rng.uniform(math.log(least), math.log(most)))
    return max(multiple, round(value / multiple) * multiple)


def _image(rng: random.Random, batch: int) -> Expr:
    channels, size = rng.choice((3, 8, 16, 32, 64)), rng.choice((14, 28, 40, 56, 96))
    body: Expr = var("data", shape=(batch, channels, size, size), dtype="float32")
    for n in range(_LAYERS):
        kind = rng.random()
        before = body
        if kind < 0.12 and size >= 4:
            pool = rng.choice((nn.max_pool2d, nn.avg_pool2d))
            window = rng.choice((2, 3))
            body = pool(body, pool_size=(window, window), strides=(2, 2), padding=(window // 2,) * 2)
            size = (size + 2 * (window // 2) - window) // 2 + 1
        else:
            body, channels_now, size_now = _convolution(rng, body, f"layer{n}", channels, size)
            if (channels_now, size_now) == (channels, size) and kind > 0.7:
                body = body + before
            elif size_now == size and kind > 0.93 and channels + channels_now <= 512:
                body = op.concatenate([before, body], axis=1)
                channels_now += channels
            channels, size = channels_now, size_now
            body = rng.choice(_ACTIVATIONS)(body)
        if rng.random() < 0.15:
            gate = nn.global_avg_pool2d(body)
            body = body * op.sigmoid(layers.conv2d(gate, f"gate{n}", kernel_size=(1, 1), channels=channels))
    flat = nn.batch_flatten(nn.global_avg_pool2d(body))
    units = _log_uniform(rng, 32, 2048)
    flat = nn.relu(layers.dense_add_bias(flat, "dense1", units))
    return nn.softmax(layers.dense_add_bias(flat, "dense2", _log_uniform(rng, 10, 1000)))


def _convolution(rng: random.Random, body: Expr, name: str, channels: int, size: int) -> tuple[Expr, int, int]:
    while True:
        window = rng.choice((1, 1, 3, 3, 3, 5, 7))
        stride = rng.choice((1, 1, 1, 2)) if size > 7 else 1
        form = rng.random()
        if form < 0.25 and channels >= 8:
            groups, out = channels, channels
        elif form < 0.35 and channels % 4 == 0 and channels >= 16:
            groups = rng.choice((2, 4))
            out = _log_uniform(rng, 8, 512, groups)
        else:
            groups, out = 1, _log_uniform(rng, 8, 640, rng.choice((1, 4, 8, 16)))
        weights = out * channels // groups * window * window
        after = (size - 1) // stride + 1
        if weights <= _MOST_WEIGHTS and 2.0 * weights * after * after <= _MOST_FLOPS:
            break
    made = layers.conv2d(
        body,
        f"{name}_depthwise" if groups == channels > 1 else name,
        kernel_size=(window, window),
        strides=(stride, stride),
        padding=(window // 2, window // 2),
        channels=out,
        groups=groups,
    )
    return nn.bias_add(made, var(f"{name}_bias")), out, after


def _sequence(rng: random.Random, batch: int) -> Expr:
    steps, heads = rng.choice((16, 32, 50, 64, 128)), rng.choice((2, 4, 8))
    width = heads * _log_uniform(rng, 16, 64, 4)
    body: Expr = var("data", shape=(batch, steps, width), dtype="float32")
    for n in range(rng.choice((1, 2))):
        body = body + _attention(body, f"block{n}", batch, steps, width, heads)
        body = _norm(body, f"norm{n}")
        hidden = _log_uniform(rng, 64, 1024, 4)
        inner = op.reshape(body, (batch * steps, width))
        inner = rng.choice(_ACTIVATIONS)(layers.dense_add_bias(inner, f"up{n}", hidden))
        inner = layers.dense_add_bias(inner, f"down{n}", width)
        body = body + op.reshape(inner, (batch, steps, width))
    return layers.dense_add_bias(op.mean(body, axis=1), "head", _log_uniform(rng, 10, 1000))


def _norm(body: Expr, name: str) -> Expr:
    return nn.layer_norm(body, var(f"{name}_gamma"), var(f"{name}_beta"), axis=-1)


def _attention(body: Expr, name: str, batch: int, steps: int, width: int, heads: int) -> Expr:
    each = width // heads

    def project(part: str) -> Expr:
        flat = layers.dense_add_bias(op.reshape(body, (batch * steps, width)), f"{name}_{part}", width)
        split = op.transpose(op.reshape(flat, (batch, steps, heads, each)), (0, 2, 1, 3))
        return op.reshape(split, (batch * heads, steps, each))

    query, key, value = (project(part) for part in ("query", "key", "value"))
    weights = nn.softmax(nn.batch_matmul(query, key) * (1.0 / math.sqrt(each)), axis=-1)
    mixed = nn.batch_matmul(weights, op.transpose(value, (0, 2, 1)))
    merged = op.transpose(op.reshape(mixed, (batch, heads, steps, each)), (0, 2, 1, 3))
    flat = layers.dense_add_bias(op.reshape(merged, (batch * steps, width)), f"{name}_out", width)
    return op.reshape(flat, (batch, steps, width))
