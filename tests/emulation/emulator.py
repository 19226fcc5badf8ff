"""Builds the emulated CUDA device, and "compiles" CUDA source for it: a shared object that its driver loads as a module."""

from __future__ import annotations

import functools
import platform
import re
import shutil
import struct
import subprocess
import tempfile
from pathlib import Path

__all__ = ["build_driver", "compile_kernels", "why_not"]

HERE = Path(__file__).resolve().parent
_KERNEL = re.compile(r'extern "C" __global__ void (?:__launch_bounds__\(\d+\) )?(\w+)\(([^)]*)\) \{')


def why_not() -> str:
    """Why the emulated device cannot be built here; "" where it can."""
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        return f"the emulated CUDA device is written for Linux on x86-64, this is {platform.system()} {platform.machine()}"
    if shutil.which("g++") is None:
        return "the emulated CUDA device needs g++"
    return ""


def build_driver(folder: Path) -> None:
    """Put libcuda.so.1 and libcudart.so.13 into a folder, for LD_LIBRARY_PATH."""
    common = ["g++", "-O1", "-shared", "-fPIC", "-std=c++17", "-w"]
    subprocess.run(
        [*common, str(HERE / "libcuda.cpp"), "-Wl,-soname,libcuda.so.1", "-o", str(folder / "libcuda.so.1"), "-ldl"], check=True
    )
    subprocess.run(
        [
            *common, str(HERE / "libcudart.cpp"), str(folder / "libcuda.so.1"), "-Wl,-soname,libcudart.so.13",
            f"-Wl,--version-script={HERE / 'libcudart.map'}", "-o", str(folder / "libcudart.so.13"),
        ],
        check=True,
    )  # fmt: skip


@functools.lru_cache(maxsize=64)
def compile_kernels(source: str) -> bytes:
    """The module of a CUDA source for the emulated device.

    Raises
    ------
    RuntimeError
        With the compiler's first errors, where the source uses what the emulation lacks.
    """
    entries = []
    for name, parameters in _KERNEL.findall(source):
        types = [p.replace("__restrict__", "").strip().rsplit(" ", 1)[0] for p in parameters.split(",") if p.strip()]
        values = ", ".join(f"*({t}*)a[{n}]" for n, t in enumerate(types))
        entries.append(
            f"static void {name}__entry(void** a) {{ {name}({values}); }}\n"
            f'extern "C" void {name}__run(void** a, const unsigned* g, const unsigned* b) '
            f"{{ emulated::launch({name}__entry, a, g, b); }}\n"
            f'extern "C" const int {name}__sizes[] = {{{", ".join(f"sizeof({t})" for t in types) or "0"}}};\n'
            f'extern "C" const int {name}__count = {len(types)};\n'
        )
    # Dynamic shared memory has the size that the launch says; here it always has the most.
    dynamic = r"extern __shared__ (?:(?:alignas|__align__)\(\d+\) )?(\w+) (\w+)\[\];"
    source = re.sub(dynamic, r"alignas(1024) static \1 \2[232448];", source)
    # g++ wants the alignment before the word that becomes `static`.
    source = re.sub(r"__shared__ (alignas\(\d+\)) ", r"\1 __shared__ ", source)
    text = '#include "emulated_device.h"\n' + source + "\n" + "".join(entries)
    with tempfile.TemporaryDirectory() as folder:
        file, made = Path(folder, "kernels.cpp"), Path(folder, "kernels.so")
        file.write_text(text)
        done = subprocess.run(
            [
                "g++", "-O1", "-shared", "-fPIC", "-std=c++17", "-w", "-fno-strict-aliasing", "-ffp-contract=off",
                f"-I{HERE / 'include'}", str(file), "-o", str(made),
            ],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            errors = [line for line in done.stderr.splitlines() if "error" in line]
            raise RuntimeError("the emulated device cannot run this source: " + " | ".join(errors[:5]))
        data = made.read_bytes()
    return b"EMUL" + struct.pack("<Q", len(data)) + data
