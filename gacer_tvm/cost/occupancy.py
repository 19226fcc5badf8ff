"""How many blocks of a kernel an SM holds: the CUDA occupancy rules."""

from __future__ import annotations

import math

from ..graph.model import LaunchShape
from .device import GpuLimits

__all__ = ["blocks_per_sm"]


def blocks_per_sm(launch: LaunchShape, limits: GpuLimits) -> int:
    """Resident blocks of `launch` on one SM, at least 1.

    The least of what threads, block slots, registers and shared memory allow (CUDA C++ programming guide, "Hardware
    multithreading"). Registers and shared memory count only where a compiler reported them.
    """
    warps = max(1, math.ceil(launch.block / limits.warp))
    allowed = [limits.blocks, limits.threads // (warps * limits.warp)]
    if launch.registers:
        per_warp = math.ceil(launch.registers * limits.warp / limits.register_unit) * limits.register_unit
        allowed.append(limits.registers // (per_warp * warps))
    if launch.shared_bytes is not None:
        each = launch.shared_bytes + limits.block_overhead_bytes
        if each:
            allowed.append(limits.shared_bytes // each)
    return max(1, min(allowed))
