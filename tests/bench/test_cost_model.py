"""What the cost model is worth: schedules timed in turn, equal ones once, and errors over distinct schedules."""

from __future__ import annotations

from pathlib import Path

import pytest

from gacer_tvm.bench.cost_model import Way, Worth, as_markdown, timed_ways, without
from gacer_tvm.cost.rows import Kernel, read_rows
from gacer_tvm.executable.build import lower_tenants
from gacer_tvm.schedule import make

from ..cost import made
from ..models import branches, convnet


def test_ways_that_are_one_schedule_are_timed_once(tmp_path: Path) -> None:
    graph, library, device = lower_tenants({"a": convnet(batch=2), "b": branches(batch=2)}, "cpu", cache=tmp_path)
    plain, other = make.sequential(graph, device.name), make.parallel(graph, device.name, device.cores)
    library.ensure([(o.index, graph.tenants[o.tenant].batch) for o in graph.operators])
    timed, exchange, lost = timed_ways(graph, library, device, {"x": plain, "y": other, "z": plain}, 7, ())
    assert timed["x"] is not timed["y"] and timed["x"].seconds == timed["z"].seconds
    assert {len(q.seconds) for q in timed.values()} == {7}
    assert 0 <= exchange[0] <= exchange[1] and lost >= 0


def worth(**ways: Way) -> Worth:
    return Worth("a+b", 8, 64, 25, "here", ways, (0.1, 0.1), 0.01, 0.01, 100, (50.0, 60.0), 0.0)


def test_one_schedule_counts_once_in_the_error() -> None:
    found = worth(
        sequential=Way(10.0, 9.0, 11.0, prior=20.0, learned=10.0, plan="p"),
        parallel=Way(10.0, 9.0, 11.0, prior=40.0, learned=12.0, plan="q"),
        learned=Way(10.0, 9.0, 11.0, prior=20.0, learned=10.0, plan="p"),
    )
    assert (found.error("prior"), found.error("learned")) == (pytest.approx(2.0), pytest.approx(0.1))
    assert "200.0%, 10.0%" in as_markdown([found]) and "50 to 60 GB/s" in as_markdown([found])


def test_kernels_of_the_set_are_left_out_over_any_batch(tmp_path: Path) -> None:
    rows = made.rows(kernels=6, models=3, sets=2, groups=4)
    key = next(r.k for r in rows if isinstance(r, Kernel) and r.m == "model1")
    rows += [Kernel(f"{key}.9", "wanted", made.facts(0))]
    data = read_rows(made.write(tmp_path / "a.jsonl", rows))
    kept = without(data, ["wanted"])
    assert {r.k for r in data.alone} - {r.k for r in kept.alone} == {key}
    assert kept.groups and not any(run.k == key for g in kept.groups for stream in g.g for run in stream.runs)
