"""The machine's own CPU as a device model, from what the operating system tells."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path

from .device import Device

__all__ = ["host_cpu", "processor"]

# Multiply-adds a cycle: two vector units that each do a fused multiply-add; without FMA one multiply and one add.
_VECTOR_FLAGS = (("avx512f", 512, 2), ("avx2", 256, 2), ("asimd", 128, 2), ("avx", 256, 1), ("sse2", 128, 1))


def host_cpu(cores: int | None = None) -> Device:
    """Describe this CPU.

    Parameters
    ----------
    cores
        Cores that may be used; by default those that this process may run on.

    Returns
    -------
    device
        `Device.name` is ``cpu-<cores>x-<vector extension>``, so that schedules made for other core counts are refused.
    """
    count = cores or _usable_cores()
    text = _read("/proc/cpuinfo")
    flags = set(re.findall(r"^(?:flags|Features)\s*:\s*(.*)$", text, re.M)[:1][0].split()) if text else set()
    vector, bits, per_cycle = "scalar", 64, 1
    for flag, width, issue in _VECTOR_FLAGS:
        if flag in flags:
            vector, bits, per_cycle = flag, width, issue
            break
    clock = _clock_hz(text)
    lanes = bits // 32
    # Peak float32: lanes x two operations of a fused multiply-add x vector units.
    peak = count * clock * lanes * 2 * per_cycle
    return Device(
        name=f"cpu-{count}x-{vector}",
        kind="cpu",
        units=count,
        clock_hz=clock,
        bandwidth=min(count, 4) * 12e9,
        peak={
            "float32": peak,
            "float64": peak / 2,
            "float16": peak / 4,
            "int8": peak * 2,
            "int32": peak / 2,
            "int64": peak / 4,
        },
        launch_seconds=1.0e-6,
        sync_seconds=2.0e-5,
        event_seconds=1.0e-5,
        fork_seconds=4.0e-6,
        oversubscription_loss=0.1,
        compute_efficiency=0.25,
        bandwidth_efficiency=0.7,
        cache_bytes=_cache_bytes(),
        vector_bits=bits,
        sources={
            "units": "os.sched_getaffinity",
            "clock_hz": "/proc/cpuinfo (cpu MHz), BogoMIPS / 2, or 2.5 GHz where neither is told",
            "peak": "cores x clock x vector lanes x 2 x vector units",
            "bandwidth": "assumed: 12 GB/s a core up to 4 cores; measure to replace",
            "launch_seconds": "a call of a TVM kernel from a replay loop, order of magnitude",
            "sync_seconds": "waking blocked threads, order of magnitude; measure to replace",
            "event_seconds": "waking one blocked thread, order of magnitude; measure to replace",
            "fork_seconds": "TVM's thread pool taking one parallel loop, order of magnitude; measure to replace",
            "oversubscription_loss": "assumed; measure to replace",
            "compute_efficiency": "assumed; measure to replace",
            "bandwidth_efficiency": "assumed; measure to replace",
        },
    )


def processor() -> str:
    """The CPU's name as the system tells it."""
    match = re.search(r"^model name\s*:\s*(.+)$", _read("/proc/cpuinfo"), re.M)
    return match[1].strip() if match else platform.processor() or platform.machine()


def _usable_cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on Linux
        return os.cpu_count() or 1


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def _clock_hz(cpuinfo: str) -> float:
    for pattern, scale in ((r"^cpu MHz\s*:\s*([\d.]+)", 1e6), (r"^bogomips\s*:\s*([\d.]+)", 0.5e6)):
        values = [float(v) for v in re.findall(pattern, cpuinfo, re.M | re.I)]
        if values and max(values) > 0:
            return max(values) * scale
    return 2.5e9


def _cache_bytes() -> int:
    best = 0
    for entry in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        match = re.match(r"(\d+)([KM]?)", _read(str(entry)))
        if match:
            best = max(best, int(match[1]) * {"": 1, "K": 2**10, "M": 2**20}[match[2]])
    return best
