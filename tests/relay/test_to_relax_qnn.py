"""Quantized operators against arithmetic in Python's own integers, exact to the last bit."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from gacer_tvm import relay
from gacer_tvm.errors import RelayError
from gacer_tvm.relay.fixed_point import multiplier_shift
from gacer_tvm.relay.qnn import op as qnn
from tests.relay.running import check, run_module, variables

RNG = np.random.RandomState(8)


def _c(value: Any, dtype: str) -> Any:
    return relay.const(np.asarray(value, dtype))


def _significand(factor: Fraction) -> tuple[int, int]:
    """The 31-bit significand nearest to a factor, and its exponent."""
    exponent = 0
    while factor >= 1:
        factor, exponent = factor / 2, exponent + 1
    while factor < Fraction(1, 2):
        factor, exponent = factor * 2, exponent - 1
    significand = math.floor(factor * 2**31 + Fraction(1, 2))
    return (significand // 2, exponent + 1) if significand == 2**31 else (significand, exponent)


def _requantized(
    data: np.ndarray, scale: float, zero: int, out_scale: float, out_zero: int, dtype: str, nearest: bool = False
) -> np.ndarray:
    """Requantization of each number by exact integers."""
    # The ratio of both scales is taken in double precision, as the compiler did.
    factor = Fraction(float(np.float32(scale)) / float(np.float32(out_scale)))
    significand, exponent = _significand(factor)
    info = np.iinfo(dtype)
    out = np.empty(data.shape, dtype)
    for position, number in np.ndenumerate(data):
        product = (int(number) - zero) * significand * 2 ** max(exponent, 0)
        places = 31 + max(-exponent, 0)
        half = 1 << (places - 1)
        if nearest and product < 0:
            half -= 1
        out[position] = min(max(((product + half) >> places) + out_zero, info.min), info.max)
    return out


@given(st.floats(1e-8, 1e6))
def test_multipliers_are_the_nearest_of_31_bits(factor: float) -> None:
    significand, shift = multiplier_shift(factor)
    assert 2**30 <= significand < 2**31
    assert (significand, shift) == _significand(Fraction(factor))
    assert abs(Fraction(significand) * Fraction(2) ** (shift - 31) - Fraction(factor)) <= Fraction(factor) / 2**30


def test_requantize() -> None:
    data = RNG.randint(-(2**20), 2**20, (3, 4, 5)).astype("int32")
    halves = np.array([-7, -5, -3, -1, 0, 1, 3, 5, 7], "int32")
    scales = np.array([0.3, 0.0017, 5.0, 0.02], "float32")
    zeros = np.array([1, -2, 0, 7], "int32")
    x, h = variables(x=data, h=halves)

    def call(value: Any, scale: Any, zero: Any, out_scale: float, out_zero: int, **options: Any) -> Any:
        return qnn.requantize(value, scale, zero, _c(out_scale, "float32"), _c(out_zero, "int32"), **options)

    per_channel = np.stack(
        [_requantized(data[:, i], float(scales[i]), int(zeros[i]), 0.7, 3, "int8") for i in range(4)], 1
    )
    cases = {
        "int8": (
            call(x, _c(0.0001, "float32"), _c(5, "int32"), 0.7, 3),
            _requantized(data, 0.0001, 5, 0.7, 3, "int8"),
        ),
        "uint8": (
            call(x, _c(0.0003, "float32"), _c(0, "int32"), 0.5, 128, out_dtype="uint8"),
            _requantized(data, 0.0003, 0, 0.5, 128, "uint8"),
        ),
        "int32 up": (
            call(x, _c(3.3, "float32"), _c(0, "int32"), 0.5, 0, out_dtype="int32"),
            _requantized(data, 3.3, 0, 0.5, 0, "int32"),
        ),
        "same scale": (
            call(h, _c(0.5, "float32"), _c(2, "int32"), 0.5, 1),
            np.clip(halves - 2 + 1, -128, 127).astype("int8"),
        ),
        "per channel": (call(x, _c(scales, "float32"), _c(zeros, "int32"), 0.7, 3, axis=1), per_channel),
        "upward": (
            call(h, _c(0.5, "float32"), _c(0, "int32"), 1.0, 0, rounding="UPWARD"),
            np.floor(halves / 2 + 0.5).astype("int8"),
        ),
        "to nearest": (
            call(h, _c(0.5, "float32"), _c(0, "int32"), 1.0, 0, rounding="TONEAREST"),
            (np.sign(halves) * np.floor(np.abs(halves) / 2 + 0.5)).astype("int8"),
        ),
        "to nearest large": (
            call(x, _c(0.0001, "float32"), _c(0, "int32"), 0.7, 0, rounding="TONEAREST"),
            _requantized(data, 0.0001, 0, 0.7, 0, "int8", nearest=True),
        ),
        "float32": (
            call(h, _c(0.5, "float32"), _c(0, "int32"), 1.0, 1, compute_dtype="float32"),
            (np.floor(halves / 2 + 1.5)).astype("int8"),
        ),
        "float64 nearest": (
            call(h, _c(0.5, "float32"), _c(0, "int32"), 1.0, 0, compute_dtype="float64", rounding="TONEAREST"),
            (np.sign(halves) * np.floor(np.abs(halves) / 2 + 0.5)).astype("int8"),
        ),
    }
    check(cases, {"x": data, "h": halves})


def test_quantize_and_dequantize() -> None:
    data = np.array([[-3.0, -0.25, 0.25, 0.75], [100.0, -100.0, 0.125, 1e9]], "float32")
    codes = RNG.randint(-128, 128, (3, 4)).astype("int8")
    scales, zeros = np.array([0.5, 0.25, 2, 0.125], "float32"), np.array([0, 3, -2, 1], "int32")
    x, q = variables(x=data, q=codes)

    def rounded(values: np.ndarray) -> np.ndarray:
        return np.sign(values) * np.floor(np.abs(values) + 0.5)

    cases = {
        "quantize": (
            qnn.quantize(x, _c(0.5, "float32"), _c(2, "int32")),
            np.clip(rounded(data / 0.5) + 2, -128, 127).astype("int8"),
        ),
        "uint8": (
            qnn.quantize(x, _c(0.5, "float32"), _c(128, "int32"), out_dtype="uint8"),
            np.clip(rounded(data / 0.5) + 128, 0, 255).astype("uint8"),
        ),
        "channels": (
            qnn.quantize(x, _c(scales, "float32"), _c(zeros, "int32"), axis=1),
            np.clip(rounded(data / scales) + zeros, -128, 127).astype("int8"),
        ),
        "dequantize": (
            qnn.dequantize(q, _c(0.1, "float32"), _c(-3, "int32")),
            (codes.astype("int32") + 3).astype("float32") * np.float32(0.1),
        ),
        "dequantize channels": (
            qnn.dequantize(q, _c(scales, "float32"), _c(zeros, "int32"), axis=-1),
            (codes.astype("int32") - zeros).astype("float32") * scales,
        ),
        "float16": (
            qnn.dequantize(q, _c(0.5, "float32"), _c(0, "int32"), out_dtype="float16"),
            (codes * np.float32(0.5)).astype("float16"),
        ),
    }
    check(cases, {"x": data, "q": codes}, rtol=0, atol=0)


def _conv(data: np.ndarray, weight: np.ndarray, **options: Any) -> np.ndarray:
    # Doubles hold these sums exactly.
    result = F.conv2d(torch.from_numpy(data.astype("float64")), torch.from_numpy(weight.astype("float64")), **options)
    return result.numpy().astype("int32")


def test_conv2d() -> None:
    data = RNG.randint(0, 256, (1, 4, 6, 6)).astype("uint8")
    weight = RNG.randint(-128, 128, (5, 4, 3, 3)).astype("int8")
    deep = RNG.randint(-128, 128, (4, 1, 3, 3)).astype("int8")
    zeros = np.array([0, 3, -4, 1, 2], "int32")
    x, w, d = variables(x=data, w=weight, d=deep)
    scales = (_c(0.05, "float32"), _c(0.02, "float32"))
    shifted = data.astype("int32") - 128
    options = {"kernel_size": (3, 3), "padding": (1, 1)}
    nhwc = relay.transpose(x, (0, 2, 3, 1))
    cases = {
        "plain": (
            qnn.conv2d(x, w, _c(128, "int32"), _c(0, "int32"), *scales, channels=5, **options),
            _conv(shifted, weight, padding=1),
        ),
        "kernel zero": (
            qnn.conv2d(x, w, _c(128, "int32"), _c(7, "int32"), *scales, channels=5, **options),
            _conv(shifted, weight.astype("int32") - 7, padding=1),
        ),
        "kernel zeros": (
            qnn.conv2d(x, w, _c(0, "int32"), _c(zeros, "int32"), *scales, channels=5, **options),
            _conv(data, weight.astype("int32") - zeros[:, None, None, None], padding=1),
        ),
        "depthwise": (
            qnn.conv2d(x, d, _c(128, "int32"), _c(2, "int32"), *scales, channels=4, groups=4, **options),
            _conv(shifted, deep.astype("int32") - 2, padding=1, groups=4),
        ),
        "NHWC": (
            qnn.conv2d(
                nhwc,
                relay.transpose(w, (2, 3, 1, 0)),
                _c(128, "int32"),
                _c(0, "int32"),
                *scales,
                channels=5,
                data_layout="NHWC",
                kernel_layout="HWIO",
                **options,
            ),
            _conv(shifted, weight, padding=1).transpose(0, 2, 3, 1),
        ),
    }
    check(cases, {"x": data, "w": weight, "d": deep})


def test_conv2d_transpose() -> None:
    data = RNG.randint(-128, 128, (1, 3, 4, 4)).astype("int8")
    weight = RNG.randint(-128, 128, (3, 2, 3, 3)).astype("int8")
    x, w = variables(x=data, w=weight)
    scales = (_c(0.05, "float32"), _c(0.02, "float32"))
    want = F.conv_transpose2d(
        torch.from_numpy(data.astype("float64") - 5), torch.from_numpy(weight.astype("float64")), stride=2, padding=1
    )
    call = qnn.conv2d_transpose(
        x, w, _c(5, "int32"), _c(0, "int32"), *scales, channels=2, kernel_size=(3, 3), strides=(2, 2), padding=(1, 1)
    )
    check({"transpose": (call, want.numpy().astype("int32"))}, {"x": data, "w": weight})


def test_products() -> None:
    data = RNG.randint(0, 256, (3, 7)).astype("uint8")
    weight = RNG.randint(-128, 128, (4, 7)).astype("int8")
    left = RNG.randint(-128, 128, (2, 3, 5)).astype("int8")
    right = RNG.randint(-128, 128, (2, 4, 5)).astype("int8")
    zeros = np.array([1, 0, -3, 9], "int32")
    x, w, a, b = variables(x=data, w=weight, a=left, b=right)
    scales = (_c(0.05, "float32"), _c(0.02, "float32"))
    wide = data.astype("int64") - 100
    cases = {
        "dense": (
            qnn.dense(x, w, _c(100, "int32"), _c(0, "int32"), *scales, units=4),
            (wide @ weight.astype("int64").T).astype("int32"),
        ),
        "dense zeros": (
            qnn.dense(x, w, _c(100, "int32"), _c(zeros, "int32"), *scales, units=4),
            (wide @ (weight.astype("int64") - zeros[:, None]).T).astype("int32"),
        ),
        "batch_matmul": (
            qnn.batch_matmul(a, b, _c(3, "int32"), _c(-2, "int32"), *scales),
            ((left.astype("int64") - 3) @ (right.astype("int64") + 2).transpose(0, 2, 1)).astype("int32"),
        ),
    }
    check(cases, {"x": data, "w": weight, "a": left, "b": right})


def test_sums_and_products_of_tensors() -> None:
    left = RNG.randint(0, 256, (2, 3, 4)).astype("uint8")
    right = RNG.randint(0, 256, (2, 3, 4)).astype("uint8")
    x, y = variables(x=left, y=right)
    qparams = [
        _c(0.3, "float32"),
        _c(10, "int32"),
        _c(0.7, "float32"),
        _c(128, "int32"),
        _c(0.9, "float32"),
        _c(20, "int32"),
    ]
    one = _requantized(left, 0.3, 10, 0.9, 20, "int32").astype("int64")
    two = _requantized(right, 0.7, 128, 0.9, 20, "int32").astype("int64")
    product = (left.astype("int32") - 10) * (right.astype("int32") - 128)
    scale = float(np.float32(0.3) * np.float32(0.7))
    same = [_c(0.5, "float32"), _c(7, "int32")] * 3
    channels = np.array([0.3, 0.2, 0.5], "float32")
    by_channel = [_c(channels, "float32"), _c([1, 2, 3], "int32"), _c(channels, "float32"), _c([0, 0, 0], "int32")]
    want = np.stack(
        [
            _requantized(
                (left[:, i].astype("int32") - (i + 1)) * right[:, i].astype("int32"),
                float(np.float32(float(channels[i]) * float(channels[i]))),
                0,
                0.9,
                20,
                "uint8",
            )
            for i in range(3)
        ],
        1,
    )
    cases = {
        "add": (qnn.add(x, y, *qparams), np.clip(one + two - 20, 0, 255).astype("uint8")),
        "subtract": (qnn.subtract(x, y, *qparams), np.clip(one - two + 20, 0, 255).astype("uint8")),
        "add same": (qnn.add(x, y, *same), np.clip(left.astype(int) + right.astype(int) - 7, 0, 255).astype("uint8")),
        "mul": (qnn.mul(x, y, *qparams), _requantized(product, scale, 0, 0.9, 20, "uint8")),
        "mul channels": (qnn.mul(x, y, *by_channel, *qparams[4:], lhs_axis=1, rhs_axis=1), want),
    }
    check(cases, {"x": left, "y": right})


def test_concatenate() -> None:
    left = RNG.randint(0, 256, (2, 3)).astype("uint8")
    right = RNG.randint(0, 256, (2, 2)).astype("uint8")
    x, y = variables(x=left, y=right)
    call = qnn.concatenate(
        [x, y],
        [_c(0.3, "float32"), _c(0.5, "float32")],
        [_c(10, "int32"), _c(3, "int32")],
        _c(0.5, "float32"),
        _c(3, "int32"),
        axis=1,
    )
    want = np.concatenate([_requantized(left, 0.3, 10, 0.5, 3, "uint8"), right], 1)
    check({"concatenate": (call, want)}, {"x": left, "y": right})


def test_activations_and_pooling() -> None:
    data = RNG.randint(-128, 128, (1, 2, 6, 6)).astype("int8")
    (x,) = variables(x=data)
    params = [_c(0.05, "float32"), _c(4, "int32"), _c(0.08, "float32"), _c(-6, "int32")]
    moved = _requantized(data, 0.05, 4, 0.08, -6, "int32").astype("int64")

    def scaled(values: np.ndarray, factor: float) -> np.ndarray:
        significand, exponent = _significand(Fraction(factor))
        places = 31 - exponent
        return np.vectorize(lambda v: (int(v) * significand + (1 << (places - 1))) >> places)(values)

    leaky = np.where(data.astype(int) < 4, scaled(moved, 0.1) + scaled(np.array(-6), 0.9), moved)
    sums = moved.reshape(1, 2, 3, 2, 3, 2).sum((3, 5))
    real = (data.astype("float32") - 4) * np.float32(0.05)

    def quantized(values: np.ndarray) -> np.ndarray:
        steps = values / np.float32(0.08)
        return np.clip(np.sign(steps) * np.floor(np.abs(steps) + 0.5) - 6, -128, 127).astype("int8")

    cases = {
        "leaky_relu": (qnn.leaky_relu(x, 0.1, *params), np.clip(leaky, -128, 127).astype("int8")),
        "avg_pool2d": (
            qnn.avg_pool2d(x, *params, (2, 2), (2, 2), (0, 0), (1, 1), layout="NCHW"),
            np.clip(np.trunc(sums / 4), -128, 127).astype("int8"),
        ),
        "tanh": (qnn.tanh(x, *params), quantized(np.tanh(real))),
        "sigmoid": (qnn.sigmoid(x, *params), quantized(1 / (1 + np.exp(-real)))),
        "abs": (qnn.abs(x, *params), quantized(np.abs(real))),
        "hardswish": (qnn.hardswish(x, *params), quantized(real * np.clip(real + 3, 0, 6) / 6)),
        "exp": (qnn.exp(x, *params), quantized(np.exp(real))),
    }
    check(cases, {"x": data})


def test_softmax_stays_near_the_real_one() -> None:
    data = RNG.randint(-128, 128, (3, 8)).astype("int8")
    (x,) = variables(x=data)
    call = qnn.softmax(x, _c(0.05, "float32"), _c(2, "int32"), _c(1 / 256, "float32"), _c(-128, "int32"))
    (found,) = run_module(relay.IRModule.from_expr(call), {"x": data})
    want = torch.softmax(torch.from_numpy((data.astype("float32") - 2) * 0.05), -1).numpy()
    # The integer algorithm approximates powers by lines; its paper states a few per cent.
    assert np.abs((found.astype("float32") + 128) / 256 - want).max() < 0.04


def test_scales_may_come_with_the_parameters() -> None:
    data = RNG.randint(-1000, 1000, (4, 4)).astype("int32")
    x, scale, zero = relay.var("x", shape=(4, 4), dtype="int32"), relay.var("s", shape=()), relay.var("z", "int32")
    call = qnn.requantize(x, scale, zero, _c(0.7, "float32"), _c(3, "int32"))
    module = relay.IRModule.from_expr(call)
    params = {"s": np.float32(0.01), "z": np.int32(5)}
    (found,) = run_module(module, {"x": data}, params)
    np.testing.assert_array_equal(found, _requantized(data, 0.01, 5, 0.7, 3, "int8"))
    with pytest.raises(RelayError, match="must be known before running"):
        relay.to_relax(module)
