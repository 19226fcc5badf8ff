"""A GPU of this machine as a device model: what the driver tells, completed from the figures of its model.

The driver's library is asked directly (`ctypes`, no other package); where it is missing there is no GPU to read.
"""

from __future__ import annotations

import ctypes
import ctypes.util
from dataclasses import replace
from typing import Protocol

from ..errors import DeviceError
from .device import Device, GpuLimits
from .gpus import GPUS

__all__ = ["Driver", "host_gpu"]

# Numbers of CUdevice_attribute (CUDA driver API reference).
_CLOCK_KHZ, _SMS, _MEMORY_KHZ, _BUS_BITS, _L2_BYTES, _THREADS = 13, 16, 36, 37, 38, 39
_MAJOR, _MINOR, _SHARED, _REGISTERS, _BLOCKS, _RESERVED_SHARED = 75, 76, 81, 82, 106, 111

# float32 cores of an SM by compute capability (CUDA programming guide, arithmetic instructions).
_CORES = {6.0: 64, 6.1: 128, 7.0: 64, 7.5: 64, 8.0: 64, 8.6: 128, 8.9: 128, 9.0: 128, 10.0: 128, 12.0: 128}


class Driver(Protocol):
    """What is asked of the CUDA driver."""

    def count(self) -> int:
        """GPUs of the machine."""
        ...

    def name(self, device: int) -> str:
        """Name of a GPU."""
        ...

    def attribute(self, device: int, number: int) -> int:
        """A ``CUdevice_attribute`` of a GPU; 0 where the driver does not know it."""
        ...


def host_gpu(index: int = 0, driver: Driver | None = None) -> Device:
    """Describe a GPU of this machine.

    SMs, limits, clock and cache are read. Peaks and bandwidth come from the data sheet where the name is a known
    model's (`Device.names`), else from clock, bus width and the cores an SM of its architecture has.

    Raises
    ------
    DeviceError
        Where there is no driver or no such GPU.
    """
    found = driver if driver is not None else _LibCuda()
    count = found.count()
    if not 0 <= index < count:
        raise DeviceError(f"GPU {index}: expected 0..{count - 1}, this machine has {count}")
    name = found.name(index)

    def read(number: int) -> int:
        return found.attribute(index, number)

    known = _known(name)
    capability = read(_MAJOR) + read(_MINOR) / 10
    sms, clock = read(_SMS), read(_CLOCK_KHZ) * 1e3
    bandwidth = 2.0 * read(_MEMORY_KHZ) * 1e3 * read(_BUS_BITS) / 8
    base = known or replace(
        GPUS["nvidia-a100"], name="nvidia-" + name.lower().removeprefix("nvidia ").replace(" ", "-")
    )
    old = base.limits or GpuLimits(2048, 32, 65536, 65536)
    limits = replace(
        old,
        threads=read(_THREADS) or old.threads,
        blocks=read(_BLOCKS) or old.blocks,
        registers=read(_REGISTERS) or old.registers,
        shared_bytes=read(_SHARED) or old.shared_bytes,
        block_overhead_bytes=read(_RESERVED_SHARED),
    )
    text = "read from the driver"
    sources = {**base.sources, "units": text, "clock_hz": text, "limits": text, "cache_bytes": text}
    device = replace(
        base,
        units=sms,
        clock_hz=clock or base.clock_hz,
        limits=limits,
        cache_bytes=read(_L2_BYTES) or base.cache_bytes,
        sources=sources,
    )
    if known is not None:
        return device
    cores = _CORES.get(capability) or _CORES[max(c for c in _CORES if c <= max(capability, 6.0))]
    flops = sms * cores * 2 * device.clock_hz
    return replace(
        device,
        peak={"float32": flops, "float64": flops / 32, "float16": flops, "int8": flops, "int32": flops / 2},
        bandwidth=bandwidth or base.bandwidth,
        sources={
            **sources,
            "peak": f"SMs x {cores} cores x 2 x clock; tensor cores are not counted",
            "bandwidth": "2 x memory clock x bus width, read from the driver",
        },
    )


def _known(name: str) -> Device | None:
    """The model whose words all stand in the driver's name, the one with most words first."""
    words = set(name.lower().replace("-", " ").split())
    for device in sorted(GPUS.values(), key=lambda d: -d.name.count("-")):
        if set(device.name.removeprefix("nvidia-").split("-")) <= words:
            return device
    return None


class _LibCuda:
    """The driver's own library."""

    def __init__(self) -> None:
        library = ctypes.util.find_library("cuda") or "libcuda.so.1"
        try:
            self._library = ctypes.CDLL(library)
        except OSError as error:
            raise DeviceError(f"no CUDA driver on this machine ({error}); name a device model instead") from error
        self._check(self._library.cuInit(0), "cuInit")

    def count(self) -> int:
        value = ctypes.c_int()
        self._check(self._library.cuDeviceGetCount(ctypes.byref(value)), "cuDeviceGetCount")
        return value.value

    def name(self, device: int) -> str:
        text = ctypes.create_string_buffer(256)
        self._check(self._library.cuDeviceGetName(text, 256, device), "cuDeviceGetName")
        return text.value.decode(errors="replace")

    def attribute(self, device: int, number: int) -> int:
        value = ctypes.c_int()
        failed = self._library.cuDeviceGetAttribute(ctypes.byref(value), number, device)
        return 0 if failed else value.value

    def _check(self, status: int, call: str) -> None:
        if status:
            raise DeviceError(f"{call} failed with CUDA driver error {status}; is a GPU visible to this process?")
