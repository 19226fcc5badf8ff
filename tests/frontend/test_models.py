"""Whole networks: the benchmark models against PyTorch, real ONNX models against ONNX Runtime."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from gacer_tvm import models
from gacer_tvm.errors import TenantError
from gacer_tvm.frontend import Tenant, normalize

from .running import largest_error, operators, run

SIZES = {"alexnet": 64, "vgg16": 32, "resnet18": 32, "resnet50": 32, "resnet101": 32, "mobilenet_v3": 32, "densenet121": 32}
# These take more than twenty seconds to compile and run.
MORE = ("convnext_tiny", "efficientnet_b0", "googlenet", "shufflenet_v2")
SLOW = {"vgg16", "resnet101", "densenet121", "mobilenet_v3"}

needs_torch = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="the torch extra is not installed"
)


@needs_torch
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow if name in SLOW or name in MORE else ())
        for name in (*models.MODELS, *MORE)
    ],
)
def test_benchmark_model(name):
    import torch

    size = {"vit_b_16": 32, **SIZES, **dict.fromkeys(MORE, 64)}.get(name)
    config = {"lstm": {"steps": 4, "hidden": 32, "width": 16}, "bert": {"layers": 2, "hidden": 64}}.get(name, {})
    module, inputs = models.torch_model(name, 2, size, **config)
    tenant = Tenant.of(torch.export.export(module, inputs), name)
    assert tenant.batch == 2
    found = run(tenant, {key: value.numpy() for key, value in zip(tenant.inputs, inputs, strict=True)})
    with torch.no_grad():
        expected = torch.utils._pytree.tree_leaves(module(*inputs))
    for array, value in zip(found.values(), expected, strict=True):
        value = value.numpy()
        # Neither vanished nor exploded, and different for different inputs.
        assert 0.01 < value.std() < 10 and np.abs(value[0] - value[1]).max() > 0.05 * np.abs(value).max()
        assert largest_error(array, value) < 1e-4
    names = operators(normalize(tenant))
    assert not {"relax.nn.batch_norm", "relax.nn.dropout", "relax.take"} & set(names) or name == "bert"


@needs_torch
def test_the_same_arguments_give_the_same_model():
    import torch

    first, inputs = models.torch_model("lstm", 2, steps=2)
    torch.randn(7)
    second, again = models.torch_model("lstm", 2, steps=2)
    assert torch.equal(inputs[0], again[0])
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    other, _ = models.torch_model("lstm", 2, steps=2, seed=1)
    assert not torch.equal(next(first.parameters()), next(other.parameters()))


@needs_torch
def test_every_set_names_models():
    assert {name for members in models.SETS.values() for name in members} <= set(models.MODELS)
    for name, arguments, said in (
        ("resnet19", {}, "resnet19"),
        ("resnet18", {"image_size": 16}, "at least 32"),
        ("vit_b_16", {"image_size": 40}, "multiple of 16"),
        ("lstm", {"image_size": 32}, "steps"),
        ("resnet18", {"steps": 3}, "steps"),
        ("bert", {"step": 3}, "step"),
        ("bert", {"hidden": 30}, "heads"),
    ):
        with pytest.raises(TenantError, match=said):
            models.torch_model(name, **arguments)


def _ocr(name: str) -> Path:
    found = importlib.util.find_spec("rapidocr_onnxruntime")
    if found is None or found.origin is None:
        pytest.skip("rapidocr-onnxruntime is not installed")
    return Path(found.origin).parent / "models" / name


def _against_runtime(path: Path, inputs: dict[str, np.ndarray], logits: bool = False) -> float:
    """Largest error against ONNX Runtime; of what goes into the last sigmoid where the results are its probabilities.

    Where a sigmoid saturates, runtimes agree to a few ulp of 1 only, and some flush to zero.
    """
    onnx = pytest.importorskip("onnx", reason="the onnx extra is not installed")
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    model = onnx.load(path)
    if logits:
        (last,) = (node for node in model.graph.node if model.graph.output[0].name in node.output)
        assert last.op_type == "Sigmoid"
        del model.graph.output[:]
        model.graph.output.append(onnx.helper.make_tensor_value_info(last.input[0], onnx.TensorProto.FLOAT, None))
    options = runtime.SessionOptions()
    options.log_severity_level = 4
    expected = runtime.InferenceSession(model.SerializeToString(), options).run(None, inputs)
    tenant = Tenant.from_onnx(model, {name: array.shape for name, array in inputs.items()})
    found = list(run(tenant, inputs).values())
    return max(largest_error(array, value) for array, value in zip(found, expected, strict=True))


# What PP-OCRv4 was exported with: symbolic extents, shapes computed from shapes, hard-swish, CTC head.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("ch_PP-OCRv4_det_infer.onnx", (1, 3, 64, 96)),
        ("ch_ppocr_mobile_v2.0_cls_infer.onnx", (2, 3, 48, 192)),
        ("ch_PP-OCRv4_rec_infer.onnx", (2, 3, 48, 64)),
    ],
)
def test_ocr_networks(name, shape):
    picture = np.random.default_rng(0).uniform(-1, 1, shape).astype("float32")
    assert _against_runtime(_ocr(name), {"x": picture}, logits="det" in name) < 1e-4


LIGHT = ("squeezenet", "shufflenet", "resnet50", "inception_v2")


@pytest.mark.parametrize("name", LIGHT)
def test_networks_of_the_onnx_package_import(name):
    onnx = pytest.importorskip("onnx", reason="the onnx extra is not installed")
    path = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light" / f"light_{name}.onnx"
    if not path.is_file():
        pytest.skip(f"this onnx package has no {path.name}")
    tenant = normalize(Tenant.from_onnx(path))
    assert next(iter(tenant.outputs.values())).shape == (1, 1000) or name == "squeezenet"
    assert "relax.nn.batch_norm" not in operators(tenant)
