"""Convolutions of any shape, prepared, scheduled and compiled, beside PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from gacer_tvm._tvm import relax

from .rule_tools import built, close, module

torch = pytest.importorskip("torch")
functional = torch.nn.functional


@st.composite
def convolutions(draw: Any) -> dict[str, Any]:
    """Parameters of a convolution whose output is not empty."""
    groups = draw(st.sampled_from([1, 1, 1, 2, 3]))
    depthwise = draw(st.booleans()) and groups > 1
    inner = draw(st.sampled_from([1, 3, 5, 8, 16, 20]))
    channels = groups * (1 if depthwise else inner)
    if depthwise:
        groups = channels = draw(st.sampled_from([3, 16, 24, 40]))
    outputs = groups * draw(st.sampled_from([1, 2] if depthwise else [1, 4, 7, 16, 24, 37, 72]))
    kernel = (draw(st.sampled_from([1, 2, 3, 5])), draw(st.sampled_from([1, 3, 5])))
    stride = (draw(st.sampled_from([1, 1, 2, 3])), draw(st.sampled_from([1, 1, 2])))
    dilation = draw(st.sampled_from([1, 1, 1, 2]))
    pad = draw(st.tuples(*(st.integers(0, 2) for _ in range(4))))
    windows = [(k - 1) * dilation + 1 for k in kernel]
    size = tuple(draw(st.integers(max(6, w), most)) for w, most in zip(windows, (19, 31)))
    return {
        "shape": (draw(st.sampled_from([1, 1, 2, 3])), channels, *size),
        "weight": (outputs, channels // groups, *kernel),
        "strides": stride,
        "padding": pad,
        "dilation": dilation,
        "groups": groups,
        "epilogue": draw(st.sampled_from(["none", "relu", "hardswish", "residual", "sigmoid"])),
    }


def _truth(x: Any, weight: Any, bias: Any, other: Any, p: dict[str, Any]) -> Any:
    top, left, bottom, right = p["padding"]
    padded = functional.pad(x, (left, right, top, bottom))
    y = functional.conv2d(padded, weight, None, p["strides"], 0, p["dilation"], p["groups"]) + bias
    if p["epilogue"] == "relu":
        return functional.relu(y)
    if p["epilogue"] == "hardswish":
        return y * torch.clamp(y + 3, 0, 6) / 6
    if p["epilogue"] == "residual":
        return functional.relu(y + other)
    if p["epilogue"] == "sigmoid":
        return y * torch.sigmoid(y)
    return y


def _ours(p: dict[str, Any]) -> Any:
    op = relax.op

    def make(x: Any, other: Any, weight: Any, bias: Any) -> Any:
        y = op.nn.conv2d(
            x, weight, strides=p["strides"], padding=p["padding"], dilation=p["dilation"], groups=p["groups"]
        )
        y = op.add(y, bias)
        if p["epilogue"] == "relu":
            return op.nn.relu(y)
        if p["epilogue"] == "hardswish":
            shifted = op.clip(op.add(y, relax.const(3.0)), 0, 6)
            return op.divide(op.multiply(y, shifted), relax.const(6.0))
        if p["epilogue"] == "residual":
            return op.nn.relu(op.add(y, other))
        if p["epilogue"] == "sigmoid":
            return op.multiply(y, op.sigmoid(y))
        return y

    return make


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
# One channel out: the result goes back by a reshape, which fuses only with a buffer that has no layout.
@example(
    {
        "shape": (1, 1, 6, 6), "weight": (1, 1, 1, 3), "strides": (1, 1), "padding": (0, 0, 0, 0), "dilation": 1,
        "groups": 1, "epilogue": "residual",
    },
    0,
)  # fmt: skip
@given(convolutions(), st.integers(0, 1000))
def test_convolution_is_pytorchs(p: dict[str, Any], seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(p["shape"], dtype=np.float32)
    weight = rng.standard_normal(p["weight"], dtype=np.float32)
    bias = rng.standard_normal((1, p["weight"][0], 1, 1), dtype=np.float32)
    plain = _truth(torch.from_numpy(x), torch.from_numpy(weight), torch.from_numpy(bias), 0, {**p, "epilogue": "none"})
    other = rng.standard_normal(tuple(plain.shape), dtype=np.float32)
    truth = _truth(*(torch.from_numpy(a) for a in (x, weight, bias, other)), p).numpy()
    if p["epilogue"] == "residual":
        call, used = built(module([x.shape, other.shape, weight, bias], _ours(p)))
        found = call(x, other)
    else:
        call, used = built(module([x.shape, weight, bias], lambda a, w, b: _ours(p)(a, None, w, b)))
        found = call(x)
    close(found, truth)
    assert "plain" not in used.values() and "unscheduled" not in used.values(), used


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.sampled_from([(1, 3), (16, 8), (24, 1), (5, 20)]),
    st.integers(1, 4),
    st.integers(1, 3),
    st.integers(0, 1),
    st.integers(3, 12),
    st.integers(3, 12),
)
def test_transposed_convolution_is_pytorchs(
    channels: tuple[int, int], kernel: int, stride: int, pad: int, height: int, width: int
) -> None:
    if kernel <= 2 * pad:
        pad = 0
    rng = np.random.default_rng(kernel * 7 + stride)
    x = rng.standard_normal((2, channels[0], height, width), dtype=np.float32)
    weight = rng.standard_normal((*channels, kernel, kernel), dtype=np.float32)
    truth = functional.conv_transpose2d(torch.from_numpy(x), torch.from_numpy(weight), None, stride, pad).numpy()
    call, _ = built(
        module([x.shape, weight], lambda a, w: relax.op.nn.conv2d_transpose(a, w, strides=stride, padding=pad))
    )
    close(call(x), truth)


@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from([1, 4, 24]), st.sampled_from([1, 3]), st.integers(1, 2), st.integers(8, 40))
def test_convolution_of_two_inputs_is_pytorchs(channels: int, kernel: int, stride: int, width: int) -> None:
    """No constant weight (as in a gradient): nothing is packed, the layout stays."""
    rng = np.random.default_rng(width)
    x = rng.standard_normal((2, channels, 9, width), dtype=np.float32)
    weight = rng.standard_normal((6, channels, kernel, kernel), dtype=np.float32)
    truth = functional.conv2d(torch.from_numpy(x), torch.from_numpy(weight), None, stride, kernel // 2).numpy()
    call, _ = built(
        module(
            [x.shape, weight.shape],
            lambda a, w: relax.op.nn.conv2d(a, w, strides=stride, padding=kernel // 2),
        )
    )
    close(call(x, weight), truth)


def test_one_dimensional_convolution_is_pytorchs() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 24, 50), dtype=np.float32)
    weight = rng.standard_normal((33, 24, 5), dtype=np.float32)
    truth = functional.conv1d(torch.from_numpy(x), torch.from_numpy(weight), None, 2, 2).numpy()
    call, _ = built(module([x.shape, weight], lambda a, w: relax.op.nn.conv1d(a, w, strides=2, padding=2)))
    close(call(x), truth)


def test_squeeze_and_excite_block_is_pytorchs() -> None:
    """Global mean, two products on one pixel, a gate over the whole map: layouts must agree all the way."""
    rng = np.random.default_rng(1)
    x = rng.standard_normal((2, 40, 13, 17), dtype=np.float32)
    a = rng.standard_normal((64, 40, 3, 3), dtype=np.float32) * 0.1
    b = rng.standard_normal((16, 64, 1, 1), dtype=np.float32)
    c = rng.standard_normal((64, 16, 1, 1), dtype=np.float32)

    def make(x: Any, a: Any, b: Any, c: Any) -> Any:
        op = relax.op
        y = op.nn.conv2d(x, a, padding=1)
        gate = op.nn.relu(op.nn.conv2d(op.mean(y, [2, 3], keepdims=True), b))
        gate = op.sigmoid(op.nn.conv2d(gate, c))
        return op.reshape(op.nn.max_pool2d(op.multiply(y, gate), (2, 2), (2, 2)), (2, 64 * 6 * 8))

    call, _ = built(module([x.shape, a, b, c], make))
    y = functional.conv2d(torch.from_numpy(x), torch.from_numpy(a), padding=1)
    gate = functional.relu(functional.conv2d(y.mean((2, 3), keepdim=True), torch.from_numpy(b)))
    gate = torch.sigmoid(functional.conv2d(gate, torch.from_numpy(c)))
    truth = functional.max_pool2d(y * gate, 2).reshape(2, -1).numpy()
    close(call(x), truth)


@pytest.mark.parametrize("norm", ["group", "instance"])
def test_normalizations_over_pixels_follow_a_convolution(norm: str) -> None:
    """Their two sums come from one block of the source, and are rewritten with channels last."""
    rng = np.random.default_rng(0)
    x, weight = rng.standard_normal((2, 5, 9, 11), dtype=np.float32), rng.standard_normal((24, 5, 3, 3), dtype=np.float32)
    gain, shift = (rng.standard_normal(24, dtype=np.float32) for _ in range(2))

    def make(a: Any, w: Any, g: Any, b: Any) -> Any:
        y = relax.op.nn.conv2d(a, w, padding=1)
        if norm == "group":
            return relax.op.nn.relu(relax.op.nn.group_norm(y, g, b, 4, 1, [2, 3]))
        return relax.op.nn.relu(relax.op.nn.instance_norm(y, g, b, 1, [2, 3]))

    call, _ = built(module([x.shape, weight, gain, shift], make))
    y = functional.conv2d(*(torch.from_numpy(a) for a in (x, weight)), padding=1)
    gain_, shift_ = torch.from_numpy(gain), torch.from_numpy(shift)
    truth = (
        functional.group_norm(y, 4, gain_, shift_)
        if norm == "group"
        else functional.instance_norm(y, weight=gain_, bias=shift_)
    )
    close(call(x), functional.relu(truth).numpy())


@pytest.mark.parametrize("width", [2, 4, 8, 12, 16])
@pytest.mark.parametrize("stride", [1, 2])
def test_groups_narrower_than_a_vector(width: int, stride: int) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1, 5 * width, 13, 15), dtype=np.float32)
    weight = rng.standard_normal((10 * width, width, 3, 3), dtype=np.float32)
    call, _ = built(
        module([x.shape, weight], lambda a, w: relax.op.nn.conv2d(a, w, strides=stride, padding=1, groups=5))
    )
    truth = functional.conv2d(torch.from_numpy(x), torch.from_numpy(weight), stride=stride, padding=1, groups=5)
    close(call(x), truth.numpy())


@pytest.mark.parametrize("outputs", [1, 3, 9])
@pytest.mark.parametrize("stride", [1, 2])
def test_few_channels_from_large_windows(outputs: int, stride: int) -> None:
    """Such a convolution reads and writes rows of the image although its neighbours work channels last."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 6, 37, 70), dtype=np.float32)
    first, second = (rng.standard_normal(s, dtype=np.float32) for s in ((16, 6, 3, 3), (outputs, 16, 5, 5)))

    def make(a: Any, v: Any, w: Any) -> Any:
        y = relax.op.nn.relu(relax.op.nn.conv2d(a, v, padding=1))
        return relax.op.tanh(relax.op.nn.conv2d(y, w, strides=stride, padding=2))

    call, _ = built(module([x.shape, first, second], make))
    y = functional.relu(functional.conv2d(*(torch.from_numpy(a) for a in (x, first)), padding=1))
    close(call(x), torch.tanh(functional.conv2d(y, torch.from_numpy(second), stride=stride, padding=2)).numpy())


@pytest.mark.parametrize(("window", "stride", "padding"), [(2, 2, 0), (3, 2, 1), (3, 3, 0)])
@pytest.mark.parametrize("kind", ["max", "avg"])
def test_pools_that_move_by_more_than_one(kind: str, window: int, stride: int, padding: int) -> None:
    """Neither result nor operand is channels last here: what a vector would read lies apart."""
    x = np.random.default_rng(0).standard_normal((2, 3, 21, 34), dtype=np.float32)
    pool = getattr(relax.op.nn, f"{kind}_pool2d")
    options = {"count_include_pad": True} if kind == "avg" else {}
    call, _ = built(
        module([x.shape], lambda a: pool(a, (window, window), (stride, stride), (padding, padding), **options))
    )
    truth = getattr(functional, f"{kind}_pool2d")(torch.from_numpy(x), window, stride, padding)
    close(call(x), truth.numpy())
