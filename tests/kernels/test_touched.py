"""Cache lines that a kernel touches, from the reach of its accesses, beside those that a run through all loops touches."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tvm.script import tirx as T

from gacer_tvm.kernels.counts import count

from .executed import touched
from .test_counts import CASES, scheduled, zeros
from .test_counts import op as relax_op

# mypy: ignore-errors

few = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def compare(func: Any) -> None:
    """Boxes stand for the places of an access: within a third of the truth, and a few lines for the ends of rows."""
    assert count(func).lines == pytest.approx(touched(func), rel=0.34, abs=4)


@T.prim_func(private=True, s_tir=True)
def product(a: T.Buffer((32, 64), "float32"), b: T.Buffer((64, 32), "float32"), c: T.Buffer((32, 32), "float32")):
    for i in T.serial(32):
        for k in T.serial(64):
            for j in T.vectorized(32):
                c[i, j] = c[i, j] + a[i, k] * b[k, j]


@T.prim_func(private=True, s_tir=True)
def column(a: T.Buffer((64, 1024), "float32"), b: T.Buffer((64,), "float32")):
    for i in T.serial(64):
        b[i] = a[i, 7]


@T.prim_func(private=True, s_tir=True)
def halves(a: T.Buffer((4, 4096), "float32"), b: T.Buffer((4, 32), "float32")):
    for i in T.serial(4):
        for j in T.serial(32):
            b[i, j] = a[i, j] + a[i, j + 2048]


@T.prim_func(private=True, s_tir=True)
def padded(x: T.Buffer((8, 1, 1), "float32"), w: T.Buffer((8, 3, 3, 16), "float32"), y: T.Buffer((16,), "float32")):
    for c in T.serial(8):
        for p in T.serial(3):
            for q in T.serial(3):
                if p == 1 and q == 1:
                    for j in T.vectorized(16):
                        y[j] = y[j] + x[c, p - 1, q - 1] * w[c, p, q, j]


@T.prim_func(private=True, s_tir=True)
def looked_up(table: T.Buffer((1000, 16), "float32"), at: T.Buffer((4,), "int64"), b: T.Buffer((4, 16), "float32")):
    for i in T.serial(4):
        for j in T.vectorized(16):
            b[i, j] = table[at[i], j]


@pytest.mark.parametrize(
    ("func", "lines"),
    [(product, 128 + 128 + 64), (column, 64 + 4), (halves, 4 * 2 + 4 * 2 + 4 * 2)],
    ids=["whole buffers", "a column", "parts far from each other"],
)
def test_lines_worked_out_by_hand(func: Any, lines: int) -> None:
    assert touched(func) == lines and count(func).lines == lines


def test_weights_under_padding_are_not_touched() -> None:
    assert touched(padded) == 8 + 1 + 1
    # What a condition leaves is told by sampling.
    assert count(padded).lines == pytest.approx(10, abs=2.5)


def test_of_a_table_only_the_rows_looked_up() -> None:
    # Loads in an index are index arithmetic, here as in all counts.
    assert count(looked_up).lines == 4 + 4


@pytest.mark.parametrize("name", CASES)
def test_kernels_of_the_rules(name: str) -> None:
    for func in scheduled(*CASES[name]):
        compare(func)


@few
@given(st.integers(1, 18), st.integers(1, 40), st.integers(1, 70), st.integers(1, 4))
def test_matrix_products_of_any_size(rows: int, depth: int, columns: int, cores: int) -> None:
    for func in scheduled([(rows, depth), zeros(depth, columns)], lambda x, w: relax_op.matmul(x, w), cores):
        compare(func)


@few
@given(st.integers(1, 8), st.integers(4, 12), st.integers(4, 18), st.integers(1, 24), st.sampled_from([1, 3]))
def test_convolutions_of_any_size(channels: int, height: int, width: int, outputs: int, window: int) -> None:
    def make(x: Any, w: Any) -> Any:
        return relax_op.nn.conv2d(x, w, padding=(window // 2, window // 2))

    for func in scheduled([(1, channels, height, width), zeros(outputs, channels, window, window)], make):
        compare(func)
