"""Normalization keeps the answer: batch-norm, dropout, folded constants, gathers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gacer_tvm._tvm import relax
from gacer_tvm.frontend import Tenant, normalize
from gacer_tvm.frontend.constants import value_of
from gacer_tvm.frontend.straighten import main_block

from .running import largest_error, operators, run, run_module

op = relax.op


def _random(generator: np.random.Generator, *shape: int) -> Any:
    return relax.const(generator.standard_normal(shape).astype("float32"))


def _module(shape: tuple[int, ...], body: Any, dtype: str = "float32") -> Any:
    """`main` of one input, its results made by `body(emit, x)`."""
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType(shape, dtype))
    with builder.function("main", [x]):
        with builder.dataflow():
            result = builder.emit_output(body(builder.emit, x))
        builder.emit_func_output(result)
    return builder.get()


def _batch_norm(emit: Any, x: Any, seed: int, axis: int = 1, **attrs: Any) -> Any:
    generator = np.random.default_rng(seed)
    channels = int(x.ty.shape.values[axis])
    mean, gamma, beta = (_random(generator, channels) for _ in range(3))
    variance = relax.const(generator.uniform(0.2, 2.0, channels).astype("float32"))
    attrs = {"training": False, **attrs}
    return emit(op.nn.batch_norm(x, gamma, beta, mean, variance, axis=axis, **attrs))


def _same(module: Any, shape: tuple[int, ...], tolerance: float = 2e-6) -> Tenant:
    """The normalized tenant, its answer held against the module as it was."""
    x = np.random.default_rng(9).standard_normal(shape).astype("float32")
    tenant = Tenant.of(module)
    found = run(tenant, {"x": x})
    for array, expected in zip(found.values(), run_module(module, [x]), strict=True):
        assert largest_error(array, expected) < tolerance
    return normalize(tenant)


CONVOLUTIONS = {
    "conv1d": (op.nn.conv1d, (2, 4, 9), (6, 4, 3), {"padding": 1}),
    "conv2d": (op.nn.conv2d, (2, 4, 7, 7), (6, 4, 3, 3), {"padding": 1, "strides": 2}),
    "conv3d": (op.nn.conv3d, (1, 4, 5, 5, 5), (6, 4, 3, 3, 3), {}),
    "grouped": (op.nn.conv2d, (2, 4, 7, 7), (6, 2, 3, 3), {"groups": 2}),
    "depthwise": (op.nn.conv2d, (2, 4, 7, 7), (8, 1, 3, 3), {"groups": 4}),
}


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("kind", CONVOLUTIONS)
def test_batch_norm_goes_into_the_convolution_before_it(kind, bias):
    make, shape, kernel, attrs = CONVOLUTIONS[kind]
    generator = np.random.default_rng(3)

    def body(emit, x):
        y = emit(make(x, _random(generator, *kernel), **attrs))
        if bias:
            y = emit(op.add(_random(generator, 1, kernel[0], *[1] * (len(shape) - 2)), y))
        return emit(relax.TupleGetItem(_batch_norm(emit, y, 4), 0))

    found = operators(_same(_module(shape, body), shape))
    assert found == [f"relax.nn.{make.__name__}", "relax.add"]


def test_channels_last_and_matrix_products_fold_too():
    generator = np.random.default_rng(3)

    def last(emit, x):
        y = emit(op.nn.conv2d(x, _random(generator, 6, 3, 3, 4), data_layout="NHWC", kernel_layout="OHWI"))
        return emit(relax.TupleGetItem(_batch_norm(emit, y, 4, axis=3), 0))

    def dense(emit, x):
        y = emit(op.matmul(x, _random(generator, 4, 5)))
        y = emit(op.add(y, _random(generator, 5)))
        return emit(relax.TupleGetItem(_batch_norm(emit, y, 4, axis=1), 0))

    assert operators(_same(_module((2, 7, 7, 4), last), (2, 7, 7, 4))) == ["relax.nn.conv2d", "relax.add"]
    assert operators(_same(_module((3, 4), dense), (3, 4))) == ["relax.matmul", "relax.add"]


def test_a_convolution_with_a_second_reader_keeps_its_weights():
    generator = np.random.default_rng(3)

    def body(emit, x):
        y = emit(op.nn.conv2d(x, _random(generator, 4, 4, 1, 1)))
        normal = emit(relax.TupleGetItem(_batch_norm(emit, y, 4), 0))
        return emit(op.multiply(normal, y))

    found = operators(_same(_module((2, 4, 5, 5), body), (2, 4, 5, 5)))
    assert found == ["relax.nn.conv2d", "relax.multiply", "relax.add", "relax.multiply"]


def test_bias_along_another_axis_is_not_folded_into_the_shift():
    generator = np.random.default_rng(3)

    def body(emit, x):
        y = emit(op.nn.conv2d(x, _random(generator, 5, 4, 1, 1)))
        y = emit(op.add(y, _random(generator, 5)))  # along the width, which has 5 columns too
        return emit(relax.TupleGetItem(_batch_norm(emit, y, 4), 0))

    found = operators(_same(_module((2, 4, 5, 5), body), (2, 4, 5, 5)))
    assert found == ["relax.nn.conv2d", "relax.add", "relax.multiply", "relax.add"]


@pytest.mark.parametrize("attrs", [{"scale": False}, {"center": False}, {"epsilon": 0.3}])
def test_attributes_of_batch_norm_count(attrs):
    # Neither TVM's lowering nor its decomposition looks at scale and center, so the truth is the formula.
    generator = np.random.default_rng(4)
    mean, gamma, beta = (generator.standard_normal(3).astype("float32") for _ in range(3))
    variance = generator.uniform(0.2, 2.0, 3).astype("float32")

    def body(emit, x):
        constants = [relax.const(array) for array in (gamma, beta, mean, variance)]
        return emit(relax.TupleGetItem(emit(op.nn.batch_norm(x, *constants, axis=1, training=False, **attrs)), 0))

    x = generator.standard_normal((2, 3, 4)).astype("float32")
    columns = [array[:, None].astype("float64") for array in (gamma, beta, mean, variance)]
    scale = columns[0] if attrs.get("scale", True) else 1.0
    shift = columns[1] if attrs.get("center", True) else 0.0
    expected = (x - columns[2]) / np.sqrt(columns[3] + attrs.get("epsilon", 1e-5)) * scale + shift
    found = run(Tenant.of(_module((2, 3, 4), body)), {"x": x})["output0"]
    assert largest_error(found, expected.astype("float32")) < 1e-6


def test_training_batch_norm_keeps_the_statistics_of_its_own_batch():
    def body(emit, x):
        return emit(relax.TupleGetItem(_batch_norm(emit, x, 4, training=True), 0))

    module = _module((8, 3, 5, 5), body)
    assert "relax.nn.batch_norm" in operators(_same(module, (8, 3, 5, 5), 1e-5))
    x = (np.random.default_rng(1).standard_normal((8, 3, 5, 5)) * 5 + 7).astype("float32")
    generator = np.random.default_rng(4)
    _, gamma, beta = (generator.standard_normal(3).astype("float32") for _ in range(3))
    found = run(Tenant.of(module), {"x": x})["output0"]
    # By the definition: zero mean and unit deviation in each channel, then gamma and beta.
    np.testing.assert_allclose(found.mean((0, 2, 3)), beta, atol=1e-4)
    np.testing.assert_allclose(found.std((0, 2, 3)), np.abs(gamma), atol=1e-4)


def test_the_running_statistics_of_inference_are_passed_through():
    module = _module((2, 3, 4), lambda emit, x: _batch_norm(emit, x, 4))
    assert operators(_same(module, (2, 3, 4))) == ["relax.multiply", "relax.add"]


def test_dropout_is_the_identity_and_dead_code_goes():
    def body(emit, x):
        emit(op.exp(x))
        return emit(op.nn.relu(emit(relax.TupleGetItem(emit(op.nn.dropout(x, 0.5)), 0))))

    assert operators(_same(_module((2, 3), body), (2, 3))) == ["relax.nn.relu"]


def test_operators_of_constants_are_folded_by_their_values():
    generator = np.random.default_rng(0)
    a, b = (generator.standard_normal((3, 4)).astype("float32") for _ in range(2))
    ids = np.array([2, 0, 2])

    def body(emit, x):
        turned = emit(op.permute_dims(relax.const(a)))
        wide = emit(op.concat([turned, turned], 1))
        flat = emit(op.reshape(wide, (2, 12)))
        taken = emit(op.take(relax.const(b), relax.const(ids), 0))
        product = emit(op.matmul(turned, taken))
        ratio = emit(op.divide(emit(op.sqrt(emit(op.abs(relax.const(b))))), relax.const(np.float32(3))))
        spread = emit(op.broadcast_to(emit(op.expand_dims(relax.const(b[0]), [0])), (2, 4)))
        number = emit(op.astype(emit(op.squeeze(relax.const(ids[:1]))), "float32"))
        full = emit(op.full((2,), relax.const(np.float32(7)), "float32"))
        return relax.Tuple([x, flat, product, ratio, spread, number, full])

    tenant = Tenant.of(_module((2, 2), body))
    assert operators(normalize(tenant)) == []
    found = list(run(tenant, {"x": np.zeros((2, 2), "float32")}).values())[1:]
    expected = [
        np.concatenate([a.T, a.T], 1).reshape(2, 12),
        a.T.astype("float64") @ b[ids],
        np.sqrt(np.abs(b)) / 3,
        np.broadcast_to(b[0], (2, 4)),
        np.float32(2),
        np.full(2, 7.0),
    ]
    for array, value in zip(found, expected, strict=True):
        np.testing.assert_allclose(array, value, rtol=2e-6)


def test_casts_that_have_no_defined_value_are_not_guessed():
    odd = relax.const(np.array([np.nan, 1e30, -1.5], "float32"))
    module = _module((1,), lambda emit, x: relax.Tuple([x, emit(op.astype(odd, "int32"))]))
    found = run(Tenant.of(module), {"x": np.zeros(1, "float32")})["output1"]
    np.testing.assert_array_equal(found, run_module(module, [np.zeros(1, "float32")])[1])


def test_gathers_cannot_read_outside_their_data():
    def body(emit, x):
        return relax.Tuple(
            [emit(op.take(x, relax.const(-1, "int64"), 1)), emit(op.take(x, relax.const(1, "int64"), 0))]
        )

    tenant = Tenant.of(_module((2, 3), body))
    assert "relax.take" not in operators(normalize(tenant))
    x = np.arange(6, dtype="float32").reshape(2, 3)
    found = run(tenant, {"x": x})
    np.testing.assert_array_equal(found["output0"], x[:, -1])
    np.testing.assert_array_equal(found["output1"], x[1])

    builder = relax.BlockBuilder()
    data, places = relax.Var("x", relax.TensorType((4,), "float32")), relax.Var("i", relax.TensorType((3,), "int64"))
    with builder.function("main", [data, places]):
        with builder.dataflow():
            result = builder.emit_output(builder.emit(op.take(data, places, 0)))
        builder.emit_func_output(result)
    inputs = {"x": np.arange(4, dtype="float32"), "i": np.array([1, 1 << 40, -(1 << 40)])}
    np.testing.assert_array_equal(run(Tenant.of(builder.get()), inputs)["output0"], [1, 3, 0])


@st.composite
def _programs(draw):
    """A chain of layers over (2, 4, 6, 6) with residual additions: what batch-norm folding meets."""
    return draw(
        st.lists(st.sampled_from(["conv", "bias", "bn", "relu", "keep", "add", "scale"]), min_size=1, max_size=9)
    )


@settings(max_examples=15, deadline=None)
@given(_programs(), st.integers(0, 10_000))
def test_random_chains_keep_their_answer(layers, seed):
    generator = np.random.default_rng(seed)

    def body(emit, x):
        kept = [x]
        for layer in layers:
            if layer == "conv":
                x = emit(op.nn.conv2d(x, _random(generator, 4, 4, 3, 3), padding=1))
                x = emit(op.multiply(x, relax.const(np.float32(1 / 6))))  # unit gain
                x = emit(op.nn.conv2d(x, _random(generator, 4, 4, 1, 1)))
            elif layer == "bias":
                x = emit(op.add(x, _random(generator, 1, 4, 1, 1)))
            elif layer == "bn":
                x = emit(relax.TupleGetItem(_batch_norm(emit, x, seed), 0))
            elif layer == "relu":
                x = emit(op.nn.relu(x))
            elif layer == "scale":
                x = emit(op.multiply(x, _random(generator, 4, 1, 1)))
            elif layer == "keep":
                kept.append(x)
            else:
                x = emit(op.add(x, kept[int(generator.integers(len(kept)))]))
        return relax.Tuple([x, kept[-1]])

    module = _module((2, 4, 6, 6), body)
    tenant = _same(module, (2, 4, 6, 6), 2e-5)
    assert "relax.nn.batch_norm" not in operators(tenant)
    assert [var.name for var in tenant.module["main"].params] == ["x"]
    assert relax.analysis.check_well_formed(tenant.module)


@settings(max_examples=25, deadline=None)
@given(
    data=st.tuples(st.integers(1, 4), st.integers(1, 3)),
    repeated=st.integers(0, 2),
    left=st.booleans(),
    seed=st.integers(0, 99),
)
def test_weights_repeated_for_a_product_are_kept_once(
    data: tuple[int, int], repeated: int, left: bool, seed: int
) -> None:
    steps, batch = data
    generator = np.random.default_rng(seed)
    weight = _random(generator, *(1,) * repeated, 5, 5)

    def body(emit: Any, x: Any) -> Any:
        many = emit(op.broadcast_to(weight, (steps, 5, 5)))
        return emit(op.matmul(many, x) if left else op.matmul(x, many))

    if repeated == 2:  # more axes than the product has: not what a layer writes
        weight = _random(generator, 1, 5, 5)
    shape = (steps, 5, batch) if left else (steps, batch, 5)
    normalized = _same(_module(shape, body), shape, tolerance=1e-5)
    assert "relax.broadcast_to" not in operators(normalized)
    assert [value.size for value in _constants(normalized)] == [25]


def test_a_product_whose_shape_comes_from_the_repetition_stays() -> None:
    weight = _random(np.random.default_rng(0), 3, 4)

    def body(emit: Any, x: Any) -> Any:
        return emit(op.matmul(x, emit(op.broadcast_to(weight, (5, 3, 4)))))

    tenant = _same(_module((2, 3), body), (2, 3), tolerance=1e-5)
    assert tuple(int(v) for v in tenant.module["main"].ret_ty.fields[0].shape.values) == (5, 2, 4)


def _constants(tenant: Tenant) -> list[np.ndarray]:
    calls = [b.value for b in main_block(tenant.module) if isinstance(b.value, relax.Call)]
    found = [value_of(arg) for call in calls for arg in call.args if not isinstance(arg, relax.Var | relax.ShapeExpr)]
    return [value for value in found if value is not None]
