"""Convolutions and matrix products brought into one form for CUDA's rules: C[s, row, column] += A[s, row, k] * B[s, k, column].

A column is what lies side by side in the result's memory (pixels of an NCHW convolution, the last axis of a matrix product),
so that threads next to each other write next to each other; a row is the other spatial axis.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..._tvm import s_tir, tir, tvm_ffi
from .base import NotApplicable

__all__ = [
    "Operand", "Product", "by_registers", "fold_epilogue", "inline_into", "only_reduction", "product", "slice_ahead",
]  # fmt: skip


@dataclass(frozen=True)
class Operand:
    """One factor of a product.

    Attributes
    ----------
    index
        Which of the block's reads it is.
    along_depth
        Whether its elements lie side by side in memory along the reduction.
    """

    index: int
    along_depth: bool


@dataclass(frozen=True)
class Product:
    """A schedule whose main block is a product over the axes (s, row, column, depth).

    Attributes
    ----------
    schedule, block
        The schedule and its main block; the result's and the operands' reindexing blocks stand around it.
    extents
        Of s, rows, columns and depth.
    rows, columns
        The operand that has the row axis, buffer [s, row, depth], and the one with the columns, [s, depth, column].
    fused
        Whether rows or columns are several axes in one (pixels of several images).
    taps
        Whether the depth is several axes (a window of more than one position).
    dtype
        Of both operands; the accumulator's is `total`.
    """

    schedule: Any
    block: Any
    extents: tuple[int, int, int, int]
    rows: Operand
    columns: Operand
    fused: bool
    taps: bool
    dtype: str
    total: str


def only_reduction(sch: Any) -> Any:
    """The one block that reduces, where every other block is spatial.

    Raises
    ------
    NotApplicable
        Where there is none, or several, or a block of another kind.
    """
    found = []
    for block in sch.get_child_blocks(sch.get_sblock("root")):
        kinds = {v.iter_type for v in sch.get(block).iter_vars}
        if not kinds <= {tir.IterVar.DataPar, tir.IterVar.CommReduce}:
            raise NotApplicable("a block is neither spatial nor a reduction")
        if tir.IterVar.CommReduce in kinds:
            found.append(block)
    if len(found) != 1:
        raise NotApplicable(f"{len(found)} reductions")
    return found[0]


def fold_epilogue(sch: Any, block: Any) -> Any | None:
    """Make what follows the reduction one block, however its parts branch; None where nothing follows.

    Raises
    ------
    NotApplicable
        Where several results are left.
    """
    while True:
        after = _after(sch, block)
        inner = next((b for b in after if list(sch.get_consumers(b))), None)
        if inner is None:
            break
        sch.compute_inline(inner)
    if len(after) > 1:
        raise NotApplicable("several results")
    return after[0] if after else None


def inline_into(sch: Any, block: Any) -> None:
    """Compute whatever `block` reads, and the function does not get, where it is read."""
    while True:
        producers = list(sch.get_producers(block))
        if not producers:
            return
        for one in producers:
            sch.compute_inline(one)


def by_registers(sch: Any, block: Any) -> None:
    """Let a fetch into shared memory pass through registers, so that its halves can be apart in a pipeline (`slice_ahead`)."""
    sch.annotate(block, "tirx.manifest_shared_memory_local_stage", 1)
    sch.annotate(block, "double_buffer_scope", 0)


def slice_ahead(sch: Any, step: Any) -> None:
    """Read the next slice while this one is worked on: both fetches, each in its two halves, then the sums."""
    sch.annotate(step, "software_pipeline_stage", [0, 0, 0, 0, 1])
    sch.annotate(step, "software_pipeline_order", [0, 3, 1, 4, 2])


def product(func: tir.PrimFunc, *, depth_first: bool, taps_first: bool = False) -> Product:
    """Bring a function into the form above.

    Parameters
    ----------
    func
        Unscheduled PrimFunc with one reduction of products, spatial blocks before and after.
    depth_first
        Whether the row operand's buffer is to be [s, depth, row] in place of [s, row, depth].
    taps_first
        Whether a convolution's channels vary fastest along the depth, its window positions slowest: a slice of channels then has
        one window position, which need not be worked out for each element. By default the depth is in the order of the weights.

    Raises
    ------
    NotApplicable
        Where it is something else.
    """
    sch = s_tir.Schedule(func)
    block = only_reduction(sch)
    if _columns_first(sch.get(block)):
        # Tensor cores take the row operand as the first factor, and TVM compares blocks as they are written.
        sch = s_tir.Schedule(_factors_swapped(func, sch.get(block)))
        block = only_reduction(sch)
    fold_epilogue(sch, block)
    held = sch.get(block)
    dtypes = {str(held.reads[n].source.ty.dtype) for n in (0, 1)}
    total = str(held.writes[0].source.ty.dtype)
    if len(dtypes) != 1:
        raise NotApplicable("operands of different types")
    roles = _roles(held)
    kinds = [role for role, _ in roles.values()]
    taps = kinds.count("k") > 1
    if taps_first and not taps:
        raise NotApplicable("one axis of reduction: nothing to order")
    reindexed = [sch.reindex(block, ("read", n)) for n in (0, 1)]
    result = sch.reindex(block, ("write", 0))
    # Reindexing gives each operand an axis for each of the block's that it moves along, and renews the block's variables.
    after = sch.get(block)
    renewed = {new.var: roles[old.var] for new, old in zip(after.iter_vars, held.iter_vars, strict=True)}
    for n, axes in ((0, "skr" if depth_first else "srk"), (1, "skc")):
        sch.transform_layout(reindexed[n], ("write", 0), _map(_axes(after.reads[n], renewed), axes, taps_first))
    sch.transform_layout(result, ("read", 0), _map(_axes(after.writes[0], renewed), "src", taps_first))
    sch.transform_block_layout(block, _map(list(renewed.values()), "srck", taps_first))
    extents = tuple(int(v.dom.extent) for v in sch.get(block).iter_vars)
    rows, columns = (Operand(n, _along_depth(held, n)) for n in (0, 1))
    fused = max(kinds.count("r"), kinds.count("c")) > 1
    return Product(sch, block, extents, rows, columns, fused, taps, dtypes.pop(), total)  # type: ignore[arg-type]


# What an axis of the block is: one of "srck", or "1" where it has a single value; and its extent.
_Role = tuple[str, int]


def _roles(block: Any) -> dict[Any, _Role]:
    """The role of every axis: s is in both operands and the result, r and c in one operand, k is summed over."""
    inside = [_variables(region) for region in (*block.reads, block.writes[0])]
    names = {(1, 1, 1): "s", (1, 0, 1): "r", (0, 1, 1): "c", (1, 1, 0): "k"}
    found: dict[Any, _Role] = {}
    for axis in block.iter_vars:
        extent = int(axis.dom.extent)
        first, second, result = (int(axis.var in part) for part in inside)
        role = "1" if extent == 1 else names.get((first, second, result), "")
        if not role or (role == "k") != (axis.iter_type == tir.IterVar.CommReduce and extent > 1):
            raise NotApplicable("an axis that no product of matrices has")
        found[axis.var] = (role, extent)
    if not {"r", "c", "k"} <= {role for role, _ in found.values()}:
        raise NotApplicable("no product of matrices")
    return found


def _variables(region: Any) -> set[Any]:
    return {v for item in region.region for v in tir.analysis.undefined_vars(item.min)}


def _axes(region: Any, roles: dict[Any, _Role]) -> list[_Role]:
    """The role of each axis of a reindexed buffer."""
    return [roles.get(item.min, ("1", 1)) for item in region.region]


def _map(axes: list[_Role], order: str, taps_first: bool) -> Any:
    """The index map that fuses axes of one role, in the order of the roles."""
    variables = [tir.Var(f"i{n}", "int64") for n in range(len(axes))]
    fused: dict[str, Any] = {}
    for variable, (role, extent) in _by_depth(list(zip(variables, axes)), taps_first):
        if role != "1":
            fused[role] = variable if role not in fused else fused[role] * extent + variable
    return tir.IndexMap(variables, [fused.get(role, tir.IntImm("int64", 0)) for role in order], None)


def _by_depth(axes: list[tuple[Any, _Role]], taps_first: bool) -> list[tuple[Any, _Role]]:
    """The axes with the first one of the reduction (a convolution's channels) moved to the end, if so asked."""
    first = next((pair for pair in axes if pair[1][0] == "k"), None)
    if not taps_first or first is None:
        return axes
    return [*(pair for pair in axes if pair is not first), first]


def _after(sch: Any, block: Any) -> list[Any]:
    found: list[Any] = []
    for one in sch.get_consumers(block):
        for late in (one, *_after(sch, one)):
            if not any(sch.get(late).same_as(sch.get(b)) for b in found):
                found.append(late)
    return found


def _last_varying(region: Any, iters: Any) -> set[Any]:
    """Block variables in the last index that moves."""
    wide = {v.var for v in iters if int(v.dom.extent) > 1}
    for item in reversed(list(region.region)):
        found = {v for v in tir.analysis.undefined_vars(item.min) if v in wide}
        if found:
            return found
    return set()


def _columns_first(block: Any) -> bool:
    """Whether the first operand is the one that moves along the result's last axis."""
    if len(block.reads) != 2 or len(block.writes) != 1:
        raise NotApplicable(f"two operands and a result, found {len(block.reads)} and {len(block.writes)}")
    last = _last_varying(block.writes[0], block.iter_vars)
    first, second = (_variables(region) for region in block.reads)
    return bool(last & (first - second))


def _along_depth(block: Any, index: int) -> bool:
    moving = _last_varying(block.reads[index], block.iter_vars)
    reduced = {v.var for v in block.iter_vars if v.iter_type == tir.IterVar.CommReduce}
    return bool(moving & reduced) and not moving - reduced


def _factors_swapped(func: tir.PrimFunc, block: Any) -> tir.PrimFunc:
    target = block.writes[0].source

    def swap(node: Any) -> Any:
        if not node.buffer.same_as(target) or not isinstance(node.value, tir.Add) or not isinstance(node.value.b, tir.Mul):
            return node
        factors = node.value.b
        return tir.stmt.BufferStore(node.buffer, tir.Add(node.value.a, tir.Mul(factors.b, factors.a)), node.indices)

    def swap_reads(node: Any) -> Any:
        if not node.writes or not node.writes[0].source.same_as(target) or len(node.reads) != 2:
            return node
        return s_tir.SBlock(
            node.iter_vars, [node.reads[1], node.reads[0]], node.writes, node.name_hint, node.body, node.init,
            node.alloc_buffers, node.match_buffers, node.annotations,
        )  # fmt: skip

    body = tvm_ffi.structural_map(func.body, [(tir.stmt.BufferStore, swap), (s_tir.SBlock, swap_reads)])
    return tir.PrimFunc(func.params, body, func.ret_type, func.attrs)
