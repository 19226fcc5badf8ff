"""torchvision's networks with weights that give outputs of ordinary size."""

from __future__ import annotations

import math
from typing import Any

from ..errors import TenantError

__all__ = ["construct", "settle"]

_libraries: list[Any] = []  # kept alive: the definitions vanish with their Library


def _import_torchvision(torch: Any) -> Any:
    """torchvision; its two operators that the CPU build of PyTorch has no library for are declared first."""
    try:
        import torchvision

        return torchvision
    except RuntimeError:
        pass  # "operator torchvision::nms does not exist"
    except ImportError as error:
        raise TenantError(f"this model needs torchvision: pip install 'gacer-tvm[torch]' ({error})") from error
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _libraries.append(library)
    import torchvision

    return torchvision


def construct(torch: Any, constructor: str, **options: Any) -> Any:
    """One of torchvision's networks, its weights untrained."""
    return getattr(_import_torchvision(torch).models, constructor)(weights=None, **options)


def settle(torch: Any, module: Any, size: int) -> None:
    """Give every layer weights that keep activations near one, and batch-norms the statistics of random images.

    He initialization (arXiv 1502.01852) for convolutions and matrix products, then one forward pass of eight images in
    training mode from which each batch-norm takes its mean and variance. The last batch-norm of a residual branch gets
    small weights: a hundred layers of random residual blocks would otherwise amplify rounding errors as chaos does, and
    two correct ways to sum would seem to disagree.
    """
    nn = torch.nn
    norms = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            # Out of a sum of n products of unit numbers comes a unit number when the weights have variance 1 / n.
            fan = layer.weight[0].numel()
            layer.weight.normal_(0.0, math.sqrt((2.0 if isinstance(layer, nn.Conv2d) else 1.0) / fan))
            if layer.bias is not None:
                layer.bias.normal_(0.0, 0.1)
        elif isinstance(layer, norms):
            layer.weight.uniform_(0.5, 1.5)
            layer.bias.normal_(0.0, 0.1)
            layer.momentum = 1.0
            layer.reset_running_stats()
    for name, layer in module.named_modules():
        parent = module.get_submodule(name.rpartition(".")[0])
        if name.endswith("bn3") or (name.endswith("bn2") and not hasattr(parent, "bn3")):
            layer.weight.uniform_(0.1, 0.3)
    if not any(isinstance(layer, norms) for layer in module.modules()):
        return
    module.train()
    for layer in module.modules():
        if isinstance(layer, nn.Dropout):
            layer.eval()
    module(torch.randn(8, 3, max(size, 64), max(size, 64)))
    for layer in module.modules():
        if isinstance(layer, norms):
            layer.running_var.clamp_(min=0.05)
