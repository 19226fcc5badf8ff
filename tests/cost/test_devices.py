"""Device models against what their makers' figures imply of each other."""

from __future__ import annotations

import dataclasses
import os

import pytest

from gacer_tvm.cost import Device, GpuLimits
from gacer_tvm.cost.occupancy import blocks_per_sm
from gacer_tvm.errors import DeviceError
from gacer_tvm.graph.model import LaunchShape

# float32 cores an SM by compute capability (CUDA programming guide): an independent way to the peak.
FP32_CORES = {
    "nvidia-h200": 128,
    "nvidia-h100": 128,
    "nvidia-a100": 64,
    "nvidia-v100": 64,
    "nvidia-titan-v": 64,
    "nvidia-gtx-1080-ti": 128,
    "nvidia-quadro-p6000": 128,
}


@pytest.mark.parametrize("name", sorted(FP32_CORES))
def test_peak_follows_from_cores_and_clock(name: str) -> None:
    device = Device.named(name)
    assert device.peak["float32"] == pytest.approx(device.units * FP32_CORES[name] * 2 * device.clock_hz, rel=0.02)
    for field in ("units", "clock_hz", "bandwidth", "peak", "limits", "launch_seconds", "sync_seconds"):
        assert device.sources[field], f"{field} of {name} has no source"
    assert device.launch_seconds > 0 and device.sync_seconds > 0 and device.cores is None


def test_every_model_is_checked() -> None:
    assert set(Device.names()) == set(FP32_CORES)


def test_unknown_names_list_the_known() -> None:
    with pytest.raises(DeviceError, match=r"no device model named 'nvidia-gtx-9'.*nvidia-h200"):
        Device.named("nvidia-gtx-9")


def test_senseless_figures_are_refused() -> None:
    with pytest.raises(DeviceError, match="positive bandwidth"):
        dataclasses.replace(Device.named("nvidia-h200"), bandwidth=0.0)


def test_host_cpu_is_this_machine() -> None:
    device = Device.host_cpu()
    assert device.kind == "cpu" and device.cores == len(os.sched_getaffinity(0))
    assert device.name.startswith(f"cpu-{device.cores}x-")
    assert device.vector_bits in (64, 128, 256, 512)
    # A core that runs at 0.5 to 7 GHz with 1 to 32 multiply-adds a cycle.
    assert 0.5e9 <= device.clock_hz <= 7e9
    assert 1e9 <= device.peak["float32"] / device.units <= 7e9 * 64
    assert device.cache_bytes >= 0


@pytest.mark.parametrize(
    ("launch", "name", "expected"),
    [
        # What NVIDIA's occupancy calculator gives.
        (LaunchShape(1, 256, 32, 0), "nvidia-a100", 8),  # threads: 2048 / 256
        (LaunchShape(1, 256, 64, 0), "nvidia-a100", 4),  # registers: 65536 / (64 x 256)
        (LaunchShape(1, 128, 32, 48 * 1024), "nvidia-a100", 3),  # 164 KB / (48 + 1) KB
        (LaunchShape(1, 128, 255, 0), "nvidia-v100", 2),  # 255 registers are granted as 256
        (LaunchShape(1, 32, 16, 0), "nvidia-h200", 32),  # block slots
        (LaunchShape(1, 1024, 32, 0), "nvidia-gtx-1080-ti", 2),
        (LaunchShape(1, 33, 32, 0), "nvidia-titan-v", 32),  # 33 threads take two warps
    ],
)
def test_occupancy(launch: LaunchShape, name: str, expected: int) -> None:
    limits = Device.named(name).limits
    assert limits is not None
    assert blocks_per_sm(launch, limits) == expected


def test_a_block_too_big_for_an_sm_still_counts_as_one() -> None:
    assert blocks_per_sm(LaunchShape(1, 1024, 255, 10**6), GpuLimits(2048, 32, 65536, 65536)) == 1
