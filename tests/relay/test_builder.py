"""The Python builder: TVM's names, parameters and defaults, and text as TVM printed it."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest

from gacer_tvm import relay
from gacer_tvm.errors import RelayError
from gacer_tvm.relay.operators import op_info
from gacer_tvm.relay.rules import RULES


def _body(expr: Any) -> str:
    """The text of an expression's last line, without comments."""
    text = relay.IRModule.from_expr(expr).astext(show_meta_data=False)
    line = text.rstrip().splitlines()[-2].strip()
    while "/*" in line:
        start, end = line.index("/*"), line.index("*/")
        line = (line[:start].rstrip() + line[end + 2 :]).strip()
    return line.rstrip(";")


def test_an_old_script_runs() -> None:
    """A model as scripts of TVM 0.8 built it, with only the import changed."""
    data = relay.var("data", relay.TensorType((1, 3, 32, 32), "float32"))
    weight = relay.var("weight")
    gamma, beta = relay.var("bn_gamma"), relay.var("bn_beta")
    mean, variance = relay.var("bn_mean"), relay.var("bn_var")
    simple_net = relay.nn.conv2d(data=data, weight=weight, kernel_size=(3, 3), channels=8, padding=(1, 1))
    simple_net = relay.nn.batch_norm(simple_net, gamma, beta, mean, variance, epsilon=1e-5)[0]
    simple_net = relay.nn.relu(simple_net)
    simple_net = relay.Function(relay.analysis.free_vars(simple_net), simple_net)
    mod = relay.IRModule.from_expr(simple_net)
    mod = relay.transform.InferType()(mod)
    assert mod["main"].checked_type.ret_type == relay.TensorType((1, 8, 32, 32), "float32")
    assert [p.name_hint for p in mod["main"].params] == [
        "data", "weight", "bn_gamma", "bn_beta", "bn_mean", "bn_var"
    ]  # fmt: skip
    assert relay.structural_equal(relay.parse(mod.astext()), mod)


X = relay.var("x", shape=(1, 4, 8, 8))
W = relay.var("w", shape=(4, 4, 3, 3))
M = relay.var("m", shape=(4, 6))


# What TVM's printer wrote for these calls: attributes that equal their default are left out.
@pytest.mark.parametrize(
    ("expr", "text"),
    [
        (relay.nn.conv2d(X, W), "nn.conv2d(%x, %w, padding=[0, 0, 0, 0])"),
        (
            relay.nn.conv2d(X, W, (2, 2), 1, groups=1, channels=4, kernel_size=3),
            "nn.conv2d(%x, %w, strides=[2, 2], padding=[1, 1, 1, 1], channels=4, kernel_size=[3, 3])",
        ),
        (relay.nn.max_pool2d(X, 2, 2), "nn.max_pool2d(%x, pool_size=[2, 2], strides=[2, 2], padding=[0, 0, 0, 0])"),
        (relay.nn.bias_add(X, relay.var("b"), axis=-1), "nn.bias_add(%x, %b, axis=-1)"),
        (relay.nn.dense(M, relay.var("w"), units=5), "nn.dense(%m, %w, units=5)"),
        (relay.reshape(X, newshape=(0, -1)), "reshape(%x, newshape=[0, -1])"),
        (relay.sum(X, axis=1, keepdims=True), "sum(%x, axis=[1], keepdims=True)"),
        (relay.cast(X, "int32"), 'cast(%x, dtype="int32")'),
        (relay.clip(X, 0, 6), "clip(%x, a_min=0f, a_max=6f)"),
        (relay.expand_dims(X, axis=1), "expand_dims(%x, axis=1)"),
        (relay.squeeze(X, 0), "squeeze(%x, axis=[0])"),
        (relay.take(M, relay.const(1), axis=0), "take(%m, 1, axis=0)"),
        (relay.split(M, 2, axis=1).astuple(), "split(%m, indices_or_sections=2, axis=1)"),
        (relay.split(M, (1, 3)).astuple(), "split(%m, indices_or_sections=[1, 3])"),
        (relay.add(M, relay.const(1.0)), "add(%m, 1f)"),
        (relay.zeros((2, 3), "float32"), 'zeros(shape=[2, 3], dtype="float32")'),
        (relay.nn.softmax(M), "nn.softmax(%m)"),
        (relay.nn.leaky_relu(M, 0.25), "nn.leaky_relu(%m)"),
        (relay.nn.dropout_raw(M), "nn.dropout(%m)"),
        (relay.nn.global_avg_pool2d(X), "nn.global_avg_pool2d(%x)"),
        (
            relay.nn.avg_pool2d(X, (2, 2), (2, 2), count_include_pad=True),
            "nn.avg_pool2d(%x, pool_size=[2, 2], strides=[2, 2], padding=[0, 0, 0, 0], count_include_pad=True)",
        ),
        (relay.transpose(M, (1, 0)), "transpose(%m, axes=[1, 0])"),
    ],
)
def test_calls_print_as_tvm_printed_them(expr: Any, text: str) -> None:
    assert _body(expr) == text


def test_signatures_follow_tvm() -> None:
    names = {
        relay.nn.conv2d: "data weight strides padding dilation groups channels kernel_size data_layout kernel_layout "
        "out_layout out_dtype",
        relay.nn.conv2d_transpose: "data weight strides padding dilation groups channels kernel_size data_layout "
        "kernel_layout out_layout output_padding out_dtype",
        relay.nn.avg_pool2d: "data pool_size strides dilation padding layout out_layout ceil_mode count_include_pad",
        relay.nn.batch_norm: "data gamma beta moving_mean moving_var axis epsilon center scale",
        relay.image.resize2d: "data size roi layout method coordinate_transformation_mode rounding_method cubic_alpha "
        "cubic_exclude extrapolation_value out_dtype",
        relay.qnn.op.conv2d: "data kernel input_zero_point kernel_zero_point input_scale kernel_scale kernel_size channels "
        "strides padding dilation groups data_layout kernel_layout out_layout out_dtype",
        relay.strided_slice: "data begin end strides axes slice_mode",
        relay.topk: "data k axis ret_type is_ascend dtype",
        relay.sum: "data axis keepdims exclude",
    }
    for function, text in names.items():
        assert list(inspect.signature(function).parameters) == text.split()


def test_a_wrong_call_fails_like_python() -> None:
    with pytest.raises(TypeError, match="missing a required argument"):
        relay.nn.conv2d(X)
    with pytest.raises(TypeError, match="unexpected keyword"):
        relay.nn.relu(X, axis=1)
    with pytest.raises(RelayError, match="strides"):
        relay.nn.conv2d(X, W, strides=("a", "b"))
    with pytest.raises(AttributeError, match="no 'nonsense'"):
        relay.nonsense  # noqa: B018


def test_constants() -> None:
    assert relay.const(1).dtype == "int32"
    assert relay.const(1.0).dtype == "float32"
    assert relay.const(True).dtype == "bool"
    assert relay.const([1.0, 2.0]).type == relay.TensorType((2,), "float32")
    assert relay.const(np.zeros(2)).dtype == "float64"
    assert relay.const(np.float64(1)).dtype == "float64"
    assert relay.const(3, "int8").dtype == "int8"
    assert relay.const(1.5, "bfloat16").dtype == "bfloat16"
    with pytest.raises(RelayError):
        relay.const(object())


def test_variables() -> None:
    assert relay.var("x").type_annotation is None
    assert relay.var("x", "int64").type_annotation == relay.TensorType((), "int64")
    assert relay.var("x", shape=[2, relay.Any()], dtype="int8").type_annotation == relay.TensorType(
        (2, relay.Any()), "int8"
    )
    with pytest.raises(RelayError, match="either"):
        relay.var("x", relay.TensorType((2,)), shape=(2,))


def test_lists_stand_for_tuples() -> None:
    x = relay.var("x", shape=[2, 3])
    pair = relay.Tuple([x, relay.split(x, 3, axis=1)])
    assert isinstance(pair.fields, tuple)
    assert isinstance(pair.fields[1], relay.Call)
    function = relay.Function([x], relay.split(x, 3, axis=1))
    assert isinstance(function.params, tuple)
    assert isinstance(function.body, relay.Call)
    assert relay.Call(function, [x]).args == (x,)
    assert relay.TupleType([relay.TensorType([2])]).fields == (relay.TensorType((2,)),)


def test_wrapped_tuples_unpack() -> None:
    first, second = relay.split(M, 2, axis=1)
    assert (first.index, second.index) == (0, 1)
    parts = relay.split(M, 3, axis=1)
    assert len(parts) == 3
    assert parts[-1].index == 2
    with pytest.raises(IndexError):
        parts[3]
    assert relay.infer_type(relay.concatenate(parts, axis=0)) == relay.TensorType((12, 2))


def test_let_and_if_by_hand_and_by_scope_builder() -> None:
    x, c = relay.var("x", shape=(2,)), relay.var("c", "bool")
    y = relay.var("y")
    by_hand = relay.Let(y, relay.exp(x), relay.If(c, y + x, y))
    build = relay.ScopeBuilder()
    z = build.let("y", relay.exp(x))
    with build.if_scope(c):
        build.ret(z + x)
    with build.else_scope():
        build.ret(z)
    built = build.get()
    one, two = (relay.IRModule.from_expr(relay.Function([x, c], body)) for body in (by_hand, built))
    assert relay.structural_equal(one, two)
    assert relay.infer_types(one)["main"].ret_type == relay.TensorType((2,))


def test_parameters_can_be_bound() -> None:
    x, w = relay.var("x", shape=(2,)), relay.var("w", shape=(2,))
    bound = relay.bind_params_by_name(relay.Function([x, w], x * w), {"w": np.ones(2, "float32"), "other": 1})
    assert [p.name_hint for p in bound.params] == ["x"]
    assert isinstance(bound.body.args[1], relay.Constant)


def test_whatever_is_built_survives_print_and_parse() -> None:
    x = relay.var("x", shape=(1, 8, 6, 6))
    flat = relay.reshape(x, (8, 36))
    exprs = [
        relay.nn.conv2d(x, relay.var("w"), channels=4, kernel_size=3, padding=(1, 0, 2, 1), dilation=(2, 1)),
        relay.nn.conv2d_transpose(x, relay.var("v"), channels=4, kernel_size=3, strides=2, output_padding=1),
        relay.nn.pad(x, ((0, 0), (0, 0), (1, 2), (3, 4)), 1.5),
        relay.image.resize2d(x, (3, 4), method="cubic", roi=[0.0, 0.1, 0.9, 1.0]),
        relay.strided_slice(x, (0, 1), (1, -1), (1, 2), slice_mode="end"),
        relay.strided_slice(x, (1,), (3,), axes=(2,)),
        relay.topk(flat, 3, ret_type="values"),
        relay.one_hot(relay.const([1, 2]), relay.const(1), relay.const(0), 4, -1, "int32"),
        relay.nn.upsampling(x, 2.5, 2, method="bilinear", align_corners=True),
        relay.nn.mirror_pad(flat, ((1, 1), (0, 2)), "REFLECT"),
        relay.arange(relay.const(0), relay.const(5), relay.const(1), dtype="int32"),
        relay.full(relay.const(2.0), (2, 2), "float32"),
        relay.nn.adaptive_avg_pool2d(x, (2, 3)),
        relay.nn.group_norm(x, relay.var("g"), relay.var("b"), 4, center=False),
        relay.layout_transform(x, "NCHW", "NCHW4c"),
        relay.qnn.op.requantize(
            relay.cast(x, "int32"),
            relay.const(0.5),
            relay.const(1),
            relay.const(0.25),
            relay.const(0),
            out_dtype="uint8",
        ),
        relay.nn.space_to_batch_nd(x, (2, 2), ((0, 0), (2, 2)), 3.0),
        relay.cumsum(flat, axis=1, dtype="float64", exclusive=True),
        relay.reshape_like(flat, x, lhs_begin=1, rhs_begin=2),
    ]
    for expr in exprs:
        module = relay.infer_types(relay.IRModule.from_expr(expr))
        again = relay.parse(module.astext())
        assert relay.structural_equal(again, module), module.astext()
        relay.infer_types(again)


def test_each_converted_operator_can_be_built() -> None:
    """Every operator that is converted has a function under TVM's name, except those that only passes or readers make."""
    spaces: dict[str, Any] = {
        "": relay, "nn.": relay.nn, "image.": relay.image, "vision.": relay.vision, "qnn.": relay.qnn.op,
        "annotation.": relay.annotation,
    }  # fmt: skip
    other_names = {"contrib_reverse_reshape": "reverse_reshape", "nn.contrib_conv2d_NCHWc": "contrib_conv2d_nchwc"}
    other_names["nn.contrib_depthwise_conv2d_NCHWc"] = "contrib_depthwise_conv2d_nchwc"
    internal = {
        "annotation.bitpack_end", "annotation.bitpack_start", "annotation.cast_hint", "device_copy", "on_device",
        "fixed_point_multiply_per_axis", "image.resize", "vm.shape_of", "hardswish",
    }  # fmt: skip
    missing = []
    for name in RULES:
        if name.startswith(("dyn.", "contrib.")) or name in internal or op_info(name) is None:
            continue
        prefix = next((p for p in spaces if p and name.startswith(p)), "")
        short = other_names.get(name, name.removeprefix(prefix))
        if not callable(getattr(spaces[prefix], short, None)):
            missing.append(name)
    assert not missing
