"""The device model that belongs to a target."""

from __future__ import annotations

from typing import Any

from ..errors import DeviceError
from .device import Device

__all__ = ["device_called", "target_device"]

# The device model searched for when only an architecture is known: the one of its kind that this project aims at.
_TYPICAL = {"sm_90": "nvidia-h200", "sm_80": "nvidia-a100", "sm_70": "nvidia-v100", "sm_61": "nvidia-gtx-1080-ti"}
# What is found in the name that the driver gives a device ("NVIDIA H100 80GB HBM3"), to its model.
_CALLED = {
    "H200": "nvidia-h200",
    "H100": "nvidia-h100",
    "A100": "nvidia-a100",
    "V100": "nvidia-v100",
    "TITAN V": "nvidia-titan-v",
    "GTX 1080 Ti": "nvidia-gtx-1080-ti",
    "P6000": "nvidia-quadro-p6000",
}


def target_device(target: Any, spec: Any = None) -> Device:
    """The device model of a target.

    Parameters
    ----------
    target
        tvm Target.
    spec
        What the user called it; a device's own name is taken at its word.

    Raises
    ------
    DeviceError
        Where no model fits; the message says how to name one.
    """
    if isinstance(spec, Device):
        return spec
    if isinstance(spec, str) and spec in Device.names():
        return Device.named(spec)
    if target.kind.name == "llvm":
        return Device.host_cpu()
    arch = str(target.attrs.get("arch", ""))
    if arch in _TYPICAL:
        return Device.named(_TYPICAL[arch])
    raise DeviceError(
        f"no device model for target {target}; pass device=, one of {', '.join(Device.names())}, or a gacer_tvm.Device"
    )


def device_called(name: str, target: Any) -> Device:
    """The device model of a CUDA device by the name that its driver gives it, else the typical one of the target.

    Raises
    ------
    DeviceError
        Where neither is known.
    """
    for part, model in _CALLED.items():
        if part in name:
            return Device.named(model)
    return target_device(target)
