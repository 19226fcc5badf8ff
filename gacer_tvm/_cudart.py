"""Loads libcudart where only NVIDIA's wheels have it: TVM's CUDA runtime asks for it by its bare name, at import.

Imported for that effect, before TVM. Nothing happens where there is no driver.
"""

from __future__ import annotations

import contextlib
import ctypes

__all__: list[str] = []


def _load() -> None:
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return
    try:
        ctypes.CDLL("libcudart.so.13")
    except OSError:
        # Whatever goes wrong here, `doctor` finds it again and says it.
        with contextlib.suppress(Exception):
            from cuda.pathfinder import load_nvidia_dynamic_lib

            load_nvidia_dynamic_lib("cudart")


_load()
