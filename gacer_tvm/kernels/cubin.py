"""CUDA source compiled to machine code, with what the assembler says of each kernel: registers, shared memory, spills.

Works with nvcc or NVRTC and needs no GPU. It also takes the place of TVM's own compile callback, with the same flags, so
that a toolkit is not required (NVRTC and the headers of NVIDIA's wheels will do) and the figures of every kernel are kept.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from .._tvm import tvm, tvm_ffi
from ..errors import DeviceError
from .cuda_headers import SHIMS, has_libcudacxx, include_dirs, nvcc_path

__all__ = [
    "Cubin",
    "KernelResources",
    "compile_cuda",
    "compiled",
    "compilers",
    "device_source",
    "install",
    "parse_ptxas",
    "resources_of",
    "supported_archs",
]


@dataclass(frozen=True)
class KernelResources:
    """What ptxas reports of one GPU kernel.

    Attributes
    ----------
    name
        Name of the ``__global__`` function.
    registers
        Registers a thread.
    shared_bytes
        Static shared memory a block.
    stack_bytes
        Stack frame a thread (arrays that could not stay in registers).
    spill_stores, spill_loads
        Bytes spilled, as generated instructions count them.
    """

    name: str
    registers: int
    shared_bytes: int = 0
    stack_bytes: int = 0
    spill_stores: int = 0
    spill_loads: int = 0


@dataclass(frozen=True)
class Cubin:
    """Machine code of one CUDA source.

    Attributes
    ----------
    data
        The cubin.
    arch, compiler
        What it was compiled for and by what.
    kernels
        Resources by kernel name.
    """

    data: bytes = field(repr=False)
    arch: str
    compiler: str
    kernels: dict[str, KernelResources] = field(default_factory=dict)


_ENTRY = re.compile(r"Compiling entry function '([^']+)' for '([^']+)'")
_SPILL = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
_USED = re.compile(r"Used (\d+) registers(.*)")
_SMEM = re.compile(r"(\d+) bytes smem")


def parse_ptxas(log: str) -> dict[str, KernelResources]:
    """Resources of every kernel from what ``ptxas -v`` printed (nvcc's output or NVRTC's log)."""
    found: dict[str, KernelResources] = {}
    name, frame = "", (0, 0, 0)
    for line in log.splitlines():
        if entry := _ENTRY.search(line):
            name, frame = entry[1], (0, 0, 0)
        elif spill := _SPILL.search(line):
            frame = (int(spill[1]), int(spill[2]), int(spill[3]))
        elif name and (used := _USED.search(line)):
            shared = _SMEM.search(used[2])
            found[name] = KernelResources(name, int(used[1]), int(shared[1]) if shared else 0, *frame)
            name = ""
    return found


def compilers() -> dict[str, str]:
    """The CUDA compilers that can be used here, preferred first: name → version or place."""
    found: dict[str, str] = {}
    with_nvrtc = _nvrtc_version()
    if with_nvrtc is not None:
        found["nvrtc"] = with_nvrtc
    nvcc = nvcc_path()
    if nvcc is not None:
        found["nvcc"] = _nvcc_version(nvcc)
    mode = os.environ.get("TVM_CUDA_COMPILE_MODE", "").lower()
    if mode in found:
        found = {mode: found[mode], **found}
    return found


def supported_archs(compiler: str) -> tuple[str, ...]:
    """Architectures (``sm_90``) that a compiler of `compilers` can generate code for."""
    if compiler == "nvcc":
        text = subprocess.run([str(nvcc_path()), "--list-gpu-arch"], capture_output=True, text=True, check=False).stdout
        numbers = re.findall(r"compute_(\d+)", text)
    else:
        from cuda.bindings import nvrtc

        numbers = [str(n) for n in nvrtc.nvrtcGetSupportedArchs()[1]]
    return tuple(f"sm_{n}" for n in sorted(set(numbers), key=int))


def compile_cuda(source: str, arch: str, compiler: str | None = None) -> Cubin:
    """Compile CUDA source; the same source, architecture and compiler are compiled once in a process.

    Parameters
    ----------
    source
        As TVM generates it.
    arch
        ``sm_90`` and the like.
    compiler
        ``nvcc`` or ``nvrtc``; by default the first of `compilers`.

    Raises
    ------
    DeviceError
        Without a compiler, for an architecture that it does not know, and for source that it refuses; the message has its
        first errors.
    """
    known = compilers()
    chosen = compiler or next(iter(known), None)
    if chosen is None or chosen not in known:
        raise DeviceError(
            f"no CUDA compiler{f' {compiler!r}' if compiler else ''} here (found: {', '.join(known) or 'none'}); install "
            f'nvcc, or NVRTC with: pip install "gacer-tvm[cuda]"'
        )
    archs = supported_archs(chosen)
    if arch.rstrip("af") not in archs:
        raise DeviceError(f"{chosen} {known[chosen]} cannot compile for {arch}; it knows {', '.join(archs)}")
    key = _key(chosen, arch, source)
    with _LOCK:
        held = _CACHE.get(key)
    if held is None:
        run: Callable[[str, str], tuple[bytes, str]] = _nvcc if chosen == "nvcc" else _nvrtc
        data, log = run(source, arch)
        held = Cubin(data, arch, f"{chosen} {known[chosen]}", parse_ptxas(log))
        with _LOCK:
            _CACHE[key] = held
            while len(_CACHE) > _KEEP:
                _CACHE.pop(next(iter(_CACHE)))
    return held


def compiled(source: str, arch: str) -> Cubin | None:
    """What `compile_cuda` made of this source earlier in this process; None where it did not, or not lately."""
    with _LOCK:
        for compiler in ("nvrtc", "nvcc"):
            held = _CACHE.get(_key(compiler, arch, source))
            if held is not None:
                return held
    return None


def device_source(module: Any) -> str:
    """The CUDA source inside a compiled module; "" where it holds none."""
    inner = module.mod if hasattr(module, "mod") else module
    return "\n".join(str(part.inspect_source()) for part in inner.imports if part.kind == "cuda")


def resources_of(cubin: Cubin, symbol: str) -> KernelResources | None:
    """Resources of a function that may be several GPU kernels: the most of each over its kernels."""
    parts = [r for name, r in cubin.kernels.items() if re.fullmatch(re.escape(symbol) + r"_kernel(_\d+)?", name)]
    if not parts:
        return None
    return KernelResources(
        symbol,
        max(p.registers for p in parts),
        max(p.shared_bytes for p in parts),
        max(p.stack_bytes for p in parts),
        sum(p.spill_stores for p in parts),
        sum(p.spill_loads for p in parts),
    )


def install() -> None:
    """Make TVM compile its CUDA sources here (`compile_cuda`), once a process."""
    global _INSTALLED
    with _LOCK:
        if _INSTALLED:
            return
        _INSTALLED = True
    tvm_ffi.register_global_func("tvm_callback_cuda_compile", _callback, override=True)


_LOCK = threading.Lock()
_CACHE: dict[str, Cubin] = {}
_KEEP = 256
_INSTALLED = False


def _key(compiler: str, arch: str, source: str) -> str:
    return hashlib.sha256(f"{compiler}\0{arch}\0{source}".encode()).hexdigest()


def _callback(code: str) -> bytes:
    target = tvm.target.Target.current(allow_none=True)
    arch = str(target.attrs["arch"]) if target is not None and "arch" in target.attrs else None
    if arch is None:
        raise DeviceError("CUDA source is to be compiled outside of a target; compile it inside `with target:`")
    return compile_cuda(str(code), arch).data


def _fast_math() -> list[str]:
    return [] if os.environ.get("TVM_CUDA_NVCC_NO_FAST_MATH") else ["--use_fast_math"]


_UNDEFINE = [
    f"-U__CUDA_NO_{name}__"
    for name in (
        "HALF_OPERATORS",
        "HALF_CONVERSIONS",
        "BFLOAT16_OPERATORS",
        "BFLOAT16_CONVERSIONS",
        "BFLOAT162_OPERATORS",
        "BFLOAT162_CONVERSIONS",
    )
]


def _nvcc(source: str, arch: str) -> tuple[bytes, str]:
    with tempfile.TemporaryDirectory(prefix="gacer_tvm_") as folder:
        file, made = Path(folder, "kernels.cu"), Path(folder, "kernels.cubin")
        file.write_text(source)
        command = [
            str(nvcc_path()), "--cubin", "-O3", f"-arch={arch}", *_UNDEFINE, "--expt-relaxed-constexpr", *_fast_math(),
            "--ptxas-options=-v", "-o", str(made), str(file),
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        if done.returncode:
            raise DeviceError(f"nvcc refuses the generated source for {arch}: {_first_errors(done.stderr)}")
        return made.read_bytes(), done.stdout + done.stderr


def _nvrtc(source: str, arch: str) -> tuple[bytes, str]:
    from cuda.bindings import nvrtc

    folders = include_dirs()
    shims = {} if has_libcudacxx(folders) else SHIMS
    # Device code only: the driver's header is neither needed nor always there.
    text = "\n".join(line for line in source.splitlines() if line.strip() != "#include <cuda.h>")
    text = "#ifndef INFINITY\n#define INFINITY __int_as_float(0x7f800000)\n#endif\n" + text
    program = _ok(nvrtc.nvrtcCreateProgram(
        text.encode(), b"kernels.cu", len(shims), [s.encode() for s in shims.values()], [n.encode() for n in shims]
    ))  # fmt: skip
    options = [
        f"--gpu-architecture={arch}", "-default-device", "--device-int128", *(f"-I{f}" for f in folders), *_UNDEFINE,
        "-D__NV_SILENCE_DEPRECATION_BEGIN=", "-D__NV_SILENCE_DEPRECATION_END=",
        "-D__NV_SILENCE_HOST_DEPRECATION_BEGIN=", "-D__NV_SILENCE_HOST_DEPRECATION_END=",
        *_fast_math(), "--ptxas-options=-v",
    ]  # fmt: skip
    try:
        (status,) = nvrtc.nvrtcCompileProgram(program, len(options), [o.encode() for o in options])
        size = _ok(nvrtc.nvrtcGetProgramLogSize(program))
        log = bytearray(size)
        _ok(nvrtc.nvrtcGetProgramLog(program, log))
        words = log.rstrip(b"\0").decode(errors="replace")
        if status != nvrtc.nvrtcResult.NVRTC_SUCCESS:
            raise DeviceError(f"NVRTC refuses the generated source for {arch}: {_first_errors(words)}")
        data = bytearray(_ok(nvrtc.nvrtcGetCUBINSize(program)))
        _ok(nvrtc.nvrtcGetCUBIN(program, data))
        return bytes(data), words
    finally:
        nvrtc.nvrtcDestroyProgram(program)


def _ok(answer: tuple[Any, ...]) -> Any:
    if int(answer[0]) != 0:
        raise DeviceError(f"NVRTC: {answer[0]!r}")
    return answer[1] if len(answer) > 1 else None


def _first_errors(text: str, count: int = 3) -> str:
    lines = [line.strip() for line in text.splitlines() if "error" in line.lower() or "fatal" in line.lower()]
    return " | ".join(lines[:count]) or text.strip()[:300]


@lru_cache(maxsize=1)
def _nvrtc_version() -> str | None:
    try:
        from cuda.bindings import nvrtc

        status, major, minor = nvrtc.nvrtcVersion()
    except (ImportError, RuntimeError, OSError):
        return None
    return f"{major}.{minor}" if int(status) == 0 else None


@lru_cache(maxsize=4)
def _nvcc_version(path: str) -> str:
    text = subprocess.run([path, "--version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"V(\d+\.\d+\.\d+)", text)
    return found[1] if found else "unknown"
