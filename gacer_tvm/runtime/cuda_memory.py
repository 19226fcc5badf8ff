"""Device memory of an executable: constants once a graph, one arena a plan, and workspace once a stream.

Workspace is what a kernel needs for itself while it runs (`gacer_tvm.kernels.workspace`). Launches on one stream run one
after another, so one workspace a stream, as large as the largest need of a launch there, serves all of them: the next
launch overwrites it only after the last one has finished. Two streams never share one, nor do two plans, whatever the
events between them; so workspaces cannot race and the plan's checker need not know them.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

from ..graph.model import MultiTenantGraph
from ..kernels.workspace import Workspace, workspace_bytes
from ..plan import Launch, LaunchPlan
from .cuda_driver import ALIGN, Driver

__all__ = ["DeviceConstants", "DeviceMemory", "shared_constants"]


class DeviceConstants:
    """The parameters of all tenants on the device, shared by every plan of a graph.

    Attributes
    ----------
    tensors
        TVM tensor of every constant buffer, by buffer index.
    nbytes
        Device memory taken.
    """

    def __init__(self, graph: MultiTenantGraph, driver: Driver) -> None:
        self.graph = graph
        roots = [b for b in graph.buffers if b.kind == "constant" and b.root == b.index]
        offsets, self.nbytes = _pack([(b.index, b.nbytes) for b in roots])
        allocation = driver.allocate(self.nbytes)
        weakref.finalize(self, driver.free, allocation)
        stream = driver.stream()
        for buffer in roots:
            # Bytes, not values: the device need not know NumPy's dtypes.
            data = np.ascontiguousarray(graph.constants[buffer.index]).reshape(-1).view(np.uint8)
            driver.copy(allocation.address + offsets[buffer.index], data.ctypes.data, buffer.nbytes, stream)
            driver.finish(stream)
        self.tensors: dict[int, Any] = {
            b.index: driver.tensor(allocation.address + offsets[b.root], b.nbytes, b.shape, b.dtype, allocation)
            for b in graph.buffers
            if b.kind == "constant"
        }


_SHARED: weakref.WeakValueDictionary[tuple[int, int], DeviceConstants] = weakref.WeakValueDictionary()


def shared_constants(graph: MultiTenantGraph, driver: Driver) -> DeviceConstants:
    """The constants of a graph on a device: those that a living session has already, else new ones."""
    key = (id(graph), id(driver))
    found = _SHARED.get(key)
    if found is None or found.graph is not graph:
        found = DeviceConstants(graph, driver)
        _SHARED[key] = found
    return found


class DeviceMemory:
    """Tensors of one plan.

    Attributes
    ----------
    tensors
        TVM tensor of every buffer, by buffer index; inputs may be bound to somebody else's memory (`bind`).
    arrays
        Page-locked NumPy bytes of every input and output root, by root index: what is copied from and to.
    nbytes
        Device memory taken, without the constants.
    """

    def __init__(
        self,
        graph: MultiTenantGraph,
        plan: LaunchPlan,
        driver: Driver,
        constants: DeviceConstants,
        needs: Callable[[Launch], tuple[Workspace, ...]],
    ) -> None:
        self.graph = graph
        self.driver = driver
        self.constants = constants
        own = [b for b in graph.buffers if b.kind != "constant" and b.root == b.index]
        own = [b for b in own if b.index not in plan.placement.offsets]
        sizes = [(b.index, b.nbytes) for b in own]
        streams = sorted({launch.stream for launch in plan.launches})
        lent = dict.fromkeys(streams, 0)
        for launch in plan.launches:
            lent[launch.stream] = max(lent[launch.stream], workspace_bytes(needs(launch), ALIGN))
        offsets, total = _pack(
            [("arena", plan.placement.arena_bytes), *sizes, *((("workspace", s), lent[s]) for s in streams if lent[s])]
        )
        self.nbytes = total
        self.workspace_bytes = sum(lent.values())
        self._allocation = driver.allocate(total)
        base = self._allocation.address
        self._places = {b.index: base + offsets[b.index] for b in own}
        self._lent = {s: base + offsets["workspace", s] for s in streams if lent[s]}
        self._views: dict[tuple[int, tuple[Workspace, ...]], tuple[Any, ...]] = {}
        self.tensors: dict[int, Any] = dict(constants.tensors)
        for buffer in graph.buffers:
            if buffer.kind == "constant":
                continue
            place = plan.placement.offsets.get(buffer.root)
            address = self._places[buffer.root] if place is None else base + offsets["arena"] + place
            self.tensors[buffer.index] = self._tensor(address, buffer.nbytes, buffer.shape, buffer.dtype)
        self.own = {b.index: self.tensors[b.index] for b in own}
        self.arrays: dict[int, np.ndarray] = {}
        self._free: Any = weakref.finalize(self, driver.free, self._allocation)

    def staging(self, root: int) -> np.ndarray:
        """Page-locked bytes for an input or output, made when first used."""
        if root not in self.arrays:
            self.arrays[root] = self.driver.pinned(self.graph.buffers[root].nbytes)
        return self.arrays[root]

    def workspaces(self, stream: int, needs: tuple[Workspace, ...]) -> tuple[Any, ...]:
        """Tensors to lend to a launch on a stream; launches there share them, one after another."""
        if not needs:
            return ()
        found = self._views.get((stream, needs))
        if found is None:
            address, made = self._lent[stream], []
            for shape, dtype in needs:
                size = workspace_bytes(((shape, dtype),), ALIGN)
                made.append(self._tensor(address, size, shape, dtype))
                address += size
            found = self._views[stream, needs] = tuple(made)
        return found

    def bind(self, root: int, tensor: Any) -> None:
        """Let an input and its reshapes lie in a tensor's memory; None: in their own again."""
        for buffer in self.graph.buffers:
            if buffer.root == root:
                if tensor is None:
                    self.tensors[buffer.index] = self._tensor(
                        self._places[root], buffer.nbytes, buffer.shape, buffer.dtype
                    )
                else:
                    self.tensors[buffer.index] = self.driver.tensor(
                        tensor.data_ptr(), buffer.nbytes, buffer.shape, buffer.dtype, tensor
                    )

    def free(self) -> None:
        """Give the memory back; the tensors must not be used any more."""
        self.tensors = {}
        self.own = {}
        self._views = {}
        self._free()

    def _tensor(self, address: int, nbytes: int, shape: tuple[int, ...], dtype: str) -> Any:
        return self.driver.tensor(address, nbytes, shape, dtype, self._allocation)


def _pack(sizes: list[tuple[Any, int]]) -> tuple[dict[Any, int], int]:
    """Aligned offsets, one piece behind the other, and the total."""
    offsets: dict[Any, int] = {}
    total = 0
    for name, size in sizes:
        offsets[name] = total
        total += -(-max(size, 1) // ALIGN) * ALIGN
    return offsets, total
