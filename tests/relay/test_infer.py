"""Type inference: weights without annotation, open dimensions, shape arithmetic, and the types that were printed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gacer_tvm import relay
from gacer_tvm.errors import RelayError
from gacer_tvm.relay.dims import RuleError, agree, broadcast, normalize_axes
from gacer_tvm.relay.layout import from_primal, parse_layout, to_primal, transformed_shape

ANY = relay.Any()
TEXTS = (
    "conv_block", "conv_block_composite", "dqn", "dyn_shape", "global_fn", "if_else", "infix", "lstm", "mlp", "mlp_anf",
    "mlp_bound_bias_meta", "qnn_conv", "resnet8_cifar", "scalars", "tuples",
)  # fmt: skip


def _infer(expr: Any) -> Any:
    return relay.infer_type(expr)


def _strip(module: relay.IRModule) -> relay.IRModule:
    """The module without the types that were noted behind its expressions."""
    text = module.astext()
    out, depth, index = [], 0, 0
    while index < len(text):
        if text.startswith("/*", index):
            depth, index = depth + 1, index + 2
        elif text.startswith("*/", index):
            depth, index = depth - 1, index + 2
        else:
            if depth == 0:
                out.append(text[index])
            index += 1
    return relay.parse("".join(out))


@pytest.mark.parametrize("name", TEXTS)
def test_printed_types_are_found_again(shared_dir: Path, name: str) -> None:
    """Without its comments a module gets exactly the types that TVM noted on each of its expressions."""
    printed = relay.load(shared_dir / "relay" / "fixtures" / f"{name}.relay")
    inferred = relay.infer_types(_strip(printed))
    for function in printed.functions:
        for before, after in zip(
            relay.post_order(printed[function]), relay.post_order(inferred[function]), strict=True
        ):
            if before.checked_type is not None and not isinstance(before, relay.Function):
                assert after.checked_type == before.checked_type, before


@pytest.mark.parametrize("name", ["resnet50", "densenet121", "inception_v3", "vgg16_bn", "mobilenet", "lstm"])
def test_models_have_the_types_that_were_printed(shared_dir: Path, name: str) -> None:
    module = relay.load(shared_dir / "relay" / "models" / f"{name}.relay")
    inferred = relay.infer_types(module, check_types=False)
    noted = [node for node in relay.post_order(module["main"]) if node.checked_type is not None]
    assert len(noted) > 30
    for before, after in zip(relay.post_order(module["main"]), relay.post_order(inferred["main"]), strict=True):
        if before.checked_type is not None and not isinstance(before, relay.Function):
            assert after.checked_type == before.checked_type


def test_weights_get_their_types_from_their_use() -> None:
    x = relay.var("x", shape=(2, 3, 8, 8), dtype="float16")
    names = (
        "conv", "conv_bias", "gamma", "beta", "mean", "var", "dense", "dense_bias", "slope", "norm_gamma", "norm_beta", "up",
    )  # fmt: skip
    weights = {name: relay.var(name) for name in names}
    body = relay.nn.conv2d(x, weights["conv"], channels=6, kernel_size=(3, 5), padding=1)
    body = relay.nn.bias_add(body, weights["conv_bias"])
    body = relay.nn.batch_norm(body, *(weights[n] for n in ("gamma", "beta", "mean", "var")))[0]
    body = relay.nn.prelu(body, weights["slope"])
    body = relay.nn.conv2d_transpose(body, weights["up"], channels=4, kernel_size=2, strides=2)
    body = relay.nn.dense(relay.nn.batch_flatten(body), weights["dense"], units=10)
    body = relay.nn.layer_norm(body, weights["norm_gamma"], weights["norm_beta"])
    body = relay.nn.bias_add(body, weights["dense_bias"], axis=-1)
    main = relay.infer_types(relay.IRModule.from_expr(body))["main"]
    found = {p.name_hint: p.type_annotation for p in main.params}
    want = {
        "x": (2, 3, 8, 8), "conv": (6, 3, 3, 5), "conv_bias": (6,), "gamma": (6,), "beta": (6,), "mean": (6,), "var": (6,),
        "slope": (6,), "up": (6, 4, 2, 2), "dense": (10, 4 * 16 * 12), "norm_gamma": (10,), "norm_beta": (10,),
        "dense_bias": (10,),
    }  # fmt: skip
    assert found == {name: relay.TensorType(shape, "float16") for name, shape in want.items()}
    assert main.ret_type == relay.TensorType((2, 10), "float16")


def test_a_type_that_nothing_shows_is_asked_for() -> None:
    x, w = relay.var("x"), relay.var("w", shape=(2,))
    with pytest.raises(RelayError, match=r"argument 0 \(%x\) is not known"):
        relay.infer_type(relay.exp(x))
    with pytest.raises(RelayError, match="%x, a parameter of @main"):
        relay.infer_types(relay.IRModule.from_expr(relay.Function([x, w], relay.exp(w))))


def test_open_dimensions_pass_through() -> None:
    n = relay.Any("n")
    x = relay.var("x", shape=(n, 3, 32, 32))
    conv = relay.nn.conv2d(x, relay.var("w", shape=(8, 3, 3, 3)), padding=1, strides=2)
    assert _infer(conv) == relay.TensorType((n, 8, 16, 16))
    assert _infer(relay.nn.global_avg_pool2d(conv)) == relay.TensorType((n, 8, 1, 1))
    assert _infer(relay.nn.batch_flatten(conv)) == relay.TensorType((n, 8 * 256))
    y = relay.var("y", shape=(ANY, 4))
    assert _infer(relay.concatenate([y, y], 0)) == relay.TensorType((ANY, 4))
    assert _infer(relay.add(y, relay.var("z", shape=(7, 4)))) == relay.TensorType((7, 4))
    assert _infer(relay.reshape(y, (-1, 2, 2))) == relay.TensorType((ANY, 2, 2))
    assert _infer(relay.strided_slice(y, (0, 1), (2**31 - 1, 3))) == relay.TensorType((ANY, 2))


def test_shapes_computed_from_shapes_are_known() -> None:
    x = relay.var("x", shape=(2, 3, 8))
    shape = relay.shape_of(x, dtype="int64")
    last = relay.strided_slice(shape, (2,), (3,))
    rest = relay.prod(relay.strided_slice(shape, (0,), (2,)), keepdims=True)
    target = relay.concatenate(
        [rest, relay.floor_divide(last, relay.const([2], "int64")), relay.const([2], "int64")], 0
    )
    assert _infer(relay.reshape(x, target)) == relay.TensorType((6, 4, 2))
    count = relay.take(shape, relay.const(1), axis=0)
    filled = relay.op.build.call("dyn.full", [relay.const(0.0), relay.stack([count, count], 0)], {"dtype": None})
    assert _infer(filled) == relay.TensorType((3, 3))


def test_noted_int64_indices_are_kept() -> None:
    text = "def @main(%x: Tensor[(2, 5), float32]) { argmax(%x, axis=[1]) /* ty=Tensor[(2), int64] */ }"
    assert relay.infer_types(relay.parse(text))["main"].ret_type == relay.TensorType((2,), "int64")


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda x: relay.nn.conv2d(x, relay.var("w", shape=(4, 5, 3, 3))), "channels per group"),
        (lambda x: relay.nn.conv2d(x, relay.var("w", shape=(4, 3, 99, 3))), "does not fit data"),
        (lambda x: relay.nn.conv2d(x, relay.var("w", shape=(4, 3, 3)), channels=4, kernel_size=3), "must be"),
        (lambda x: relay.nn.conv2d(x, relay.var("w"), channels=4, kernel_size=3, data_layout="NQHW"), "layout"),
        (lambda x: relay.nn.dense(x, relay.var("w", shape=(2, 9))), "inner dimensions"),
        (lambda x: relay.nn.bias_add(x, relay.var("b", shape=(9,))), "the bias must be"),
        (lambda x: relay.add(x, relay.cast(x, "int32")), "one element type"),
        (lambda x: relay.split(x, 2, axis=1).astuple(), "does not split"),
        (lambda x: relay.transpose(x, (0, 1, 1, 2)), "no permutation"),
        (lambda x: relay.squeeze(x, axis=[1]), "cannot be squeezed"),
        (lambda x: relay.take(x, relay.const(0.5), axis=0), "must be integers"),
        (lambda x: relay.sum(x, axis=9), "outside"),
        (lambda x: relay.nn.softmax(x, axis=4), "outside"),
        (lambda x: relay.layout_transform(x, "NCHW", "NCDHW"), "cannot become"),
        (lambda x: relay.concatenate([x, relay.reshape(x, (-1,))], 0), "one rank"),
        (lambda x: relay.all(x), "must be bool"),
        (lambda x: relay.qnn.op.dequantize(x, relay.const(1.0), relay.const(0)), "data must be one of"),
        (lambda x: relay.Call(relay.Op("exp"), [x, x]), "expects 1 argument"),
        (lambda x: relay.Call(relay.Op("nn.relu"), [relay.Tuple([x])]), "must be a tensor"),
        (lambda x: relay.Call(relay.Op("reshape"), [x], relay.Attrs("x", {"newshape": "abc"})), "make no sense"),
    ],
)
def test_contradictions_are_refused_with_operator_and_operands(build: Any, message: str) -> None:
    with pytest.raises(RelayError, match=message):
        relay.infer_type(build(relay.var("x", shape=(1, 3, 8, 8))))


def test_messages_name_operator_place_and_operands() -> None:
    module = relay.parse("def @main(%x: Tensor[(2), float32], %y: Tensor[(3), float32]) {\n  add(%x, %y)\n}")
    with pytest.raises(RelayError) as caught:
        relay.infer_types(module)
    assert "add at" in str(caught.value)
    assert ":2:" in str(caught.value)
    assert "Tensor[(2), float32], Tensor[(3), float32]" in str(caught.value)


@given(st.lists(st.sampled_from([1, 2, 3]), max_size=4), st.lists(st.sampled_from([1, 2, 3]), max_size=4))
def test_broadcasting_is_numpys(left: list[int], right: list[int]) -> None:
    import numpy as np

    try:
        want = np.broadcast_shapes(tuple(left), tuple(right))
    except ValueError:
        with pytest.raises(RuleError):
            broadcast(left, right)
    else:
        assert broadcast(left, right) == want


@settings(deadline=None)
@given(st.integers(1, 5), st.data())
def test_axes_are_normalized_and_excluded(rank: int, data: st.DataObject) -> None:
    axes = data.draw(st.lists(st.integers(-rank, rank - 1), min_size=1, max_size=rank))
    chosen = normalize_axes(axes, rank)
    assert set(chosen) == {axis % rank for axis in axes}
    assert set(normalize_axes(axes, rank, True)) == set(range(rank)) - set(chosen)
    assert normalize_axes(None, rank) == normalize_axes([], rank) == tuple(range(rank))


@pytest.mark.parametrize("layout", ["NCHW", "NHWC", "NCHW4c", "NHWC8c", "HWCN", "NCHW2n16c"])
def test_layouts_there_and_back(layout: str) -> None:
    shape = (4, 32, 5, 7)
    inner = from_primal(shape, "NCHW", layout)
    assert to_primal(inner, layout, "NCHW") == shape
    assert transformed_shape(shape, "NCHW", layout) == inner


@pytest.mark.parametrize("layout", ["", "NN", "NC4", "4cNHW", "NCHWc", "N1CHW", "NC HW", "NCHW4x"])
def test_what_is_no_layout(layout: str) -> None:
    with pytest.raises(RuleError):
        parse_layout(layout)


def test_types_agree_up_to_what_is_not_known() -> None:
    tensor = relay.TensorType
    assert agree(tensor((2, ANY)), tensor((ANY, 3)))
    assert agree(None, tensor((2,)))
    assert not agree(tensor((2,)), tensor((2,), "int32"))
    assert not agree(tensor((2,)), tensor((2, 1)))
    assert agree(relay.TupleType((tensor((2,)),)), relay.TupleType((tensor((ANY,)),)))
    assert not agree(relay.TupleType((tensor((2,)),)), tensor((2,)))
