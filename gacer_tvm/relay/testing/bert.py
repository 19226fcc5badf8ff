"""The BERT encoder (arXiv 1810.04805): embeddings, then transformer layers that normalize after each residual sum."""

from __future__ import annotations

import math
from dataclasses import dataclass

from gacer_tvm.errors import RelayError
from gacer_tvm.relay import op
from gacer_tvm.relay.ast import Expr, Function, Tuple
from gacer_tvm.relay.op import nn
from gacer_tvm.relay.op.build import const, var
from gacer_tvm.relay.testing import layers
from gacer_tvm.relay.testing.init import Workload, create_workload

__all__ = ["BertConfig", "get_net", "get_workload"]


@dataclass(frozen=True)
class BertConfig:
    """The sizes of a BERT; the defaults are those of BERT-base, uncased."""

    num_layers: int = 12
    hidden: int = 768
    heads: int = 12
    intermediate: int = 3072
    vocabulary: int = 30522
    positions: int = 512
    epsilon: float = 1e-12


@dataclass(frozen=True)
class _Sizes:
    batch: int
    length: int
    config: BertConfig
    dtype: str


def _dense(data: Expr, name: str, units: int) -> Expr:
    """A dense layer on (batch * length, hidden)."""
    return layers.dense_add_bias(data, name, units)


def _norm(data: Expr, name: str, config: BertConfig) -> Expr:
    return nn.layer_norm(data, var(f"{name}_gamma"), var(f"{name}_beta"), axis=-1, epsilon=config.epsilon)  # type: ignore[no-any-return]


def _heads(data: Expr, sizes: _Sizes) -> Expr:
    """(batch * length, hidden) as (batch * heads, length, hidden / heads)."""
    config = sizes.config
    split = op.reshape(data, (sizes.batch, sizes.length, config.heads, config.hidden // config.heads))
    return op.reshape(op.transpose(split, (0, 2, 1, 3)), (-3, 0, 0))


def _attention(data: Expr, name: str, mask: Expr, sizes: _Sizes) -> Expr:
    config = sizes.config
    width = config.hidden // config.heads
    query, key, value = (
        _heads(_dense(data, f"{name}_{part}", config.hidden), sizes) for part in ("query", "key", "value")
    )
    scores = op.multiply(nn.batch_matmul(query, key), const(1.0 / math.sqrt(width), sizes.dtype))
    by_head = op.reshape(scores, (sizes.batch, config.heads, sizes.length, sizes.length))
    weights = nn.softmax(op.add(by_head, mask), axis=-1)
    mixed = nn.batch_matmul(op.reshape(weights, (-3, 0, 0)), value, transpose_b=False)
    apart = op.reshape(mixed, (sizes.batch, config.heads, sizes.length, width))
    joined = op.reshape(op.transpose(apart, (0, 2, 1, 3)), (sizes.batch * sizes.length, config.hidden))
    return _dense(joined, f"{name}_output", config.hidden)


def _gelu(data: Expr, dtype: str) -> Expr:
    inner = op.erf(op.multiply(data, const(math.sqrt(0.5), dtype)))
    return op.multiply(op.multiply(data, const(0.5, dtype)), op.add(inner, const(1.0, dtype)))  # type: ignore[no-any-return]


def get_net(
    batch_size: int = 1, seq_length: int = 128, config: BertConfig | None = None, dtype: str = "float32"
) -> Function:
    """The network, of `data` (token numbers), `token_types`, `mask` (1 for tokens, 0 for padding) and weights.

    Its result are the hidden states, (batch, length, hidden), and the pooled state of the first token, (batch, hidden).
    """
    config = config or BertConfig()
    if config.hidden % config.heads:
        raise RelayError(f"{config.heads} heads do not divide a hidden size of {config.hidden}.")
    if seq_length > config.positions:
        raise RelayError(f"seq_length {seq_length} exceeds the {config.positions} positions of the model.")
    sizes = _Sizes(batch_size, seq_length, config, dtype)
    shape = (batch_size, seq_length)
    data, types = var("data", shape=shape, dtype="int32"), var("token_types", shape=shape, dtype="int32")
    tables = {
        name: var(f"embedding_{name}_weight", shape=(rows, config.hidden), dtype=dtype)
        for name, rows in (("token", config.vocabulary), ("position", config.positions), ("type", 2))
    }
    places = op.strided_slice(tables["position"], begin=(0, 0), end=(seq_length, config.hidden))
    body = op.add(op.take(tables["token"], data, axis=0), op.take(tables["type"], types, axis=0))
    body = op.reshape(op.add(body, places), (-3, 0))
    body = _norm(body, "embedding", config)
    # Padding gets a score that softmax turns into nothing.
    given = op.reshape(op.cast(var("mask", shape=shape, dtype="int32"), dtype), (batch_size, 1, 1, seq_length))
    mask = op.multiply(op.subtract(const(1.0, dtype), given), const(-10000.0, dtype))
    for index in range(config.num_layers):
        name = f"layer{index}"
        body = _norm(op.add(_attention(body, f"{name}_attention", mask, sizes), body), f"{name}_attention_norm", config)
        inner = _gelu(_dense(body, f"{name}_intermediate", config.intermediate), dtype)
        body = _norm(op.add(_dense(inner, f"{name}_output", config.hidden), body), f"{name}_output_norm", config)
    hidden = op.reshape(body, (batch_size, seq_length, config.hidden))
    first = op.squeeze(op.strided_slice(hidden, begin=(0,), end=(1,), axes=(1,)), axis=1)
    pooled = op.tanh(_dense(first, "pooler", config.hidden))
    return layers.function_of(Tuple((hidden, pooled)))


def get_workload(
    batch_size: int = 1, seq_length: int = 128, config: BertConfig | None = None, dtype: str = "float32", seed: int = 0
) -> Workload:
    """The module and random weights; `data`, `token_types` and `mask` are inputs."""
    net = get_net(batch_size, seq_length, config, dtype)
    return create_workload(net, seed=seed, inputs=("data", "token_types", "mask"))
