"""A reference kernel, the same in every session: its times tell the machine's noise."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np

from .._tvm import te, tvm
from ..runtime.cpu import limit_cores

__all__ = ["Reference"]


class Reference:
    """A small matrix product on one core.

    Parameters
    ----------
    target
        tvm Target that it is compiled for, without a schedule.
    size
        Rows and columns.
    """

    def __init__(self, target: Any, size: int = 96) -> None:
        left = te.placeholder((size, size), name="left")
        right = te.placeholder((size, size), name="right")
        k = te.reduce_axis((0, size), name="k")
        product = te.compute((size, size), lambda i, j: te.sum(left[i, k] * right[k, j], axis=k), name="product")
        func = te.create_prim_func([left, right, product]).with_attr("global_symbol", "reference")
        self._call = tvm.compile(tvm.IRModule({"reference": func}), target)["reference"]
        self._tensors = [tvm.runtime.tensor(np.full((size, size), 0.5, np.float32)) for _ in range(3)]

    def seconds(self, repeats: int = 7) -> np.ndarray:
        """Seconds of `repeats` calls, float64; run on a thread of its own, whose pool of cores is not the caller's."""
        times: list[float] = []

        def run() -> None:
            limit_cores(1)
            self._call(*self._tensors)
            for _ in range(repeats):
                start = time.perf_counter()
                self._call(*self._tensors)
                times.append(time.perf_counter() - start)

        thread = threading.Thread(target=run, name="gacer-reference")
        thread.start()
        thread.join()
        return np.array(times)
