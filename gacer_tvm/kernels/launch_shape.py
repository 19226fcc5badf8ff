"""Launch shape of a scheduled kernel, read from its thread bindings."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from .._tvm import tir
from ..graph.model import LaunchShape
from ..graph.tir_blocks import shape_of
from ..graph.work import nbytes
from . import cubin

__all__ = ["launch_shape", "with_device_figures"]

_SHARED = re.compile(r"__shared__ (?:alignas\((\d+)\) )?(\w+) \w+\[(\d+)\];")
_BYTES = {
    "char": 1, "signed char": 1, "uchar": 1, "bool": 1, "int8_t": 1, "uint8_t": 1, "half": 2, "nv_bfloat16": 2, "short": 2,
    "ushort": 2, "int": 4, "uint": 4, "float": 4, "double": 8, "int64_t": 8, "uint64_t": 8, "half2": 4, "float2": 8,
    "float4": 16, "int2": 8, "int4": 16, "uint1": 4, "uint2": 8, "uint4": 16, "longlong2": 16, "double2": 16,
}  # fmt: skip


def launch_shape(func: Any) -> LaunchShape | None:
    """Grid, block and static shared memory of a scheduled CUDA PrimFunc; None where nothing is bound to threads.

    A function of several kernels (bound nests one after another) is described by its largest grid and largest block.
    """
    nests: list[dict[str, int]] = []
    shared = 0

    def walk(stmt: Any, bound: dict[str, int]) -> None:
        nonlocal shared
        if isinstance(stmt, tir.For):
            if stmt.thread_binding is not None and isinstance(stmt.extent, tir.IntImm):
                tag = str(stmt.thread_binding.thread_tag)
                bound = {**bound, tag: max(bound.get(tag, 1), int(stmt.extent))}
                nests.append(bound)
            walk(stmt.body, bound)
        elif isinstance(stmt, tir.SeqStmt):
            for part in stmt:
                walk(part, bound)
        elif hasattr(stmt, "block"):
            for buffer in stmt.block.alloc_buffers:
                if str(buffer.scope()).startswith("shared"):
                    shared += nbytes(shape_of(buffer), str(buffer.ty.dtype))
            walk(stmt.block.body, bound)
        elif hasattr(stmt, "body"):
            walk(stmt.body, bound)

    walk(func.body, {})
    if not nests:
        return None
    grid = max(_product(n, "blockIdx") for n in nests)
    block = max(_product(n, "threadIdx") for n in nests)
    return LaunchShape(grid, block, None, shared)


def with_device_figures(shape: LaunchShape | None, source: str, symbol: str, target: Any) -> LaunchShape | None:
    """A launch shape with what the generated code says: shared memory as declared, registers where it was compiled.

    Parameters
    ----------
    shape
        As `launch_shape` found it. Its shared memory counts buffers before TVM compacts them, far too much.
    source
        CUDA source of the module that holds the function; "" leaves the shape as it is.
    symbol
        The function; its GPU kernels are ``symbol_kernel``, ``symbol_kernel_1``, …
    target
        What it was compiled for.
    """
    if shape is None or not source:
        return shape
    held = cubin.compiled(source, str(target.attrs["arch"]))
    found = cubin.resources_of(held, symbol) if held is not None else None
    if found is not None:
        return replace(shape, registers=found.registers, shared_bytes=found.shared_bytes)
    most = 0
    for body in re.findall(rf"{re.escape(symbol)}_kernel(?:_\d+)?\([^)]*\) \{{(.*?)\n}}", source, re.DOTALL):
        used = 0
        for align, kind, count in _SHARED.findall(body):
            used = -(-used // int(align or 4)) * int(align or 4) + _BYTES.get(kind, 4) * int(count)
        most = max(most, used)
    return replace(shape, shared_bytes=most)


def _product(bound: dict[str, int], prefix: str) -> int:
    total = 1
    for tag, extent in bound.items():
        if tag.startswith(prefix):
            total *= extent
    return total
