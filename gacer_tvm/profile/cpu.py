"""Kernels run by hand on this machine's cores: one worker thread a stream, each with a core budget of its own."""

from __future__ import annotations

import threading
import time
from _thread import allocate_lock
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._tvm import te, tvm
from ..graph.model import Buffer, MultiTenantGraph
from ..kernels.library import KernelLibrary
from ..runtime.cpu import limit_cores
from ..runtime.memory import aligned_bytes, view

__all__ = ["CpuBench", "Job", "reference_kernel"]

Call = Callable[[], None]


@dataclass(frozen=True)
class Job:
    """A kernel called `times` in a row on `cores` cores."""

    call: Any
    arguments: tuple[Any, ...]
    cores: int
    times: int = 1

    def __call__(self) -> None:
        call, arguments = self.call, self.arguments
        for _ in range(self.times):
            call(*arguments)


class CpuBench:
    """Runs jobs alone or side by side, each on a worker of its own place and core budget.

    A worker's pool of threads is sized once: changing it between two jobs would be measured with them.
    """

    def __init__(self) -> None:
        self._workers: dict[tuple[int, int], _Worker] = {}

    def run(self, jobs: Sequence[Job]) -> tuple[float, list[float]]:
        """Begin all jobs together: seconds from the first start to the last end, and to the end of each."""
        workers = [self._worker(n, job.cores) for n, job in enumerate(jobs)]
        for worker, job in zip(workers, jobs):
            worker.job = job
        for worker in workers:
            worker.go.release()
        for worker in workers:
            worker.done.acquire()
        for worker in workers:
            if worker.failure is not None:
                failure, worker.failure = worker.failure, None
                raise failure
        began = min(worker.began for worker in workers)
        return max(worker.ended for worker in workers) - began, [worker.ended - began for worker in workers]

    def close(self) -> None:
        """End the workers."""
        for worker in self._workers.values():
            worker.job = None
            worker.go.release()
            worker.thread.join()
        self._workers.clear()

    def __enter__(self) -> CpuBench:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _worker(self, place: int, cores: int) -> _Worker:
        if (place, cores) not in self._workers:
            self._workers[(place, cores)] = _Worker(cores)
        return self._workers[(place, cores)]


class _Worker:
    def __init__(self, cores: int) -> None:
        self.cores = cores
        self.job: Job | None = None
        self.began = self.ended = 0.0
        self.failure: Exception | None = None
        self.go, self.done = allocate_lock(), allocate_lock()
        self.go.acquire()
        self.done.acquire()
        self.thread = threading.Thread(target=self._work, name=f"gacer-profile-{cores}", daemon=True)
        self.thread.start()

    def _work(self) -> None:
        limit_cores(self.cores)
        clock = time.perf_counter
        while True:
            self.go.acquire()
            if self.job is None:
                return
            self.began = self.ended = clock()
            try:
                self.job()
            except Exception as error:  # raised where the job was ordered
                self.failure = error
            self.ended = clock()
            self.done.release()


class Buffers:
    """Tensors for kernels of one graph, one for each buffer that a kernel names: ordinary positive numbers, zeros as indices."""

    def __init__(self, graph: MultiTenantGraph, seed: int = 0) -> None:
        self._graph = graph
        self._rng = np.random.default_rng(seed)
        self._tensors: dict[int, Any] = {}

    def job(self, library: KernelLibrary, operator: int, items: int, cores: int, times: int = 1) -> Job:
        """A job that runs an operator's kernel on its first `items` items."""
        found = self._graph.operators[operator]
        arguments = tuple(self._tensor(self._graph.buffers[b]) for b in (*found.reads, *found.writes))
        if items != self._graph.tenants[found.tenant].batch:
            arguments = (*arguments, 0)
        return Job(library.get(operator, items).call, arguments, cores, times)

    def clear(self) -> None:
        """Give the memory back."""
        self._tensors.clear()

    def _tensor(self, buffer: Buffer) -> Any:
        if buffer.index not in self._tensors:
            data = aligned_bytes(buffer.nbytes)
            if buffer.dtype in ("float32", "float64", "float16"):
                values = data.view(buffer.dtype)
                # Between 0.1 and 1: no denormals, no square roots of negative numbers.
                values[:] = np.resize(self._rng.uniform(0.1, 1.0, 4096).astype(buffer.dtype), values.size)
            self._tensors[buffer.index] = view(data, 0, buffer.nbytes, buffer.shape, buffer.dtype)[1]
        return self._tensors[buffer.index]


def reference_kernel(target: Any, size: int = 96) -> Job:
    """A small matrix product on one core, the same in every session: what tells the machine's noise."""
    left = te.placeholder((size, size), name="left")
    right = te.placeholder((size, size), name="right")
    k = te.reduce_axis((0, size), name="k")
    product = te.compute((size, size), lambda i, j: te.sum(left[i, k] * right[k, j], axis=k), name="product")
    func = te.create_prim_func([left, right, product]).with_attr("global_symbol", "reference")
    module = tvm.compile(tvm.IRModule({"reference": func}), target)
    tensors = tuple(tvm.runtime.tensor(np.full((size, size), 0.5, np.float32)) for _ in range(3))
    return Job(module["reference"], tensors, 1)
