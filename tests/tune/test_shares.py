"""Tuning for company: kernels for a share of the cores, where they lie, who picks them, and what then runs."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import msgspec
import numpy as np
import pytest

import gacer_tvm
from gacer_tvm.cost.facts import facts_on, graph_facts
from gacer_tvm.cost.rows import kernel_key
from gacer_tvm.executable.build import lower_tenants
from gacer_tvm.kernels import rules
from gacer_tvm.schedule import Stream, make
from gacer_tvm.tune import kernel
from gacer_tvm.tune.databases import coverage, coverage_of, merge, prune
from gacer_tvm.tune.records import Records, workload_key, workload_module
from gacer_tvm.tune.shares import shares

from .nets import Told, dense, of_text, tenants, tuned

UNITS = 2


@pytest.fixture(autouse=True)
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shares of a machine of two cores, whatever machine this is."""
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1}, raising=False)


def defaults(cores: int) -> set[str]:
    """The text of the kernels that the default rules make for so many cores."""
    graph, library, _ = lower_tenants(tenants(), cache=False)
    funcs = [library.request(op.index, 4).func for op in graph.operators]
    return {workload_module(rules.schedule(f, library.target, cores).func)["main"].script() for f in funcs}


def answering(default: float) -> Told:
    """The kernels that the default rules make take `default` seconds, every other one or two microseconds."""
    own = defaults(UNITS)
    return Told(lambda text: [default] if text in own else of_text(text))


@pytest.fixture
def of_one(tmp_path: Path) -> Path:
    """Tuned for one core, where every candidate was faster than the default; on both cores none was."""
    tuned(tmp_path / "logs", 3, answering(1e-9), own=2)
    tuned(tmp_path / "logs", 3, answering(1.0), own=2, cores=1)
    return tmp_path / "logs"


def test_records_of_a_share_lie_beside_those_of_the_machine(of_one: Path) -> None:
    assert list(shares(of_one)) == [None, 1]
    whole, one = (Records.open(path) for path in shares(of_one).values())
    assert {n.cores for n in whole.kernels.values()} == {UNITS} and {n.cores for n in one.kernels.values()} == {1}
    assert whole.kernels.keys() == one.kernels.keys() and all(one.count(k) == whole.count(k) == 3 for k in one.kernels)
    # Each share has its runs: neither call has anything left to do.
    for cores in (None, 1):
        asked = Told()
        again = tuned(of_one, 3, asked, cores=cores)
        assert again.trials == 0 and asked.asked == [] and "nothing to do" in " ".join(again.notes)
    assert all("on 1 of 2 cores" in name for name in again.tasks)


def test_a_stream_runs_the_kernel_of_its_share(of_one: Path) -> None:
    graph, library, device = lower_tenants(tenants(), tuning_logs=[of_one], cache=False)
    assert library.get(0, 4).rule == "tiled" and library.get(0, 4, 2).key == library.get(0, 4).key
    own = library.get(0, 4, 1)
    assert own.rule.startswith("tuned") and own.rule.endswith("logs/cores-1") and own.key != library.key(0, 4)
    inputs = {n: {"x": np.random.default_rng(0).standard_normal(s, np.float32)} for n, s in SHAPES.items()}
    found = []
    for cores in (1, UNITS):
        schedule = make.sequential(graph, device.name).replace(streams=(Stream(cores=(cores,)),))
        with gacer_tvm.build(tenants(), "cpu", schedule, cache=False, tuning_logs=[of_one]) as exe:
            rules_used = {k.rule for k in exe.report().kernels}
            assert all(r.startswith("tuned") for r in rules_used) if cores == 1 else rules_used == {"tiled"}
            found.append(exe.run(inputs))
            exe.save(of_one.parent / f"bundle-{cores}")
        with gacer_tvm.load(of_one.parent / f"bundle-{cores}") as saved:
            again = saved.run(inputs)
        for tenant, arrays in again.items():
            np.testing.assert_array_equal(arrays[0], found[-1][tenant][0])
    for tenant, arrays in found[0].items():
        np.testing.assert_allclose(arrays[0], found[1][tenant][0], rtol=1e-5, atol=1e-5)


def test_what_a_share_was_not_tuned_for_takes_the_records_of_the_machine(tmp_path: Path) -> None:
    tuned(tmp_path, 3, answering(1.0), own=2)
    _, library, _ = lower_tenants(tenants(), tuning_logs=[tmp_path], cache=False)
    assert library.get(0, 4, 1).key == library.get(0, 4).key and library.get(0, 4).rule.startswith("tuned")
    # Where the default is known to be faster on one core, it runs there although the record wins on both.
    tuned(tmp_path, 3, answering(1e-9), own=2, cores=1)
    _, library, _ = lower_tenants(tenants(), tuning_logs=[tmp_path], cache=False)
    assert library.get(0, 4, 1).rule == "tiled" and library.get(0, 4).rule.startswith("tuned")
    # A run that ended before the comparison says nothing yet.
    records = Records.open(shares(tmp_path)[1])
    for note in records.kernels.values():
        note.tuned, note.tiling = None, ""
    records.save_notes()
    _, library, _ = lower_tenants(tenants(), tuning_logs=[tmp_path], cache=False)
    assert library.get(0, 4, 1).rule.startswith("tuned")


def test_kernels_are_compared_with_the_default_that_would_run(tmp_path: Path) -> None:
    model = {"wide": dense(32, 64, 1024, 1)}
    _, library, _ = lower_tenants(model, cache=False)
    func = library.request(0, 32).func
    one, all_ = (
        workload_module(rules.schedule(func, library.target, cores).func)["main"].script() for cores in (1, UNITS)
    )
    # The rules make another kernel where they are asked for one core; `build` does not ask for that.
    assert one != all_ and library.key(0, 32, 1) == library.key(0, 32)
    told = Told(lambda text: [5e-7] if text == all_ else of_text(text))
    with patch.object(kernel, "OWN", 2):
        gacer_tvm.tune(model, "cpu", tmp_path, 3, rounds=1, search_seconds=0.5, cache=False, cores=1, measurer=told)
    note = Records.open(shares(tmp_path)[1]).kernels[workload_key(func)]
    assert note.default == 5e-7 and not note.pays and one in told.asked


def test_by_default_kernels_are_tuned_for_the_share_that_the_schedule_grants(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = importlib.import_module("gacer_tvm.tune.tune")

    def search(graph: Any, device: Any, cost: Any, **given: Any) -> Any:
        base = make.sequential(graph, device.name)
        first, second, third = base.tenants
        cut = msgspec.structs.replace(first, splits={0: (1, 3)})
        moved = msgspec.structs.replace(second, stream=1)
        streams = (Stream(cores=(UNITS,)), Stream(cores=(1,)))
        return SimpleNamespace(best=base.replace(tenants=(cut, moved, third), streams=streams))

    asked: list[tuple[int, str]] = []

    class Noting(Told):
        def __init__(self, cores: int, device: Any = None) -> None:
            super().__init__()
            self.cores = cores

        def submit(self, module: Any, target: Any, arguments: list[Any], hopeless: Any = None) -> Any:
            assert int(target.attrs["num-cores"]) == self.cores
            asked.append((self.cores, module["main"].script()))
            return super().submit(module, target, arguments)

    monkeypatch.setattr(module, "search", search)
    monkeypatch.setattr(module, "Here", Noting)
    result = tuned(tmp_path, 2)
    names = sorted(result.tasks)
    assert [n.partition("/")[0] for n in names] == ["a", "a", "a", "b"]
    assert sum("[1 of 4]" in n for n in names) == sum("[3 of 4]" in n for n in names) == 1
    assert [n.endswith("on 1 of 2 cores") for n in names] == [False, False, False, True]
    assert {cores for cores, _ in asked} == {1, UNITS}
    assert len(Records.open(tmp_path).kernels) == 3 and len(Records.open(shares(tmp_path)[1]).kernels) == 1
    assert tuned(tmp_path, 2).trials == 0


def test_shares_are_listed_pruned_and_merged(of_one: Path) -> None:
    held = coverage(of_one)
    assert sorted((c.cores, c.made_by) for c in held) == [(1, "tuned")] * 2 + [(UNITS, "default")] * 2
    graph, library, _ = lower_tenants(tenants(), tuning_logs=[of_one], cache=False)
    found = coverage_of(library, of_one)
    assert sorted(c.made_by.partition(":")[0].split()[0] for c in found) == ["tiled", "tiled", "tuned", "tuned"]
    rules_before = [library.get(o.index, 4, c).rule for o in graph.operators for c in (1, UNITS)]
    kept, dropped = prune(of_one)
    assert kept > 0 and kept + dropped == 12
    assert merge([of_one], of_one.parent / "merged") == (kept, 0)
    again = lower_tenants(tenants(), tuning_logs=[of_one.parent / "merged"], cache=False)[1]
    rules_after = [again.get(o.index, 4, c).rule for o in graph.operators for c in (1, UNITS)]
    assert [r.replace("merged", "logs") for r in rules_after] == rules_before


def test_a_cost_model_sees_the_kernel_of_the_share(of_one: Path) -> None:
    graph, library, _ = lower_tenants(tenants(), tuning_logs=[of_one], cache=False)
    whole = graph_facts(graph, library.counts)
    assert facts_on(graph, whole, library.counts, UNITS) == whole
    on_one = facts_on(graph, whole, library.counts, 1)
    for operator, mine, facts in zip(graph.operators, on_one, whole):
        counts = library.get(operator.index, 4, 1).counts
        assert counts is not None and (mine.parallel, mine.size) == (counts.tasks, counts.size)
        assert (mine.flops, mine.points) == (facts.flops, facts.points)
        assert kernel_key(library, operator.index, 4, 1) != kernel_key(library, operator.index, 4)
    assert on_one != whole
    plain = lower_tenants(tenants(), cache=False)[1]
    assert kernel_key(plain, 0, 4, 1) == kernel_key(plain, 0, 4) and plain.counts(0, 1) is plain.counts(0)


SHAPES = {"a": (4, 32), "b": (4, 24), "twin of a": (4, 32)}
