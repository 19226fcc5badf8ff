"""Elementwise operators against numpy and scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special

from gacer_tvm import relay
from tests.relay.running import check, variables

RNG = np.random.RandomState(0)
FLOATS = RNG.uniform(-3, 3, (3, 4)).astype("float32")
POSITIVE = RNG.uniform(0.1, 3, (3, 4)).astype("float32")
UNIT = RNG.uniform(-0.9, 0.9, (3, 4)).astype("float32")


def test_unary_floats() -> None:
    x, p, u = variables(x=FLOATS, p=POSITIVE, u=UNIT)
    cases = {
        "abs": (relay.abs(x), np.abs(FLOATS)),
        "acos": (relay.acos(u), np.arccos(UNIT)),
        "acosh": (relay.acosh(p + 1.0), np.arccosh(POSITIVE + 1)),
        "asin": (relay.asin(u), np.arcsin(UNIT)),
        "asinh": (relay.asinh(x), np.arcsinh(FLOATS)),
        "atan": (relay.atan(x), np.arctan(FLOATS)),
        "atanh": (relay.atanh(u), np.arctanh(UNIT)),
        "ceil": (relay.ceil(x), np.ceil(FLOATS)),
        "copy": (relay.copy(x), FLOATS),
        "cos": (relay.cos(x), np.cos(FLOATS)),
        "cosh": (relay.cosh(x), np.cosh(FLOATS)),
        "erf": (relay.erf(x), special.erf(FLOATS)),
        "exp": (relay.exp(x), np.exp(FLOATS)),
        "fast_exp": (relay.fast_exp(x), np.exp(FLOATS)),
        "fast_erf": (relay.fast_erf(x), special.erf(FLOATS)),
        "fast_tanh": (relay.fast_tanh(x), np.tanh(FLOATS)),
        "floor": (relay.floor(x), np.floor(FLOATS)),
        "log": (relay.log(p), np.log(POSITIVE)),
        "log2": (relay.log2(p), np.log2(POSITIVE)),
        "log10": (relay.log10(p), np.log10(POSITIVE)),
        "negative": (relay.negative(x), -FLOATS),
        "rsqrt": (relay.rsqrt(p), 1 / np.sqrt(POSITIVE)),
        "sigmoid": (relay.sigmoid(x), special.expit(FLOATS)),
        "sign": (relay.sign(x), np.sign(FLOATS)),
        "sin": (relay.sin(x), np.sin(FLOATS)),
        "sinh": (relay.sinh(x), np.sinh(FLOATS)),
        "sqrt": (relay.sqrt(p), np.sqrt(POSITIVE)),
        "tan": (relay.tan(u), np.tan(UNIT)),
        "tanh": (relay.tanh(x), np.tanh(FLOATS)),
        "trunc": (relay.trunc(x), np.trunc(FLOATS)),
        "zeros_like": (relay.zeros_like(x), np.zeros_like(FLOATS)),
        "ones_like": (relay.ones_like(x), np.ones_like(FLOATS)),
        "stop_fusion": (relay.annotation.stop_fusion(x), FLOATS),
        "checkpoint": (relay.annotation.checkpoint(x), FLOATS),
        "compiler_end": (relay.annotation.compiler_end(relay.annotation.compiler_begin(x, "c"), "c"), FLOATS),
        "dropout": (relay.nn.dropout(x), FLOATS),
        "dropout_raw": (relay.nn.dropout_raw(x), [FLOATS, np.ones_like(FLOATS)]),
        "relu": (relay.nn.relu(x), np.maximum(FLOATS, 0)),
        "leaky_relu": (relay.nn.leaky_relu(x, 0.1), np.where(FLOATS > 0, FLOATS, np.float32(0.1) * FLOATS)),
        "hardswish": (
            relay.Call(relay.Op("hardswish"), [x]),
            (FLOATS * np.clip(FLOATS + 3, 0, 6) / 6).astype("float32"),
        ),
    }
    check(cases, {"x": FLOATS, "p": POSITIVE, "u": UNIT}, atol=2e-6)


def test_round_takes_halves_away_from_zero() -> None:
    values = np.array([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 0.49999997, -0.49999997, 8388609.0, 3.2], "float32")
    want = np.array([-3, -2, -1, 1, 2, 3, 0, 0, 8388609, 3], "float32")
    (x,) = variables(x=values)
    check({"round": (relay.round(x), want)}, {"x": values}, rtol=0, atol=0)


def test_predicates_and_special_values() -> None:
    values = np.array([1, np.inf, -np.inf, np.nan, 0, -2], "float32")
    finite = values[[0, 1, 2, 4, 5]]
    x, y = variables(x=values, y=finite)
    cases = {
        "isnan": (relay.isnan(x), np.isnan(values)),
        "isinf": (relay.isinf(x), np.isinf(values)),
        "isfinite": (relay.isfinite(x), np.isfinite(values)),
        "clip": (relay.clip(y, -1, 1), np.clip(finite, -1, 1)),
        "clip below": (relay.clip(y, -1, float("inf")), np.maximum(finite, -1)),
    }
    check(cases, {"x": values, "y": finite})


def test_binary_floats_broadcast() -> None:
    left, right = FLOATS, RNG.uniform(0.5, 3, (4,)).astype("float32")
    x, y, p = variables(x=left, y=right, p=POSITIVE)
    quotient = np.trunc(left / right)
    cases = {
        "add": (relay.add(x, y), left + right),
        "subtract": (x - y, left - right),
        "rsubtract": (1.0 - x, 1 - left),
        "multiply": (x * y, left * right),
        "divide": (x / y, left / right),
        "power": (relay.power(p, y), POSITIVE**right),
        "maximum": (relay.maximum(x, y), np.maximum(left, right)),
        "minimum": (relay.minimum(x, y), np.minimum(left, right)),
        "floor_divide": (relay.floor_divide(x, y), np.floor(left / right)),
        "floor_mod": (relay.floor_mod(x, y), left - np.floor(left / right) * right),
        "trunc_divide": (relay.trunc_divide(x, y), quotient),
        "trunc_mod": (relay.trunc_mod(x, y), left - quotient * right),
        "mod": (relay.mod(x, y), np.fmod(left, right)),
        "less": (x < y, left < right),
        "less_equal": (x <= y, left <= right),
        "greater": (x > y, left > right),
        "greater_equal": (x >= y, left >= right),
        "equal": (relay.equal(x, x), np.ones_like(left, bool)),
        "not_equal": (relay.not_equal(x, y), left != right),
        "bias_add": (relay.nn.bias_add(x, y, axis=-1), left + right),
    }
    check(cases, {"x": left, "y": right, "p": POSITIVE}, atol=2e-6)


def test_integers_divide_toward_zero_and_shift() -> None:
    left = np.array([7, -7, 7, -7, 5, 0], "int32")
    right = np.array([2, 2, -2, -2, 3, 4], "int32")
    x, y = variables(x=left, y=right)
    quotient = np.trunc(left / right).astype("int32")
    cases = {
        "divide": (x / y, quotient),
        "trunc_divide": (relay.trunc_divide(x, y), quotient),
        "mod": (relay.mod(x, y), left - quotient * right),
        "trunc_mod": (relay.trunc_mod(x, y), left - quotient * right),
        "floor_divide": (relay.floor_divide(x, y), left // right),
        "floor_mod": (relay.floor_mod(x, y), left % right),
        "left_shift": (relay.left_shift(x, relay.const(2)), left << 2),
        "right_shift": (relay.right_shift(x, relay.const(1)), left >> 1),
        "bitwise_and": (relay.bitwise_and(x, y), left & right),
        "bitwise_or": (relay.bitwise_or(x, y), left | right),
        "bitwise_xor": (relay.bitwise_xor(x, y), left ^ right),
        "bitwise_not": (relay.bitwise_not(x), ~left),
        "abs": (relay.abs(x), np.abs(left)),
        "sign": (relay.sign(x), np.sign(left)),
        "round": (relay.round(x), left),
        "floor": (relay.floor(x), left),
        "clip": (relay.clip(x, -3, 3), np.clip(left, -3, 3)),
        "clip wide": (relay.clip(x, -1e12, 1e12), left),
    }
    check(cases, {"x": left, "y": right})


def test_booleans() -> None:
    left, right = np.array([True, True, False, False]), np.array([True, False, True, False])
    x, y = variables(x=left, y=right)
    cases = {
        "and": (relay.logical_and(x, y), left & right),
        "or": (relay.logical_or(x, y), left | right),
        "xor": (relay.logical_xor(x, y), left ^ right),
        "not": (relay.logical_not(x), ~left),
        "constant": (relay.logical_and(x, relay.const(True)), left),
    }
    check(cases, {"x": left, "y": right})


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "int64", "float16", "float64", "bool"])
def test_cast(dtype: str) -> None:
    values = np.array([0.0, 1.9, -1.9, 2.5, 100.25], "float32")
    values = np.abs(values) if dtype == "uint8" else values
    (x,) = variables(x=values)
    want = values.astype(dtype)
    check(
        {
            "cast": (relay.cast(x, dtype), want),
            "astype": (x.astype(dtype), want),
            "cast_like": (relay.cast_like(x, relay.const(np.zeros(2, dtype))), want),
        },
        {"x": values},
    )


def test_reinterpret() -> None:
    (x,) = variables(x=FLOATS)
    check({"reinterpret": (relay.reinterpret(x, "int32"), FLOATS.view("int32"))}, {"x": FLOATS})


def test_where() -> None:
    flags = RNG.rand(3, 4) > 0.5
    rows = np.array([True, False, True])
    c, r, n, x, y = variables(c=flags, r=rows, n=flags.astype("int32"), x=FLOATS, y=POSITIVE)
    cases = {
        "where": (relay.where(c, x, y), np.where(flags, FLOATS, POSITIVE)),
        "broadcast": (relay.where(c, x, relay.const(0.5)), np.where(flags, FLOATS, np.float32(0.5))),
        "numbers": (relay.where(n, x, y), np.where(flags, FLOATS, POSITIVE)),
        # The first versions took a vector that picks rows.
        "rows": (relay.where(r, x, y), np.where(rows[:, None], FLOATS, POSITIVE)),
    }
    check(cases, {"c": flags, "r": rows, "n": flags.astype("int32"), "x": FLOATS, "y": POSITIVE})


def test_full_like_and_prelu() -> None:
    data, slope = RNG.randn(2, 3, 4).astype("float32"), np.array([0.1, 0.2, 0.3], "float32")
    x, a = variables(x=data, a=slope)
    cases = {
        "full_like": (relay.full_like(x, relay.const(2.5)), np.full_like(data, 2.5)),
        "prelu": (relay.nn.prelu(x, a, axis=1), np.where(data > 0, data, data * slope[:, None])),
        "bias_add": (relay.nn.bias_add(x, a), data + slope[:, None]),
    }
    check(cases, {"x": data, "a": slope})


def test_fixed_point_multiply_rounds_halves_upward() -> None:
    numbers = np.array([-5, -4, -3, -1, 0, 1, 3, 4, 5, 1000, -1000, 2**30], "int32")
    (x,) = variables(x=numbers)
    cases = {}
    for multiplier, shift in ((1 << 30, 0), (1 << 30, 1), (1518500250, -3), (1303384550, 4)):
        exact = numbers.astype(object) * multiplier
        places = 31 - shift
        want = np.array([(int(value) + (1 << (places - 1))) >> places for value in exact], "int64")
        fits = np.abs(want) < 2**31
        picked = np.where(fits, numbers, 0).astype("int32")
        y = relay.const(picked)
        cases[f"{multiplier} {shift}"] = (
            relay.fixed_point_multiply(relay.add(y, x - x), multiplier, shift),
            np.where(fits, want, 0).astype("int32"),
        )
    check(cases, {"x": numbers})


def test_fixed_point_multiply_per_axis() -> None:
    numbers = RNG.randint(-1000, 1000, (2, 3, 4)).astype("int32")
    factor, left, right = np.array([1 << 30, 1303384550, 1518500250]), np.array([1, 0, 2]), np.array([0, 3, 0])
    (x,) = variables(x=numbers)
    call = relay.op.build.call(
        "fixed_point_multiply_per_axis",
        [x, *(relay.const(array.astype("int32")) for array in (factor, left, right))],
        {"is_lshift_required": True, "is_rshift_required": True, "axes": [1]},
    )
    want = np.empty(numbers.shape, "int32")
    for position, number in np.ndenumerate(numbers):
        channel = position[1]
        places = 31 + int(right[channel])
        exact = (int(number) << int(left[channel])) * int(factor[channel])
        want[position] = (exact + (1 << (places - 1))) >> places
    check({"per axis": (call, want)}, {"x": numbers})
