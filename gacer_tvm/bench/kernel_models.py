"""The models that the kernel benchmark runs: as a tenant, as ONNX for ONNX Runtime, and inputs for both."""

from __future__ import annotations

import importlib.util
import io
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import TenantError
from ..frontend import Tenant

__all__ = ["MODELS", "load"]

# ONNX file in the rapidocr-onnxruntime wheel, and the input size it is usually run at.
_OCR: dict[str, tuple[str, tuple[int, ...]]] = {
    "ppocr_det": ("ch_PP-OCRv4_det_infer.onnx", (1, 3, 320, 320)),
    "ppocr_rec": ("ch_PP-OCRv4_rec_infer.onnx", (1, 3, 48, 320)),
    "ppocr_cls": ("ch_ppocr_mobile_v2.0_cls_infer.onnx", (1, 3, 48, 192)),
}
_TORCH: dict[str, tuple[str, dict[str, int]]] = {
    "resnet50": ("resnet50", {}),
    "mobilenet_v3": ("mobilenet_v3", {}),
    "bert_base_layer": ("bert", {"steps": 128, "hidden": 768, "layers": 1, "heads": 12}),
    "resnet18": ("resnet18", {}),
    "densenet121": ("densenet121", {}),
    "alexnet": ("alexnet", {}),
    "vgg16": ("vgg16", {}),
    "vit_b_16": ("vit_b_16", {}),
    "lstm": ("lstm", {}),
}


#: torchvision networks beyond `gacer_tvm.models`, and the image size each is run at.
_TORCHVISION = {"regnet_y_400mf": 224, "squeezenet1_1": 224}
# Networks of `other_nets`, which need PyTorch alone.
_OTHERS = ("audio", "detector", "diffusion", "gpt", "style", "super_resolution", "tcn", "unet")

#: Every model that `load` knows.
MODELS: tuple[str, ...] = (*_OCR, *_TORCH, *_TORCHVISION, *_OTHERS)


def load(model: str, batch: int) -> tuple[Tenant, bytes, dict[str, np.ndarray]]:
    """One of `MODELS` at a batch size: the tenant, the same network as ONNX, and the tenant's inputs."""
    rng = np.random.default_rng(0)
    if model in _OCR:
        import onnx

        name, shape = _OCR[model]
        # The package itself wants OpenCV; only its weights are needed.
        found = importlib.util.find_spec("rapidocr_onnxruntime")
        if found is None or found.origin is None:
            raise TenantError(
                f"{model} needs the weights in the package rapidocr-onnxruntime, which is not installed"
            )
        path = Path(found.origin).parent / "models" / name
        loaded = onnx.load(path)
        shape = (batch, *shape[1:])
        tenant = Tenant.from_onnx(loaded, shapes={loaded.graph.input[0].name: shape}, name=model)
        return tenant, path.read_bytes(), {k: _draw(rng, s) for k, s in tenant.inputs.items()}
    import torch

    network, examples = _network(model, batch)
    tenant = Tenant.from_torch(torch.export.export(network, examples), name=model)
    held = io.BytesIO()
    torch.onnx.export(network, examples, held, dynamo=False, opset_version=17)
    feeds = {k: e.numpy() for k, e in zip(tenant.inputs, examples, strict=True)}
    return tenant, held.getvalue(), feeds


def _draw(rng: np.random.Generator, spec: Any) -> np.ndarray:
    return rng.random(tuple(spec.shape), dtype=np.float32)


def _network(model: str, batch: int) -> tuple[Any, tuple[Any, ...]]:
    """A PyTorch module with seeded weights, and example inputs."""
    import torch

    if model in _TORCH:
        from ..models import torch_model

        constructor, options = _TORCH[model]
        return torch_model(constructor, batch, **options)
    if model in _OTHERS:
        from .other_nets import make

        return make(model, batch)
    from ..models.vision import construct, settle

    size = _TORCHVISION[model]
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        module = construct(torch, model)
        settle(torch, module, size)
        return module.eval(), (torch.randn(batch, 3, size, size),)
