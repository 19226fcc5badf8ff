"""The conditions that stand beside every benchmark figure."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from .. import __version__
from .._tvm import tvm
from ..cost import Device
from ..runtime import usable_cores

__all__ = ["conditions"]


def conditions(device: Device | None = None) -> str:
    """One line: processor, cores, load, versions."""
    model = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    except OSError:
        model = platform.machine()
    name = device.name if device is not None else Device.host_cpu().name
    load = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
    return (
        f"{model}, {usable_cores()} cores ({name}), load {load} at the start; gacer_tvm {__version__}, "
        f"TVM {tvm.__version__}, Python {platform.python_version()}"
    )
