"""Reductions, scans and sorting against numpy and torch."""

from __future__ import annotations

import numpy as np
import torch
from scipy.special import logsumexp

from gacer_tvm import relay
from tests.relay.running import check, variables

RNG = np.random.RandomState(1)
DATA = RNG.randn(2, 3, 4).astype("float32")


def test_reductions() -> None:
    (x,) = variables(x=DATA)
    mean = DATA.mean((0, 2), keepdims=True)
    cases = {
        "sum": (relay.sum(x), np.asarray(DATA.sum())),
        "sum axis": (relay.sum(x, axis=1), DATA.sum(1)),
        "sum exclude": (relay.sum(x, axis=[1], exclude=True), DATA.sum((0, 2))),
        "mean": (relay.mean(x, axis=[0, -1], keepdims=True), mean),
        "max": (relay.max(x, axis=-1), DATA.max(-1)),
        "min": (relay.min(x, axis=[0, 1]), DATA.min((0, 1))),
        "prod": (relay.prod(x, axis=2, keepdims=True), DATA.prod(2, keepdims=True)),
        "variance": (relay.variance(x, axis=[0, 2]), DATA.var((0, 2))),
        "variance unbiased": (relay.variance(x, axis=2, unbiased=True), DATA.var(2, ddof=1)),
        "variance keepdims": (relay.variance(x, axis=2, keepdims=True), DATA.var(2, keepdims=True)),
        "std": (relay.std(x, axis=1), DATA.std(1)),
        "mean_variance": (relay.mean_variance(x, axis=1).astuple(), [DATA.mean(1), DATA.var(1)]),
        "mean_std": (relay.mean_std(x, axis=1).astuple(), [DATA.mean(1), DATA.std(1)]),
        "logsumexp": (relay.logsumexp(x, axis=1), logsumexp(DATA, 1).astype("float32")),
        "argmax": (relay.argmax(x, axis=1), DATA.argmax(1).astype("int32")),
        "argmin keepdims": (relay.argmin(x, axis=-1, keepdims=True), DATA.argmin(-1).astype("int32")[..., None]),
        "argmax all": (relay.argmax(x), np.asarray(DATA.argmax(), "int32")),
        "argmax exclude": (relay.argmax(x, axis=[0, 2], exclude=True), DATA.argmax(1).astype("int32")),
        "cumsum": (relay.cumsum(x, axis=1), DATA.cumsum(1)),
        "cumsum flat": (relay.cumsum(x), DATA.reshape(-1).cumsum()),
        "cumsum exclusive": (relay.cumsum(x, axis=2, exclusive=True), DATA.cumsum(2) - DATA),
        "cumsum float64": (relay.cumsum(x, axis=0, dtype="float64"), DATA.astype("float64").cumsum(0)),
        "cumprod": (relay.cumprod(x, axis=1), DATA.cumprod(1)),
    }
    check(cases, {"x": DATA})


def test_argmax_over_several_axes_and_last_index() -> None:
    values = np.array([[3, 1, 3], [3, 2, 0]], "float32")
    x, y = variables(x=values, y=DATA)
    cases = {
        "first": (relay.argmax(x, axis=1), np.array([0, 0], "int32")),
        "last": (relay.argmax(x, axis=1, select_last_index=True), np.array([2, 0], "int32")),
        "two axes": (relay.argmax(y, axis=[1, 2]), DATA.reshape(2, -1).argmax(1).astype("int32")),
    }
    check(cases, {"x": values, "y": DATA})


def test_logical_reductions() -> None:
    flags = RNG.rand(3, 4) > 0.4
    flags[1] = True
    (x,) = variables(x=flags)
    cases = {
        "all": (relay.all(x, axis=1), flags.all(1)),
        "any": (relay.any(x, axis=0, keepdims=True), flags.any(0, keepdims=True)),
        "all of all": (relay.all(x), np.asarray(flags.all())),
    }
    check(cases, {"x": flags})


def test_integer_reductions() -> None:
    numbers = RNG.randint(-5, 6, (3, 4)).astype("int32")
    (x,) = variables(x=numbers)
    cases = {
        "sum": (relay.sum(x, axis=1), numbers.sum(1, dtype="int32")),
        "max": (relay.max(x, axis=0), numbers.max(0)),
        "prod": (relay.prod(x, axis=1), numbers.prod(1, dtype="int32")),
    }
    check(cases, {"x": numbers})


def test_sorting() -> None:
    data = RNG.permutation(24).reshape(4, 6).astype("float32")
    (x,) = variables(x=data)
    top = torch.topk(torch.from_numpy(data), 3, dim=1)
    low = torch.topk(torch.from_numpy(data), 2, dim=0, largest=False)
    cases = {
        "sort": (relay.sort(x), np.sort(data)),
        "sort descending": (relay.sort(x, axis=0, is_ascend=False), -np.sort(-data, 0)),
        "argsort": (relay.argsort(x, axis=1), np.argsort(data, 1).astype("int32")),
        "argsort int64": (relay.argsort(x, axis=0, is_ascend=False, dtype="int64"), np.argsort(-data, 0)),
        "argsort float": (relay.argsort(x, dtype="float32"), np.argsort(data).astype("float32")),
        "topk": (relay.topk(x, 3).astuple(), [top.values.numpy(), top.indices.numpy().astype("int32")]),
        "topk values": (relay.topk(x, 2, axis=0, ret_type="values", is_ascend=True), low.values.numpy()),
        "topk indices": (
            relay.topk(x, 2, axis=0, ret_type="indices", is_ascend=True, dtype="int64"),
            low.indices.numpy(),
        ),
        "topk constant": (relay.topk(x, relay.const(3), ret_type="values"), top.values.numpy()),
        "topk all": (relay.topk(x, 0, ret_type="values"), -np.sort(-data)),
    }
    check(cases, {"x": data})


def test_searchsorted_and_einsum() -> None:
    sequence, values = np.sort(RNG.rand(2, 8).astype("float32"), 1), RNG.rand(2, 3).astype("float32")
    left, right = RNG.rand(3, 4).astype("float32"), RNG.rand(4, 5).astype("float32")
    s, v, a, b = variables(s=sequence, v=values, a=left, b=right)
    found = np.stack([np.searchsorted(row, value) for row, value in zip(sequence, values)])
    cases = {
        "searchsorted": (relay.searchsorted(s, v), found.astype("int32")),
        "einsum": (relay.einsum([a, b], "ij,jk->ki"), np.einsum("ij,jk->ki", left, right)),
        "einsum implicit": (relay.einsum([a, b], "ij,jk"), left @ right),
    }
    check(cases, {"s": sequence, "v": values, "a": left, "b": right})
