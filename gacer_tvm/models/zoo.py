"""Models by name, and the sets of them that are run together."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..errors import TenantError

__all__ = ["MODELS", "MORE_MODELS", "SETS", "tenant", "torch_model"]


class _Vision(NamedTuple):
    """A torchvision network: its constructor's name, and the smallest image that it takes."""

    constructor: str
    smallest: int
    multiple: int = 1


_VISION = {
    "alexnet": _Vision("alexnet", 64),
    "vgg16": _Vision("vgg16", 32),
    "resnet18": _Vision("resnet18", 32),
    "resnet50": _Vision("resnet50", 32),
    "resnet101": _Vision("resnet101", 32),
    "mobilenet_v3": _Vision("mobilenet_v3_large", 32),
    "densenet121": _Vision("densenet121", 32),
    "vit_b_16": _Vision("vit_b_16", 16, 16),
}
_MORE_VISION = {
    "convnext_tiny": _Vision("convnext_tiny", 32),
    "efficientnet_b0": _Vision("efficientnet_b0", 32),
    "googlenet": _Vision("googlenet", 32),
    "mnasnet": _Vision("mnasnet1_0", 32),
    "mobilenet_v2": _Vision("mobilenet_v2", 32),
    "regnet_x_400mf": _Vision("regnet_x_400mf", 32),
    "regnet_y_400mf": _Vision("regnet_y_400mf", 32),
    "resnext50": _Vision("resnext50_32x4d", 32),
    "shufflenet_v2": _Vision("shufflenet_v2_x1_0", 32),
    "wide_resnet50": _Vision("wide_resnet50_2", 32),
    # Relatives of the networks above: what is known of a design should not rest on one network.
    "densenet161": _Vision("densenet161", 32),
    "densenet169": _Vision("densenet169", 32),
    "densenet201": _Vision("densenet201", 32),
    "efficientnet_b1": _Vision("efficientnet_b1", 32),
    "efficientnet_b2": _Vision("efficientnet_b2", 32),
    "efficientnet_v2_s": _Vision("efficientnet_v2_s", 32),
    "mnasnet_half": _Vision("mnasnet0_5", 32),
    "mnasnet_wide": _Vision("mnasnet1_3", 32),
    "mobilenet_v3_small": _Vision("mobilenet_v3_small", 32),
    "regnet_x_800mf": _Vision("regnet_x_800mf", 32),
    "regnet_y_800mf": _Vision("regnet_y_800mf", 32),
    "resnet34": _Vision("resnet34", 32),
    "shufflenet_v2_half": _Vision("shufflenet_v2_x0_5", 32),
    "shufflenet_v2_wide": _Vision("shufflenet_v2_x1_5", 32),
    "shufflenet_v2_widest": _Vision("shufflenet_v2_x2_0", 32),
    "squeezenet_v1_0": _Vision("squeezenet1_0", 32),
    "squeezenet_v1_1": _Vision("squeezenet1_1", 32),
    "swin_t": _Vision("swin_t", 32),
    "vgg11": _Vision("vgg11", 32),
    "vgg13": _Vision("vgg13", 32),
    "vit_b_32": _Vision("vit_b_32", 32, 32),
}
_SEQUENCE = ("lstm", "bert")

#: The models that are tested and benchmarked.
MODELS: tuple[str, ...] = (*_VISION, *_SEQUENCE)
#: More networks of other designs, for measuring kernels.
MORE_MODELS: tuple[str, ...] = tuple(_MORE_VISION)

#: Sets of models that share a device in the benchmarks; the first three as in GACER (arXiv 2304.11745).
SETS: dict[str, tuple[str, ...]] = {
    "light": ("alexnet", "vgg16", "resnet18"),
    "mixed": ("resnet50", "vgg16", "mobilenet_v3"),
    "deep": ("resnet101", "densenet121", "mobilenet_v3"),
    "language": ("lstm", "bert", "resnet18"),
}


def torch_model(
    name: str, batch: int = 1, image_size: int | None = None, *, seed: int = 0, **config: int
) -> tuple[Any, tuple[Any, ...]]:
    """A network with seeded random weights, and example inputs for it.

    Parameters
    ----------
    name
        One of `MODELS` or `MORE_MODELS`.
    batch
        Batch size of the example inputs.
    image_size
        Height and width of the images; 224 by default. Vision networks only; the smallest are 16 (ViT-B/16, multiples
        of 16), 64 (AlexNet) and 32 (the rest).
    seed
        Of weights and inputs. The same arguments give the same numbers.
    **config
        ``steps``, ``hidden``, ``layers`` for ``lstm`` and ``bert``; also ``width`` (features) for ``lstm``,
        ``heads`` and ``vocabulary`` for ``bert``.

    Returns
    -------
    module, inputs
        The module in evaluation mode. Batch-norm statistics fit the inputs and every layer keeps its activations near
        one, so that outputs neither vanish nor explode and errors mean something. Images are float32 (batch, 3,
        image_size, image_size); the LSTM takes float32 (batch, steps, width), BERT int64 tokens (batch, steps).

    Raises
    ------
    TenantError
        When PyTorch or torchvision is missing, the name is unknown, or the image is too small.
    """
    torch = _torch()
    if name not in (*MODELS, *MORE_MODELS):
        raise TenantError(f"there is no model {name!r}; expected one of {', '.join((*MODELS, *MORE_MODELS))}")
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        if name in _SEQUENCE:
            from .sequence import make

            if image_size is not None:
                raise TenantError(f"{name} takes no images; give steps=… instead of image_size")
            module, inputs = make(name, batch, **config)
            return module.eval(), inputs
        if config:
            raise TenantError(f"{name} takes no {', '.join(config)}; only batch and image_size")
        return _vision(torch, name, batch, 224 if image_size is None else image_size)


def tenant(name: str, batch: int = 1, image_size: int | None = None, *, seed: int = 0, **config: int) -> Any:
    """The network of `torch_model` as a `Tenant` of that name."""
    from ..frontend import Tenant

    module, inputs = torch_model(name, batch, image_size, seed=seed, **config)
    return Tenant.from_torch(_torch().export.export(module, inputs), name=name, batch_axis=0)


def _torch() -> Any:
    try:
        import torch
    except ImportError as error:
        raise TenantError(f"these models need PyTorch: pip install 'gacer-tvm[torch]' ({error})") from error
    return torch


def _vision(torch: Any, name: str, batch: int, size: int) -> tuple[Any, tuple[Any, ...]]:
    entry = (_VISION | _MORE_VISION)[name]
    if size < entry.smallest or size % entry.multiple:
        rule = f"at least {entry.smallest}" + (f" and a multiple of {entry.multiple}" if entry.multiple > 1 else "")
        raise TenantError(f"{name}: expected image_size {rule}, found {size}")
    from .vision import construct, settle

    # GoogLeNet's further outputs are for training only.
    options: dict[str, Any] = {"googlenet": {"aux_logits": False, "init_weights": False}}.get(name, {})
    if name.startswith("vit_"):
        options = {"image_size": size}
    module = construct(torch, entry.constructor, **options)
    settle(torch, module, size)
    return module.eval(), (torch.randn(batch, 3, size, size),)
