"""Loops written by hand with counts worked out on paper; the run through all loops must find the same."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from tvm.script import tirx as T

from gacer_tvm.kernels.counts import count

from .executed import executed

# mypy: ignore-errors


def check(func: Any, rel: float = 1e-9, **expected: float) -> None:
    """Both find what was worked out; what is not named is left open, loads and stores excepted: these are none."""
    kinds = ("vector_loads", "scalar_loads", "gathers", "stores", "scattered")
    for found in (executed(func).counts, msgspec.structs.asdict(count(func))):
        for name in {*expected, *kinds}:
            assert found[name] == pytest.approx(expected.get(name, 0), rel=rel, abs=0.06), name


@T.prim_func(private=True, s_tir=True)
def copies(a: T.Buffer((5, 16), "float32"), c: T.Buffer((4,), "float32"), b: T.Buffer((5, 4, 16), "float32")):
    for i in T.serial(5):
        for u in T.unroll(4):
            for j in T.vectorized(16):
                b[i, u, j] = a[i, j] * c[u] + T.float32(1)


def test_what_does_not_move_with_an_unrolled_loop_is_loaded_once_for_it() -> None:
    check(copies, vector_loads=5, scalar_loads=20, stores=20, fused=20, steps=5, size=4, lanes=1, serial=1, tasks=1, regions=0)


@T.prim_func(private=True, s_tir=True)
def outside(a: T.Buffer((16,), "float32"), b: T.Buffer((4, 8, 16), "float32")):
    for u in T.unroll(4):
        for i in T.serial(8):
            for j in T.vectorized(16):
                b[u, i, j] = a[j]


def test_unrolled_copies_of_a_loop_each_have_its_steps_and_loads() -> None:
    check(outside, vector_loads=32, stores=32, fused=0, steps=32, size=4, lanes=1)


@T.prim_func(private=True, s_tir=True)
def accumulated(a: T.Buffer((10, 3), "float32"), b: T.Buffer((2, 16), "float32")):
    with T.sblock("root"):
        acc = T.sblock_alloc_buffer((2, 16), "float32", scope="local")
        kept = T.sblock_alloc_buffer((100,), "float32")  # noqa: F841
        for r in T.unroll(2):
            for j in T.vectorized(16):
                acc[r, j] = T.float32(0)
        for k in T.serial(10):
            for q in T.unroll(3):
                for r in T.unroll(2):
                    for j in T.vectorized(16):
                        acc[r, j] = acc[r, j] + a[k, q]
        for r in T.unroll(2):
            for j in T.vectorized(16):
                b[r, j] = acc[r, j]


def test_accumulators_are_registers_and_unrolled_steps_of_a_reduction_follow_each_other() -> None:
    # Two accumulators side by side, thirty additions to each.
    check(accumulated, scalar_loads=30, stores=2, fused=60, chains=30, steps=10, size=2 + 6 + 2, scratch=400)


@T.prim_func(private=True, s_tir=True)
def threads(a: T.Buffer((6, 7, 5), "float32"), b: T.Buffer((6, 7, 5), "float32"), c: T.Buffer((35,), "float32")):
    for i in T.serial(6):
        for j in T.parallel(7):
            for k in T.serial(5):
                b[i, j, k] = a[i, j, k] - T.float32(1)
    for i in T.serial(35):
        c[i] = T.float32(0)


def test_threads_are_woken_by_every_run_of_a_parallel_loop() -> None:
    # 210 loads, stores, subtractions and steps and 42 steps in the parallel loops; 6 + 35 steps and 35 stores elsewhere.
    check(
        threads, tasks=7, regions=6, scalar_loads=210, stores=245, fused=210, steps=6 + 42 + 210 + 35,
        serial=76 / (210 + 245 + 210 + 293), lanes=1 / 16, rel=1e-3,
    )  # fmt: skip


@T.prim_func(private=True, s_tir=True)
def apart(
    a: T.Buffer((32,), "float32"),
    b: T.Buffer((16, 2), "float32"),
    c: T.Buffer((4, 4), "float32"),
    d: T.Buffer((16, 1, 1), "float32"),
):
    for j in T.vectorized(16):
        b[j, 0] = a[2 * j]
    for j in T.vectorized(16):
        b[j, 1] = a[15 - j]
    for j in T.vectorized(16):
        d[j, 0, 0] = a[j // 2]
    for j in T.vectorized(16):
        c[j // 4, j % 4] = a[j + 3] + d[j, 0, 0]
    for j in T.vectorized(16):
        c[j % 4, j // 4] = a[5]


def test_neighbours_and_elements_apart_are_told_by_their_addresses() -> None:
    check(apart, gathers=3, scattered=3, vector_loads=2, stores=2, scalar_loads=1, fused=1, steps=0, lanes=1)


@T.prim_func(private=True, s_tir=True)
def widths(
    a: T.Buffer((20,), "float32"), b: T.Buffer((20,), "float32"), c: T.Buffer((20,), "float64"), d: T.Buffer((20,), "int8")
):
    for j in T.vectorized(20):
        b[j] = a[j] * T.float32(2)
    for j in T.vectorized(20):
        c[j] = c[j] * T.float64(2)
    for j in T.vectorized(20):
        d[j] = d[j] * T.int8(2)


def test_a_vector_has_64_bytes() -> None:
    # 20 elements are 2 vectors of 16 lanes, 3 of 8, and 1 of 64.
    check(widths, vector_loads=6, stores=6, fused=6, size=6, lanes=(2 * 20 / 32 + 3 * 20 / 24 + 20 / 64) / 6, rel=1e-4)


@T.prim_func(private=True, s_tir=True)
def tail(a: T.Buffer((1000,), "float32"), b: T.Buffer((1000,), "float32")):
    for i in T.serial(40):
        for k in T.serial(40):
            with T.sblock("b"):
                v = T.axis.spatial(1000, i * 40 + k)
                T.where(i * 40 + k < 1000)
                b[v] = a[v]


def test_a_blocks_predicate_holds_for_some_points_only() -> None:
    check(tail, scalar_loads=1000, stores=1000, steps=1640, rel=0.1)


@T.prim_func(private=True, s_tir=True)
def initial(a: T.Buffer((9, 300), "float32"), b: T.Buffer((9,), "float32")):
    for i in T.serial(9):
        for k in T.serial(300):
            with T.sblock("b"):
                vi, vk = T.axis.remap("SR", [i, k])
                with T.init():
                    b[vi] = T.float32(0)
                b[vi] = b[vi] + a[vi, vk]


def test_initial_values_are_set_once_for_every_sum() -> None:
    check(initial, scalar_loads=2 * 2700, stores=2700 + 9, fused=2700, steps=2709)


@T.prim_func(private=True, s_tir=True)
def triangle(a: T.Buffer((40, 40), "float32"), b: T.Buffer((40, 40), "float32")):
    for i in T.serial(40):
        for k in T.serial(i + 1):
            b[i, k] = T.exp(a[i, k])


def test_loops_of_different_lengths_count_by_their_mean() -> None:
    check(triangle, scalar_loads=820, stores=820, slow=820, fused=0, steps=860, rel=0.1)


@T.prim_func(private=True, s_tir=True)
def border(a: T.Buffer((40, 16), "float32"), b: T.Buffer((40, 16), "float32")):
    for i in T.serial(40):
        for j in T.vectorized(16):
            b[i, j] = T.if_then_else(i < 30, a[i, j] / T.float32(3), T.float32(0))


def test_what_stands_under_a_condition_counts_where_it_holds() -> None:
    check(border, vector_loads=30, slow=30, fused=40, stores=40, steps=40, rel=0.1)


@T.prim_func(private=True, s_tir=True)
def ragged(a: T.Buffer((40, 16), "float32"), b: T.Buffer((40, 16), "float32")):
    for i in T.serial(40):
        for j in T.vectorized(16):
            b[i, j] = T.if_then_else(j < 3, a[i, j], T.float32(0))


def test_a_condition_that_differs_between_lanes_is_worked_out_for_all() -> None:
    check(ragged, vector_loads=40, fused=40, stores=40)


@T.prim_func(private=True, s_tir=True)
def either(a: T.Buffer((60,), "float32"), b: T.Buffer((60,), "float32")):
    for i in T.serial(60):
        if i % 3 == 0:
            b[i] = a[i]
        else:
            b[i] = T.tanh(T.floor(a[i])) - T.float32(1)


def test_branches_share_the_points() -> None:
    # Rounding is one instruction like an addition.
    check(either, scalar_loads=60, stores=60, slow=40, fused=80, rel=0.1)


@T.prim_func(private=True, s_tir=True)
def blocks(a: T.Buffer((6, 4, 40), "float32"), w: T.Buffer((6, 40), "float32"), b: T.Buffer((6, 4, 40), "float32")):
    for i in T.parallel(6):
        for k in T.serial(3):
            for u in T.unroll(4):
                for j in T.vectorized(16):
                    with T.sblock("b"):
                        vi, vu = T.axis.remap("SS", [i, u])
                        vj = T.axis.spatial(40, k * 16 + j)
                        T.where(k * 16 + j < 40)
                        b[vi, vu, vj] = a[vi, vu, vj] * w[vi, vj]


def test_a_blocks_variables_are_the_loops_that_they_stand_for() -> None:
    # 18 steps and 6; of 72 vectors of sixteen lanes 5/6 are inside.
    check(blocks, vector_loads=60 + 15, stores=60, fused=60, steps=24, tasks=6, regions=1, serial=0, size=4, rel=0.1)


@T.prim_func(private=True, s_tir=True)
def fused(a: T.Buffer((8, 4), "float32"), b: T.Buffer((8, 4), "float32"), c: T.Buffer((4, 8), "float32")):
    for i in T.serial(2):
        for j in T.vectorized(16):
            with T.sblock("b"):
                vi = T.axis.spatial(8, (i * 16 + j) // 4)
                vj = T.axis.spatial(4, (i * 16 + j) % 4)
                b[vi, vj] = a[vi, vj]
    for i in T.serial(2):
        for j in T.vectorized(16):
            with T.sblock("c"):
                vi = T.axis.spatial(8, (i * 16 + j) // 4)
                vj = T.axis.spatial(4, (i * 16 + j) % 4)
                c[vj, vi] = a[vi, vj]


def test_fused_loops_walk_through_memory() -> None:
    check(fused, vector_loads=4, stores=2, scattered=2, steps=4, fused=0)


@T.prim_func(private=True, s_tir=True)
def summed(a: T.Buffer((32, 5, 3), "float32"), b: T.Buffer((32,), "float32")):
    for i in T.serial(2):
        for k in T.serial(15):
            for j in T.vectorized(16):
                with T.sblock("b"):
                    vj = T.axis.spatial(32, i * 16 + j)
                    vk = T.axis.reduce(5, k // 3)
                    vq = T.axis.reduce(3, k % 3)
                    with T.init():
                        b[vj] = T.float32(0)
                    b[vj] = b[vj] + a[vj, vk, vq]


def test_initial_values_of_fused_sums_are_set_once() -> None:
    check(summed, vector_loads=30, gathers=30, stores=32, fused=30, steps=32)
