"""Every call into the CUDA driver that the runtime makes, behind one small protocol.

`CudaDriver` makes them for real, through cuda.core and, where that has no call, cuda.bindings; both are imported when the
first driver is made, so that the package works without them. Tests put a simulated device in its place.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import numpy as np

from .._tvm import tvm, tvm_ffi
from ..errors import DeviceError

__all__ = ["Allocation", "CudaDriver", "Driver", "connection_limit", "cuda_driver"]

ALIGN = 256
_DL_CUDA = 2


@dataclass(frozen=True, eq=False)
class Allocation:
    """Device memory: where it begins, how many bytes it has, and what keeps it alive."""

    address: int
    nbytes: int
    owner: Any


class Driver(Protocol):
    """What the CUDA runtime asks of a device. Streams, events and graphs are opaque handles of the driver's own."""

    def stream(self) -> Any:
        """Make a stream that does not wait for the default stream."""

    def event(self, timed: bool = False) -> Any:
        """Make an event; only timed ones can be measured between."""

    def record(self, event: Any, stream: Any, in_graph: bool = False) -> None:
        """Record an event. While a stream is captured a plain record is an edge; `in_graph` makes it a node that records."""

    def wait(self, stream: Any, event: Any) -> None:
        """Let everything that is issued to a stream from now on wait for the event's last record."""

    def launch(self, function: Any, arguments: tuple[Any, ...], stream: Any) -> None:
        """Call a compiled function so that its kernels go to the stream."""

    def copy(self, target: int, source: int, nbytes: int, stream: Any) -> None:
        """Copy bytes between any two addresses, in the stream's order."""

    def begin_capture(self, stream: Any) -> None:
        """Record into a graph, from now on, what this thread issues to the stream and to streams that wait for it."""

    def end_capture(self, stream: Any) -> Any:
        """End the capture and make the graph ready to be launched."""

    def replay(self, graph: Any, stream: Any) -> None:
        """Launch a graph."""

    def free_graph(self, graph: Any) -> None:
        """Destroy a graph."""

    def finish(self, stream_or_event: Any) -> None:
        """Return when everything issued to the stream, or before the event's record, has run."""

    def seconds(self, start: Any, end: Any) -> float:
        """Seconds between two timed events that have happened."""

    def allocate(self, nbytes: int) -> Allocation:
        """Zeroed device memory, aligned to 256 bytes."""

    def free(self, allocation: Allocation) -> None:
        """Give device memory back; nothing may use it any more."""

    def pinned(self, nbytes: int) -> np.ndarray:
        """A page-locked array of bytes on the host."""

    def tensor(self, address: int, nbytes: int, shape: tuple[int, ...], dtype: str, owner: Any) -> Any:
        """A TVM tensor over device memory that somebody owns."""

    def empty(self, shape: tuple[int, ...], dtype: str) -> Any:
        """A TVM tensor with device memory of its own."""

    def imported(self, array: Any, stream: Any) -> Any:
        """A TVM tensor over the memory of an array that lies on this device (else None), ready in the stream's order."""


def connection_limit(streams: int) -> str:
    """Why `streams` streams cannot all run at once, as a sentence; "" where they can (CUDA_DEVICE_MAX_CONNECTIONS)."""
    given = os.environ.get("CUDA_DEVICE_MAX_CONNECTIONS", "")
    limit = int(given) if given.isdigit() else 8
    if streams <= limit:
        return ""
    said = f"is {limit}" if given else "is not set, which means 8"
    return (
        f"the schedule has {streams} streams but CUDA_DEVICE_MAX_CONNECTIONS {said}: streams that share a hardware queue "
        f"wait for each other; set it to at least {min(streams, 32)} before the process starts"
    )


@lru_cache(maxsize=8)
def cuda_driver(index: int = 0) -> CudaDriver:
    """The driver of a device, one a process.

    Raises
    ------
    DeviceError
        Where CUDA cannot be used; the message says what is missing.
    """
    return CudaDriver(index)


class CudaDriver:
    """The real thing, on one device's primary context (which TVM and PyTorch use too).

    Parameters
    ----------
    index
        Ordinal of the device.
    """

    def __init__(self, index: int = 0) -> None:
        self.index = index
        self.tvm_device = tvm.cuda(index)
        if not tvm.runtime.enabled("cuda") or not self.tvm_device.exist:
            from .doctor import why_no_cuda

            raise DeviceError(f"no CUDA device can be used: {why_no_cuda() or 'TVM sees none'}; see gacer-tvm doctor")
        try:
            from cuda.bindings import driver as bindings
            from cuda.core import Buffer, Device, EventOptions, LegacyPinnedMemoryResource, StreamOptions
        except ImportError as error:
            raise DeviceError(f'cuda.core is missing ({error}); install it with: pip install "gacer-tvm[cuda]"') from error
        self._cu = bindings
        self._buffer = Buffer
        self._device = Device(index)
        self._device.set_current()
        self._stream_options = StreamOptions(nonblocking=True)
        self._plain = EventOptions(timing_enabled=False)
        self._timed = EventOptions(timing_enabled=True)
        self._host = LegacyPinnedMemoryResource()
        self._builders: dict[int, Any] = {}
        self._own = self.stream()
        self._set_stream = _stream_setter(self.tvm_device)

    def stream(self) -> Any:
        return self._device.create_stream(options=self._stream_options)

    def event(self, timed: bool = False) -> Any:
        return self._device.create_event(self._timed if timed else self._plain)

    def record(self, event: Any, stream: Any, in_graph: bool = False) -> None:
        if in_graph:
            flag = self._cu.CUevent_record_flags.CU_EVENT_RECORD_EXTERNAL
            self._check(self._cu.cuEventRecordWithFlags(event.handle, stream.handle, flag))
        else:
            stream.record(event)

    def wait(self, stream: Any, event: Any) -> None:
        stream.wait(event)

    def launch(self, function: Any, arguments: tuple[Any, ...], stream: Any) -> None:
        with self._set_stream(int(stream.handle)):
            function(*arguments)

    def copy(self, target: int, source: int, nbytes: int, stream: Any) -> None:
        if nbytes:
            self._check(self._cu.cuMemcpyAsync(target, source, nbytes, stream.handle))

    def begin_capture(self, stream: Any) -> None:
        builder = stream.create_graph_builder()
        builder.begin_building("thread_local")
        self._builders[int(stream.handle)] = builder

    def end_capture(self, stream: Any) -> Any:
        builder = self._builders.pop(int(stream.handle))
        try:
            graph = builder.end_building().complete()
        finally:
            builder.close()
        graph.upload(stream)
        return graph

    def replay(self, graph: Any, stream: Any) -> None:
        graph.launch(stream)

    def free_graph(self, graph: Any) -> None:
        graph.close()

    def finish(self, stream_or_event: Any) -> None:
        stream_or_event.sync()

    def seconds(self, start: Any, end: Any) -> float:
        return float(end - start) * 1e-3

    def allocate(self, nbytes: int) -> Allocation:
        size = max(nbytes, ALIGN)
        self._device.set_current()
        address = int(self._check(self._cu.cuMemAlloc(size), f"allocate {size / 2**20:.1f} MiB"))
        # Not cuMemsetD8: that returns before it is done and runs on the default stream, for which ours do not wait; it
        # would come over what is copied here first.
        self._check(self._cu.cuMemsetD8Async(address, 0, size, self._own.handle))
        self._own.sync()
        return Allocation(address, size, self)

    def free(self, allocation: Allocation) -> None:
        self._device.set_current()
        self._check(self._cu.cuMemFree(allocation.address))

    def pinned(self, nbytes: int) -> np.ndarray:
        buffer = self._host.allocate(max(nbytes, 1))
        raw: Any = (ctypes.c_uint8 * max(nbytes, 1)).from_address(int(buffer.handle))
        # The array keeps `raw`, and `raw` must keep the allocation.
        raw._owner = buffer
        array: np.ndarray = np.frombuffer(raw, np.uint8)
        return array[:nbytes]

    def tensor(self, address: int, nbytes: int, shape: tuple[int, ...], dtype: str, owner: Any) -> Any:
        # A tensor with a byte offset is refused by kernels: the pointer itself has to be moved.
        piece = self._buffer.from_handle(address, max(nbytes, 1), owner=owner)
        return tvm.runtime.from_dlpack(piece)._create_view(shape, dtype)

    def empty(self, shape: tuple[int, ...], dtype: str) -> Any:
        return tvm.runtime.empty(shape, dtype, self.tvm_device)

    def imported(self, array: Any, stream: Any) -> Any:
        place = getattr(array, "__dlpack_device__", None)
        if place is None or tuple(int(x) for x in place()) != (_DL_CUDA, self.index):
            return None
        # The producer orders its own stream before ours, as the DLPack protocol demands of it.
        return tvm.runtime.from_dlpack(array.__dlpack__(stream=int(stream.handle)))

    def _check(self, answer: Iterable[Any], doing: str = "") -> Any:
        status, *values = answer
        if int(status) != 0:
            raise DeviceError(f"CUDA cannot {doing or 'carry on'}: {getattr(status, 'name', status)}")
        return values[0] if values else None


def _stream_setter(device: Any) -> Any:
    """``with setter(handle):`` makes TVM launch on that stream; checked once instead of at each launch."""

    def use(handle: int) -> Any:
        return tvm_ffi.use_raw_stream(device, handle)

    return use
