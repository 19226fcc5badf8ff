"""The GPU models: figures from the makers' data sheets, each with its source.

The costs of launches and waits are not in data sheets; they are the same round figures for all, taken from CUDA's
documentation of graph launches (about 2.5 us a graph and 1 ns a node on the host) and commonly measured gaps between
dependent kernels of a graph (1 to 2 us), and are to be replaced by measured ones where a device is at hand.
"""

from __future__ import annotations

from .device import Device, GpuLimits

__all__ = ["GPUS"]

_GUIDE = "CUDA C++ programming guide, technical specifications per compute capability"
_ASSUMED = "assumed; measure on the device to replace"
_COMMON_SOURCES = {
    "limits": _GUIDE,
    "launch_seconds": "gap between dependent kernels of a CUDA graph, order of magnitude; " + _ASSUMED,
    "sync_seconds": "a join and a fork inside a CUDA graph, order of magnitude; " + _ASSUMED,
    "event_seconds": "an edge between two branches of a CUDA graph, order of magnitude; " + _ASSUMED,
    "issue_seconds": "one launch from the host outside a graph, order of magnitude; " + _ASSUMED,
    "compute_efficiency": _ASSUMED,
    "bandwidth_efficiency": _ASSUMED,
}


def _gpu(
    name: str,
    sms: int,
    clock_mhz: float,
    gigabytes_s: float,
    tera: dict[str, float],
    limits: GpuLimits,
    cache_mb: float,
    source: str,
    *,
    launch_us: float = 1.5,
) -> Device:
    return Device(
        name=name,
        kind="cuda",
        units=sms,
        clock_hz=clock_mhz * 1e6,
        bandwidth=gigabytes_s * 1e9,
        peak={dtype: value * 1e12 for dtype, value in tera.items()},
        limits=limits,
        launch_seconds=launch_us * 1e-6,
        sync_seconds=2.0e-6,
        event_seconds=1.0e-6,
        issue_seconds=0.0,
        max_concurrent=128 if sms != 28 and sms != 30 else 32,
        cache_bytes=int(cache_mb * 2**20),
        sources={
            **_COMMON_SOURCES,
            "units": source,
            "clock_hz": source,
            "bandwidth": source,
            "peak": source,
            "cache_bytes": source,
            "max_concurrent": _GUIDE,
        },
    )


_CC61 = GpuLimits(threads=2048, blocks=32, registers=65536, shared_bytes=96 * 1024)
_CC70 = GpuLimits(threads=2048, blocks=32, registers=65536, shared_bytes=96 * 1024)
_CC80 = GpuLimits(threads=2048, blocks=32, registers=65536, shared_bytes=164 * 1024, block_overhead_bytes=1024)
_CC90 = GpuLimits(threads=2048, blocks=32, registers=65536, shared_bytes=228 * 1024, block_overhead_bytes=1024)

# Dense figures (without structured sparsity). Tensor-core rates stand under float16, bfloat16 and int8; TVM's float32
# kernels run on the ordinary cores.
GPUS: dict[str, Device] = {
    device.name: device
    for device in (
        _gpu(
            "nvidia-h200",
            132,
            1980,
            4800,
            {"float64": 34, "float32": 67, "float16": 989, "bfloat16": 989, "int8": 1979, "int32": 33.5},
            _CC90,
            50,
            "NVIDIA H200 data sheet (SXM); SM count and clock of GH100 SXM5",
        ),
        _gpu(
            "nvidia-h100",
            132,
            1980,
            3350,
            {"float64": 34, "float32": 67, "float16": 989, "bfloat16": 989, "int8": 1979, "int32": 33.5},
            _CC90,
            50,
            "NVIDIA H100 data sheet (SXM5), Hopper architecture white paper",
        ),
        _gpu(
            "nvidia-a100",
            108,
            1410,
            2039,
            {"float64": 9.7, "float32": 19.5, "float16": 312, "bfloat16": 312, "int8": 624, "int32": 19.5},
            _CC80,
            40,
            "NVIDIA A100 data sheet (SXM4, 80 GB), Ampere architecture white paper",
            launch_us=1.7,
        ),
        _gpu(
            "nvidia-v100",
            80,
            1530,
            900,
            {"float64": 7.8, "float32": 15.7, "float16": 125, "int8": 62.8, "int32": 15.7},
            _CC70,
            6,
            "NVIDIA V100 data sheet (SXM2), Volta architecture white paper",
            launch_us=2.0,
        ),
        _gpu(
            "nvidia-titan-v",
            80,
            1455,
            652.8,
            {"float64": 7.45, "float32": 14.9, "float16": 119, "int8": 59.6, "int32": 14.9},
            _CC70,
            4.5,
            "NVIDIA Titan V specifications (5120 cores, 1455 MHz boost, 3072-bit HBM2)",
            launch_us=2.0,
        ),
        _gpu(
            "nvidia-gtx-1080-ti",
            28,
            1582,
            484,
            {"float64": 0.354, "float32": 11.34, "float16": 0.177, "int8": 45.4, "int32": 3.78},
            _CC61,
            2.75,
            "NVIDIA GeForce GTX 1080 Ti specifications (GP102, 3584 cores, 1582 MHz boost)",
            launch_us=2.5,
        ),
        _gpu(
            "nvidia-quadro-p6000",
            30,
            1645,
            432,
            {"float64": 0.395, "float32": 12.63, "float16": 0.197, "int8": 50.5, "int32": 4.21},
            _CC61,
            3,
            "NVIDIA Quadro P6000 data sheet (GP102, 3840 cores)",
            launch_us=2.5,
        ),
    )
}
