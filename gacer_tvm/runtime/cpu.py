"""The CPU runtime: one worker thread a stream, cores divided among them.

TVM gives every thread a pool of workers of its own. A stream's pool is limited to the cores that the schedule grants it; with
one core a kernel's parallel loops run on the stream's thread itself.
"""

from __future__ import annotations

import os
import time
from typing import Any

import numpy as np

from .._tvm import tvm
from ..graph.model import MultiTenantGraph
from ..kernels.library import KernelLibrary
from ..plan import Launch, LaunchPlan
from .memory import Constants, HostMemory
from .replay import Bound, bind
from .streams import ThreadStreams

__all__ = ["CpuSession"]


class CpuSession:
    """One plan ready to run on this machine's cores.

    Parameters
    ----------
    graph, plan
        What runs. The plan must have been checked.
    library
        Its kernels; missing ones are compiled here.
    constants
        The tenants' parameters.
    cores
        Cores of the machine that may be used.
    """

    def __init__(
        self, graph: MultiTenantGraph, plan: LaunchPlan, library: KernelLibrary, constants: Constants, cores: int
    ) -> None:
        library.ensure(plan.kernels)
        self.graph = graph
        self.plan = plan
        self.cores = cores
        self.memory = HostMemory(graph, plan, constants)
        self._calls = bind(plan, self.memory.tensors, lambda launch: library.get(*launch.kernel).call)
        self._streams: ThreadStreams | None = None

    def feed(self, buffer: int, array: Any) -> None:
        """Copy an array (NumPy or DLPack) into an input buffer; shapes and dtypes have been checked."""
        target = self.memory.arrays[buffer]
        if target is None:
            self.memory.tensors[buffer].copyfrom(tvm.runtime.from_dlpack(array))
            return
        np.copyto(target, array if isinstance(array, np.ndarray) else np.from_dlpack(array), casting="no")

    def feed_random(self, seed: int = 0) -> None:
        """Fill every input with random values: normal for floating point, zeros for the rest (safe as indices)."""
        rng = np.random.default_rng(seed)
        for info in self.graph.tenants:
            for buffer in info.inputs.values():
                target = self.memory.arrays[buffer]
                if target is not None and np.issubdtype(target.dtype, np.floating):
                    target[...] = rng.standard_normal(target.shape).astype(target.dtype)

    def fetch(self, buffer: int, as_numpy: bool = True) -> Any:
        """A copy of an output buffer, as a NumPy array or a TVM tensor."""
        source = self.memory.arrays.get(buffer)
        if source is None:
            tensor = self.memory.tensors[buffer]
            copy = tvm.runtime.empty(tuple(tensor.shape), str(tensor.dtype))
            copy.copyfrom(tensor)
            return copy.numpy() if as_numpy else copy
        return source.copy() if as_numpy else tvm.runtime.tensor(source)

    def round(self) -> None:
        """Run all tenants once on the inputs that lie in memory."""
        if self._streams is None:
            self._streams = ThreadStreams(self.plan, self._calls, self._set_cores)
        self._streams.round()

    def timed_round(self) -> list[tuple[float, float]]:
        """Run once (after a round to warm up) and return for each launch its start and end in seconds since the round began."""
        return self.timed_rounds(1)[0]

    def timed_rounds(self, count: int) -> list[list[tuple[float, float]]]:
        """Like `timed_round`, `count` times."""
        spans: list[tuple[float, float]] = [(0.0, 0.0)] * len(self.plan.launches)
        clock = time.perf_counter

        def wrap(launch: Launch, call: Bound) -> Bound:
            function, arguments = call

            def timed() -> None:
                start = clock()
                function(*arguments)
                spans[launch.index] = (start, clock())

            return timed, ()

        rounds = []
        streams = ThreadStreams(self.plan, self._calls, self._set_cores, wrap)
        try:
            streams.round()
            for _ in range(count):
                began = clock()
                streams.round()
                rounds.append([(start - began, end - began) for start, end in spans])
        finally:
            streams.close()
        return rounds

    def close(self) -> None:
        """End the worker threads; the session can still be run, which starts them again."""
        if self._streams is not None:
            self._streams.close()
            self._streams = None

    def _set_cores(self, cores: int | None) -> None:
        limit_cores(self.cores if cores is None else min(cores, self.cores))


def limit_cores(cores: int) -> None:
    """Limit TVM's pool of the calling thread."""
    tvm.get_global_func("runtime.config_threadpool")(1, cores)


def usable_cores() -> int:
    """Cores that this process may run on."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on Linux
        return os.cpu_count() or 1


