"""A CUDA device that is not there: streams, events, capture and graphs as CUDA defines them, kernels on the CPU.

Nothing runs when it is issued. When somebody waits, the streams advance in a random order that their own order and the
events allow, so whatever the edges do not forbid will happen sooner or later: a missing edge shows as a wrong answer, and
host memory that is reused too early is read too late. What CUDA refuses is refused: waiting on the host or taking memory
while a stream is captured, a kernel whose module is first needed inside a capture, a capture whose streams are not joined.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gacer_tvm._tvm import tvm
from gacer_tvm.runtime.cuda_driver import ALIGN, Allocation


@dataclass(eq=False)
class Stream:
    """A queue of (what, run, events to wait for)."""

    number: int
    queue: list[Op] = field(default_factory=list)


@dataclass(eq=False)
class Event:
    """Counts its records: issued, and happened."""

    timed: bool
    number: int
    issued: int = 0
    happened: int = 0
    at: float = -1.0
    # While captured: the nodes that its last record stands behind.
    nodes: tuple[int, ...] | None = None


@dataclass(eq=False)
class Op:
    """One thing in a queue. `ready` says whether it may run."""

    run: Callable[[], None]
    ready: Callable[[], bool] = lambda: True


@dataclass(eq=False)
class Node:
    """One node of a graph."""

    run: Callable[[], None]
    after: tuple[int, ...]


@dataclass(eq=False)
class Graph:
    """A graph: nodes with what they come after."""

    nodes: list[Node]
    freed: bool = False


@dataclass(eq=False)
class Capture:
    """A capture under way: which nodes each stream's next one comes after."""

    origin: Stream
    nodes: list[Node] = field(default_factory=list)
    heads: dict[int, tuple[int, ...]] = field(default_factory=dict)


class OnDevice:
    """An array that lies on the simulated device and says so by DLPack."""

    def __init__(self, array: np.ndarray, device: SimulatedDevice, offset: int = 0, contiguous: bool = True) -> None:
        raw = np.zeros(array.nbytes + 2 * ALIGN, np.uint8)
        skip = -raw.ctypes.data % ALIGN + offset
        self.array = raw[skip : skip + array.nbytes].view(array.dtype).reshape(array.shape)
        self.array[...] = array
        self.device = device
        self._contiguous = contiguous

    def is_contiguous(self) -> bool:
        return self._contiguous

    def data_ptr(self) -> int:
        return int(self.array.ctypes.data)


class SimulatedDevice:
    """See the module. `log` is what was called, in order."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = random.Random(seed)
        self.log: list[tuple[Any, ...]] = []
        self.streams: list[Stream] = []
        self.events: list[Event] = []
        self.capture: Capture | None = None
        self.loaded: set[int] = set()
        self.kept: list[Any] = []
        self.memory: dict[int, np.ndarray] = {}
        self.clock = 0.0
        self.launched_in_capture = 0

    # What the runtime calls.

    def stream(self) -> Stream:
        self._not_capturing("make a stream")
        self.streams.append(Stream(len(self.streams)))
        return self.streams[-1]

    def event(self, timed: bool = False) -> Event:
        self.events.append(Event(timed, len(self.events)))
        return self.events[-1]

    def record(self, event: Event, stream: Stream, in_graph: bool = False) -> None:
        self.log.append(("record", event.number, stream.number, in_graph))
        if self._captures(stream):
            assert self.capture is not None
            if in_graph:
                self._issue(stream, lambda: self._happen(event, 1))
            else:
                event.nodes = self.capture.heads[stream.number]
            return
        assert not in_graph, "an event node outside of a capture"
        event.nodes = None
        event.issued += 1
        self._issue(stream, lambda: self._happen(event, 1))

    def wait(self, stream: Stream, event: Event) -> None:
        self.log.append(("wait", event.number, stream.number))
        if event.nodes is not None:
            assert self.capture is not None, "waits outside of a capture for an event recorded inside"
            known = self.capture.heads.get(stream.number, ())
            self.capture.heads[stream.number] = tuple(dict.fromkeys((*known, *event.nodes)))
            return
        assert not self._captures(stream), "a captured stream waits for an event from outside"
        target = event.issued
        self._issue(stream, lambda: None, lambda: event.happened >= target)

    def launch(self, function: Any, arguments: tuple[Any, ...], stream: Stream) -> None:
        captured = self._captures(stream)
        self.log.append(("launch", id(function), stream.number, tuple(_address(a) for a in arguments)))
        if captured:
            self.launched_in_capture += 1
            if id(function) not in self.loaded:
                raise RuntimeError("cuModuleLoadData: operation not permitted while a stream is captured")
        self.loaded.add(id(function))
        self.kept.append((function, arguments))
        self._issue(stream, lambda: function(*arguments))

    def copy(self, target: int, source: int, nbytes: int, stream: Stream) -> None:
        self.log.append(("copy", nbytes, stream.number))
        self._issue(stream, lambda: _bytes(target, nbytes).__setitem__(slice(None), _bytes(source, nbytes)))

    def begin_capture(self, stream: Stream) -> None:
        self.log.append(("begin", stream.number))
        self._not_capturing("begin a capture")
        self.capture = Capture(stream, heads={stream.number: ()})

    def end_capture(self, stream: Stream) -> Graph:
        self.log.append(("end", stream.number))
        capture, self.capture = self.capture, None
        assert capture is not None and capture.origin is stream, "ends a capture that it did not begin"
        joined = _ancestors(capture.nodes, capture.heads[stream.number])
        for number, heads in capture.heads.items():
            if not set(heads) <= joined:
                raise RuntimeError(f"cudaErrorStreamCaptureUnjoined: stream {number}")
        return Graph(capture.nodes)

    def replay(self, graph: Graph, stream: Stream) -> None:
        self.log.append(("replay", stream.number))
        assert not graph.freed, "a destroyed graph"
        assert not self._captures(stream)

        def run() -> None:
            done: set[int] = set()
            waiting = list(range(len(graph.nodes)))
            while waiting:
                ready = [n for n in waiting if set(graph.nodes[n].after) <= done]
                node = self.rng.choice(ready)
                graph.nodes[node].run()
                done.add(node)
                waiting.remove(node)

        self._issue(stream, run)

    def free_graph(self, graph: Graph) -> None:
        self.log.append(("free_graph",))
        graph.freed = True

    def finish(self, stream_or_event: Any) -> None:
        self._not_capturing("wait on the host")
        self.log.append(("finish",))
        if isinstance(stream_or_event, Event):
            target = stream_or_event.issued
            while stream_or_event.happened < target:
                self._step()
        else:
            while stream_or_event.queue:
                self._step()

    def seconds(self, start: Event, end: Event) -> float:
        assert start.timed and end.timed and start.at >= 0 and end.at >= 0
        return end.at - start.at

    def allocate(self, nbytes: int) -> Allocation:
        self._not_capturing("take memory")
        data = np.zeros(max(nbytes, 1) + ALIGN, np.uint8)
        address = data.ctypes.data + -data.ctypes.data % ALIGN
        self.memory[address] = data
        self.log.append(("allocate", nbytes))
        return Allocation(address, nbytes, data)

    def free(self, allocation: Allocation) -> None:
        self._not_capturing("give memory back")
        self.log.append(("free", allocation.nbytes))
        # Used after it was given back, memory is garbage.
        self.memory.pop(allocation.address)[:] = 0xFF

    def pinned(self, nbytes: int) -> np.ndarray:
        return np.full(nbytes, 0xEE, np.uint8)

    def tensor(self, address: int, nbytes: int, shape: tuple[int, ...], dtype: str, owner: Any) -> Any:
        data = _bytes(address, nbytes)
        made = tvm.runtime.from_dlpack(data)._create_view(shape, dtype)
        self.kept.append(owner)
        return made

    def empty(self, shape: tuple[int, ...], dtype: str) -> Any:
        return tvm.runtime.empty(shape, dtype)

    def imported(self, array: Any, stream: Stream) -> Any:
        return array if isinstance(array, OnDevice) and array.device is self else None

    # What it does with it.

    def _captures(self, stream: Stream) -> bool:
        return self.capture is not None and stream.number in self.capture.heads

    def _not_capturing(self, what: str) -> None:
        if self.capture is not None:
            raise RuntimeError(f"cudaErrorStreamCaptureUnsupported: cannot {what}")

    def _issue(self, stream: Stream, run: Callable[[], None], ready: Callable[[], bool] = lambda: True) -> None:
        if self._captures(stream):
            assert self.capture is not None
            self.capture.nodes.append(Node(run, self.capture.heads[stream.number]))
            self.capture.heads[stream.number] = (len(self.capture.nodes) - 1,)
        else:
            stream.queue.append(Op(run, ready))

    def _happen(self, event: Event, count: int) -> None:
        event.happened += count
        event.at = self.clock

    def _step(self) -> None:
        ready = [s for s in self.streams if s.queue and s.queue[0].ready()]
        assert ready, "deadlock on the device"
        stream = self.rng.choice(ready)
        self.clock += 1e-6
        stream.queue.pop(0).run()


def _address(argument: Any) -> Any:
    return argument.data_ptr() if hasattr(argument, "data_ptr") else argument


def _bytes(address: int, nbytes: int) -> np.ndarray:
    import ctypes

    if not nbytes:
        return np.zeros(0, np.uint8)
    return np.frombuffer((ctypes.c_uint8 * nbytes).from_address(address), np.uint8)


def _ancestors(nodes: list[Node], heads: tuple[int, ...]) -> set[int]:
    found: set[int] = set()
    open_ = list(heads)
    while open_:
        node = open_.pop()
        if node not in found:
            found.add(node)
            open_.extend(nodes[node].after)
    return found
