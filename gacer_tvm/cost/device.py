"""What the cost model and the simulator know about a device: a frozen value whose figures say where they come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from ..errors import DeviceError

__all__ = ["Device", "GpuLimits"]


@dataclass(frozen=True, slots=True)
class GpuLimits:
    """Per-SM limits that decide how many blocks are resident (CUDA programming guide, compute capabilities table).

    Attributes
    ----------
    threads, blocks, registers, shared_bytes
        Most of each on one SM.
    warp
        Threads a warp.
    register_unit
        Registers are granted to a warp in multiples of this.
    block_overhead_bytes
        Shared memory that the system reserves in each block.
    """

    threads: int
    blocks: int
    registers: int
    shared_bytes: int
    warp: int = 32
    register_unit: int = 256
    block_overhead_bytes: int = 0


@dataclass(frozen=True)
class Device:
    """A device model: figures only, no handle.

    Attributes
    ----------
    name
        What schedules name it by, ``"nvidia-h200"``, ``"cpu-2x-avx512"``.
    kind
        ``cuda`` or ``cpu``.
    units
        SMs of a GPU, cores of a CPU: the capacity that the simulator shares out.
    clock_hz
        Sustained (boost) clock.
    bandwidth
        DRAM bytes a second.
    peak
        Arithmetic operations a second of the whole device by dtype, as kernels of TVM can use it (float32 on the
        ordinary cores, float16 on tensor cores where there are any).
    limits
        Per-SM limits; None on a CPU.
    launch_seconds
        What every kernel pays before it begins, on its own stream, when the launches are replayed (CUDA graph, or the
        runtime's replay loop on a CPU).
    sync_seconds
        What a pointer (a barrier of all streams) costs.
    event_seconds
        What waiting for another stream's event costs the waiting kernel.
    fork_seconds
        CPU only: waking the worker threads of a kernel that runs on more than one core.
    issue_seconds
        Host time for one launch when launches are *not* replayed from a graph; 0 where the host never limits.
    oversubscription_loss
        CPU only: extra slowdown for each thread beyond the cores, as a share of the fair one.
    max_concurrent
        Kernels that can be resident at once; None where there is no limit that matters.
    compute_efficiency, bandwidth_efficiency
        The share of `peak` and of `bandwidth` that a generated kernel is assumed to reach when it fills the device.
    cache_bytes
        Last-level cache (L2 of a GPU).
    vector_bits
        SIMD width of a CPU core; 0 on a GPU.
    sources
        Field name to where the figure comes from.
    """

    name: str
    kind: Literal["cuda", "cpu"]
    units: int
    clock_hz: float
    bandwidth: float
    peak: Mapping[str, float]
    limits: GpuLimits | None = None
    launch_seconds: float = 0.0
    sync_seconds: float = 0.0
    event_seconds: float = 0.0
    fork_seconds: float = 0.0
    issue_seconds: float = 0.0
    oversubscription_loss: float = 0.0
    max_concurrent: int | None = None
    compute_efficiency: float = 0.6
    bandwidth_efficiency: float = 0.8
    cache_bytes: int = 0
    vector_bits: int = 0
    sources: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        if self.units < 1 or self.bandwidth <= 0 or not self.peak or any(p <= 0 for p in self.peak.values()):
            raise DeviceError(
                f"device {self.name!r}: expected at least one unit, a positive bandwidth and positive peaks; found "
                f"units={self.units}, bandwidth={self.bandwidth}, peak={dict(self.peak)}"
            )

    @property
    def cores(self) -> int | None:
        """Cores of a CPU; None on a GPU, whose streams have no core budget."""
        return self.units if self.kind == "cpu" else None

    def peak_for(self, dtype: str) -> float:
        """Operations a second for `dtype`; the float32 figure (or the smallest known) where the dtype is not listed."""
        found = self.peak.get(dtype)
        if found is not None:
            return found
        return self.peak.get("float32", min(self.peak.values()))

    @staticmethod
    def named(name: str) -> Device:
        """A GPU model by name (``Device.names()``).

        Raises
        ------
        DeviceError
            Where the name is unknown.
        """
        from .gpus import GPUS

        if name not in GPUS:
            raise DeviceError(f"no device model named {name!r}; known: {', '.join(sorted(GPUS))}")
        return GPUS[name]

    @staticmethod
    def names() -> tuple[str, ...]:
        """Names of the GPU models that come with the package."""
        from .gpus import GPUS

        return tuple(sorted(GPUS))

    @staticmethod
    def host_gpu(index: int = 0) -> Device:
        """A GPU of this machine, as its driver describes it; see `gacer_tvm.cost.read_cuda.host_gpu`."""
        from .read_cuda import host_gpu

        return host_gpu(index)

    @staticmethod
    def host_cpu(*, measure: bool = False) -> Device:
        """This machine's CPU.

        Parameters
        ----------
        measure
            Measure arithmetic, memory and hand-over between threads (about a second, kept in the user's cache folder);
            otherwise the figures are what the operating system tells and assumptions, as `sources` says.
        """
        from .host import host_cpu
        from .measure_host import measured_cpu

        return measured_cpu(host_cpu()) if measure else host_cpu()
