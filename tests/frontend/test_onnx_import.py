"""ONNX files: what is read, what is refused and how, control flow, functions, constants."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="the onnx extra is not installed")
runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

from onnx import TensorProto, helper, numpy_helper, parser  # noqa: E402

from gacer_tvm.errors import TenantError, UnsupportedOperatorError  # noqa: E402
from gacer_tvm.frontend import Tenant  # noqa: E402

from .running import largest_error, operators, run  # noqa: E402


def _parsed(text: str) -> Any:
    return parser.parse_model(f'<ir_version: 8, opset_import: ["": 17]>\n{text}')


def _matches_runtime(model: Any, inputs: dict[str, np.ndarray], tolerance: float = 1e-5, **given: Any) -> Tenant:
    """The tenant, its results held against ONNX Runtime's."""
    tenant = Tenant.from_onnx(model, **given)
    constants = {name: np.asarray(value) for name, value in given.get("constants", {}).items()}
    data = model.SerializeToString() if not isinstance(model, str | Path) else Path(model).read_bytes()
    names = [value.name for value in runtime.InferenceSession(data).get_inputs()]
    fed = {name: array for name, array in {**inputs, **constants}.items() if name in names}
    expected = runtime.InferenceSession(data).run(None, fed)
    for array, value in zip(run(tenant, inputs).values(), expected, strict=True):
        assert largest_error(array, value) < tolerance
    return tenant


CLASSIFIER = """
classify (float[batch, 3] pixels) => (float[batch, 2] scores, float[batch, 3] kept) <
  float[3, 2] weight = {1.0, 2.0, 3.0, 4.0, 5.0, 6.0}, float[2] bias = {0.5, -0.5}
> {
  product = MatMul (pixels, weight)
  scores = Add (product, bias)
  kept = Identity (pixels)
}
"""


def test_a_path_is_a_tenant_too(tmp_path):
    path = tmp_path / "model.onnx"
    model = _parsed(CLASSIFIER)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2
    onnx.save(model, path)
    for given in (path, str(path), model):
        tenant = Tenant.of(given, "cls")
        assert tenant.name == "cls" and tenant.inputs["pixels"] == ((2, 3), "float32")
    assert Tenant.from_onnx(path).source == "onnx: model.onnx"


def test_open_batch_is_bound():
    model = _parsed(CLASSIFIER)
    pixels = np.arange(12, dtype="float32").reshape(4, 3)
    for given in ({"batch": 4}, {"shapes": {"pixels": (4, 3)}}):
        tenant = _matches_runtime(model, {"pixels": pixels}, **given)
        assert list(tenant.inputs) == ["pixels"] and list(tenant.outputs) == ["scores", "kept"]
        assert tenant.batch == 4 and dict(tenant.batch_axes) == {"pixels": 0}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, ["'pixels'", "(batch, 3)", "batch=", "shapes="]),
        ({"shapes": {"pixel": (4, 3)}}, ["pixel", "no inputs", "pixels: (batch, 3)"]),
        ({"shapes": {"pixels": (4, 4)}}, ["(batch, 3)", "(4, 4)"]),
        ({"shapes": {"pixels": (4,)}}, ["(batch, 3)", "(4,)"]),
        ({"shapes": {"pixels": (-1, 3)}}, ["negative", "(-1, 3)"]),
        ({"constants": {"pixel": 1}}, ["pixel", "no inputs"]),
    ],
)
def test_shapes_that_do_not_fit_are_refused(given, said):
    with pytest.raises(TenantError) as caught:
        Tenant.from_onnx(_parsed(CLASSIFIER), name="cls", **given)
    for part in ["tenant 'cls'", *said]:
        assert part in str(caught.value)


def test_one_symbol_has_one_value():
    model = _parsed("f (float[n, 2] a, float[n, 2] b) => (float[n, 2] c) { c = Add (a, b) }")
    tenant = Tenant.from_onnx(model, {"a": (3, 2)})
    assert tenant.inputs["b"].shape == (3, 2)
    with pytest.raises(TenantError, match="'b': the extent n is 4 here and 3"):
        Tenant.from_onnx(model, {"a": (3, 2), "b": (4, 2)})


@pytest.mark.parametrize("content", [b"", b"hello", b"\x00" * 64, b"<html></html>", np.arange(500).tobytes()])
def test_a_file_that_is_no_model_is_refused(tmp_path, content):
    path = tmp_path / "odd.onnx"
    path.write_bytes(content)
    with pytest.raises(TenantError, match=r"tenant 'x': .*odd\.onnx is no ONNX model"):
        Tenant.from_onnx(path, name="x")


def test_truncated_files_are_refused(tmp_path):
    path = tmp_path / "cut.onnx"
    whole = _parsed(CLASSIFIER).SerializeToString()
    for length in range(1, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(TenantError):
            Tenant.from_onnx(path, batch=2)


def test_missing_files_and_external_data_are_refused(tmp_path):
    with pytest.raises(TenantError, match="there is no file"):
        Tenant.from_onnx(tmp_path / "nowhere.onnx")
    model = _parsed(CLASSIFIER)
    for tensor in model.graph.initializer:  # only raw bytes are written to other files
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor), tensor.name))
    path = tmp_path / "model.onnx"
    onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    pixels = np.ones((2, 3), "float32")
    found = run(Tenant.from_onnx(path, batch=2), {"pixels": pixels})["scores"]
    np.testing.assert_allclose(found, [[9.5, 11.5]] * 2, rtol=1e-6)
    with pytest.raises(TenantError, match="external data were not loaded"):
        Tenant.from_onnx(onnx.load(path, load_external_data=False), batch=2)
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(TenantError, match=r"weights\.bin is not beside it"):
        Tenant.from_onnx(path, batch=2)


def test_all_unknown_operators_are_listed_with_counts():
    model = helper.make_model(
        helper.make_graph(
            [
                helper.make_node("StringConcat", ["x", "x"], ["a"]),
                helper.make_node("Frobnicate", ["x"], ["b"], domain="my.own"),
                helper.make_node("Frobnicate", ["b"], ["c"], domain="my.own"),
                helper.make_node("TfIdfVectorizer", ["c"], ["y"]),
                helper.make_node("Relu", ["x"], ["z"]),
            ],
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        ),
        opset_imports=[helper.make_opsetid("", 20), helper.make_opsetid("my.own", 1)],
    )
    with pytest.raises(UnsupportedOperatorError) as caught:
        Tenant.from_onnx(model, name="odd")
    for part in ("tenant 'odd'", "StringConcat (1×)", "my.own.Frobnicate (2×)", "TfIdfVectorizer (1×)"):
        assert part in str(caught.value)
    assert "Relu" not in str(caught.value)


def test_text_and_sequences_are_no_inputs():
    text = helper.make_model(
        helper.make_graph(
            [helper.make_node("Identity", ["x"], ["y"])],
            "g",
            [helper.make_tensor_value_info("x", TensorProto.STRING, [2])],
            [helper.make_tensor_value_info("y", TensorProto.STRING, [2])],
        )
    )
    with pytest.raises(TenantError, match="'x': expected numbers, found string"):
        Tenant.from_onnx(text)


def test_a_broken_graph_is_refused():
    model = _parsed("f (float[2] a) => (float[2] c) { c = Add (a, nothing) }")
    with pytest.raises(TenantError, match="'nothing', which nothing produces"):
        Tenant.from_onnx(model)


def test_shapes_computed_from_shapes_are_constants():
    model = _parsed("""
    f (float[b, c, h, w] x) => (float[p, q] y, int64[4] s) <int64[1] last = {-1}, int64[1] zero = {0}, int64[1] one = {1}> {
      s = Shape (x)
      first = Slice (s, zero, one)
      shape = Concat <axis = 0> (first, last)
      y = Reshape (x, shape)
    }""")
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 5)).astype("float32")
    tenant = _matches_runtime(model, {"x": x}, shapes={"x": x.shape})
    assert operators(tenant) == ["relax.reshape"]
    assert tenant.outputs["y"].shape == (2, 60)


IF = """
f (float[3] x, bool flag) => (float[3] y) {
  y = If (flag) <
    then_branch = yes () => (float[3] a) { a = Add (x, x) },
    else_branch = no () => (float[3] b) { b = Neg (x) }
  >
}"""


def test_a_branch_is_decided_by_a_constant_or_refused():
    x = np.array([1, 2, 3], "float32")
    assert operators(_matches_runtime(_parsed(IF), {"x": x}, constants={"flag": True})) == ["relax.add"]
    assert operators(_matches_runtime(_parsed(IF), {"x": x}, constants={"flag": False})) == ["relax.negative"]
    with pytest.raises(TenantError, match=r"If.*'flag' depends on the inputs' values"):
        Tenant.from_onnx(_parsed(IF))


def _loop_model() -> Any:
    """x doubled until its turn is over, collecting each step: trip count 5, but the condition stops at turn 3."""
    body = helper.make_graph(
        [
            helper.make_node("Less", ["turn", "limit"], ["again"]),
            helper.make_node("Add", ["state", "state"], ["doubled"]),
            helper.make_node("Identity", ["doubled"], ["seen"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("going", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state", TensorProto.FLOAT, [2]),
        ],
        [
            helper.make_tensor_value_info("again", TensorProto.BOOL, []),
            helper.make_tensor_value_info("doubled", TensorProto.FLOAT, [2]),
            helper.make_tensor_value_info("seen", TensorProto.FLOAT, [2]),
        ],
    )
    graph = helper.make_graph(
        [helper.make_node("Loop", ["trips", "", "x"], ["last", "all"], body=body)],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2])],
        [
            helper.make_tensor_value_info("last", TensorProto.FLOAT, [2]),
            helper.make_tensor_value_info("all", TensorProto.FLOAT, [None, 2]),
        ],
        [numpy_helper.from_array(np.array(5), "trips"), numpy_helper.from_array(np.array(3), "limit")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_a_loop_is_unrolled():
    x = np.array([1.5, -2], "float32")
    tenant = _matches_runtime(_loop_model(), {"x": x})
    assert tenant.outputs["all"].shape == (4, 2)
    assert operators(tenant).count("relax.add") == 4


def test_a_loop_of_unknown_length_is_refused():
    model = _loop_model()
    del model.graph.initializer[0]
    model.graph.input.append(helper.make_tensor_value_info("trips", TensorProto.INT64, []))
    with pytest.raises(TenantError, match="trip count depends on the inputs' values"):
        Tenant.from_onnx(model)


def test_the_models_own_functions_are_expanded():
    model = parser.parse_model("""
    <ir_version: 8, opset_import: ["": 17, "own": 1]>
    f (float[2, 3] x) => (float[2, 3] y) {
      t = own.affine <alpha = 2.0> (x)
      y = own.twice (t)
    }
    <domain: "own", opset_import: ["": 17]>
    affine <alpha> (a) => (b) {
      s = Constant <value_float: float = @alpha> ()
      b = Mul (a, s)
    }
    <domain: "own", opset_import: ["": 17, "own": 1]>
    twice (a) => (b) {
      b = Add (a, a)
    }
    """)
    x = np.arange(6, dtype="float32").reshape(2, 3)
    np.testing.assert_array_equal(run(Tenant.from_onnx(model), {"x": x})["y"], 4 * x)


def test_outputs_may_be_inputs_or_constants():
    model = _parsed("""
    f (float[2] x) => (float[2] x, int64[2] c, float[2] y) { c = Constant <value_ints = [3, 4]> () y = Relu (x) }""")
    found = run(Tenant.from_onnx(model), {"x": np.array([-1, 1], "float32")})
    assert {name: list(array) for name, array in found.items()} == {"x": [-1, 1], "c": [3, 4], "y": [0, 1]}


@pytest.mark.parametrize("opset", [9, 13, 18])
def test_sigmoid_model_of_every_age(opset):
    graph = helper.make_graph(
        [helper.make_node("Sigmoid", ["x"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [3, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [3, 4])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    x = np.random.default_rng(0).standard_normal((3, 4)).astype("float32")
    _matches_runtime(model, {"x": x})


def _quantized_model(domain: str, operator: str, count: int) -> Any:
    """One of Microsoft's quantized operators over uint8 tensors of shape (2, 3, 4, 4)."""
    scale = lambda name, value: numpy_helper.from_array(np.float32(value), name)  # noqa: E731
    zero = lambda name, value: numpy_helper.from_array(np.uint8(value), name)  # noqa: E731
    constants = [
        scale("xs", 0.05),
        zero("xz", 120),
        scale("ys", 0.03),
        zero("yz", 110),
        scale("zs", 0.08),
        zero("zz", 128),
    ]
    tensors = ["x", "xs", "xz"] + (["y", "ys", "yz"] if count == 2 else [])
    names = [*tensors, "zs", "zz"] if operator != "QLinearConcat" else ["zs", "zz", *tensors]
    attributes = {"QLinearConcat": {"axis": 1}, "QLinearLeakyRelu": {"alpha": 0.2}}.get(operator, {})
    inputs = [helper.make_tensor_value_info(name, TensorProto.UINT8, [2, 3, 4, 4]) for name in ("x", "y")[:count]]
    graph = helper.make_graph(
        [helper.make_node(operator, names, ["z"], domain=domain, **attributes)],
        "g",
        inputs,
        [helper.make_tensor_value_info("z", TensorProto.UINT8, None)],
        constants,
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


@pytest.mark.parametrize(
    ("operator", "count"),
    [
        ("QLinearAdd", 2),
        ("QLinearMul", 2),
        ("QLinearConcat", 2),
        ("QLinearSigmoid", 1),
        ("QLinearLeakyRelu", 1),
        ("QLinearGlobalAveragePool", 1),
    ],
)
def test_quantized_operators_of_onnx_runtime(operator, count):
    model = _quantized_model("com.microsoft", operator, count)
    generator = np.random.default_rng(0)
    inputs = {name: generator.integers(0, 256, (2, 3, 4, 4)).astype("uint8") for name in ("x", "y")[:count]}
    expected = runtime.InferenceSession(model.SerializeToString()).run(None, inputs)[0]
    found = run(Tenant.from_onnx(model), inputs)["z"]
    # Table look-ups there, arithmetic here: they may round a tie to different sides.
    assert np.abs(found.astype(int) - expected.astype(int)).max() <= 1


@pytest.mark.parametrize(
    ("text", "shapes"),
    [
        ("com.microsoft.FusedMatMul <transB = 1, alpha = 0.5> (x, w)", {"x": (2, 3, 4), "w": (2, 5, 4)}),
        ("com.microsoft.QuickGelu <alpha = 1.702> (x)", {"x": (2, 3, 4)}),
        (
            'com.microsoft.FusedConv <activation = "Relu", pads = [1, 1, 1, 1]> (x, w, b)',
            {"x": (1, 3, 5, 5), "w": (4, 3, 3, 3), "b": (4,)},
        ),
        (
            "com.microsoft.SkipLayerNormalization <epsilon = 0.00001> (x, s, g, b)",
            {"x": (2, 3, 8), "s": (2, 3, 8), "g": (8,), "b": (8,)},
        ),
        (
            "com.microsoft.SkipSimplifiedLayerNormalization <epsilon = 0.00001> (x, s, g)",
            {"x": (2, 3, 8), "s": (2, 3, 8), "g": (8,)},
        ),
        ("SimplifiedLayerNormalization <epsilon = 0.00001> (x, g)", {"x": (2, 3, 8), "g": (8,)}),
        ("com.microsoft.BiasGelu (x, b)", {"x": (2, 8), "b": (8,)}),
    ],
)
def test_operators_that_onnx_runtimes_optimizer_writes(text, shapes):
    arguments = ", ".join(f"float[{','.join(map(str, shape))}] {name}" for name, shape in shapes.items())
    model = parser.parse_model(
        f'<ir_version: 8, opset_import: ["": 17, "com.microsoft": 1]>\nf ({arguments}) => (float[n] y) {{ y = {text} }}'
    )
    del model.graph.output[0].type.tensor_type.shape.dim[:]
    model.graph.output[0].type.tensor_type.ClearField("shape")
    generator = np.random.default_rng(0)
    _matches_runtime(model, {k: generator.standard_normal(s).astype("float32") for k, s in shapes.items()}, 2e-5)
