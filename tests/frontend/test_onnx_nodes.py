"""ONNX's own node tests, for the operators that TVM's importer lacks or gets wrong, and for control flow and functions.

The expected outputs come from the ONNX project. As in real models, all inputs but the first are constants.
"""

from __future__ import annotations

import warnings
from fnmatch import fnmatch
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="the onnx extra is not installed")

from gacer_tvm.errors import TenantError  # noqa: E402
from gacer_tvm.frontend import Tenant  # noqa: E402

from .running import run  # noqa: E402

CHOSEN = (
    "attention_3d_gqa_causal", "attention_4d", "attention_4d_attn_mask_bool", "attention_4d_with_past_and_present",
    "attention_4d_diff_heads_with_past_and_present", "batchnorm_*", "celu", "center_crop_pad_crop", "clip*", "col2im*",
    "compress_*", "convinteger_*", "convtranspose_output_shape", "convtranspose_pads", "cumprod_*", "det_*", "dft*",
    "dropout_default_mask", "eyelike_*", "gather_*", "gru_*", "isinf_*", "l1normalization*", "l2norm*",
    "layer_normalization_4d_axis1", "layer_normalization_default_axis", "lstm_*", "matmulinteger", "onehot_*", "pow_*",
    "qlinearconv", "qlinearmatmul_*_float32", "resize_*", "reversesequence_*",
    "rms_normalization_2d_axis0", "rms_normalization_default_axis", "rotary_embedding_interleaved", "scan9_*",
    "sce_mean", "shape_start_1_end_negative_1", "simple_rnn_*", "spacetodepth_*", "split_variable_parts_2d_opset18", "stft*",
    "swiglu", "upsample_*",
)  # fmt: skip
# The same once more, written out by the standard's own definition.
LEFT_OUT = ("*_expanded*",)


def _cases() -> dict[str, Any]:
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the cases divide by zero on purpose
        cases = collect_testcases(None)
    return {
        name: case
        for case in cases
        if case.model is not None
        and any(fnmatch(name := case.name.removeprefix("test_"), pattern) for pattern in CHOSEN)
        and not any(fnmatch(name, pattern) for pattern in LEFT_OUT)
    }


CASES = _cases()


@pytest.mark.parametrize("name", sorted(CASES))
def test_node(name):
    case = CASES[name]
    inputs, outputs = case.data_sets[0]
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    feeds = dict(zip((value.name for value in model.graph.input), inputs, strict=True))
    first = next(iter(feeds))
    for key, array in feeds.items():
        if key != first:
            model.graph.initializer.append(onnx.numpy_helper.from_array(array, key))
    kept = [value for value in model.graph.input if value.name == first]
    del model.graph.input[:]
    model.graph.input.extend(kept)

    tenant = Tenant.from_onnx(model, {first: feeds[first].shape})
    assert list(tenant.outputs) == [value.name for value in model.graph.output]
    found = run(tenant, {first: feeds[first]})
    for array, expected in zip(found.values(), outputs, strict=True):
        assert array.shape == expected.shape and array.dtype == expected.dtype
        np.testing.assert_allclose(
            array.astype("float64"), expected.astype("float64"), rtol=max(case.rtol, 1e-3), atol=max(case.atol, 1e-5)
        )


def test_every_family_is_there():
    for pattern in CHOSEN:
        assert any(fnmatch(name, pattern) for name in CASES), pattern


@pytest.mark.parametrize(
    ("operator", "attributes", "inputs", "said"),
    [
        ("NonZero", {}, {"x": (4,)}, "depends on the inputs' values"),
        ("Reshape", {}, {"x": (4,), "shape": (2,)}, "shape"),
        ("TopK", {}, {"x": (4,), "k": (1,)}, "constant"),
        ("Gather", {"axis": 0}, {"x": (4,), "index": np.array([0, 4])}, "from 0 to 4, its axis has 4"),
        ("Conv", {}, {"x": (1, 3, 5, 5), "w": (2, 4, 3, 3)}, "float32[1, 3, 5, 5], float32[2, 4, 3, 3]"),
    ],
)
def test_a_node_that_cannot_be_converted_is_named(operator, attributes, inputs, said):
    helper = onnx.helper
    constants = {name: value for name, value in inputs.items() if isinstance(value, np.ndarray)}
    shapes = {name: value for name, value in inputs.items() if not isinstance(value, np.ndarray)}
    infos = [
        helper.make_tensor_value_info(
            name, onnx.TensorProto.INT64 if name in ("shape", "k") else onnx.TensorProto.FLOAT, shape
        )
        for name, shape in shapes.items()
    ]
    outputs = ["y", "z"] if operator == "TopK" else ["y"]
    node = helper.make_node(operator, list(inputs), outputs, name="the_node", **attributes)
    graph = helper.make_graph(
        [node],
        "g",
        infos,
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)],
        [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    with pytest.raises(TenantError) as caught:
        Tenant.from_onnx(model, name="m")
    assert f"node 'the_node' ({operator})" in str(caught.value) and said in str(caught.value)
    assert "tenant 'm'" in str(caught.value)
