"""Candidates that would become too much code are recorded as failed and not compiled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gacer_tvm._tvm import s_tir, tvm
from gacer_tvm.executable.build import lower_tenants
from gacer_tvm.tune.measure import BuiltModules, Here, make_builder
from gacer_tvm.tune.records import FAILED, Records, workload_module
from gacer_tvm.tune.size import TooMuchCode, bounded

from .nets import Told, tenants, tuned


def _kernel() -> tuple[Any, Any]:
    _, library, _ = lower_tenants(tenants(), cache=False)
    return library.request(0, 4).func, library.target


def _exploding() -> Any:
    """Everything unrolled: 4 · 48 · 32 steps of a scalar multiplication."""
    schedule = s_tir.Schedule(workload_module(_kernel()[0]))
    block = schedule.get_sblock("matmul")
    for loop in schedule.get_loops(block):
        schedule.unroll(loop)
    return schedule.mod


def test_a_candidate_that_explodes_is_not_compiled() -> None:
    func, target = _kernel()
    with target, bounded() as small:
        tvm.compile(workload_module(func), target)
    assert 0 < small.found < small.limit
    with pytest.raises(TooMuchCode, match="memory operations, at most"), target, bounded():
        tvm.compile(_exploding(), target)
    # Nothing of it is left behind.
    assert not list(tvm.transform.PassContext.current().instruments)
    with pytest.raises(RuntimeError, match="another"), bounded():
        raise RuntimeError("another")


def test_the_builder_says_why_and_the_measurer_raises_it() -> None:
    func, target = _kernel()
    ms = s_tir.meta_schedule
    (built,) = make_builder(BuiltModules()).build([ms.builder.BuilderInput(_exploding(), target)])
    assert built.artifact_path is None and "too much code" in str(built.error_msg)
    arguments = list(ms.arg_info.ArgInfo.from_prim_func(func))
    here = Here(1, least_seconds=1e-4)
    with pytest.raises(TooMuchCode):
        here.submit(_exploding(), target, arguments)
    assert len(here.submit(workload_module(func), target, arguments)()) == 3


def test_such_trials_count_as_failed_with_their_reason(tmp_path: Path) -> None:
    class Refusing(Told):
        def submit(self, module: Any, target: Any, arguments: list[Any], hopeless: Any = None) -> Any:
            if (tmp_path / "in_flight.json").exists():
                raise TooMuchCode("9999 memory operations, at most 10")
            return super().submit(module, target, arguments)

    assert tuned(tmp_path, 3, Refusing()).trials == 6
    records = Records.open(tmp_path)
    assert {tuple(s) for t in records.trials.values() for s in t.values()} == {(FAILED,)}
    assert [note.too_large for note in records.kernels.values()] == [3, 3]


def test_a_hopeless_candidate_is_timed_once_and_what_is_timed_in_turns_is_built_once(monkeypatch: pytest.MonkeyPatch) -> None:
    func, target = _kernel()
    arguments = list(s_tir.meta_schedule.arg_info.ArgInfo.from_prim_func(func))
    module = workload_module(func)
    built: list[Any] = []
    compiled = tvm.compile
    monkeypatch.setattr(tvm, "compile", lambda *given: built.append(given) or compiled(*given))
    here = Here(1, least_seconds=1e-4)
    assert len(here.submit(module, target, arguments, 1e-12)()) == 1
    assert len(here.submit(module, target, arguments, 1e3)()) == 3
    assert len(here.submit(module, target, arguments)()) == 3
    assert len(built) == 1
