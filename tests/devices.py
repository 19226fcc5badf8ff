"""A CPU as it might be, the same on every machine: what a search finds depends on the device."""

from __future__ import annotations

import dataclasses

from gacer_tvm.cost import Device

__all__ = ["cpu"]


def cpu(units: int, name: str = "cpu") -> Device:
    """A CPU of `units` cores at 3 GHz with AVX2."""
    return dataclasses.replace(
        Device.host_cpu(),
        name=name,
        units=units,
        clock_hz=3e9,
        bandwidth=min(units, 4) * 1.2e10,
        peak={"float32": units * 9.6e10, "float64": units * 4.8e10},
        cache_bytes=2**25,
        vector_bits=256,
    )
