"""The CUDA runtime: a launch plan on streams, captured once into one CUDA graph that is launched once a round.

A pointer of the schedule is an edge of that graph and costs nothing at run time. Inputs that lie on the device already are
used where they are: a graph is captured for each set of addresses, and kept.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any

import ml_dtypes  # noqa: F401  # NumPy then knows bfloat16 and the float8 types by name
import numpy as np

from .._tvm import tvm
from ..errors import DeviceError, RuntimeFailure, TenantError
from ..graph.model import MultiTenantGraph
from ..kernels.library import Kernel, KernelLibrary
from ..plan import Launch, LaunchPlan
from .cuda_capture import Issue, Timers
from .cuda_driver import Driver, connection_limit, cuda_driver
from .cuda_memory import DeviceConstants, DeviceMemory, shared_constants
from .replay import Bound

__all__ = ["CudaSession", "Round"]

# Graphs kept for different addresses of inputs; beyond it inputs are copied, because a capture costs milliseconds.
_GRAPHS = 8
# What kernels rely on for vector loads.
_ALIGN = 64


class Round:
    """A round under way. Several may be; they run one after another, in the order in which they were launched."""

    def __init__(self, session: CudaSession, event: Any, slots: dict[int, np.ndarray]) -> None:
        self._session = session
        self._event = event
        self._slots = slots

    def wait(self) -> None:
        """Return when the round has run."""
        self._session.driver.finish(self._event)

    def outputs(self) -> dict[int, np.ndarray]:
        """Wait, then copies of the outputs that `CudaSession.launch` was asked for, by buffer index; only once."""
        self.wait()
        found = {buffer: self._session._typed(buffer, slot).copy() for buffer, slot in self._slots.items()}
        for buffer, slot in self._slots.items():
            self._session._slots.setdefault(buffer, []).append(slot)
        self._slots = {}
        return found


class CudaSession:
    """One plan ready to run on a GPU.

    The first round runs twice, once without a graph: modules load at their first use, which a capture forbids. A kernel
    that updates its input in place would therefore see two updates.

    Parameters
    ----------
    graph, plan
        What runs. The plan must have been checked.
    library
        Its kernels; missing ones are compiled here.
    constants
        The tenants' parameters on the device; by default shared with every living session of the same graph.
    driver
        The device; by default the first one.
    use_graph
        Without it every round issues its launches one by one (debugging).

    Raises
    ------
    DeviceError
        Without a usable device, or for kernels compiled without one.
    PlanError
        If the plan's order cannot be issued to CUDA streams.
    """

    def __init__(
        self,
        graph: MultiTenantGraph,
        plan: LaunchPlan,
        library: KernelLibrary,
        constants: DeviceConstants | None = None,
        *,
        driver: Driver | None = None,
        use_graph: bool = True,
    ) -> None:
        self.driver = driver if driver is not None else cuda_driver()
        self.graph = graph
        self.plan = plan
        self.use_graph = use_graph
        library.ensure(plan.kernels)
        self._kernels = [library.get(*launch.kernel) for launch in plan.launches]
        for launch, kernel in zip(plan.launches, self._kernels):
            if kernel.call is None:
                raise DeviceError(
                    f"{self._name(launch)}: its kernel was generated without a CUDA device and has no code to run; build "
                    f"the tenants again in a process that sees the device"
                )
        self.issue = Issue(plan, self.driver, self._name)
        note = connection_limit(len(self.issue.streams))
        self.notes: tuple[str, ...] = (note,) if note else ()
        if note:
            warnings.warn(note, RuntimeWarning, stacklevel=2)
        self.constants = constants if constants is not None else shared_constants(graph, self.driver)
        needs = {launch.index: kernel.workspaces for launch, kernel in zip(plan.launches, self._kernels)}
        self.memory = DeviceMemory(graph, plan, self.driver, self.constants, lambda launch: needs[launch.index])
        self._bound: dict[int, Any] = {}
        self._copied: dict[int, Any] = {}
        self._slots: dict[int, list[np.ndarray]] = {}
        self._graphs: dict[tuple[tuple[int, int], ...], Any] = {}
        self._timed: tuple[tuple[tuple[int, int], ...], Any, Timers] | None = None
        self._calls: list[Bound] = self._bind()
        self._warm = False

    def feed(self, buffer: int, array: Any) -> None:
        """Give an input: on this device it is used where it is until the next `feed`, else it is copied.

        Parameters
        ----------
        buffer
            Index of the input buffer.
        array
            NumPy array or anything with DLPack; shape and dtype have been checked.

        Raises
        ------
        TenantError
            If it is not contiguous and cannot make itself so.
        """
        info = self.graph.buffers[buffer]
        main = self.issue.main
        here = None if isinstance(array, np.ndarray) else self.driver.imported(array, main)
        if here is not None:
            if not here.is_contiguous():
                if not hasattr(array, "contiguous"):
                    raise TenantError(f"{info.name}: expected a contiguous array in row-major order; make a copy first")
                here = self.driver.imported(array.contiguous(), main)
            if here.data_ptr() % _ALIGN == 0:
                self._rebind(info.root, here)
                return
            self._rebind(info.root, None)
            self.driver.copy(self.memory.own[info.root].data_ptr(), here.data_ptr(), info.nbytes, main)
            # The source may be freed as soon as this returns.
            self.driver.finish(main)
            return
        data = _host_bytes(array, info.nbytes)
        staging = self.memory.staging(info.root)
        before = self._copied.get(info.root)
        if before is None:
            before = self._copied[info.root] = self.driver.event()
        else:
            # The last copy out of this staging memory may still be under way, with its round in flight.
            self.driver.finish(before)
        np.copyto(staging, data)
        self._rebind(info.root, None)
        self.driver.copy(self.memory.own[info.root].data_ptr(), staging.ctypes.data, info.nbytes, main)
        self.driver.record(before, main)

    def feed_random(self, seed: int = 0) -> None:
        """Fill every input with random values: normal for floating point, zeros for the rest (safe as indices)."""
        rng = np.random.default_rng(seed)
        for info in self.graph.tenants:
            for buffer in info.inputs.values():
                held = self.graph.buffers[buffer]
                dtype = np.dtype(held.dtype)
                if "float" in dtype.name:
                    self.feed(buffer, rng.standard_normal(held.shape).astype(dtype))
                else:
                    self.feed(buffer, np.zeros(held.shape, dtype))

    def fetch(self, buffer: int, as_numpy: bool = True) -> Any:
        """A copy of an output, as a NumPy array or a TVM tensor on the device (DLPack)."""
        info = self.graph.buffers[buffer]
        main = self.issue.main
        source = self.memory.tensors[buffer].data_ptr()
        if not as_numpy:
            made = self.driver.empty(info.shape, info.dtype)
            self.driver.copy(made.data_ptr(), source, info.nbytes, main)
            self.driver.finish(main)
            return made
        staging = self.memory.staging(info.root) if info.root not in self._copied else self.driver.pinned(info.nbytes)
        self.driver.copy(staging.ctypes.data, source, info.nbytes, main)
        self.driver.finish(main)
        return self._typed(buffer, staging).copy()

    def round(self) -> None:
        """Run all tenants once on the inputs that lie in memory; returns when they have run."""
        self._start()
        self.driver.finish(self.issue.main)

    def launch(self, outputs: Iterable[int] = (), stream: Any = None) -> Round:
        """Start a round and return at once; inputs may be fed and further rounds launched while it runs.

        Parameters
        ----------
        outputs
            Buffers to copy out at its end, before a later round overwrites them.
        stream
            Launch the graph into this stream of the driver's instead of the session's own (several sessions in turn
            on one stream); the caller then keeps it apart from the session's other rounds. Needs a graph.
        """
        if stream is not None:
            self.enqueue(stream)
            event = self.driver.event()
            self.driver.record(event, stream)
            return Round(self, event, {})
        self._start()
        slots = {}
        for buffer in outputs:
            free = self._slots.setdefault(buffer, [])
            slots[buffer] = free.pop() if free else self.driver.pinned(self.graph.buffers[buffer].nbytes)
            source = self.memory.tensors[buffer].data_ptr()
            self.driver.copy(slots[buffer].ctypes.data, source, self.graph.buffers[buffer].nbytes, self.issue.main)
        event = self.driver.event()
        self.driver.record(event, self.issue.main)
        return Round(self, event, slots)

    def enqueue(self, stream: Any) -> None:
        """Launch the graph into a stream of the driver's and return at once; whoever wants its end waits for the stream.

        Raises
        ------
        RuntimeFailure
            If the session has no graph.
        """
        if not self.use_graph:
            raise RuntimeFailure("only a session with a graph can be launched into another stream")
        self._prepare()
        self.driver.replay(self._graph(), stream)

    def timed_round(self) -> list[tuple[float, float]]:
        """Run once and return for each launch its start and end on the device, in seconds since the round began.

        With a graph, events stand around each launch inside a graph of its own, so that the host's pace does not show;
        each pair costs the device a little time.
        """
        return self.timed_rounds(1)[0]

    def timed_rounds(self, count: int) -> list[list[tuple[float, float]]]:
        """Like `timed_round`, `count` times."""
        return [self._timed_once() for _ in range(count)]

    def _timed_once(self) -> list[tuple[float, float]]:
        self._prepare()
        key = self._key()
        if not self.use_graph:
            timers = self.issue.timers()
            self.issue.round(self._calls, timers)
        else:
            if self._timed is None or self._timed[0] != key:
                if self._timed is not None:
                    self.driver.free_graph(self._timed[1])
                    self._timed = None
                timers = self.issue.timers()
                self._timed = (key, self.issue.capture(self._calls, timers), timers)
            _, graph, timers = self._timed
            self.driver.replay(graph, self.issue.main)
        self.driver.finish(self.issue.main)
        seconds = self.driver.seconds
        return [(seconds(timers.began, start), seconds(timers.began, end)) for start, end in timers.spans]

    def close(self) -> None:
        """Free the graphs and the device memory; the session cannot be used again. Does nothing the second time."""
        if not self.memory.tensors:
            return
        self.driver.finish(self.issue.main)
        for graph in self._graphs.values():
            self.driver.free_graph(graph)
        if self._timed is not None:
            self.driver.free_graph(self._timed[1])
        self._graphs, self._timed, self._calls, self._bound = {}, None, [], {}
        self.memory.free()

    def _start(self) -> None:
        self._prepare()
        if not self.use_graph:
            self.issue.round(self._calls)
            return
        self.driver.replay(self._graph(), self.issue.main)

    def _graph(self) -> Any:
        key = self._key()
        graph = self._graphs.get(key)
        if graph is None:
            graph = self._graphs[key] = self.issue.capture(self._calls)
        return graph

    def _prepare(self) -> None:
        """Calls for the inputs as they are bound now, with every kernel loaded."""
        if not self.memory.tensors:
            raise RuntimeFailure("this session is closed; open the executable again")
        if self._bound and self.use_graph and self._key() not in self._graphs and len(self._graphs) >= _GRAPHS:
            for root, tensor in list(self._bound.items()):
                self._rebind(root, None)
                nbytes = self.graph.buffers[root].nbytes
                self.driver.copy(self.memory.own[root].data_ptr(), tensor.data_ptr(), nbytes, self.issue.main)
            # Their owners may free them after the round; the copies must not be later than that.
            self.driver.finish(self.issue.main)
        if not self._calls:
            self._calls = self._bind()
        if not self._warm:
            self.issue.round(self._calls)
            self.driver.finish(self.issue.main)
            self._warm = True

    def _key(self) -> tuple[tuple[int, int], ...]:
        return tuple(sorted((root, tensor.data_ptr()) for root, tensor in self._bound.items()))

    def _rebind(self, root: int, tensor: Any) -> None:
        before = self._bound.get(root)
        if tensor is None and before is None:
            return
        if tensor is None:
            del self._bound[root]
        else:
            self._bound[root] = tensor
            if before is not None and before.data_ptr() == tensor.data_ptr():
                return
        self.memory.bind(root, tensor)
        self._calls = []

    def _bind(self) -> list[Bound]:
        calls: list[Bound] = []
        for launch, kernel in zip(self.plan.launches, self._kernels):
            calls.append((kernel.call, self._arguments(launch, kernel)))
        return calls

    def _arguments(self, launch: Launch, kernel: Kernel) -> tuple[Any, ...]:
        first = () if launch.whole else (launch.first,)
        lent = self.memory.workspaces(launch.stream, kernel.workspaces)
        return (*(self.memory.tensors[b] for b in launch.buffers), *first, *lent)

    def _typed(self, buffer: int, data: np.ndarray) -> np.ndarray:
        info = self.graph.buffers[buffer]
        return data[: info.nbytes].view(np.dtype(info.dtype)).reshape(info.shape)

    def _name(self, launch: Launch) -> str:
        operator = self.graph.operators[launch.operator]
        return f"tenant {self.graph.tenants[operator.tenant].name!r}, operator {operator.name!r}"


def _host_bytes(array: Any, nbytes: int) -> np.ndarray:
    """The bytes of an array on the host, in row-major order."""
    if not isinstance(array, np.ndarray):
        try:
            array = np.from_dlpack(array)
        except (BufferError, RuntimeError, TypeError, AttributeError):  # dtypes that NumPy lacks
            held = tvm.runtime.from_dlpack(array)
            array = np.ascontiguousarray(held._create_view((nbytes,), "uint8").numpy())
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)
