"""Intermediates of a kernel that is several GPU kernels become parameters, so that whoever launches it owns the memory.

A fused function whose schedule is a row of GPU kernels keeps what flows between them in global buffers of its own:

    before   f(x, y):    t = alloc(…);  k0(x, t);  k1(t, y)
    after    f(x, y, t):                k0(x, t);  k1(t, y)

Left alone, TVM allocates `t` in host code from a pool of the calling thread and returns it to the pool as soon as the
launches are *issued*. One host thread that issues two such functions to two streams hands the same memory to both while
the first still runs: a race that no event of the launch plan orders, and that a captured graph would repeat for ever. The
runtime gives each stream workspace of its own instead (see `gacer_tvm.runtime.cuda_memory`).
"""

from __future__ import annotations

from typing import Any

from .._tvm import s_tir, tir, tvm_ffi
from ..graph.tir_blocks import shape_of
from ..graph.work import nbytes

__all__ = ["Workspace", "lift_workspaces", "workspace_bytes"]

# Shape and dtype of a workspace parameter.
Workspace = tuple[tuple[int, ...], str]


def lift_workspaces(func: Any) -> tuple[Any, tuple[Workspace, ...]]:
    """Turn every global buffer that a scheduled PrimFunc allocates into a trailing parameter.

    Parameters
    ----------
    func
        Scheduled PrimFunc for CUDA, static shapes.

    Returns
    -------
    func, workspaces
        The function with the buffers as its last parameters, and their shapes and dtypes in that order; the function
        itself and ``()`` where it allocates none.
    """
    lifted: list[Any] = []

    def strip(block: Any) -> Any:
        kept = [b for b in block.alloc_buffers if not _is_global(b)]
        if len(kept) == len(block.alloc_buffers):
            return block
        lifted.extend(b for b in block.alloc_buffers if _is_global(b))
        return s_tir.SBlock(
            block.iter_vars,
            block.reads,
            block.writes,
            block.name_hint,
            block.body,
            block.init,
            kept,
            block.match_buffers,
            block.annotations,
        )

    body = tvm_ffi.structural_map(func.body, (s_tir.SBlock, strip))
    if not lifted:
        return func, ()
    made = tir.PrimFunc([*func.params, *lifted], body, func.ret_type, func.attrs)
    return made, tuple((shape_of(b), str(b.ty.dtype)) for b in lifted)


def workspace_bytes(workspaces: tuple[Workspace, ...], align: int = 256) -> int:
    """Bytes that the workspaces of one launch need together, each aligned to `align` bytes."""
    return sum(-(-max(1, nbytes(shape, dtype)) // align) * align for shape, dtype in workspaces)


def _is_global(buffer: Any) -> bool:
    return str(buffer.scope()) in ("", "global")
