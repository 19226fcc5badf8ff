"""A GPU schedule as a CPU function, for checking its answers where there is no GPU.

A scheduled function means the same whether its thread loops run side by side or one after the other: that is what the
schedule primitives promise. The twin takes the promise at its word. Each loop bound to threads becomes a serial one, the
first grid loop a parallel one, and register buffers become ordinary memory.

Threads that fetch cooperatively are the exception: the fetching loop stands under the thread loop and is bound to the same
threads, so that on a GPU both are one variable. `cpu_twin` makes sure that what is fetched does not depend on the thread;
then the first thread may fetch for all of them. For that its buffers outlive the other threads' turns: shared buffers become
parameters, as large as the tensors that they are copies of.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gacer_tvm._tvm import expr_ir, s_tir, tir, tvm_ffi

__all__ = ["Twin", "cpu_twin", "thread_extents"]


@dataclass(frozen=True, slots=True)
class Twin:
    """A CPU function and the workspaces that it takes after its own parameters: (shape, dtype) each."""

    function: Any
    workspaces: tuple[tuple[tuple[int, ...], str], ...]


def cpu_twin(function: Any) -> Twin:
    """The function with thread bindings made serial and every buffer in ordinary memory.

    Parameters
    ----------
    function
        A scheduled PrimFunc (blocks still present).

    Raises
    ------
    ValueError
        If what a cooperative loop fetches depends on the thread, so that serial loops would not mean the same.
    """
    first = _first_threads(function.body)
    shared: dict[Any, Any] = {}
    private: dict[Any, Any] = {}

    def note(block: Any) -> None:
        for buffer in block.alloc_buffers:
            scope = str(buffer.ty.storage_scope)
            if scope not in ("", "global"):
                made = tir.decl_buffer(buffer.ty.shape, buffer.ty.dtype, str(buffer.name), layout=None)
                (shared if scope.startswith("shared") else private)[buffer] = made

    tvm_ffi.structural_walk(function.body, (s_tir.SBlock, note))
    body = tvm_ffi.structural_map(function.body, (tir.For, lambda loop: _serial(loop, first)), order="post")
    body = tvm_ffi.structural_map(body, (s_tir.SBlock, lambda block: _without(block, shared)), order="post")
    renamed = {**shared, **private}
    body = tvm_ffi.structural_map(body, (expr_ir.Var, lambda variable: renamed.get(variable, variable)))
    spaces = list(shared.values())
    twin = tir.PrimFunc([*function.params, *spaces], body, function.ret_type, function.attrs)
    return Twin(
        twin,
        tuple((tuple(int(extent) for extent in space.ty.shape), str(space.ty.dtype)) for space in spaces),
    )


def thread_extents(function: Any) -> dict[str, int]:
    """Extents of ``blockIdx.x``, ``threadIdx.x`` ... of a scheduled function; the largest where several kernels differ."""
    extents: dict[str, int] = {}

    def note(loop: Any) -> None:
        tag = _tag(loop)
        if tag:
            extents[tag] = max(extents.get(tag, 0), int(getattr(loop.extent, "value", 0)))

    tvm_ffi.structural_walk(function.body, (tir.For, note))
    return extents


def _tag(loop: Any) -> str:
    return "" if loop.thread_binding is None else str(loop.thread_binding.thread_tag)


def _first_threads(body: Any) -> dict[Any, tuple[Any, ...]]:
    """For the variable of each cooperative loop, the thread variables around it that must be zero for it to run."""
    first: dict[Any, tuple[Any, ...]] = {}

    def outer(loop: Any) -> None:
        tag = _tag(loop)
        if tag.startswith("threadIdx"):
            tvm_ffi.structural_walk(loop.body, (tir.For, lambda inner: cooperative(loop, inner, tag)))

    def cooperative(loop: Any, inner: Any, tag: str) -> None:
        if _tag(inner) != tag:
            return
        if _uses(inner.body, loop.loop_var):
            raise ValueError(f"a loop bound to {tag} depends on the {tag} loop around it")
        if _reads_private(inner.body):
            raise ValueError(f"a loop bound to {tag} under another one reads what belongs to one thread")
        first[inner.loop_var] = (*first.get(inner.loop_var, ()), loop.loop_var)

    def virtual(loop: Any) -> None:
        if _tag(loop).startswith("vthread"):
            tvm_ffi.structural_walk(loop.body, (tir.For, lambda inner: also(loop, inner)))

    def also(loop: Any, inner: Any) -> None:
        if inner.loop_var in first and not _uses(inner.body, loop.loop_var):
            first[inner.loop_var] = (*first[inner.loop_var], loop.loop_var)

    tvm_ffi.structural_walk(body, (tir.For, outer))
    tvm_ffi.structural_walk(body, (tir.For, virtual))
    return first


def _uses(body: Any, variable: Any) -> bool:
    found: list[Any] = []
    tvm_ffi.structural_walk(body, (expr_ir.Var, lambda other: found.append(1) if other.same_as(variable) else None))
    return bool(found)


def _reads_private(body: Any) -> bool:
    found: list[Any] = []

    def look(load: Any) -> None:
        if str(load.source.ty.storage_scope) == "local":
            found.append(1)

    tvm_ffi.structural_walk(body, (expr_ir.TensorLoad, look))
    return bool(found)


def _serial(loop: Any, first: dict[Any, tuple[Any, ...]]) -> Any:
    # How far a loop is unrolled changes no answer, only the time to compile the twin.
    notes = {str(key): value for key, value in loop.annotations.items() if not str(key).startswith("pragma_")}
    kind = int(loop.kind)
    body = loop.body
    if loop.thread_binding is not None:
        kind = int(tir.ForKind.PARALLEL if _tag(loop) == "blockIdx.x" else tir.ForKind.SERIAL)
        for variable in first.get(loop.loop_var, ()):
            body = tir.IfThenElse(tir.EQ(variable, tir.const(0, variable.ty.dtype)), body, None)
    elif kind == int(tir.ForKind.UNROLLED):
        kind = int(tir.ForKind.SERIAL)
    elif len(notes) == len(loop.annotations):
        return loop
    return tir.For(loop.loop_var, loop.min, loop.extent, tir.ForKind(kind), body, None, notes)


def _without(block: Any, moved: dict[Any, Any]) -> Any:
    kept = [buffer for buffer in block.alloc_buffers if buffer not in moved]
    if len(kept) == len(block.alloc_buffers):
        return block
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
