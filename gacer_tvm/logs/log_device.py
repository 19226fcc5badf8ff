"""The device that a log was measured on, as far as its target tells; what it does not tell is assumed, and said so."""

from __future__ import annotations

from gacer_tvm.cost.device import Device

from .record import LogRecord

__all__ = ["log_device"]

# What a target's -mcpu or features say of vectors: (what is looked for, bits, multiply-adds a cycle).
_VECTORS = (
    (("avx512", "skylake-avx512", "cascadelake", "cooperlake", "icelake", "sapphirerapids", "znver4", "znver5"), 512, 2),
    (("avx2", "haswell", "broadwell", "skylake", "znver", "alderlake"), 256, 2),
    (("cortex-", "neoverse", "neon", "apple-"), 128, 2),
)
_CORES = 4
_CLOCK = 3.0e9
# GPUs that Device.named knows, by what TVM's logs call them. An architecture alone is that of several GPUs.
_GPUS = {"v100": "nvidia-v100", "a100": "nvidia-a100", "1080ti": "nvidia-gtx-1080-ti"}


def log_device(record: LogRecord) -> Device | str:
    """A model of the record's device, or why there is none.

    A CPU is called ``log-<cpu>-<cores>x``: it is never taken for a device that was measured here. Its cores are those that the
    tuner was told of (Ansor), else assumed.
    """
    target = record.target
    if target.device == "gpu":
        model = target.model.lower()
        known = _GPUS.get(model.replace("-", "").replace("_", ""), model)
        if target.kind == "cuda" and known in Device.names():
            return Device.named(known)
        name = " ".join(filter(None, (target.kind, target.model, target.arch)))
        return f"no device model of the GPU {name}; name one (--device)"
    if target.device != "cpu":
        return f"measured on {target.kind or 'an unknown target'}, which is neither CPU nor GPU"
    text = f"{target.arch} {target.model} {target.text}".lower()
    bits, issue = next(((bits, issue) for marks, bits, issue in _VECTORS if any(m in text for m in marks)), (128, 1))
    cores = record.cores or _CORES
    peak = cores * _CLOCK * bits / 32 * 2 * issue
    name = "".join(c if c.isalnum() else "-" for c in (target.arch or target.model or target.kind).lower())
    return Device(
        name=f"log-{name}-{cores}x",
        kind="cpu",
        units=cores,
        clock_hz=_CLOCK,
        bandwidth=min(cores, 4) * 12e9,
        peak={
            "float32": peak, "float64": peak / 2, "float16": peak / 4, "int8": peak * 2, "int32": peak / 2, "int64": peak / 4,
        },
        fork_seconds=4.0e-6,
        compute_efficiency=0.25,
        bandwidth_efficiency=0.7,
        cache_bytes=16 << 20,
        vector_bits=bits,
        sources={
            "units": "the record's hardware parameters" if record.cores else f"assumed: {_CORES}",
            "vector_bits": "the record's target",
            "clock_hz": "assumed: 3 GHz",
            "bandwidth": "assumed: 12 GB/s a core up to 4 cores",
            "cache_bytes": "assumed: 16 MiB",
        },
    )  # fmt: skip
