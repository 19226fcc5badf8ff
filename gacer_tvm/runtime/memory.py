"""Host memory of an executable: constants once, one arena a plan, inputs and outputs of their own. All 64-byte aligned."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._tvm import tvm
from ..graph.model import MultiTenantGraph
from ..plan import LaunchPlan

__all__ = ["Constants", "HostMemory", "aligned_bytes"]

ALIGN = 64


def aligned_bytes(size: int) -> np.ndarray:
    """A zeroed byte array of `size` bytes whose first byte is 64-byte aligned (kernels rely on it for vector loads)."""
    raw = np.zeros(size + ALIGN, np.uint8)
    skip = -raw.ctypes.data % ALIGN
    return raw[skip : skip + size]


def view(data: np.ndarray, offset: int, nbytes: int, shape: tuple[int, ...], dtype: str) -> tuple[np.ndarray | None, Any]:
    """A NumPy array (None for dtypes that NumPy lacks) and a TVM tensor over the same bytes."""
    part = data[offset : offset + nbytes]
    if nbytes == 0:
        part = aligned_bytes(ALIGN)[:0]
    try:
        typed = part.view(np.dtype(dtype)).reshape(shape)
    except TypeError:
        tensor = tvm.runtime.from_dlpack(part)._create_view(shape, dtype)
        return None, tensor
    return typed, tvm.runtime.from_dlpack(typed)


class Constants:
    """The parameters of all tenants as aligned tensors, shared by every plan of a graph."""

    def __init__(self, graph: MultiTenantGraph) -> None:
        roots = [b for b in graph.buffers if b.kind == "constant" and b.root == b.index]
        offsets, total = {}, 0
        for buffer in roots:
            offsets[buffer.index] = total
            total += -(-buffer.nbytes // ALIGN) * ALIGN
        self.nbytes = total
        self.data = aligned_bytes(total)
        for buffer in roots:
            source = np.ascontiguousarray(graph.constants[buffer.index]).reshape(-1).view(np.uint8)
            self.data[offsets[buffer.index] : offsets[buffer.index] + buffer.nbytes] = source
        self.tensors: dict[int, Any] = {}
        for buffer in graph.buffers:
            if buffer.kind == "constant":
                self.tensors[buffer.index] = view(
                    self.data, offsets[buffer.root], buffer.nbytes, buffer.shape, buffer.dtype
                )[1]


class HostMemory:
    """Tensors of one plan.

    Attributes
    ----------
    tensors
        TVM tensor of every buffer, by buffer index.
    arrays
        NumPy view of every input and output buffer.
    """

    def __init__(self, graph: MultiTenantGraph, plan: LaunchPlan, constants: Constants) -> None:
        self.arena = aligned_bytes(plan.placement.arena_bytes)
        self.own: dict[int, np.ndarray] = {}
        self.tensors: dict[int, Any] = dict(constants.tensors)
        self.arrays: dict[int, np.ndarray | None] = {}
        for buffer in graph.buffers:
            if buffer.kind == "constant":
                self.arrays[buffer.index] = np.asarray(graph.constants[buffer.index]).reshape(buffer.shape)
                continue
            offset = plan.placement.offsets.get(buffer.root)
            if offset is not None:
                data = self.arena
            else:
                if buffer.root not in self.own:
                    self.own[buffer.root] = aligned_bytes(graph.buffers[buffer.root].nbytes)
                data, offset = self.own[buffer.root], 0
            array, self.tensors[buffer.index] = view(data, offset, buffer.nbytes, buffer.shape, buffer.dtype)
            if buffer.kind != "intermediate":
                self.arrays[buffer.index] = array
