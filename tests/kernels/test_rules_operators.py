"""Each scheduled kernel beside the same kernel as TVM legalized it, and beside NumPy where that is simple."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gacer_tvm._tvm import relax
from gacer_tvm.kernels import rules

from .rule_tools import TARGET, built, close, drawn, kernels, module, run

op = relax.op
_SETTINGS = settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))


def _beside_unscheduled(mod: Any, rule: str | None = None) -> None:
    for name, func in kernels(mod).items():
        made = rules.schedule(func, TARGET, 2)
        assert made.failures == (), f"{name}: {made.failures}"
        assert rule is None or made.rule == rule, f"{name} was made by {made.rule}"
        arrays = drawn(func)
        for ours, plain in zip(run(made.func, arrays), run(func, arrays)):
            close(ours.astype(np.float64), plain.astype(np.float64))


@_SETTINGS
@given(
    st.lists(st.integers(1, 5), min_size=0, max_size=2),
    st.integers(1, 70),
    st.integers(1, 70),
    st.integers(1, 90),
    st.booleans(),
    st.booleans(),
)
def test_products_of_any_shape(batch: list[int], m: int, k: int, n: int, constant: bool, bias: bool) -> None:
    rng = np.random.default_rng(m * n)
    a = rng.standard_normal((*batch, m, k), dtype=np.float32)
    b = rng.standard_normal((k, n) if constant else (*batch, k, n), dtype=np.float32)
    c = rng.standard_normal((n,), dtype=np.float32)

    def make(x: Any, y: Any, z: Any) -> Any:
        product = op.matmul(x, y)
        return op.nn.relu(op.add(product, z)) if bias else product

    truth = a @ b
    truth = np.maximum(truth + c, 0) if bias else truth
    call, used = built(module([a.shape, b if constant else b.shape, c], make))
    close(call(a) if constant else call(a, b), truth)
    assert set(used.values()) <= {"tiled", "rows"}


@_SETTINGS
@given(st.integers(1, 40), st.integers(1, 300), st.integers(1, 90), st.booleans())
def test_products_with_a_transposed_weight(m: int, k: int, n: int, constant: bool) -> None:
    rng = np.random.default_rng(k)
    a = rng.standard_normal((m, k), dtype=np.float32)
    b = rng.standard_normal((n, k), dtype=np.float32)
    mod = module([a.shape, b if constant else b.shape], lambda x, y: op.matmul(x, op.permute_dims(y, [1, 0])))
    call, _ = built(mod)
    close(call(a) if constant else call(a, b), a @ b.T)


@_SETTINGS
@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=4),
    st.sampled_from(["sum", "mean", "max", "min", "prod", "variance"]),
    st.data(),
)
def test_reductions_over_any_axes(shape: list[int], name: str, data: Any) -> None:
    shape = [*shape[:-1], shape[-1] * data.draw(st.sampled_from([1, 7, 16]))]
    axes = data.draw(st.lists(st.integers(0, len(shape) - 1), min_size=1, unique=True))
    keep = data.draw(st.booleans())
    _beside_unscheduled(module([tuple(shape)], lambda x: getattr(op, name)(x, sorted(axes), keepdims=keep)))


@_SETTINGS
@given(st.lists(st.integers(1, 6), max_size=2), st.integers(1, 300), st.sampled_from(["softmax", "log_softmax"]))
def test_softmax_along_memory(lead: list[int], width: int, name: str) -> None:
    _beside_unscheduled(module([(*lead, width)], lambda x: getattr(op.nn, name)(x, -1)))


@_SETTINGS
@given(st.integers(1, 4), st.integers(2, 40), st.integers(2, 40))
def test_softmax_across_memory(a: int, b: int, c: int) -> None:
    _beside_unscheduled(module([(a, b, c)], lambda x: op.nn.softmax(x, 1)))


@_SETTINGS
@given(st.integers(1, 4), st.integers(1, 20), st.integers(2, 200), st.booleans())
def test_layer_norm(a: int, b: int, width: int, two: bool) -> None:
    axes = [-2, -1] if two else [-1]
    parameters = (b, width) if two else (width,)
    mod = module(
        [(a, b, width), parameters, parameters], lambda x, g, h: op.nn.layer_norm(x, g, h, axes=axes)
    )
    _beside_unscheduled(mod)


@_SETTINGS
@given(st.integers(1, 3), st.sampled_from([(4, 1), (6, 3), (32, 4)]), st.integers(2, 9))
def test_group_norm(n: int, channels: tuple[int, int], size: int) -> None:
    c, groups = channels
    mod = module(
        [(n, c, size, size), (c,), (c,)],
        lambda x, g, h: op.nn.group_norm(x, g, h, num_groups=groups, channel_axis=1, axes=[2, 3]),
    )
    _beside_unscheduled(mod)


@_SETTINGS
@given(st.lists(st.integers(1, 20), min_size=1, max_size=4), st.data())
def test_transposes_of_any_permutation(shape: list[int], data: Any) -> None:
    order = data.draw(st.permutations(range(len(shape))))
    x = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    call, _ = built(module([x.shape], lambda a: op.add(op.permute_dims(a, list(order)), relax.const(1.0))))
    np.testing.assert_array_equal(call(x), x.transpose(order) + np.float32(1))


@_SETTINGS
@given(st.lists(st.integers(1, 40), min_size=2, max_size=4), st.integers(0, 2), st.integers(1, 9), st.integers(1, 9))
def test_concatenations_with_an_epilogue(parts: list[int], axis: int, a: int, b: int) -> None:
    shapes = [tuple(p if i == axis else e for i, e in enumerate((a, b, 11))) for p in parts]
    arrays = [np.random.default_rng(n).standard_normal(s, dtype=np.float32) for n, s in enumerate(shapes)]
    call, _ = built(module(shapes, lambda *xs: op.nn.relu(op.concat(list(xs), axis))))
    np.testing.assert_array_equal(call(*arrays), np.maximum(np.concatenate(arrays, axis), 0))


@_SETTINGS
@given(st.data())
def test_broadcasts(data: Any) -> None:
    shape = data.draw(st.lists(st.integers(1, 40), min_size=1, max_size=4))
    other = [data.draw(st.sampled_from([1, e])) for e in shape][data.draw(st.integers(0, len(shape) - 1)) :]
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal(shape, dtype=np.float32), rng.standard_normal(other, dtype=np.float32)
    call, _ = built(module([a.shape, b.shape], lambda x, y: op.maximum(op.add(x, y), op.multiply(x, y))))
    np.testing.assert_array_equal(call(a, b), np.maximum(a + b, a * b))


@_SETTINGS
@given(
    st.sampled_from(["max", "avg"]),
    st.integers(1, 3),
    st.integers(1, 20),
    st.tuples(st.integers(1, 3), st.integers(1, 3)),
    st.integers(1, 3),
    st.integers(0, 1),
    st.booleans(),
)
def test_pools(
    kind: str, n: int, c: int, window: tuple[int, int], stride: int, pad: int, ceil: bool
) -> None:
    pad = min(pad, min(window) // 2)
    make = op.nn.max_pool2d if kind == "max" else op.nn.avg_pool2d
    _beside_unscheduled(
        module([(n, c, 9, 14)], lambda x: make(x, window, (stride, stride), (pad, pad), ceil_mode=ceil))
    )


@pytest.mark.parametrize(
    "make",
    [
        lambda x: op.image.resize2d(x, (18, 23), layout="NCHW", method="linear"),
        lambda x: op.image.resize2d(x, (18, 22), layout="NCHW", method="nearest_neighbor"),
        lambda x: op.nn.pad(x, [0, 0, 1, 2, 2, 1, 3, 0]),
        lambda x: op.strided_slice(x, [2, 3], [1, 2], [9, 10], [2, 3]),
        lambda x: op.take(x, relax.const(np.array([3, 0, 7], "int64")), 2),
        lambda x: op.nn.adaptive_avg_pool2d(x, (4, 3)),
        lambda x: op.nn.gelu(x),
        lambda x: op.nn.instance_norm(x, relax.const(np.ones(5, "float32")), relax.const(np.ones(5, "float32")), 1, [2, 3]),
        lambda x: op.astype(op.argmax(x, 1), "float32"),
        lambda x: op.tril(x),
        lambda x: op.reshape(op.permute_dims(op.reshape(x, (3, 5, 3, 3, 11)), [0, 2, 1, 4, 3]), (9, 55, 3)),
        lambda x: op.where(op.greater(x, relax.const(0.0)), op.exp(x), op.tanh(x)),
        lambda x: op.astype(op.exp(op.astype(x, "float16")), "float32"),
        lambda x: op.cumsum(x, 1),
        lambda x: op.astype(op.sum(op.astype(x, "float64"), [3]), "float32"),
        lambda x: op.sum(x),
    ],
)  # fmt: skip
def test_other_operators(make: Callable[..., Any]) -> None:
    _beside_unscheduled(module([(3, 5, 9, 11)], make))


@pytest.mark.parametrize("name", ["exp", "tanh", "sigmoid", "erf"])
def test_functions_are_accurate_and_keep_special_values(name: str) -> None:
    special = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-30, 88.5, -103.9], np.float32)
    spread = np.linspace(-12, 12, 10_000, dtype=np.float32)
    wide = np.linspace(-87, 88, 2_000, dtype=np.float32)
    x = np.concatenate([special, spread, wide])
    torch = pytest.importorskip("torch")
    exact = getattr(torch, name)(torch.from_numpy(x.astype(np.float64))).numpy()
    call, _ = built(module([x.shape], getattr(op, name)))
    found = call(x)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(exact))
    assert found[3] == exact[3]
    with np.errstate(over="ignore"):
        np.testing.assert_allclose(found[1:], exact.astype(np.float32)[1:], rtol=1e-6, atol=1e-37)


def test_results_do_not_depend_on_cores_or_chance() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1, 20, 40, 40), dtype=np.float32)
    w = rng.standard_normal((70, 20, 3, 3), dtype=np.float32)
    mod = module([x.shape, w], lambda a, b: op.nn.softmax(op.nn.conv2d(a, b, padding=1), -1))
    call, _ = built(mod, cores=2)
    first = call(x)
    np.testing.assert_array_equal(first, call(x))
    from gacer_tvm._tvm import tvm

    limit = tvm.get_global_func("runtime.config_threadpool")
    limit(1, 1)
    try:
        np.testing.assert_array_equal(first, call(x))
    finally:
        limit(1, 2)


def test_a_chunk_of_a_kernel_is_its_rows() -> None:
    from gacer_tvm.kernels.chunk import at_items, with_offset
    from gacer_tvm.kernels.layout import prepare

    rng = np.random.default_rng(0)
    w = rng.standard_normal((48, 16, 3, 3), dtype=np.float32)
    mod = prepare(module([(8, 16, 14, 14), w], lambda a, b: op.nn.relu(op.nn.conv2d(a, b, padding=1))), TARGET)
    func = next(f for n, f in kernels(mod).items() if "conv" in n)
    arrays = drawn(func)
    whole = run(rules.schedule(func, TARGET, 2).func, arrays)[-1]
    part, rows = at_items(func, 1, 8, 3)
    made = with_offset(rules.schedule(part, TARGET, 2).func, rows, 8)
    from gacer_tvm._tvm import tvm

    tensors = [tvm.runtime.tensor(a) for a in arrays]
    tvm.compile(made.with_attr("global_symbol", "kernel"), TARGET)["kernel"](*tensors, 4)
    np.testing.assert_array_equal(tensors[-1].numpy()[4:7], whole[4:7])
    np.testing.assert_array_equal(tensors[-1].numpy()[:4], arrays[-1][:4])
    np.testing.assert_array_equal(tensors[-1].numpy()[7:], arrays[-1][7:])
