"""What this machine's cores really do: arithmetic, memory and hand-over between threads, measured once and kept in a file."""

from __future__ import annotations

import json
import os
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from .device import Device

__all__ = ["HostFigures", "measure_host", "measured_cpu"]


@dataclass(frozen=True, slots=True)
class HostFigures:
    """Measured figures of a CPU.

    Attributes
    ----------
    flops
        Best float32 operations a second of all cores together (NumPy's matrix product, which is a tuned BLAS).
    bandwidth
        Best bytes a second that all cores copy together, read and written.
    handover_seconds
        Median time from one thread's release of a lock to the waiting thread's next step.
    """

    flops: float
    bandwidth: float
    handover_seconds: float


def measured_cpu(device: Device, folder: str | Path | None = None, *, again: bool = False) -> Device:
    """`device` with measured peak, bandwidth and wake-up costs in place of the assumed ones.

    Parameters
    ----------
    device
        A CPU model of this machine (`Device.host_cpu`).
    folder
        Where the figures are kept between processes; by default ``$GACER_TVM_CACHE``, else ``gacer_tvm`` in the user's
        cache folder.
    again
        Measure even if there are figures on file.
    """
    home = Path(folder) if folder is not None else _cache_home()
    path = home / f"{device.name}.host.json"
    figures = None if again else _read(path, device)
    if figures is None:
        figures = measure_host(device.units)
        _write(path, device, figures)
    scale = figures.flops / device.peak_for("float32")
    text = "measured on this machine by gacer_tvm.cost.measure_host"
    return replace(
        device,
        bandwidth=figures.bandwidth,
        bandwidth_efficiency=1.0,
        peak={dtype: value * scale for dtype, value in device.peak.items()},
        event_seconds=figures.handover_seconds,
        sync_seconds=2 * figures.handover_seconds,
        sources={
            **device.sources,
            "peak": text + " (float32 by a BLAS matrix product; the rest in proportion)",
            "bandwidth": text,
            "bandwidth_efficiency": "1: the bandwidth itself is measured",
            "event_seconds": text,
            "sync_seconds": "two hand-overs, " + text,
        },
    )


def measure_host(cores: int) -> HostFigures:
    """Measure for about a second."""
    rng = np.random.default_rng(0)
    left, right = (rng.standard_normal((768, 768)).astype(np.float32) for _ in range(2))
    product = np.empty_like(left)
    flops = 2 * 768**3 / _best(lambda: np.matmul(left, right, out=product), 0.3)
    arrays = [(np.zeros(1 << 22, np.float64), np.empty(1 << 22, np.float64)) for _ in range(cores)]

    def copy_all() -> None:
        threads = [threading.Thread(target=np.copyto, args=(target, source)) for source, target in arrays]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    bandwidth = cores * 2 * arrays[0][0].nbytes / _best(copy_all, 0.3)
    return HostFigures(flops, bandwidth, _handover())


def _best(call: Callable[[], object], seconds: float) -> float:
    """Shortest of many calls: everything that disturbs only makes a call longer."""
    call()
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
    return best


def _handover(rounds: int = 400) -> float:
    ping, pong = threading.Lock(), threading.Lock()
    ping.acquire()
    pong.acquire()

    def answer() -> None:
        for _ in range(rounds):
            ping.acquire()
            pong.release()

    thread = threading.Thread(target=answer)
    thread.start()
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        ping.release()
        pong.acquire()
        times.append((time.perf_counter() - start) / 2)
    thread.join()
    return float(np.median(times))


def _cache_home() -> Path:
    named = os.environ.get("GACER_TVM_CACHE")
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gacer_tvm"


def _read(path: Path, device: Device) -> HostFigures | None:
    """Figures on file, if they are whole and of this CPU; anything else is measured anew."""
    try:
        stored = json.loads(path.read_text())
        if stored["device"] != device.name or stored["clock_hz"] != device.clock_hz:
            return None
        figures = HostFigures(**{name: float(stored["figures"][name]) for name in HostFigures.__slots__})
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return figures if all(0 < value < float("inf") for value in asdict(figures).values()) else None


def _write(path: Path, device: Device, figures: HostFigures) -> None:
    text = json.dumps({"device": device.name, "clock_hz": device.clock_hz, "figures": asdict(figures)}, indent=1)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
            file.write(text)
        os.replace(file.name, path)
    except OSError:
        return  # a cache folder that cannot be written costs a second at the next start, nothing else
