"""Tilings timed on a device become a tuning database that builds take; here the timings are given."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gacer_tvm._tvm import relax
from gacer_tvm.bench.gpu_results import Results
from gacer_tvm.bench.gpu_tilings import collect, main
from gacer_tvm.errors import GacerError
from gacer_tvm.frontend import Tenant
from gacer_tvm.graph.build import build_graph
from gacer_tvm.kernels import rules
from gacer_tvm.kernels.library import KernelLibrary
from gacer_tvm.kernels.target import make_target
from gacer_tvm.tune.provider import providers
from gacer_tvm.tune.records import read_notes, workload_key

TARGET = make_target("sm_90")


def _graph() -> Any:
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType((64, 96), "float32"))
    w = relax.Var("w", relax.TensorType((96, 80), "float32"))
    with builder.function("main", [x, w]):
        with builder.dataflow():
            out = builder.emit_output(relax.op.nn.relu(relax.op.matmul(x, w)))
        builder.emit_func_output(out)
    return build_graph([Tenant.of(builder.get(), "product")], TARGET)


@pytest.fixture(scope="module")
def kernel() -> tuple[KernelLibrary, Any, list[str]]:
    """A library, the function of its one kernel, and that kernel's tilings."""
    graph = _graph()
    library = KernelLibrary(graph, TARGET)
    func = library.request(0, graph.tenants[0].batch).func
    return library, func, rules.tilings(func, TARGET)


def _timed(results: Results, func: Any, tilings: list[str], seconds: list[float], errors: list[float | None]) -> None:
    for n, (text, one, error) in enumerate(zip(tilings, seconds, errors)):
        results.add(
            "tilings/float32/b8/set", "tiling", kernel="product/0", key=workload_key(func), tiling=text, default=n == 0,
            seconds=[one, one * 1.1, one * 0.9], error=error,
        )  # fmt: skip


def test_the_fastest_right_tiling_is_what_builds_take(kernel: Any, tmp_path: Path) -> None:
    library, func, tilings = kernel
    results = Results(tmp_path / "suite")
    # The fastest gives wrong answers, the next no finite ones.
    _timed(results, func, tilings[:4], [9e-6, 3e-6, 2e-6, 5e-6], [0.0, 0.3, None, 1e-7])
    assert main(["--results", str(tmp_path / "suite"), "--out", str(tmp_path / "tuned")]) == 0
    (note,) = read_notes(tmp_path / "tuned")[0].values()
    assert (note.default, note.tuned, json.loads(note.tiling)) == (9e-6, 5e-6, json.loads(tilings[3])) and note.pays
    (provider,) = providers(tmp_path / "tuned")
    made, told = provider(func, TARGET)
    assert told == "tuned tiling: tuned"
    with TARGET:
        assert made.script() == rules.retiled(func, TARGET, 1, tilings[3]).script()
    tuned = KernelLibrary(library.graph, TARGET, providers=(provider,))
    batch = library.graph.tenants[0].batch
    assert tuned.key(0, batch) != library.key(0, batch)


def test_the_default_stays_where_nothing_beats_it(kernel: Any, tmp_path: Path) -> None:
    _, func, tilings = kernel
    results = Results(tmp_path / "suite")
    _timed(results, func, tilings[:3], [2e-6, 3e-6, 4e-6], [0.0, 0.0, 0.0])
    assert collect(results, tmp_path / "tuned") == 1
    (provider,) = providers(tmp_path / "tuned")
    assert provider(func, TARGET) is None


def test_without_timings_it_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(GacerError, match="no line of kind 'tiling'; run the suite's units"):
        collect(Results(tmp_path / "suite"), tmp_path / "tuned")
