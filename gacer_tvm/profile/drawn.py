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
_FIRST = 30
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
    """Network `number`, the same every time.

    Of the first `_FIRST` every third works on sequences, the others on images; of the rest every third is a recurrent
    network, a decoder that makes images, and one on images of a few pixels.

    Returns
    -------
    module, params
        As the networks of `gacer_tvm.relay.testing` give them; float32.
    """
    rng = random.Random(f"drawn {number}")
    made = (_image, _image, _sequence, _recurrent, _decoder, _pixels)[number % 3 + (0 if number < _FIRST else 3)]
    return create_workload(layers.function_of(made(rng, batch)))


def _log_uniform(rng: random.Random, least: int, most: int, multiple: int = 1) -> int:
    value = math.exp(rng.uniform(math.log(least), math.log(most)))
    return max(multiple, round(value / multiple) * multiple)


def _image(rng: random.Random, batch: int) -> Expr:
    return _layers(rng, batch, channels=rng.choice((3, 8, 16, 32, 64)), size=rng.choice((14, 28, 40, 56, 96)))


def _pixels(rng: random.Random, batch: int) -> Expr:
    return _layers(rng, batch, size=rng.choice((1, 2, 3, 5, 7)), channels=rng.choice((32, 64, 128, 256)))


def _layers(rng: random.Random, batch: int, *, channels: int, size: int) -> Expr:
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


def _recurrent(rng: random.Random, batch: int) -> Expr:
    """Gated units (as in LSTM) over a few steps, every step with the same weights."""
    steps, width, hidden = rng.choice((4, 6, 8)), _log_uniform(rng, 16, 256, 4), _log_uniform(rng, 32, 320, 4)
    data = var("data", shape=(batch, steps, width), dtype="float32")
    body: list[Expr] = [op.squeeze(op.strided_slice(data, [0, n, 0], [batch, n + 1, width]), [1]) for n in range(steps)]
    for layer in range(rng.choice((1, 2))):
        weights = [var(f"layer{layer}_{part}_weight") for part in ("input", "state")]
        bias = var(f"layer{layer}_bias")
        state = nn.relu(layers.dense_add_bias(body[0], f"layer{layer}_first", hidden))
        kept: Expr = state
        for n, step in enumerate(body):
            gates = nn.dense(step, weights[0], units=4 * hidden) + nn.dense(state, weights[1], units=4 * hidden)
            parts = op.split(nn.bias_add(gates, bias, axis=-1), 4, axis=1)
            kept = op.sigmoid(parts[0]) * kept + op.sigmoid(parts[1]) * op.tanh(parts[2])
            state = op.sigmoid(parts[3]) * op.tanh(kept)
            body[n] = state
    return layers.dense_add_bias(body[-1], "head", _log_uniform(rng, 10, 1000))


def _decoder(rng: random.Random, batch: int) -> Expr:
    """From a vector to an image, by transposed convolutions."""
    channels, size = _log_uniform(rng, 32, 256, 8), rng.choice((2, 4, 5))
    data = var("data", shape=(batch, _log_uniform(rng, 16, 128, 4)), dtype="float32")
    flat = layers.dense_add_bias(data, "dense", channels * size * size)
    body: Expr = op.reshape(nn.relu(flat), (batch, channels, size, size))
    for n in range(rng.choice((3, 4))):
        out = max(8, _log_uniform(rng, channels // 4, channels, 4))
        window = rng.choice((2, 4))
        body = layers.conv2d_transpose(
            body, f"up{n}", kernel_size=(window, window), strides=(2, 2), padding=((window - 2) // 2,) * 2, channels=out
        )
        channels, size = out, 2 * size
        body = rng.choice(_ACTIVATIONS)(nn.bias_add(body, var(f"up{n}_bias")))
        body, channels, size = _convolution(rng, body, f"layer{n}", channels, size)
        body = rng.choice(_ACTIVATIONS)(body)
    return op.tanh(layers.conv2d(body, "image", kernel_size=(3, 3), padding=(1, 1), channels=rng.choice((1, 3))))


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
