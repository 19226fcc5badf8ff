"""Tuning: which kernels, how many trials, what stops it, what comes after."""

from __future__ import annotations

import importlib
import json
import os
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest

import gacer_tvm
from gacer_tvm import progress
from gacer_tvm._tvm import tvm
from gacer_tvm.errors import DeviceError, GraphError
from gacer_tvm.executable.build import lower_tenants
from gacer_tvm.kernels import rules
from gacer_tvm.schedule import make
from gacer_tvm.tune import context
from gacer_tvm.tune.kernel import KernelRun, Task
from gacer_tvm.tune.provider import DatabaseProvider
from gacer_tvm.tune.records import FAILED, Records, workload_key, workload_module
from gacer_tvm.tune.tune import with_cores

from .nets import Told, dense, of_text, tenants, tuned


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small generations, so that a few trials are several of them."""
    for name, count in {"BLOCK": 4, "_POPULATION": 24, "_GENERATIONS": 1}.items():
        monkeypatch.setattr(context, name, count)


def test_each_different_kernel_gets_its_trials_and_a_second_call_does_nothing(tmp_path: Path) -> None:
    measurer = Told()
    result = tuned(tmp_path, 5, measurer)
    # Two tenants share one kernel.
    assert sorted(result.tasks.values()) == [5, 5] and result.trials == 10 and measurer.closed
    records = Records.open(tmp_path)
    assert sorted(records.count(k) for k in records.trials) == [5, 5]
    again = Told()
    second = tuned(tmp_path, 5, again)
    assert second.trials == 0 and again.asked == [] and any("nothing to do" in n for n in second.notes)
    assert second.tasks == result.tasks
    # Asking for less is asking for nothing new.
    assert tuned(tmp_path, 3, again).trials == 0 and again.asked == []


def test_more_trials_go_on_where_the_last_run_stopped(tmp_path: Path, few: None) -> None:
    together, steps = Told(), Told()
    tuned(tmp_path / "one", 9, together)
    tuned(tmp_path / "two", 3, steps)
    first = len(steps.asked)
    result = tuned(tmp_path / "two", 9, steps)
    assert result.trials == 12 and first < len(steps.asked)
    one, two = Records.open(tmp_path / "one"), Records.open(tmp_path / "two")
    assert one.trials == two.trials and all(len(t) == 9 for t in one.trials.values())


def test_the_same_seed_proposes_the_same_trials_and_another_seed_others(tmp_path: Path, few: None) -> None:
    held = {}
    for name, seed in (("first", 3), ("again", 3), ("other", 4)):
        # Beyond the first generation of 4, so that the cost model has learned.
        tuned(tmp_path / name, 9, Told(), seed=seed)
        held[name] = {k: list(v) for k, v in Records.open(tmp_path / name).trials.items()}
    assert held["first"] == held["again"]
    assert all(held["first"][k] != held["other"][k] for k in held["first"])


def test_kernels_that_take_longer_come_first_and_only_the_longest_where_asked(tmp_path: Path) -> None:
    order: list[str] = []

    class Listener(progress.TqdmListener):
        def start(self, task: str, total: int | None) -> Any:
            return task

        def advance(self, handle: Any, steps: int, note: str) -> None:
            if steps and handle == "tuning":
                order.append(note)

        def finish(self, handle: Any) -> None:
            pass

    with progress.listen(Listener()):
        result = gacer_tvm.tune(
            {"small": dense(4, 16, 16, 0), "large": dense(64, 256, 512, 1)},
            "cpu",
            tmp_path,
            3,
            rounds=1,
            search_seconds=0.5,
            cache=False,
            longest=1,
            measurer=Told(),
        )
    assert [n.split("/")[0] for n in order] == ["large"] * 3
    assert "after 3" in order[-1] and len(result.tasks) == 1


def test_an_interruption_keeps_what_was_measured(tmp_path: Path) -> None:
    started: list[int] = []

    class Interrupting(Told):
        def submit(self, module: Any, target: Any, arguments: list[Any], hopeless: Any = None) -> Any:
            # A trial says what is in flight; other timings do not.
            if (tmp_path / "in_flight.json").exists():
                started.append(1)
                if len(started) == 2:
                    os.kill(os.getpid(), signal.SIGINT)
            return super().submit(module, target, arguments)

    before = signal.getsignal(signal.SIGINT)
    result = tuned(tmp_path, 6, Interrupting())
    assert any("interrupted" in n for n in result.notes) and result.trials == 2
    assert signal.getsignal(signal.SIGINT) is before
    assert sum(len(t) for t in Records.open(tmp_path).trials.values()) == result.trials
    rest = tuned(tmp_path, 6, Told())
    assert rest.trials == 12 - result.trials and "nothing" not in " ".join(rest.notes)


def test_candidates_that_fail_are_recorded_as_failed(tmp_path: Path) -> None:
    result = tuned(tmp_path, 3, Told(lambda text: []))
    assert result.trials == 6
    held = Records.open(tmp_path)
    assert {tuple(s) for t in held.trials.values() for s in t.values()} == {(FAILED,)}
    assert all(held.best(k) is None for k in held.trials)
    _, library, _ = lower_tenants(tenants(), cache=False)
    assert DatabaseProvider(tmp_path)(library.request(0, 4).func, library.target) is None


def test_a_candidate_that_kills_the_process_is_not_tried_for_ever(tmp_path: Path) -> None:
    deadly: list[str] = []

    class Dying(Told):
        def submit(self, module: Any, target: Any, arguments: list[Any], hopeless: Any = None) -> Any:
            text = module["main"].script()
            # A trial says what is in flight; other timings do not.
            if not deadly and (tmp_path / "in_flight.json").exists():
                deadly.append(text)
            if text in deadly:
                raise SystemExit("as if the process had died")
            return super().submit(module, target, arguments)

    for _ in range(2):
        with pytest.raises(SystemExit):
            tuned(tmp_path, 3, Dying(), longest=1)
    assert tuned(tmp_path, 3, Dying(), longest=1).trials == 3
    (trials,) = Records.open(tmp_path).trials.values()
    assert list(trials.values()).count([FAILED]) == 1


def test_a_tuned_kernel_is_used_where_it_is_faster_and_not_where_it_is_slower(tmp_path: Path) -> None:
    default = {"slow": 1.0, "fast": 1e-9}
    for name, seconds in default.items():
        own = _defaults()

        def told(text: str, seconds: float = seconds, own: set[str] = own) -> list[float]:
            return [seconds] if text in own else of_text(text)

        tuned(tmp_path / name, 3, Told(told))
        for note in Records.open(tmp_path / name).kernels.values():
            assert note.default == seconds and note.tuned < 1e-5
    inputs = {n: {"x": np.random.default_rng(0).standard_normal(s, np.float32)} for n, s in _SHAPES.items()}
    outputs = {}
    for name in default:
        with gacer_tvm.build(
            tenants(), "cpu", "sequential", tuning_logs=[tmp_path / name], cache=tmp_path / "cache"
        ) as exe:
            made_by = {k.rule for k in exe.library.kernels().values()}
            assert made_by <= ({f"tuned: {name}", f"tuned tiling: {name}"} if name == "slow" else {"tiled"})
            outputs[name] = exe.run(inputs)
    for tenant, arrays in outputs["fast"].items():
        np.testing.assert_allclose(outputs["slow"][tenant][0], arrays[0], rtol=1e-5, atol=1e-5)


def test_chunks_of_tuned_kernels_are_their_rows(tmp_path: Path) -> None:
    model = {"a": dense(8, 32, 48, 0)}
    _, library, _ = lower_tenants(model, cache=False)
    part = library.request(0, 3)
    records = Records.open(tmp_path)
    run = KernelRun(
        Task(workload_key(part.func), "a", part.func, 1.0, 2),
        records,
        Told(),
        with_cores(library.target, 2),
        2,
        0,
        lambda: False,
    )
    run.generation(4, lambda *_: None)
    run.settle()
    run.note.default = None
    records.save_notes()
    _, library, _ = lower_tenants(model, tuning_logs=[tmp_path], cache=False)
    kernel, whole = library.get(0, 3), library.get(0, 8)
    assert kernel.rule.startswith("tuned") and whole.rule == "tiled"
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal([int(d) for d in p.ty.shape], np.float32) for p in library.request(0, 8).func.params]
    one, all_ = ([tvm.runtime.tensor(a) for a in arrays] for _ in range(2))
    kernel.call(*one, 4)
    whole.call(*all_)
    found = one[-1].numpy()
    np.testing.assert_allclose(found[4:7], all_[-1].numpy()[4:7], rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(np.delete(found, [4, 5, 6], 0), np.delete(arrays[-1], [4, 5, 6], 0))


def test_tilings_are_tried_first_and_the_rest_goes_to_the_kind_that_is_faster(tmp_path: Path, few: None) -> None:
    def told(text: str) -> list[float]:
        # Tilings keep their accumulators in a buffer of that name; MetaSchedule's kernels have none.
        return [s * (1 if "acc" in text else 3) for s in of_text(text)]

    tuned(tmp_path / "own", 24, Told(told), own=6)
    records = Records.open(tmp_path / "own")
    for key, note in records.kernels.items():
        assert (len(records.tilings.trials[key]), len(records.trials[key])) == (20, 4)
        assert note.tiling in records.tilings.trials[key] or not note.pays
    tuned(tmp_path / "sampled", 24, Told(lambda text: [2 * s for s in told(text)] if "acc" in text else of_text(text)), own=6)
    records = Records.open(tmp_path / "sampled")
    assert all(len(t) == 6 for t in records.tilings.trials.values()) and all(len(t) == 18 for t in records.trials.values())


def test_tilings_follow_the_best_and_go_on_where_they_stopped(tmp_path: Path, few: None) -> None:
    def told(text: str) -> list[float]:
        # A slope that leads to tasks on one core only.
        return [1e-6 * (1 + text.count("T.parallel")) + of_text(text)[0] * 1e-3]

    for name, steps in {"one": (40,), "two": (9, 23, 40)}.items():
        for trials in steps:
            tuned(tmp_path / name, trials, Told(told), own=40)
    one, two = Records.open(tmp_path / "one"), Records.open(tmp_path / "two")
    assert {k: list(t) for k, t in one.tilings.trials.items()} == {k: list(t) for k, t in two.tilings.trials.items()}
    for key, trials in one.tilings.trials.items():
        assert len(trials) == 40 and one.trials.get(key, {}) == {}
        first = _starts(key)
        assert list(trials)[: len(first)] == first
        found = [json.loads(t)["parallel"] for t in list(trials)[len(first) :]]
        assert found.count(False) > len(found) / 2


def test_a_kernel_far_from_its_default_is_left_alone_after_half_of_its_trials(
    tmp_path: Path, few: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.import_module("gacer_tvm.tune.records"), "_FAIR", 4)
    own = _defaults()
    measurer = Told(lambda text: [1e-7] if text in own else of_text(text))
    result = tuned(tmp_path, 12, measurer)
    assert list(result.tasks.values()) == [6, 6] or max(result.tasks.values()) == 8
    asked = len(measurer.asked)
    assert tuned(tmp_path, 12, measurer).trials == 0 and len(measurer.asked) == asked
    # Who asks for more gets more.
    assert tuned(tmp_path, 24, measurer).trials > 0


def test_the_chunk_sizes_of_the_search_are_tuned_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module("gacer_tvm.tune.tune")

    def search(graph: Any, device: Any, cost: Any, **given: Any) -> Any:
        base = make.sequential(graph, device.name)
        first = msgspec.structs.replace(base.tenants[0], splits={0: (1, 3)})
        return SimpleNamespace(best=base.replace(tenants=(first, *base.tenants[1:])))

    monkeypatch.setattr(module, "search", search)
    result = tuned(tmp_path, 2, Told())
    assert any("[1 of 4]" in n for n in result.tasks) and any("[3 of 4]" in n for n in result.tasks)


def test_what_cannot_be_tuned_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="name a tracker"):
        gacer_tvm.tune(tenants(), "sm_90", tmp_path, 3)
    with pytest.raises(GraphError, match="at least one trial"):
        gacer_tvm.tune(tenants(), "cpu", tmp_path, 0)
    with pytest.raises(DeviceError, match="HOST:PORT"):
        gacer_tvm.tune(tenants(), "cpu", tmp_path, 3, tracker="nowhere")


def _starts(key: str) -> list[str]:
    """The tilings that the estimate ranks first, of the tenants' kernel with that key."""
    graph, library, device = lower_tenants(tenants(), cache=False)
    funcs = {workload_key(f): f for f in (library.request(op.index, 4).func for op in graph.operators)}
    return rules.tilings(funcs[key], library.target, device.units)


def _defaults() -> set[str]:
    """The text of every kernel that the default rules make."""
    graph, library, device = lower_tenants(tenants(), cache=False)
    made = [
        rules.schedule(library.request(op.index, 4).func, library.target, device.units).func for op in graph.operators
    ]
    return {workload_module(func)["main"].script() for func in made}


_SHAPES = {"a": (4, 32), "b": (4, 24), "twin of a": (4, 32)}
