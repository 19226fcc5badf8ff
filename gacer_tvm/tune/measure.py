"""MetaSchedule's builder and runner in this process.

TVM's own builder restarts worker processes that spend over half a minute importing, and times out after 30 s, so every build
fails; here a candidate is built in a third of a second. The price: a candidate that crashes takes this process with it
(the database keeps everything measured before).
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from .._tvm import s_tir, tvm
from ..runtime.cpu import limit_cores
from ..runtime.memory import aligned_bytes

__all__ = ["BuiltModules", "make_builder", "make_runner"]


class BuiltModules:
    """Modules passed from the builder to the runner by name, since both are in one process."""

    def __init__(self) -> None:
        self._held: dict[str, Any] = {}
        self._count = 0

    def keep(self, module: Any) -> str:
        """Hold a module; its name stands for the path of an artifact."""
        self._count += 1
        name = f"in-process:{self._count}"
        self._held[name] = module
        return name

    def take(self, name: str) -> Any:
        """Give a module up."""
        return self._held.pop(name)


def make_builder(built: BuiltModules) -> Any:
    """A builder that compiles candidates here."""
    ms = s_tir.meta_schedule

    @tvm.ir.utils.derived_object
    class InProcessBuilder(ms.builder.PyBuilder):  # type: ignore[misc, name-defined]
        def build(self, build_inputs: list[Any]) -> list[Any]:
            results = []
            for item in build_inputs:
                try:
                    with item.target:
                        module = tvm.compile(item.mod, item.target)
                    results.append(ms.builder.BuilderResult(built.keep(module), None))
                except (RuntimeError, ValueError, TypeError, AttributeError) as error:
                    results.append(ms.builder.BuilderResult(None, str(error)[-2000:]))
            return results

    return InProcessBuilder()


def make_runner(built: BuiltModules, *, cores: int, repeats: int = 3, least_seconds: float = 0.02) -> Any:
    """A runner that times candidates on this machine's CPU.

    Parameters
    ----------
    built
        Where the builder left them.
    cores
        Cores that a candidate may use: a kernel can be tuned for a share of the machine.
    repeats
        Timings of a candidate; all are kept.
    least_seconds
        Each timing runs the kernel for at least this long.
    """
    ms = s_tir.meta_schedule

    @tvm.ir.utils.derived_object
    class Done(ms.runner.PyRunnerFuture):  # type: ignore[misc, name-defined]
        def __init__(self, result: Any) -> None:
            super().__init__()
            self._result = result

        def done(self) -> bool:
            return True

        def result(self) -> Any:
            return self._result

    @tvm.ir.utils.derived_object
    class InProcessRunner(ms.runner.PyRunner):  # type: ignore[misc, name-defined]
        def run(self, runner_inputs: list[Any]) -> list[Any]:
            limit_cores(cores)
            return [Done(self._one(item)) for item in runner_inputs]

        def _one(self, item: Any) -> Any:
            try:
                module = built.take(str(item.artifact_path))
                arguments = [_random(info) for info in item.args_info]
                return ms.runner.RunnerResult(_time(module["main"], arguments, repeats, least_seconds), None)
            except (RuntimeError, ValueError, TypeError, AttributeError, KeyError) as error:
                return ms.runner.RunnerResult(None, str(error)[-2000:])

    return InProcessRunner()


def _time(function: Any, arguments: list[Any], repeats: int, least_seconds: float) -> list[float]:
    began = time.perf_counter()
    function(*arguments)
    once = time.perf_counter() - began
    count = max(1, min(10_000, int(least_seconds / max(once, 1e-7))))
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        for _ in range(count):
            function(*arguments)
        seconds.append((time.perf_counter() - began) / count)
    return seconds


def _random(info: Any) -> Any:
    shape = tuple(int(d) for d in info.shape)
    dtype = np.dtype(str(info.dtype))
    size = max(1, int(np.prod(shape, dtype=np.int64)))
    data = aligned_bytes(size * dtype.itemsize).view(dtype)[:size].reshape(shape)
    if np.issubdtype(dtype, np.floating):
        data[...] = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    return tvm.runtime.from_dlpack(data)
