"""Two kernels timed against each other where the target's device is at hand."""

from __future__ import annotations

import time
from collections.abc import Sequence
from statistics import median
from typing import Any

import numpy as np

from gacer_tvm._tvm import tvm

from .verify import compiled, numpy_dtype, random_arguments

__all__ = ["time_functions"]


def time_functions(functions: Sequence[Any], target: Any, rounds: int = 5) -> list[float] | None:
    """Median seconds of each function, measured in turn; None where the device is not here.

    All functions take the same arguments.
    """
    kind = str(target.kind.name)
    if kind == "llvm":
        device = tvm.cpu()
    elif kind == "cuda" and tvm.cuda(0).exist:
        device = tvm.cuda(0)
    else:
        return None
    inputs, shape, dtype = random_arguments(functions[0], 0)
    arrays = [tvm.runtime.tensor(array, device) for array in (*inputs, np.zeros(shape, dtype=numpy_dtype(dtype)))]
    calls = [compiled(function, target) for function in functions]
    for call in calls:
        call(*arrays)
    samples: list[list[float]] = [[] for _ in calls]
    for _ in range(rounds):
        for call, seconds in zip(calls, samples, strict=True):
            device.sync()
            start = time.perf_counter()
            call(*arrays)
            device.sync()
            seconds.append(time.perf_counter() - start)
    return [median(seconds) for seconds in samples]
