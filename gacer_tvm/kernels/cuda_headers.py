"""Where the CUDA headers are, for a compiler that has no toolkit around it (NVRTC from a wheel).

TVM's sources need `cuda_fp16.h` and its kin from the toolkit (or the `nvidia-cuda-runtime` wheel) only for half precision,
and a few names of libcu++ always. PyTorch's wheels bring the former and not the latter, so the few names are supplied here
where libcu++ is missing.
"""

from __future__ import annotations

import os
import shutil
import sysconfig
from pathlib import Path

__all__ = ["SHIMS", "has_libcudacxx", "include_dirs", "nvcc_path"]

_TYPES = """#pragma once
namespace cuda { namespace std {
typedef signed char int8_t; typedef short int16_t; typedef int int32_t; typedef long long int64_t;
typedef unsigned char uint8_t; typedef unsigned short uint16_t; typedef unsigned int uint32_t;
typedef unsigned long long uint64_t;
} }
"""
_TRAITS = """#pragma once
namespace cuda { namespace std {
template <class T, T v> struct integral_constant { static constexpr T value = v; typedef T value_type; };
typedef integral_constant<bool, true> true_type; typedef integral_constant<bool, false> false_type;
template <class A, class B> struct is_same : false_type {};
template <class A> struct is_same<A, A> : true_type {};
template <class A, class B> inline constexpr bool is_same_v = is_same<A, B>::value;
template <bool c, class T = void> struct enable_if {};
template <class T> struct enable_if<true, T> { typedef T type; };
template <bool c, class A, class B> struct conditional { typedef A type; };
template <class A, class B> struct conditional<false, A, B> { typedef B type; };
template <class T> struct is_floating_point : integral_constant<bool, is_same_v<T, float> || is_same_v<T, double>> {};
template <class T> struct is_integral : integral_constant<bool,
  is_same_v<T, bool> || is_same_v<T, char> || is_same_v<T, signed char> || is_same_v<T, unsigned char> ||
  is_same_v<T, short> || is_same_v<T, unsigned short> || is_same_v<T, int> || is_same_v<T, unsigned int> ||
  is_same_v<T, long> || is_same_v<T, unsigned long> || is_same_v<T, long long> || is_same_v<T, unsigned long long>> {};
template <class T, bool arithmetic = is_integral<T>::value || is_floating_point<T>::value>
struct is_signed : integral_constant<bool, T(-1) < T(0)> {};
template <class T> struct is_signed<T, false> : false_type {};
template <class T, bool arithmetic = is_integral<T>::value || is_floating_point<T>::value>
struct is_unsigned : integral_constant<bool, T(0) < T(-1)> {};
template <class T> struct is_unsigned<T, false> : false_type {};
} }
"""

# The names that TVM's CUDA preamble takes from libcu++, by header.
SHIMS = {"cuda/std/cstdint": _TYPES, "cuda/std/type_traits": _TRAITS}


def nvcc_path() -> str | None:
    """The nvcc on this machine: on the path, under ``$CUDA_PATH`` or ``$CUDA_HOME``, or in /usr/local/cuda."""
    found = shutil.which("nvcc")
    if found:
        return found
    for root in (os.environ.get("CUDA_PATH"), os.environ.get("CUDA_HOME"), "/usr/local/cuda"):
        if root and (Path(root) / "bin" / "nvcc").is_file():
            return str(Path(root) / "bin" / "nvcc")
    return None


def include_dirs() -> tuple[Path, ...]:
    """Folders with the toolkit's headers, best first: a toolkit's, then those of NVIDIA's wheels."""
    roots: list[Path] = [Path(root) / "include" for root in (os.environ.get("CUDA_PATH"), os.environ.get("CUDA_HOME")) if root]
    nvcc = nvcc_path()
    if nvcc is not None:
        roots.append(Path(nvcc).resolve().parents[1] / "include")
        # Debian's wrappers and /usr/local/bin/nvcc are no links into the toolkit.
    roots.append(Path("/usr/local/cuda/include"))
    site = Path(sysconfig.get_paths()["purelib"]) / "nvidia"
    roots += [site / "cu13" / "include", site / "cuda_runtime" / "include", site / "cuda_cccl" / "include"]
    found: list[Path] = []
    for root in roots:
        for folder in (root, root / "cccl"):
            useful = (folder / "cuda_fp16.h").is_file() or (folder / "cuda" / "std" / "cstdint").is_file()
            if useful and folder not in found:
                found.append(folder)
    return tuple(found)


def has_libcudacxx(folders: tuple[Path, ...]) -> bool:
    """Whether one of the folders holds libcu++."""
    return any((folder / "cuda" / "std" / "cstdint").is_file() for folder in folders)
