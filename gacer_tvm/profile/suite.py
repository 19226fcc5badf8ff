"""Tenant sets to profile where no models are given: published architectures, small and as they are served, and drawn ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import TenantError

__all__ = ["SUITE", "suite_tenants"]

# (architecture, batch, image size or 0)
Spec = tuple[str, int, int]

SUITE: Mapping[str, Sequence[Spec]] = {
    "a": (("resnet18", 4, 64), ("squeezenet", 4, 64), ("lstm", 4, 0)),
    "b": (("mobilenet_v3", 4, 64), ("bert", 4, 0), ("dqn", 4, 84)),
    "c": (("alexnet", 4, 64), ("mobilenet", 4, 64), ("mlp", 8, 0)),
    "d": (("resnet50", 2, 64), ("dcgan", 4, 0), ("bert", 2, 0)),
    "e": (("vgg16", 4, 32), ("mobilenet_v3", 2, 96), ("lstm", 8, 0)),
    "f": (("densenet121", 2, 64), ("squeezenet", 2, 96), ("dqn", 8, 84)),
    "g": (("vit_b_16", 2, 64), ("resnet18", 8, 32), ("mobilenet", 2, 96)),
    "h": (("resnet101", 2, 32), ("mlp", 4, 0), ("dcgan", 2, 0)),
    **{
        # Two networks on images and one on sequences each.
        name: tuple((f"drawn{3 * n + k}", 2, 0) for k in range(3))
        for n, name in enumerate("ijklmnopqr")
    },
    **{
        # A recurrent network, a decoder and one on images of a few pixels.
        name: tuple((f"drawn{30 + 3 * n + k}", batch, 0) for k, batch in enumerate((4, 2, 4)))
        for n, name in enumerate("stuvwx")
    },
    # At the sizes that are served.
    "A": (("resnet18", 4, 224), ("squeezenet", 4, 224), ("lstm", 2, 0)),
    "B": (("mobilenet_v3", 4, 224), ("bert", 1, 0), ("dqn", 4, 168)),
    "C": (("alexnet", 4, 224), ("mobilenet", 4, 224), ("mlp", 3, 0)),
    "D": (("resnet50", 2, 224), ("dcgan", 3, 0), ("mobilenet_v3", 2, 320)),
    "E": (("densenet121", 2, 224), ("squeezenet", 2, 320), ("dqn", 2, 168)),
    "F": (("inception_v3", 1, 299), ("mobilenet", 2, 320), ("dcgan", 1, 0)),
    "G": (("vit_b_16", 1, 224), ("resnet18", 2, 320), ("mlp", 2, 0)),
    "H": (("resnet101", 1, 224), ("squeezenet", 1, 512), ("bert", 3, 0)),
    "I": (("vgg16", 1, 224), ("mobilenet_v3", 4, 160), ("alexnet", 2, 320)),
    "J": (("densenet121", 1, 320), ("mobilenet", 4, 160), ("resnet50", 4, 128)),
    "K": (("mobilenet_v2", 4, 224), ("googlenet", 2, 224)),
    "L": (("efficientnet_b0", 2, 224), ("shufflenet_v2", 4, 224)),
    "M": (("mnasnet", 4, 224), ("regnet_x_400mf", 4, 224)),
    "N": (("regnet_y_400mf", 2, 224), ("resnext50", 1, 224)),
    "O": (("convnext_tiny", 1, 224), ("wide_resnet50", 1, 224)),
    "P": (("efficientnet_b0", 4, 96), ("googlenet", 4, 96), ("mobilenet_v2", 2, 64)),
    "Q": (("shufflenet_v2", 2, 96), ("mnasnet", 2, 64), ("convnext_tiny", 2, 64)),
    "R": (("regnet_y_400mf", 4, 64), ("regnet_x_400mf", 2, 96), ("resnext50", 2, 64)),
    "S": (("densenet169", 2, 224), ("mobilenet_v3_small", 4, 224)),
    "T": (("densenet201", 1, 224), ("shufflenet_v2_wide", 2, 224)),
    "U": (("mobilenet_v3_small", 4, 96), ("densenet169", 2, 64), ("lstm_narrow", 4, 0)),
    "V": (("resnet34", 2, 224), ("squeezenet_v1_1", 4, 224)),
    "W": (("vgg11", 1, 224), ("efficientnet_b1", 1, 240)),
    "X": (("vit_b_32", 1, 224), ("mnasnet_half", 4, 224), ("bert_small", 2, 0)),
    "Y": (("shufflenet_v2_half", 4, 96), ("resnet34", 4, 64), ("lstm_deep", 2, 0)),
    "Z": (("densenet201", 2, 64), ("regnet_y_800mf", 2, 64), ("bert_small", 4, 0)),
    "AA": (("lstm_short", 4, 0), ("bert_wide", 2, 0), ("mnasnet_wide", 4, 64)),
    "AB": (("shufflenet_v2_widest", 4, 96), ("regnet_x_800mf", 4, 64), ("lstm_wide", 2, 0)),
    "AC": (("vgg13", 1, 224), ("mnasnet_wide", 2, 224)),
    "AD": (("efficientnet_b2", 1, 260), ("shufflenet_v2_widest", 2, 224)),
    "AE": (("efficientnet_v2_s", 1, 224), ("regnet_x_800mf", 2, 224)),
    "AF": (("squeezenet_v1_0", 2, 224), ("efficientnet_b2", 4, 64), ("lstm_late", 8, 0)),
    "AG": (("densenet161", 1, 224), ("efficientnet_v2_s", 4, 64)),
    "AH": (("swin_t", 1, 224), ("vgg13", 2, 64), ("bert_long", 1, 0)),
}
"""Set name to its members."""

# Sequence models of other sizes: the model, and its configuration.
_SIZED: Mapping[str, tuple[str, Mapping[str, int]]] = {
    "lstm_narrow": ("lstm", {"steps": 12, "hidden": 128, "layers": 1}),
    "lstm_deep": ("lstm", {"steps": 10, "hidden": 192, "layers": 3}),
    "lstm_short": ("lstm", {"steps": 6, "width": 64, "hidden": 320, "layers": 2}),
    "lstm_wide": ("lstm", {"steps": 8, "width": 96, "hidden": 448, "layers": 1}),
    "lstm_late": ("lstm", {"steps": 20, "width": 40, "hidden": 96, "layers": 2}),
    "bert_small": ("bert", {"hidden": 192, "layers": 2, "heads": 4, "steps": 48}),
    "bert_wide": ("bert", {"hidden": 320, "layers": 2, "heads": 5, "steps": 40}),
    "bert_long": ("bert", {"hidden": 256, "layers": 2, "heads": 8, "steps": 128}),
}
_IMAGE = {"squeezenet": 3, "mobilenet": 3, "dqn": 4, "inception_v3": 3}


def suite_tenants(name: str) -> tuple[dict[str, Any], list[str]]:
    """The tenants of a set of `SUITE`, and the architecture of each."""
    if name not in SUITE:
        raise TenantError(f"no tenant set {name!r} in the suite; expected one of {', '.join(SUITE)}")
    return {architecture: _tenant(*spec) for spec in SUITE[name] for architecture in spec[:1]}, [s[0] for s in SUITE[name]]


def _tenant(architecture: str, batch: int, size: int) -> Any:
    from ..frontend import Tenant
    from ..models import MODELS, MORE_MODELS, tenant

    if architecture in (*MODELS, *MORE_MODELS):
        return tenant(architecture, batch, size or None)
    if architecture in _SIZED:
        name, config = _SIZED[architecture]
        return tenant(name, batch, **config)
    if architecture.startswith("drawn"):
        from .drawn import drawn_workload

        made, params = drawn_workload(int(architecture[5:]), batch)
        return Tenant.from_relay(made, params, name=architecture)
    from importlib import import_module

    module = import_module(f"..relay.testing.{architecture}", __package__)
    shape = {"image_shape": (_IMAGE[architecture], size, size)} if architecture in _IMAGE else {}
    made, params = module.get_workload(batch, **shape)
    return Tenant.from_relay(made, params, name=architecture)
