"""Printed computations: parsed, their extents found, rewritten from a key's hash, and computing what they say."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from gacer_tvm.logs.dag import Compute
from gacer_tvm.logs.dag_extents import dag_from_text
from gacer_tvm.logs.dag_te import prim_func_of
from gacer_tvm.logs.dag_text import DagTextError, parse_lines, workload_hash
from gacer_tvm.logs.families import candidate_texts
from gacer_tvm.logs.identify import shipped_dictionary
from gacer_tvm.logs.winograd import data_matrix, output_matrix

from .helpers import matmul_dag, run

POOL = (
    "p0 = PLACEHOLDER [1, 8, 8, 2]\n"
    "pad_temp(ax0, ax1, ax2, ax3) = tir.if_then_else(((((ax1 >= 1) && (ax1 < 9)) && (ax2 >= 1)) && (ax2 < 9)), "
    "p0[ax0, (ax1 - 1), (ax2 - 1), ax3], -3.40282e+38f)\n"
    "pool_max(ax0, ax1, ax2, ax3) max= pad_temp[ax0, ((ax1*2) + rv0), ((ax2*2) + rv1), ax3]\n"
)


def test_every_shipped_text_parses_and_hashes() -> None:
    """Where a text was printed whole its md5 is its key's; all have extents, the output's as in the key."""
    hashed = 0
    for key, (text, flops) in shipped_dictionary().entries.items():
        digest, *shapes = json.loads(key)
        dag = dag_from_text(text, [tuple(shape) for shape in shapes], flops)
        assert dag.output.shape == tuple(shapes[-1])
        if "OMITTED" not in text:
            assert workload_hash(text) == digest
            hashed += 1
    assert hashed > 100


def test_texts_are_found_from_the_hash_alone() -> None:
    """Independent of the dictionary: for every key of it, a text of the same hash is written from the shapes."""
    for key in shipped_dictionary().entries:
        digest, *shapes = json.loads(key)
        assert any(workload_hash(text) == digest for text in candidate_texts([tuple(s) for s in shapes])), key


def test_sample_keys_are_identified(shared_dir: Path) -> None:
    """All keys of the sample logs, from 2020 to 2023."""
    from gacer_tvm.logs import read_logs
    from gacer_tvm.logs.identify import identify

    for record in read_logs(shared_dir / "ansor").records:
        assert identify(record.workload, record.schedule.steps).dag.output.shape == record.tensors[-1].shape


def test_extents_of_a_padded_pooling() -> None:
    """Padding from its bounds, the window from FLOPs (9 or 16 comparisons an output)."""
    for window, flops in ((3, 16 * 2 * 9.0), (4, 16 * 2 * 16.0)):
        dag = dag_from_text(POOL, ((1, 8, 8, 2), (1, 4, 4, 2)), flops)
        pad, pool = dag.stages[1], dag.stages[2]
        assert isinstance(pad, Compute) and isinstance(pool, Compute)
        assert pad.shape == (1, 10, 10, 2)
        assert [extent for _, extent in pool.reduce] == [window, window]


def test_parsed_matmul_computes_matmul() -> None:
    """The rebuilt function against numpy."""
    rng = np.random.default_rng(0)
    a, b, c = (rng.standard_normal(shape).astype("float32") for shape in ((5, 7), (7, 6), (5, 6)))
    np.testing.assert_allclose(run(prim_func_of(matmul_dag(5, 7, 6)), a, b, c, out=(5, 6)), a @ b + c, rtol=1e-5)


@pytest.mark.parametrize("alpha", [4, 6, 8])
def test_winograd_matrices_convolve(alpha: int) -> None:
    """Y = A^T [(G g) * (B^T d)] is the valid correlation of d and g, for the G that goes with B."""
    m = alpha - 2
    b, a = np.array(data_matrix(alpha)), np.array(output_matrix(alpha))
    rng = np.random.default_rng(alpha)
    d = rng.standard_normal((20, alpha))
    g = rng.standard_normal(3)
    wanted = np.stack([np.convolve(row, g[::-1], "valid") for row in d])
    # The transformed filter is what makes the identity hold; it exists only if A and B belong together.
    system = np.concatenate([np.einsum("tm,t->mt", a, row @ b) for row in d])
    transformed, *_ = np.linalg.lstsq(system, wanted.reshape(-1), rcond=None)
    np.testing.assert_allclose(system @ transformed, wanted.reshape(-1), atol=1e-8)
    assert wanted.shape[1] == m


@pytest.mark.parametrize(
    "text",
    [
        "",
        "p0 = PLACEHOLDER [4]\n",
        "p0 = PLACEHOLDER [4]\nf(i) = q[i]\n",
        "p0 = PLACEHOLDER [4]\nf(i) = __import__('os').system(p0[i])\n",
        "p0 = PLACEHOLDER [4]\nf(i) = system(p0[i], i)\n",
        "p0 = PLACEHOLDER [4]\nf(i) = (p0[i] + \n",
        "p0 = PLACEHOLDER [4]\nf(i) = " + "(" * 400 + "p0[i]" + ")" * 400 + "\n",
        "p0 = PLACEHOLDER [4]\nf(i, j) = p0[i]\n",
        "p0 = PLACEHOLDER [4]\nf(i) = p0[(i + 1)]\n",
        "B(i, j) = select(((floormod(i, 4) == 3) && (floormod(j, 4) == 3)), 7f,  ..(OMITTED).. )\n",
    ],
)
def test_bad_texts_are_refused(text: str) -> None:
    """By one exception, with nothing evaluated."""
    with pytest.raises(DagTextError):
        dag_from_text(text, ((4,), (4,)))


def test_repeated_names() -> None:
    """Before 0.10 every input was `placeholder`: the oldest unread one is meant."""
    lines = parse_lines(
        "placeholder = PLACEHOLDER \nplaceholder = PLACEHOLDER \n"
        "T_dense(i, j) += (placeholder[i, k]*placeholder[j, k])\n"
        "placeholder = PLACEHOLDER \nT_add(ax0, ax1) = (T_dense[ax0, ax1] + placeholder[ax1])\n"
    )
    from gacer_tvm.logs.dag import loads_of

    assert [load.stage for load in loads_of(lines[2].body)] == [0, 1]
    assert [load.stage for load in loads_of(lines[4].body)] == [2, 3]
