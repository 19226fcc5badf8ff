"""What this machine has for running models, what is missing for CUDA, and why: the report to put into a bug report.

Every check looks for itself, so that a missing driver is told apart from a missing library, and each finding says what to do.
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import importlib.util
import os
import platform
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from .._tvm import tvm
from ..errors import GacerError
from .cpu import usable_cores

__all__ = ["Finding", "Health", "doctor", "why_no_cuda"]

_TVM = "0.27.0.post1"
_FFI = "0.1.14.post1"


@dataclass(frozen=True)
class Finding:
    """One thing looked at.

    Attributes
    ----------
    area
        ``versions``, ``cpu`` or ``cuda``.
    name, found
        What was looked at and what was found.
    problem
        What does not work because of it and what to do; "" where all is well.
    """

    area: str
    name: str
    found: str
    problem: str = ""


@dataclass(frozen=True)
class Health:
    """The report of `doctor`.

    Attributes
    ----------
    findings
        In the order of the report.
    cuda
        Whether executables can run on a CUDA device here.
    """

    findings: tuple[Finding, ...] = field(default=())
    cuda: bool = False

    @property
    def problems(self) -> tuple[Finding, ...]:
        """What is not as it should be."""
        return tuple(f for f in self.findings if f.problem)

    def as_text(self) -> str:
        """Lines for people, by area."""
        wide = max((len(f.name) for f in self.findings), default=0)
        lines: list[str] = []
        for area in dict.fromkeys(f.area for f in self.findings):
            lines += [*([""] if lines else []), area]
            for f in self.findings:
                if f.area == area:
                    lines.append(f"  {'!' if f.problem else ' '} {f.name:{wide}}  {f.found}")
                    if f.problem:
                        lines.append(f"    {'':{wide}}  → {f.problem}")
        verdict = "CUDA: ready" if self.cuda else f"CUDA: not usable here: {why_no_cuda() or 'see above'}"
        return "\n".join([*lines, "", verdict])


def doctor(trial: bool = True) -> Health:
    """Examine this machine.

    Parameters
    ----------
    trial
        Also compile a small half-precision kernel with each CUDA compiler (about a second).
    """
    findings = [*_versions(), *_cpu(), *_cuda(trial)]
    return Health(tuple(findings), not why_no_cuda())


def why_no_cuda() -> str:
    """The first thing that keeps CUDA from working here, with what to do; "" where nothing does."""
    driver = _load("libcuda.so.1")
    if driver is None:
        return "there is no NVIDIA driver (libcuda.so.1 is not found); use a machine with an NVIDIA GPU and its driver"
    status = driver.cuInit(0)
    if status != 0:
        return f"the NVIDIA driver refuses to start (cuInit gives {status}); see whether nvidia-smi shows the device"
    if _devices(driver) == 0:
        return "the driver sees no GPU; see CUDA_VISIBLE_DEVICES and nvidia-smi"
    if _load("libcudart.so.13") is None:
        return (
            "TVM's CUDA runtime needs libcudart.so.13, which is not found; install it with: "
            'pip install "gacer-tvm[cuda]" (or put a CUDA 13 toolkit on the library path)'
        )
    if not tvm.runtime.enabled("cuda"):
        return (
            "TVM's CUDA runtime is not loaded although the driver and libcudart.so.13 are here; import gacer_tvm before "
            "anything else that imports tvm"
        )
    if not tvm.cuda(0).exist:
        return "TVM sees no CUDA device; see CUDA_VISIBLE_DEVICES"
    if _version("cuda-core") is None:
        return 'cuda.core is missing; install it with: pip install "gacer-tvm[cuda]"'
    return ""


def _versions() -> Iterator[Finding]:
    from .. import __version__

    yield Finding("versions", "gacer_tvm", __version__)
    yield Finding("versions", "Python", f"{platform.python_version()} ({sys.platform}, {platform.machine()})")
    yield _pinned("TVM", tvm.__version__, _TVM, "names move between releases")
    yield _pinned(
        "apache-tvm-ffi", _version("apache-tvm-ffi") or "?", _FFI, "with 0.1.15 MetaSchedule's TuneContext segfaults"
    )
    for package, use in (
        ("numpy", ""),
        ("msgspec", ""),
        ("xgboost-cpu", "the learned cost model"),
        ("torch", "tenants from torch.export"),
        ("onnx", "tenants from ONNX files"),
        ("onnxruntime", "comparisons on the CPU"),
    ):
        version = _version(package) or (_version("xgboost") if package == "xgboost-cpu" else None)
        yield Finding("versions", package, version or f"not installed{f' (only for {use})' if use else ''}")


def _pinned(name: str, found: str, wanted: str, why: str) -> Finding:
    known = found.split("+")[0]
    problem = "" if known in (wanted, wanted.split(".post")[0]) else f"expected {wanted}: {why}"
    return Finding("versions", name, found, problem)


def _cpu() -> Iterator[Finding]:
    from ..kernels.target import make_target

    try:
        yield Finding("cpu", "target", str(make_target("cpu")))
    except GacerError as error:
        yield Finding("cpu", "target", "none", str(error))
    cores = usable_cores()
    yield Finding("cpu", "cores", f"{cores} of {os.cpu_count()} usable")
    bind = os.environ.get("TVM_BIND_THREADS")
    yield Finding(
        "cpu",
        "TVM_BIND_THREADS",
        str(bind),
        "" if bind == "0" else "TVM pins every stream to core 0: unset it or set it to 0 before the process starts",
    )
    threads = os.environ.get("TVM_NUM_THREADS", "")
    enough = threads.isdigit() and int(threads) >= cores
    yield Finding(
        "cpu",
        "TVM_NUM_THREADS",
        threads or "unset",
        "" if enough else f"a kernel can use {threads or 'half of the'} threads at most; unset it to have all {cores}",
    )
    yield Finding("cpu", "TVM_THREAD_POOL_SPIN_COUNT", os.environ.get("TVM_THREAD_POOL_SPIN_COUNT", "unset"))


def _cuda(trial: bool) -> Iterator[Finding]:
    driver = _load("libcuda.so.1")
    if driver is None:
        yield Finding("cuda", "driver", "libcuda.so.1 not found", "nothing runs on a GPU here; source can be generated")
    else:
        version = ctypes.c_int()
        driver.cuDriverGetVersion(ctypes.byref(version))
        number = f"{version.value // 1000}.{version.value % 1000 // 10}"
        old = "" if version.value >= 13000 else "TVM's CUDA runtime is built for CUDA 13; update the driver (580 or later)"
        yield Finding("cuda", "driver", f"CUDA {number}", old)
        status = driver.cuInit(0)
        count = _devices(driver) if status == 0 else 0
        yield Finding("cuda", "devices", str(count), "" if count else f"no GPU (cuInit gives {status}); see nvidia-smi")
        for index in range(count):
            yield Finding("cuda", f"device {index}", _device(driver, index))
    runtime = _load("libcudart.so.13")
    missing = 'TVM\'s CUDA runtime needs it; pip install "gacer-tvm[cuda]"'
    yield Finding("cuda", "libcudart.so.13", "found" if runtime else "not found", "" if runtime else missing)
    enabled = bool(tvm.runtime.enabled("cuda"))
    yield Finding(
        "cuda",
        "TVM's CUDA runtime",
        "loaded" if enabled else "not loaded",
        "" if enabled else "it loads only where the driver and libcudart.so.13 do; kernels then end as source",
    )
    for package in ("cuda-core", "cuda-bindings"):
        held = _version(package)
        yield Finding(
            "cuda", package, held or "not installed", "" if held else 'streams and graphs need it; pip install "gacer-tvm[cuda]"'
        )
    yield from _compilers(trial)
    given = os.environ.get("CUDA_DEVICE_MAX_CONNECTIONS")
    few = given is not None and given.isdigit() and int(given) < 8
    yield Finding(
        "cuda",
        "CUDA_DEVICE_MAX_CONNECTIONS",
        given or "unset (8)",
        f"more than {given} streams share hardware queues and wait for each other; set it to 32" if few else "",
    )


def _compilers(trial: bool) -> Iterator[Finding]:
    from ..kernels import cubin
    from ..kernels.cuda_headers import has_libcudacxx, include_dirs

    known = cubin.compilers()
    if not known:
        yield Finding(
            "cuda", "compiler", "neither NVRTC nor nvcc", 'CUDA source cannot be compiled; pip install "gacer-tvm[cuda]"'
        )
    folders = include_dirs()
    half = any((folder / "cuda_fp16.h").is_file() for folder in folders)
    yield Finding(
        "cuda",
        "headers",
        ", ".join(str(f) for f in folders) or "none",
        "" if half else 'half precision needs cuda_fp16.h; pip install "gacer-tvm[cuda]" or install a CUDA toolkit',
    )
    if not has_libcudacxx(folders):
        yield Finding("cuda", "libcu++", "not found; the few names that are needed are supplied")
    device = tvm.cuda(0)
    arch = "sm_" + str(device.compute_version).replace(".", "") if device.exist else "sm_90"
    for name, version in known.items():
        archs = cubin.supported_archs(name)
        problem = "" if arch in archs else f"it cannot compile for {arch}; take another CUDA version"
        if not problem and trial:
            problem = _attempt(lambda chosen=name: cubin.compile_cuda(_TRIAL if half else _PLAIN, arch, chosen))  # type: ignore[misc]
        said = f"{version}, {archs[0]} to {archs[-1]}" if archs else version
        yield Finding("cuda", name, said + (f"; compiles for {arch}" if trial and not problem else ""), problem)


_PLAIN = """
extern "C" __global__ void trial(float* x) { x[threadIdx.x] = x[threadIdx.x] + 1.0f; }
"""
_TRIAL = """
#include <cuda_fp16.h>
extern "C" __global__ void trial(half* x) { x[threadIdx.x] = x[threadIdx.x] + __float2half(1.0f); }
"""


def _attempt(action: Callable[[], Any]) -> str:
    try:
        action()
    except GacerError as error:
        return str(error)
    return ""


def _load(name: str) -> Any:
    try:
        return ctypes.CDLL(name)
    except OSError:
        return None


def _devices(driver: Any) -> int:
    count = ctypes.c_int()
    return count.value if driver.cuDeviceGetCount(ctypes.byref(count)) == 0 else 0


def _device(driver: Any, index: int) -> str:
    handle, name, memory = ctypes.c_int(), ctypes.create_string_buffer(128), ctypes.c_size_t()
    if driver.cuDeviceGet(ctypes.byref(handle), index) != 0:
        return "not accessible"
    driver.cuDeviceGetName(name, 128, handle)
    driver.cuDeviceTotalMem_v2(ctypes.byref(memory), handle)
    # CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, COMPUTE_CAPABILITY_MAJOR, COMPUTE_CAPABILITY_MINOR
    units, major, minor = (_attribute(driver, handle, number) for number in (16, 75, 76))
    return f"{name.value.decode()}, compute capability {major}.{minor}, {units} SMs, {memory.value / 2**30:.0f} GiB"


def _attribute(driver: Any, handle: Any, number: int) -> int:
    value = ctypes.c_int()
    driver.cuDeviceGetAttribute(ctypes.byref(value), number, handle)
    return value.value


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
