"""What a scheduled kernel executes, counted from its loops, beside a run through all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gacer_tvm._tvm import relax, tir
from gacer_tvm.graph.lower import fuse
from gacer_tvm.kernels import layout, rules
from gacer_tvm.kernels.counts import count
from gacer_tvm.kernels.rules.base import machine
from gacer_tvm.kernels.rules.fallback import plain

from .executed import executed
from .rule_tools import TARGET, kernels, module

op = relax.op
few = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
SHARES = ("serial", "lanes")


def scheduled(operands: Sequence[Any], make: Callable[..., Any], cores: int = 2) -> list[Any]:
    """The kernels of one operator as the rules schedule them."""
    fused = fuse(layout.prepare(module(operands, make), TARGET), TARGET, "test")
    functions = [f for _, f in fused.functions_items() if isinstance(f, tir.PrimFunc)]
    return [rules.schedule(f, TARGET, cores).func for f in functions]


def agree(func: Any) -> None:
    """Exactly, or within the error of the sampling where there is any."""
    (truth, loose), found = executed(func), msgspec.structs.asdict(count(func))
    assert set(truth) == set(found) - {"lines"}  # `test_touched` looks at these
    for name, value in truth.items():
        if name in ("tasks", "regions", "scratch", "size"):
            assert found[name] == value, name
        elif name in SHARES:
            assert found[name] == pytest.approx(value, abs=0.05 if loose else 1e-4), name
        else:
            # Figures are told to a tenth.
            assert found[name] == pytest.approx(value, rel=0.15 if loose else 1e-9, abs=0.06), name


def zeros(*shape: int) -> Any:
    return np.zeros(shape, "float32")


CASES: dict[str, tuple[Sequence[Any], Callable[..., Any]]] = {
    "elementwise": ([(3, 5, 7)], lambda x: op.nn.relu(x)),
    "transcendental": ([(3, 50)], lambda x: op.tanh(op.exp(x))),
    "division": ([(3, 50), (50,)], lambda x, y: op.divide(x, y)),
    "broadcast": ([(3, 5, 17), (17,)], lambda x, y: op.add(x, y)),
    "bias over channels": ([(2, 24, 1, 1), (1, 24, 1, 1)], lambda x, y: op.nn.relu(op.add(x, y))),
    "transpose": ([(4, 18, 20)], lambda x: op.permute_dims(x, [0, 2, 1])),
    "concatenation": ([(2, 3, 7), (2, 5, 7)], lambda x, y: op.concat([x, y], axis=1)),
    "matmul": ([(7, 19), zeros(19, 33)], lambda x, w: op.matmul(x, w)),
    "matmul, transposed": ([(7, 19), zeros(33, 19)], lambda x, w: op.nn.relu(op.matmul(x, op.permute_dims(w)))),
    "batched matmul": ([(3, 9, 8), (3, 8, 11)], lambda x, y: op.matmul(x, y)),
    "softmax": ([(3, 17)], lambda x: op.nn.softmax(x)),
    "layer norm": ([(4, 30), (30,), (30,)], lambda x, g, b: op.nn.layer_norm(x, g, b, axes=[-1])),
    "global pooling": ([(2, 20, 7, 7)], lambda x: op.mean(x, [2, 3], keepdims=True)),
    "max pooling": ([(1, 3, 9, 9)], lambda x: op.nn.max_pool2d(x, (3, 3), (2, 2), (1, 1))),
    "average pooling": ([(1, 3, 9, 9)], lambda x: op.nn.avg_pool2d(x, (2, 2), (2, 2))),
    "convolution": ([(2, 5, 7, 9), zeros(6, 5, 3, 3)], lambda x, w: op.nn.conv2d(x, w, padding=(1, 1))),
    "odd convolution": ([(1, 3, 15, 13), zeros(20, 3, 5, 5)], lambda x, w: op.nn.conv2d(x, w, strides=(2, 2), padding=(2, 2))),
    "pointwise convolution": ([(2, 16, 7, 7), zeros(24, 16, 1, 1)], lambda x, w: op.nn.relu(op.nn.conv2d(x, w))),
    "depthwise": ([(1, 16, 9, 9), zeros(16, 1, 3, 3)], lambda x, w: op.nn.conv2d(x, w, padding=(1, 1), groups=16)),
    "transposed convolution": (
        [(1, 4, 5, 5), zeros(4, 6, 3, 3)],
        lambda x, w: op.nn.conv2d_transpose(x, w, strides=(2, 2), padding=(1, 1)),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_kernels_of_the_rules(name: str) -> None:
    for func in scheduled(*CASES[name]):
        agree(func)
        assert count(func) == count(func)


@pytest.mark.parametrize("name", ["elementwise", "broadcast", "bias over channels", "transpose", "matmul", "average pooling"])
def test_kernels_of_the_last_rule(name: str) -> None:
    """Blocks with variables of their own, as TVM's schedules leave them."""
    for func in kernels(module(*CASES[name])).values():
        agree(plain(func, machine(TARGET, 2)))


@few
@given(st.lists(st.integers(1, 12), min_size=1, max_size=4), st.sampled_from(["relu", "exp", "add", "sigmoid"]))
def test_elementwise_of_any_shape(shape: list[int], what: str) -> None:
    one: dict[str, Any] = {"relu": op.nn.relu, "exp": op.exp, "sigmoid": op.sigmoid}
    make = one.get(what) or (lambda x, y: op.add(x, y))
    for func in scheduled([tuple(shape)] * (1 if what in one else 2), make):
        agree(func)


@few
@given(st.integers(1, 18), st.integers(1, 24), st.integers(1, 50), st.booleans(), st.integers(1, 4))
def test_matrix_products_of_any_size(rows: int, depth: int, columns: int, constant: bool, cores: int) -> None:
    second = zeros(depth, columns) if constant else (depth, columns)
    for func in scheduled([(rows, depth), second], lambda x, w: op.matmul(x, w), cores):
        agree(func)


@few
@given(
    st.integers(1, 2), st.integers(1, 6), st.integers(5, 12), st.integers(5, 18), st.integers(1, 20),
    st.sampled_from([1, 2, 3, 5]), st.integers(1, 2), st.integers(0, 2),
)  # fmt: skip
def test_convolutions_of_any_size(
    batch: int, channels: int, height: int, width: int, outputs: int, window: int, stride: int, padding: int
) -> None:
    def make(x: Any, w: Any) -> Any:
        return op.nn.relu(op.nn.conv2d(x, w, strides=(stride, stride), padding=(padding, padding)))

    for func in scheduled([(batch, channels, height, width), zeros(outputs, channels, window, window)], make):
        agree(func)


@few
@given(st.integers(1, 9), st.integers(5, 14), st.integers(5, 20), st.integers(1, 3), st.integers(1, 3), st.booleans())
def test_pooling_of_any_size(channels: int, height: int, width: int, window: int, stride: int, most: bool) -> None:
    pool = op.nn.max_pool2d if most else op.nn.avg_pool2d
    options = (window, window), (stride, stride), (window // 2,) * 2
    for func in scheduled([(1, channels, height, width)], lambda x: pool(x, *options)):
        agree(func)


@few
@given(st.integers(1, 9), st.integers(1, 70))
def test_softmax_of_any_size(rows: int, columns: int) -> None:
    for func in scheduled([(rows, columns)], lambda x: op.nn.softmax(x)):
        agree(func)
