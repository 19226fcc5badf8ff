"""Kernels that no lowering makes, but a module may hold: the proof must not be fooled by them."""

# No `from __future__ import annotations`: TVMScript reads the annotations as values.
import pytest
from tvm.script import tirx as T

from gacer_tvm.graph.legality import Refused, prove, prove_chunking
from gacer_tvm.graph.tir_blocks import OpaqueFunction, leaf_blocks

from .brute import check_chunks


@T.prim_func(s_tir=True)
def statistic_beside_rows(x: T.Buffer((8, 4), "float32"), y: T.Buffer((8, 4), "float32")):
    """One block writes a row of its own and a sum over all rows."""
    rows = T.sblock_alloc_buffer((8, 4), "float32")
    total = T.sblock_alloc_buffer((4,), "float32")
    for i, j in T.grid(8, 4):
        with T.sblock("both"):
            vi, vj = T.axis.remap("SS", [i, j])
            rows[vi, vj] = x[vi, vj] * T.float32(2)
            total[vj] = total[vj] + x[vi, vj]
    for i, j in T.grid(8, 4):
        with T.sblock("use"):
            vi, vj = T.axis.remap("SS", [i, j])
            y[vi, vj] = rows[vi, vj] + total[vj]


@T.prim_func(s_tir=True)
def two_rows_of_one_block(x: T.Buffer((8, 4), "float32"), y: T.Buffer((8, 4), "float32")):
    """One block writes two buffers, one of them at another row."""
    a = T.sblock_alloc_buffer((8, 4), "float32")
    b = T.sblock_alloc_buffer((8, 4), "float32")
    for i, j in T.grid(8, 4):
        with T.sblock("both"):
            vi, vj = T.axis.remap("SS", [i, j])
            a[vi, vj] = x[vi, vj]
            b[7 - vi, vj] = x[vi, vj]
    for i, j in T.grid(8, 4):
        with T.sblock("use"):
            vi, vj = T.axis.remap("SS", [i, j])
            y[vi, vj] = a[vi, vj] + b[vi, vj]


@T.prim_func(s_tir=True)
def shared_loop(x: T.Buffer((8,), "float32"), w: T.Buffer((8,), "float32"), y: T.Buffer((8, 8), "float32")):
    """The batch loop of one block runs another block over the columns."""
    rows = T.sblock_alloc_buffer((8,), "float32")
    columns = T.sblock_alloc_buffer((8,), "float32")
    for i in range(8):
        with T.sblock("rows"):
            vi = T.axis.spatial(8, i)
            rows[vi] = x[vi] * T.float32(2)
        with T.sblock("columns"):
            vi = T.axis.spatial(8, i)
            columns[vi] = w[vi] + T.float32(1)
    for i, j in T.grid(8, 8):
        with T.sblock("use"):
            vi, vj = T.axis.remap("SS", [i, j])
            y[vi, vj] = rows[vi] + columns[vj]


@T.prim_func(s_tir=True)
def shared_batch_loop(x: T.Buffer((8,), "float32"), y: T.Buffer((8,), "float32")):
    """Two blocks under one batch loop, both over the batch: nothing wrong with that."""
    rows = T.sblock_alloc_buffer((8,), "float32")
    for i in range(8):
        with T.sblock("rows"):
            vi = T.axis.spatial(8, i)
            rows[vi] = x[vi] * T.float32(2)
        with T.sblock("use"):
            vi = T.axis.spatial(8, i)
            y[vi] = rows[vi] + T.float32(1)


@T.prim_func(s_tir=True, check_well_formed=False)
def diagonal(x: T.Buffer((8, 8), "float32"), y: T.Buffer((8, 8), "float32")):
    """Two variables bound to one loop: moving one alone means nothing."""
    for i in range(8):
        with T.sblock("use"):
            vi = T.axis.spatial(8, i)
            vj = T.axis.spatial(8, i)
            y[vi, vj] = x[vi, vj]


@T.prim_func(s_tir=True)
def half(x: T.Buffer((8,), "float32"), y: T.Buffer((8,), "float32")):
    """The loop runs over half of the block's domain."""
    for i in range(4):
        with T.sblock("use"):
            vi = T.axis.spatial(8, i)
            y[vi] = x[vi]


@T.prim_func(s_tir=True)
def one_item_is_special(x: T.Buffer((8, 4), "float32"), y: T.Buffer((8, 4), "float32")):
    """A branch on the position in the batch."""
    for i, j in T.grid(8, 4):
        with T.sblock("use"):
            vi, vj = T.axis.remap("SS", [i, j])
            if vi < 3:
                y[vi, vj] = x[vi, vj]
            else:
                y[vi, vj] = T.float32(0)


@T.prim_func(s_tir=True)
def longer_for_later_items(x: T.Buffer((8, 8), "float32"), y: T.Buffer((8,), "float32")):
    """An inner loop as long as the position in the batch."""
    for i in range(8):
        with T.sblock("use"):
            vi = T.axis.spatial(8, i)
            y[vi] = T.float32(0)
            for k in range(vi + 1):
                y[vi] = y[vi] + x[vi, k]


@T.prim_func(s_tir=True)
def inner_loop_and_branch(
    x: T.Buffer((8, 4), "float32"), w: T.Buffer((4,), "float32"), y: T.Buffer((8,), "float32")
):
    """Loops, branches and bound values inside a block that do not look at the batch."""
    for i in range(8):
        with T.sblock("use"):
            vi = T.axis.spatial(8, i)
            y[vi] = T.float32(0)
            for k in range(4):
                if w[k] > T.float32(0.8):
                    product: T.let[T.float32] = x[vi, k] * w[k]
                    y[vi] = y[vi] + product


@T.prim_func(s_tir=True)
def inner_loop_over_the_batch(x: T.Buffer((8,), "float32"), y: T.Buffer((8,), "float32")):
    """A sum over the batch hidden inside of the block."""
    for i in range(8):
        with T.sblock("use"):
            vi = T.axis.spatial(8, i)
            y[vi] = T.float32(0)
            for k in range(8):
                y[vi] = y[vi] + x[k]


@T.prim_func(s_tir=True)
def parallel_already(x: T.Buffer((8,), "float32"), y: T.Buffer((8,), "float32")):
    """A kernel that somebody has scheduled."""
    for i in T.parallel(8):
        with T.sblock("use"):
            vi = T.axis.spatial(8, i)
            y[vi] = x[vi]


@T.prim_func(s_tir=True)
def row_offset_argument(x: T.Buffer((8,), "float32"), y: T.Buffer((8,), "float32"), lo: T.int64):
    """A kernel with a scalar argument."""
    for i in range(8):
        with T.sblock("use"):
            vi = T.axis.spatial(8, i)
            y[vi] = x[vi]


@pytest.mark.parametrize(
    ("func", "reason"),
    [
        (statistic_beside_rows, "writes total for the whole batch|reads the whole batch|read both"),
        (two_rows_of_one_block, "writes axis 0 of b"),
        (shared_loop, "shares the batch loop of block 'rows'"),
        (diagonal, "binds .* to a part of"),
        (half, "binds .* to a part of"),
        (one_item_is_special, "depends on the position in the batch"),
        (longer_for_later_items, "depends on the position|batch at another axis"),
        (parallel_already, "already scheduled"),
    ],
)
def test_refused_with_the_reason(func, reason):
    with pytest.raises((Refused, OpaqueFunction), match=reason):
        prove(func, 1, 8)
    assert not prove_chunking(func, 1, 8).divisible


def test_scalar_arguments_are_refused():
    with pytest.raises(OpaqueFunction, match="is not a buffer"):
        prove(row_offset_argument, 1, 8)


@pytest.mark.parametrize("func", [shared_batch_loop, inner_loop_and_branch])
def test_accepted_and_right(func):
    assert prove_chunking(func, 1, 8).divisible
    check_chunks(func, 1, 8, (3, 1, 4))


def test_what_every_chunk_reads_whole_may_be_summed():
    """``x`` has the batch's extent but every chunk reads all of it: legal, because readers wait for all of its writers."""
    chunking = prove_chunking(inner_loop_over_the_batch, 1, 8)
    assert chunking.rows == (0, 1)
    check_chunks(inner_loop_over_the_batch, 1, 8, (5, 3))


def test_blocks_tell_how_often_they_store():
    (block,) = leaf_blocks(inner_loop_and_branch)
    assert block.points == 8
    assert block.times == (1, 4)
    assert len(block.guards) == 1
    assert [a.buffer.name for a, write in block.accesses() if write] == ["y", "y"]
