"""Candidates built in this process, and timed here or on other machines.

TVM's own builder restarts worker processes that spend over half a minute importing, and times out after 30 s, so every build
fails; here a candidate is built in a third of a second. The price: a candidate that crashes takes this process with it
(the database keeps everything measured before, and the next run passes it over).
"""

from __future__ import annotations

import importlib
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from .._tvm import s_tir, tvm
from ..errors import DeviceError
from ..kernels.store import export
from ..runtime.cpu import limit_cores
from ..runtime.memory import aligned_bytes
from .size import TooMuchCode, bounded

__all__ = ["BuiltModules", "Here", "Measurer", "Remote", "make_builder", "make_runner"]

# MetaSchedule passes errors on as text.
_TOO_MUCH = "too much code: "
# Of the time of a row, what settles whether a candidate is hopeless.
_SHORT = 0.1
# Built modules held: those that are timed in turns at the end.
_HELD = 8
# Turns of trials that are repeated; of single calls, and seconds for all of them.
_TURNS = 5
_LEAST_TURNS, _MOST_TURNS, _LONGEST_TURNS = 12, 400, 0.5
# Bytes that displace what a core has in the caches that are its own, and copies of small arguments at most.
_OWN_CACHE, _MOST_COPIES = 4 << 20, 256
_ERRORS = (RuntimeError, ValueError, TypeError, AttributeError, KeyError, OSError)


class Measurer(Protocol):
    """Builds and times candidates."""

    #: How many candidates may be under way at once.
    parallel: int

    def submit(
        self, module: Any, target: Any, arguments: list[Any], hopeless: float | None = None
    ) -> Callable[[], list[float]]:
        """Begin; the returned function waits for the seconds of each timing (none where the candidate failed).

        A candidate that takes longer than `hopeless` seconds may be timed once only.

        Raises
        ------
        TooMuchCode
            Where the candidate is not compiled at all.
        """

    def in_turns(self, modules: Sequence[Any], target: Any, arguments: list[Any]) -> list[list[float]]:
        """Seconds of the timings of several candidates, taken in turn so that chance does not decide between them."""

    def close(self) -> None:
        """Give back what is held."""


class Here:
    """Measures in this process, one candidate at a time.

    Parameters
    ----------
    cores
        Cores that a candidate may use (CPU): a kernel can be tuned for a share of the machine.
    device
        TVM device; the CPU by default.
    repeats
        Timings of a candidate; all are kept.
    least_seconds
        Each timing runs the kernel for at least this long.
    """

    parallel = 1

    def __init__(self, cores: int, device: Any = None, repeats: int = 3, least_seconds: float = 0.02) -> None:
        self._cores, self._device = cores, device
        self._built = BuiltModules()
        self._builder = make_builder(self._built)
        self._hopeless: float | None = None
        self._runner = make_runner(
            self._built,
            cores=cores,
            device=device,
            repeats=repeats,
            least_seconds=least_seconds,
            hopeless=lambda: self._hopeless,
        )

    def submit(
        self, module: Any, target: Any, arguments: list[Any], hopeless: float | None = None
    ) -> Callable[[], list[float]]:
        """Measure now; a module that was measured a moment ago is not built again."""
        self._hopeless = hopeless
        seconds = _measure(self._builder, self._runner, module, target, arguments)()
        return lambda: seconds

    def in_turns(self, modules: Sequence[Any], target: Any, arguments: list[Any]) -> list[list[float]]:
        """Single calls, each on other copies of the arguments: in a round weights are not in a core's own cache either."""
        if self._device is not None:
            return _resubmitted(self, modules, target, arguments)
        functions = []
        for module in modules:
            (built,) = self._builder.build([s_tir.meta_schedule.builder.BuilderInput(module, target)])
            functions.append(None if built.error_msg else self._built.take(str(built.artifact_path))["main"])
        limit_cores(self._cores)
        return _one_by_one(functions, _copies(arguments, _OWN_CACHE * self._cores))

    def close(self) -> None:
        """Nothing is held."""


class Remote:
    """Builds in this process and measures on the servers that a TVM tracker knows, all at once.

    Parameters
    ----------
    tracker
        ``"host:port"`` of ``python -m tvm.exec.rpc_tracker``.
    key
        Key that the servers (``python -m tvm.exec.rpc_server --tracker=… --key=…``) are registered under.
    timeout
        Seconds for one candidate.
    repeats, least_seconds
        As for `Here`.

    Raises
    ------
    DeviceError
        If the tracker does not answer or no server has that key.
    """

    def __init__(
        self, tracker: str, key: str, *, timeout: int = 60, repeats: int = 3, least_seconds: float = 0.02
    ) -> None:
        try:
            importlib.import_module("cloudpickle")
        except ImportError as error:
            raise DeviceError("TVM's RPC runner needs cloudpickle: pip install 'gacer-tvm[rpc]'") from error
        ms = s_tir.meta_schedule
        host, _, port = tracker.rpartition(":")
        if not host or not port.isdigit():
            raise DeviceError(f"tracker {tracker!r}: expected HOST:PORT, for example 192.168.1.10:9190")
        config = ms.runner.RPCConfig(
            tracker_host=host, tracker_port=int(port), tracker_key=key, session_timeout_sec=timeout
        )
        try:
            servers = config.count_num_servers(allow_missing=True)
        except _ERRORS as error:
            raise DeviceError(
                f"no TVM tracker answers at {tracker}; start one: python -m tvm.exec.rpc_tracker --port {port}"
            ) from error
        if not servers:
            raise DeviceError(
                f"the tracker at {tracker} knows no server with the key {key!r}; start them: "
                f"python -m tvm.exec.rpc_server --tracker={tracker} --key={key}"
            )
        self.parallel = int(servers)
        self._folder = tempfile.TemporaryDirectory(prefix="gacer_tvm_")
        self._builder = make_builder(BuiltModules(), Path(self._folder.name))
        evaluator = ms.runner.EvaluatorConfig(
            number=1, repeat=repeats, min_repeat_ms=int(least_seconds * 1000), enable_cpu_cache_flush=False
        )
        self._runner = ms.runner.RPCRunner(config, evaluator, max_workers=self.parallel)

    def submit(
        self, module: Any, target: Any, arguments: list[Any], hopeless: float | None = None
    ) -> Callable[[], list[float]]:
        """Build now, send to a free server."""
        return _measure(self._builder, self._runner, module, target, arguments)

    def in_turns(self, modules: Sequence[Any], target: Any, arguments: list[Any]) -> list[list[float]]:
        """Rows of calls as for a trial, several times each."""
        return _resubmitted(self, modules, target, arguments)

    def close(self) -> None:
        """Remove the built files."""
        self._folder.cleanup()


def _resubmitted(measurer: Measurer, modules: Sequence[Any], target: Any, arguments: list[Any]) -> list[list[float]]:
    """What trials of several candidates say that are repeated in turn: the median of each trial."""
    taken: list[list[float]] = [[] for _ in modules]
    for _ in range(_TURNS):
        for module, seconds in zip(modules, taken, strict=True):
            if found := measurer.submit(module, target, arguments)():
                seconds.append(statistics.median(found))
    return taken


def _one_by_one(functions: Sequence[Any], copies: Sequence[list[Any]]) -> list[list[float]]:
    """Seconds of single calls of several functions in turn (None and what fails: none), each call on the next copy."""
    taken: list[list[float]] = [[] for _ in functions]
    alive = [function is not None for function in functions]
    clock, number = time.perf_counter, 0
    until = clock() + _LONGEST_TURNS
    while any(alive) and (number < _LEAST_TURNS or (number < _MOST_TURNS and clock() < until)):
        for which, function in enumerate(functions):
            if not alive[which]:
                continue
            given = copies[(number * len(functions) + which) % len(copies)]
            try:
                began = clock()
                function(*given)
                taken[which].append(clock() - began)
            except _ERRORS:
                alive[which], taken[which] = False, []
        number += 1
    # The first calls also load the code.
    return [seconds[2:] for seconds in taken]


def _copies(arguments: list[Any], least_bytes: int) -> list[list[Any]]:
    """As many copies of the arguments as take so many bytes, two at least."""
    first = [_random(info) for info in arguments]
    size = sum(int(np.prod(t.shape, dtype=np.int64)) * np.dtype(str(t.dtype)).itemsize for t in first)
    count = min(_MOST_COPIES, max(2, -(-least_bytes // max(1, size))))
    return [first, *([_random(info) for info in arguments] for _ in range(count - 1))]


def _measure(builder: Any, runner: Any, module: Any, target: Any, arguments: list[Any]) -> Callable[[], list[float]]:
    ms = s_tir.meta_schedule
    built = builder.build([ms.builder.BuilderInput(module, target)])[0]
    if built.error_msg is not None:
        if str(built.error_msg).startswith(_TOO_MUCH):
            raise TooMuchCode(str(built.error_msg).removeprefix(_TOO_MUCH))
        return list
    kind = "cpu" if target.kind.name == "llvm" else str(target.kind.name)
    future = runner.run([ms.runner.RunnerInput(str(built.artifact_path), kind, arguments)])[0]

    def wait() -> list[float]:
        result = future.result()
        return [] if result.error_msg is not None else [float(s) for s in result.run_secs]

    return wait


class BuiltModules:
    """Modules passed from the builder to the runner by name, since both are in one process; the last few of them."""

    def __init__(self) -> None:
        self._held: dict[str, tuple[Any, Any]] = {}
        self._count = 0

    def keep(self, source: Any, module: Any) -> str:
        """Hold what `source` was built into; its name stands for the path of an artifact."""
        self._count += 1
        name = f"in-process:{self._count}"
        self._held[name] = source, module
        if len(self._held) > _HELD:
            del self._held[next(iter(self._held))]
        return name

    def name(self, source: Any) -> str | None:
        """What `source` (this very module) is held under; None where it is not."""
        return next((name for name, (held, _) in self._held.items() if held.same_as(source)), None)

    def take(self, name: str) -> Any:
        """The module of a name."""
        return self._held[name][1]


def make_builder(built: BuiltModules, folder: Path | None = None) -> Any:
    """A MetaSchedule builder that compiles candidates here, and keeps them in `built` or as files of a folder."""
    ms = s_tir.meta_schedule

    @tvm.ir.utils.derived_object
    class InProcessBuilder(ms.builder.PyBuilder):  # type: ignore[misc, name-defined]
        def build(self, build_inputs: list[Any]) -> list[Any]:
            results = []
            for item in build_inputs:
                held = built.name(item.mod)
                if held is not None:
                    results.append(ms.builder.BuilderResult(held, None))
                    continue
                try:
                    with item.target, nullcontext() if _ours(item.mod) else bounded():
                        module = tvm.compile(item.mod, item.target)
                    name = built.keep(item.mod, module) if folder is None else str(_export(module, folder))
                    results.append(ms.builder.BuilderResult(name, None))
                except TooMuchCode as error:
                    results.append(ms.builder.BuilderResult(None, f"{_TOO_MUCH}{error}"))
                except _ERRORS as error:
                    results.append(ms.builder.BuilderResult(None, str(error)[-2000:]))
            return results

    return InProcessBuilder()


def _ours(module: Any) -> bool:
    """Whether a rule of ours made the kernel: these watch their code's size themselves, and the default must be timed."""
    return all("tirx.is_scheduled" in (f.attrs or {}) for f in module.functions.values())


def _export(module: Any, folder: Path) -> Path:
    with tempfile.NamedTemporaryFile(dir=folder, prefix="k", delete=False) as file:
        return export(module, Path(file.name))


def make_runner(
    built: BuiltModules,
    *,
    cores: int,
    device: Any = None,
    repeats: int = 3,
    least_seconds: float = 0.02,
    hopeless: Callable[[], float | None] = lambda: None,
) -> Any:
    """A MetaSchedule runner that times candidates in this process.

    Parameters
    ----------
    built
        Where the builder left them.
    cores, device, repeats, least_seconds
        As for `Here`.
    hopeless
        Asked before each candidate: seconds that it need not be timed more than once for.
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
                function = built.take(str(item.artifact_path))["main"]
                arguments = [_random(info, device) for info in item.args_info]
                finish = device.sync if device is not None else _nothing
                seconds = _time(lambda: function(*arguments), finish, repeats, least_seconds, hopeless())
                return ms.runner.RunnerResult(seconds, None)
            except _ERRORS as error:
                return ms.runner.RunnerResult(None, str(error)[-2000:])

    return InProcessRunner()


def _nothing() -> None:
    return None


def _time(
    call: Callable[[], Any],
    finish: Callable[[], Any],
    repeats: int,
    least_seconds: float,
    hopeless: float | None = None,
) -> list[float]:
    """Seconds a call, each from many calls in a row; a device is asked to finish once a row."""

    def row(count: int) -> float:
        began = time.perf_counter()
        for _ in range(count):
            call()
        finish()
        return (time.perf_counter() - began) / count

    row(1)
    first = row(1)
    if hopeless is not None and first > hopeless:
        # A single call may have been held up, unless it is so long that this would not matter.
        if first < least_seconds:
            first = min(row(max(1, int(_SHORT * least_seconds / first))) for _ in range(2))
        if first > hopeless:
            return [first]
    count = max(1, min(10_000, int(least_seconds / max(first, 1e-7))))
    return [row(count) for _ in range(repeats)]


def _random(info: Any, device: Any = None) -> Any:
    shape = tuple(int(d) for d in info.shape)
    dtype = np.dtype(str(info.dtype))
    size = max(1, int(np.prod(shape, dtype=np.int64)))
    data = aligned_bytes(size * dtype.itemsize).view(dtype)[:size].reshape(shape)
    if np.issubdtype(dtype, np.floating):
        data[...] = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    return tvm.runtime.tensor(data, device) if device is not None else tvm.runtime.from_dlpack(data)
