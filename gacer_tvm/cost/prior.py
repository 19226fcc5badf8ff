"""The analytic prior: roofline x occupancy x wave quantization. It needs no data and no device."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from ..errors import DeviceError
from ..graph.model import LaunchShape, MultiTenantGraph, Operator
from .device import Device
from .model import Estimates, Row
from .occupancy import blocks_per_sm

__all__ = ["AnalyticPrior", "estimated_launch"]

# Where no compiler has told the launch shape: TVM's default GPU rules give a reduction (convolution, matmul) blocks
# of 128 threads with 16 outputs each, and everything else one output a thread.
_TILED = LaunchShape(grid=1, block=128, registers=64, shared_bytes=6912)
_TILED_OUTPUTS = 16
_PLAIN = LaunchShape(grid=1, block=256, registers=32, shared_bytes=0)
_TILED_FROM_FLOPS = 16.0
# Outer iterations that a CPU loop nest is assumed to offer to the thread pool.
_CPU_TASKS = 64


class AnalyticPrior:
    """Seconds from FLOPs and bytes.

    On a GPU a grid runs in waves of ``slots = SMs x blocks per SM``. An SM needs about two warps on each of its
    four schedulers to reach its arithmetic rate, so few or small blocks run at a part of it; the SM with the most
    blocks ends last, so the time moves in steps of ``ceil(blocks / SMs)``. Memory time follows Little's law: the
    bytes that the resident threads keep in flight, over the latency, up to the DRAM bandwidth. The time is the
    greater of both (roofline). The width is the greater of the share of block slots and the share of the arithmetic
    rate: two kernels with few resident warps that each saturate the arithmetic cannot run at full speed side by
    side.

    Parameters
    ----------
    launches
        Tells the launch shape of (operator index, items) where a kernel has been compiled, else None: then the
        whole-batch shape (`Operator.launch`) is scaled by the items, else one is estimated from the output.

    Notes
    -----
    On a CPU: ``t(k) = t(1) x ceil(tasks / k) / tasks``, never faster than the memory, plus the fork of the threads.
    """

    # Warps on an SM that saturate its arithmetic: two on each of four schedulers.
    _saturating_warps = 8.0
    # Bytes that a thread keeps in flight, and how long DRAM takes to answer (both of the usual order).
    _bytes_in_flight = 32.0
    _memory_latency = 600e-9
    # The least that a block lives: one trip to memory and back, and its own launch.
    _block_seconds = 1.5 * _memory_latency
    # Part of a CPU's last-level cache that one kernel's activations may fill and still count as cached.
    _cached_share = 0.5
    # What a core of a CPU reads from its last-level cache (of the usual order).
    _cached_bytes_per_cycle = 8.0
    # Share of a CPU's cores whose loads saturate DRAM.
    _saturating_share = 0.5

    def __init__(self, launches: Callable[[int, int], LaunchShape | None] | None = None) -> None:
        self.name = "prior"
        self._launches = launches

    def estimate(self, graph: MultiTenantGraph, device: Device, rows: Sequence[Row]) -> Estimates:
        """Estimate every row; see `gacer_tvm.cost.model.Cost`."""
        seconds = np.empty(len(rows))
        width = np.empty(len(rows))
        bandwidth = np.empty(len(rows))
        one = self._gpu if device.kind == "cuda" else self._cpu
        for n, (index, items, cores) in enumerate(rows):
            operator = graph.operators[index]
            seconds[n], width[n], bandwidth[n] = one(graph, device, operator, items, cores)
        return Estimates(seconds, width, bandwidth)

    def _gpu(
        self, graph: MultiTenantGraph, device: Device, operator: Operator, items: int, cores: int | None
    ) -> tuple[float, float, float]:
        if device.limits is None:
            raise DeviceError(f"device {device.name!r} is a GPU without per-SM limits; give Device.limits")
        batch = graph.tenants[operator.tenant].batch
        flops, moved = operator.work.at(items, batch)
        launch = self._launches(operator.index, items) if self._launches is not None else None
        blocks = launch.grid if launch is not None else 0
        if launch is None:
            launch = operator.launch or estimated_launch(graph, operator)
            blocks = max(1, math.ceil(launch.grid * items / batch))
        if launch.registers is None:
            assumed = _TILED if _is_tiled(graph, operator) else _PLAIN
            launch = replace(launch, registers=assumed.registers)
        resident = blocks_per_sm(launch, device.limits)
        warps = math.ceil(launch.block / device.limits.warp)
        peak = device.peak_for(_dtype(graph, operator)) * device.compute_efficiency
        # Time in units of what one saturated SM needs for one block.
        full_waves, rest = divmod(blocks, device.units * resident)
        steps = full_waves * resident / self._rate(resident * warps)
        if rest:
            deepest = math.ceil(rest / device.units)
            steps += deepest / self._rate(deepest * warps)
        compute = flops / blocks * steps / (peak / device.units)
        threads = min(blocks, device.units * resident) * launch.block
        reach = threads * self._bytes_in_flight / self._memory_latency
        memory = moved / min(device.bandwidth * device.bandwidth_efficiency, reach)
        waves = math.ceil(blocks / (device.units * resident))
        alone = max(compute, memory, waves * self._block_seconds)
        slots = blocks / (waves * resident)
        arithmetic = flops / alone / peak * device.units
        return alone, min(max(slots, arithmetic, 1e-3), float(device.units)), moved / alone

    def _rate(self, warps: float) -> float:
        """Share of an SM's arithmetic rate that `warps` resident warps reach."""
        return min(1.0, warps / self._saturating_warps)

    def _cpu(
        self, graph: MultiTenantGraph, device: Device, operator: Operator, items: int, cores: int | None
    ) -> tuple[float, float, float]:
        batch = graph.tenants[operator.tenant].batch
        flops, moved = operator.work.at(items, batch)
        tasks = operator.launch.grid if operator.launch is not None else _CPU_TASKS
        tasks = max(1, tasks * items // batch)
        granted = min(cores or device.units, device.units)
        used = max(1, min(granted, tasks))
        peak = device.peak_for(_dtype(graph, operator)) * device.compute_efficiency / device.units
        compute = flops / peak * math.ceil(tasks / used) / tasks
        # Activations that fit the cache were written there by the operator before and do not come from memory.
        batched, cached = operator.work.batched_bytes * items / batch, 0.0
        if batched <= device.cache_bytes * self._cached_share:
            moved -= batched
            cached = batched / (used * device.clock_hz * self._cached_bytes_per_cycle)
        full = device.bandwidth * device.bandwidth_efficiency
        memory = moved / (full * min(1.0, used / max(1.0, device.units * self._saturating_share)))
        fork = device.fork_seconds if used > 1 else 0.0
        alone = max(compute, memory + cached, 1e-7) + fork
        return alone, float(used), moved / alone


def estimated_launch(graph: MultiTenantGraph, operator: Operator) -> LaunchShape:
    """A launch shape for the whole batch of a kernel that nobody has compiled yet, from its output and its work."""
    shape, outputs = (_TILED, _TILED_OUTPUTS) if _is_tiled(graph, operator) else (_PLAIN, 1)
    return replace(shape, grid=max(1, math.ceil(_elements(graph, operator) / (shape.block * outputs))))


def _is_tiled(graph: MultiTenantGraph, operator: Operator) -> bool:
    return operator.work.flops >= _TILED_FROM_FLOPS * _elements(graph, operator)


def _elements(graph: MultiTenantGraph, operator: Operator) -> int:
    return sum(math.prod(graph.buffers[b].shape) for b in operator.writes) if operator.writes else 1


def _dtype(graph: MultiTenantGraph, operator: Operator) -> str:
    buffers = operator.writes or operator.reads
    return graph.buffers[buffers[0]].dtype if buffers else "float32"
