"""The device model that belongs to a target."""

from __future__ import annotations

from typing import Any

from ..errors import DeviceError
from .device import Device

__all__ = ["target_device"]

# The device model searched for when only an architecture is known: the one of its kind that this project aims at.
_TYPICAL = {"sm_90": "nvidia-h200", "sm_80": "nvidia-a100", "sm_70": "nvidia-v100", "sm_61": "nvidia-gtx-1080-ti"}


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
