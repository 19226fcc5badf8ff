"""What a kernel executes is told with it: counted when it is compiled, kept in the store's manifest, counted again if need be."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gacer_tvm.cost.facts import graph_facts
from gacer_tvm.executable.build import lower_tenants
from gacer_tvm.kernels.counts import count
from gacer_tvm.kernels.library import KernelLibrary
from gacer_tvm.kernels.store import KernelStore
from gacer_tvm.kernels.target import make_target

from ..models import branches, convnet


def _without(held: dict[str, Any]) -> None:
    for entry in held["kernels"].values():
        del entry["counts"]


def _older(held: dict[str, Any]) -> None:
    held["counting"] = 1
    for entry in held["kernels"].values():
        entry["counts"] = [7] * len(entry["counts"])


def _other_fields(held: dict[str, Any]) -> None:
    del held["counting"]
    for entry in held["kernels"].values():
        entry["counts"] = [7.0]


@pytest.fixture(scope="module")
def graph() -> Any:
    return lower_tenants({"net": convnet(batch=2), "other": branches(batch=2)}, "cpu", cache=False)[0]


def library(graph: Any, folder: Path | None) -> KernelLibrary:
    return KernelLibrary(graph, make_target("llvm"), cores=2, store=KernelStore(folder) if folder else None)


def whole(graph: Any) -> list[tuple[int, int]]:
    return [(o.index, graph.tenants[o.tenant].batch) for o in graph.operators]


def test_counts_are_of_the_scheduled_function_before_and_after_it_is_compiled(graph: Any) -> None:
    fresh = library(graph, None)
    before = [fresh.counts(operator) for operator, _ in whole(graph)]
    assert before == [count(fresh.scheduled(*at)[0]) for at in whole(graph)]
    fresh.ensure(whole(graph))
    assert [fresh.counts(operator) for operator, _ in whole(graph)] == before
    assert [fresh.get(*at).counts for at in whole(graph)] == before


@pytest.mark.parametrize("change", [None, _without, _older, _other_fields])
def test_a_stored_kernel_tells_the_same(graph: Any, tmp_path: Path, change: Callable[[dict[str, Any]], None] | None) -> None:
    first = library(graph, tmp_path)
    first.ensure(whole(graph))
    expected = [first.counts(operator) for operator, _ in whole(graph)]
    for manifest in tmp_path.glob("*.json"):
        held = json.loads(manifest.read_text())
        if change is not None:
            change(held)
        manifest.write_text(json.dumps(held))
    second = library(graph, tmp_path)
    assert second.ensure(whole(graph)) == 0
    assert all((second.get(*at).counts is None) == (change is not None) for at in whole(graph))
    assert [second.counts(operator) for operator, _ in whole(graph)] == expected


def test_facts_hold_them_in_their_order(graph: Any) -> None:
    fresh = library(graph, None)
    for operator, facts in zip(graph.operators, graph_facts(graph, fresh.counts), strict=True):
        counts = fresh.counts(operator.index)
        assert counts is not None and facts.counted == 1
        assert (facts.parallel, facts.regions, facts.slow_operations) == (counts.tasks, counts.regions, counts.slow)
        assert (facts.gather_loads, facts.steps, facts.scratch) == (counts.gathers, counts.steps, counts.scratch)
    assert not any(facts.counted or facts.fused for facts in graph_facts(graph))


def test_on_a_gpu_nothing_is_counted(graph: Any) -> None:
    gpu = KernelLibrary(graph, make_target({"kind": "cuda", "arch": "sm_90"}))
    assert gpu.counts(0) is None
