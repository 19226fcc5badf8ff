"""What is to be compiled: one operator at one chunk size, under a key that says when two requests are the same kernel."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from .._tvm import tvm, tvm_ffi
from ..graph.tir_blocks import shape_of
from .chunk import at_items
from .target import is_cuda

__all__ = ["KernelRequest", "request", "target_text"]

# Raised whenever rules or rewrites change what is generated, so that stored kernels are not taken for new ones.
GENERATION = 4
# The same for CUDA's rules alone.
_CUDA_GENERATION = 2
_INCIDENTAL = ("global_symbol", "op_pattern")


@dataclass(frozen=True)
class KernelRequest:
    """An operator's function at one chunk size, before scheduling.

    Attributes
    ----------
    key
        Equal for requests that would compile to the same kernel.
    func
        Unscheduled PrimFunc over `items` items, without name.
    rows
        For each buffer argument, rows of axis 0 an item stands for (0: read whole).
    batch, items
        Items of the whole tensors, and items that the kernel computes. Equal: the kernel takes no first item.
    """

    key: str
    func: Any
    rows: tuple[int, ...]
    batch: int
    items: int

    @property
    def symbol(self) -> str:
        """Name of the compiled function."""
        return f"k_{self.key}"


def target_text(target: Any) -> str:
    """A target as text: what a stored kernel is bound to."""
    return str(target)


def request(func: Any, outputs: int, batch: int, items: int, target: Any, cores: int) -> KernelRequest:
    """Describe the kernel of `func` for `items` of `batch` items.

    Parameters
    ----------
    func
        Unscheduled PrimFunc of the whole batch.
    outputs
        How many trailing parameters are outputs.
    batch, items
        Items of the whole batch, and of the chunk.
    target, cores
        What it is scheduled for.
    """
    for key in _INCIDENTAL:
        if key in (func.attrs or {}):
            func = func.without_attr(key)
    rows: tuple[int, ...] = (0,) * len(func.params)
    if items != batch:
        func, rows = at_items(func, outputs, batch, items)
    shapes = [(shape_of(p), str(p.ty.dtype)) for p in func.params]
    generation = f"{GENERATION}.{_CUDA_GENERATION}" if is_cuda(target) else f"{GENERATION}"
    text = (
        f"{generation} {tvm.__version__} {target_text(target)} {cores} {tvm_ffi.structural_hash(func)} {shapes} "
        f"{rows if items != batch else ''} {batch if items != batch else ''}"
    )
    return KernelRequest(hashlib.sha256(text.encode()).hexdigest()[:24], func, rows, batch, items)
