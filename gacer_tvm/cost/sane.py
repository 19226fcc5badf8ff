"""What a line of measurements may say of a device and of a kernel before anything is computed from it.

A damaged line is often still JSON of the right form: a clock of zero divides by zero long after it was read.
"""

from __future__ import annotations

import math

from .device import Device
from .facts import Facts

__all__ = ["device_fault", "facts_fault"]

# No device does more than this of anything in a second, and no kernel has more than this of anything.
_MOST = 1e24
_POSITIVE = ("clock_hz", "bandwidth", "compute_efficiency", "bandwidth_efficiency")
_NOT_NEGATIVE = (
    "launch_seconds", "sync_seconds", "event_seconds", "fork_seconds", "issue_seconds", "oversubscription_loss",
    "cache_bytes", "vector_bits",
)  # fmt: skip


def device_fault(device: Device) -> str:
    """Why the figures of a device cannot be those of one, or ""."""
    if not 1 <= device.units < 1 << 20:
        return f"a device of {device.units} units"
    if device.kind == "cuda" and device.limits is None:
        return "a GPU without limits"
    for name in _POSITIVE:
        if not 0 < getattr(device, name) < _MOST:
            return f"a device whose {name} is {getattr(device, name)}"
    for name in _NOT_NEGATIVE:
        if not 0 <= getattr(device, name) < _MOST:
            return f"a device whose {name} is {getattr(device, name)}"
    if not all(0 < peak < _MOST for peak in device.peak.values()):
        return "a device with a peak that is none"
    return ""


def facts_fault(facts: Facts) -> str:
    """Why these cannot be the facts of a kernel, or ""."""
    for name in Facts.__struct_fields__:
        value = getattr(facts, name)
        if not (math.isfinite(value) and 0 <= value < _MOST):
            return f"a kernel whose {name} is {value}"
    if facts.batch < 1 or facts.itemsize < 1:
        return f"a kernel of batch {facts.batch} with elements of {facts.itemsize} bytes"
    return ""
