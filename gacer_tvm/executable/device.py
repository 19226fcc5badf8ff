"""Which devices are here."""

from __future__ import annotations

from .._tvm import tvm
from ..cost import Device
from ..cost.of_target import target_device

__all__ = ["is_here", "target_device"]


def is_here(device: Device) -> bool:
    """Whether kernels for `device` can run on this machine now."""
    if device.kind == "cpu":
        return True
    return bool(tvm.runtime.enabled("cuda") and tvm.cuda().exist)
