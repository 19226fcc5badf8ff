"""Profiling: a real profile of two tiny models on this CPU; never measured twice, resumed, interrupted, refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gacer_tvm import progress
from gacer_tvm.cost import Device
from gacer_tvm.cost.facts import graph_facts
from gacer_tvm.cost.rows import LEARNED, Alone, Kernel, Writer, computation, kernel_key, read_rows
from gacer_tvm.errors import DeviceError, GraphError
from gacer_tvm.executable.build import lower_tenants
from gacer_tvm.profile import collect
from gacer_tvm.profile.alone import AloneTurns
from gacer_tvm.profile.kernels import Kernels
from gacer_tvm.profile.rounds import Rounds
from gacer_tvm.profile.setting import Setting
from gacer_tvm.profile.steady import Steady

from ..models import branches
from .conftest import Lowered

QUICK: dict[str, Any] = {"most_alone": 1000, "most_groups": 6, "repeats": 2, "patience": 0.0}


def legal(lowered: Lowered) -> set[tuple[str, int, int]]:
    """(key, items, cores) of everything that can be measured alone."""
    graph, library, device = lowered
    found = set()
    for o in graph.operators:
        batch = graph.tenants[o.tenant].batch
        for items in range(1, batch + 1) if o.chunking.divisible else [batch]:
            found |= {(kernel_key(library, o.index, batch), items, cores) for cores in {1, device.units}}
    return found


def measured(rows: Iterable[Alone]) -> Counter[tuple[str, int, int]]:
    return Counter((r.k, r.i, r.c) for r in rows if not r.again)


def test_every_kernel_is_measured_at_every_size_and_budget_and_never_twice(lowered: Lowered, tmp_path: Path) -> None:
    graph, library, device = lowered
    first = collect(graph, library, device, tmp_path, **QUICK)
    data = read_rows(tmp_path)
    assert first.stopped_by == "finished" and first.failures == 0
    assert not data.skipped and data.devices() == (device.name,) and data.noise
    wanted = legal(lowered)
    assert {at for at in measured(data.alone) if at[2] in (1, device.units)} == wanted
    assert set(measured(data.alone).values()) == {1} and first.alone == len(measured(data.alone)) >= len(wanted)
    assert first.groups == len([r for r in data.groups if not r.again]) == 6
    assert {m for owners in data.owners.values() for m in owners} == {"net", "other"}
    facts = graph_facts(graph, library.counts)
    assert all(f in facts and f.counted for f in data.kernels.values())
    before = (tmp_path / "profile.jsonl").read_text()
    second = collect(graph, library, device, tmp_path, **QUICK)
    added = (tmp_path / "profile.jsonl").read_text()[len(before) :].splitlines()
    assert (second.alone, second.groups, second.known) == (0, 0, first.alone + first.groups)
    assert len(added) == 1 and '"t":"session"' in added[0]


def test_rows_tell_the_set_the_round_and_how_often(lowered: Lowered, tmp_path: Path) -> None:
    graph, library, device = lowered
    collect(graph, library, device, tmp_path, models=["a", "b"], most_alone=30, most_groups=14, repeats=5, patience=0.0)
    data = read_rows(tmp_path)
    assert {r.set for r in (*data.alone, *data.groups)} == {"a+b"}
    # How far away a kernel's data are follows from the set, whatever was timed.
    away = {(r.k, r.w, r.a) for r in data.alone}
    assert len(away) == len({k for k, _, _ in away}) and any(w > 0 for _, w, _ in away) and any(a > 0 for _, _, a in away)
    assert all(r.n >= 5 for r in (*data.alone, *data.groups))
    # Each is timed twice, the second time when all were timed once.
    order = [r.again for r in data.alone]
    assert order == sorted(order)
    assert Counter((r.k, r.i, r.c) for r in data.alone if r.again) == measured(data.alone)
    named = {r.d for r in data.groups if not r.again}
    assert len(named) == 14 and {r.d for r in data.groups if r.again} <= named


def test_a_group_lasts_as_long_as_its_longest_stream(lowered: Lowered, tmp_path: Path) -> None:
    graph, library, device = lowered
    collect(graph, library, device, tmp_path, **QUICK)
    data = read_rows(tmp_path)
    whose: dict[str, set[int]] = {}
    for o in graph.operators:
        whose.setdefault(kernel_key(library, o.index, graph.tenants[o.tenant].batch), set()).add(o.tenant)
    for group in data.groups:
        assert len(group.g) == 2
        # A quantile of the longest is never below the same quantile of any.
        assert group.s[LEARNED] >= max(stream.company for stream in group.g)
        assert sorted(group.s) == list(group.s)
        owners = [set.intersection(*(whose[run.k] for run in stream.runs)) for stream in group.g]
        assert owners == [{0}, {1}]
        assert all(1 <= stream.c <= device.units for stream in group.g)
        for stream in group.g:
            assert len({(run.k, run.i) for run in stream.runs}) == len(stream.runs)
            assert all(run.i <= 3 and run.times >= 1 for run in stream.runs)


class Stop:
    """Interrupts at a step of a task whose name begins so: the first, or the one after `after` steps."""

    def __init__(self, task: str, after: int = 0) -> None:
        self.task, self.left = task, after

    def start(self, task: str, total: int | None) -> str:
        return task

    def advance(self, handle: str, steps: int, note: str) -> None:
        if handle.startswith(self.task):
            if self.left <= 0:
                raise KeyboardInterrupt
            self.left -= steps

    def finish(self, handle: str) -> None:
        return None


@pytest.mark.parametrize("where", ["kernels alone", "groups"])
def test_what_was_interrupted_is_continued(lowered: Lowered, tmp_path: Path, where: str) -> None:
    graph, library, device = lowered
    with progress.listen(Stop(where)):
        cut = collect(graph, library, device, tmp_path, **QUICK)
    held = read_rows(tmp_path)
    assert cut.stopped_by == "interrupted" and cut.alone == len(measured(held.alone)) > 0
    assert cut.groups == len(held.groups) and (0 < cut.groups < 6 if where == "groups" else cut.groups == 0)
    rest = collect(graph, library, device, tmp_path, **QUICK)
    assert rest.stopped_by == "finished" and rest.known == cut.alone + cut.groups
    assert cut.groups + rest.groups == 6
    data = read_rows(tmp_path)
    assert legal(lowered) <= set(measured(data.alone)) and set(measured(data.alone).values()) == {1}
    assert Counter((r.k, r.i, r.c) for r in data.alone if r.again) == measured(data.alone)
    assert set(Counter(r.d for r in data.groups if not r.again).values()) == {1}


def test_the_second_timings_are_continued_too_and_change_no_group(lowered: Lowered, tmp_path: Path) -> None:
    graph, library, device = lowered
    whole = len(legal(lowered))
    with progress.listen(Stop("kernels alone", after=whole)):
        cut = collect(graph, library, device, tmp_path, **QUICK)
    assert cut.stopped_by == "interrupted" and cut.alone >= whole and cut.groups == 0
    rest = collect(graph, library, device, tmp_path, **QUICK)
    assert (rest.alone, rest.known) == (0, cut.alone) and cut.again + rest.again == cut.alone
    data = read_rows(tmp_path)
    assert Counter((r.k, r.i, r.c) for r in data.alone if r.again) == measured(data.alone)
    assert f"{rest.again} kernels timed a second time" in rest.as_text()
    # The first timings draw the groups, whichever session asks.
    alone = kernels_alone(lowered, tmp_path)
    assert alone.measured == {(r.k, r.i, r.c): r.s[LEARNED] for r in data.alone if not r.again}
    assert alone.total(1000) == alone.total(5) == 0


def test_second_timings_keep_to_the_limit(lowered: Lowered, tmp_path: Path) -> None:
    graph, library, device = lowered
    few = collect(graph, library, device, tmp_path, most_alone=7, most_groups=0, repeats=1, patience=0.0)
    assert (few.alone, few.again) == (7, 7)
    alone = kernels_alone(lowered, tmp_path)
    assert (alone.total(0), alone.total(7), alone.total(9)) == (0, 0, 4)
    none = collect(graph, library, device, tmp_path, most_alone=0, most_groups=0, repeats=1, patience=0.0)
    assert (none.alone, none.again) == (0, 0)


def test_rows_of_other_keys_do_not_stand_for_kernels_of_the_set(lowered: Lowered, tmp_path: Path) -> None:
    graph, library, device = lowered
    collect(graph, library, device, tmp_path, **QUICK)
    path = tmp_path / "profile.jsonl"
    renamed = path.read_text()
    for key in read_rows(tmp_path).kernels:
        renamed = renamed.replace(key, computation(key))
    path.write_text(renamed)
    found = collect(graph, library, device, tmp_path, most_alone=5, most_groups=0, repeats=1, patience=0.0)
    assert (found.alone, found.again) == (5, 5)


def kernels_alone(lowered: Lowered, folder: Path) -> AloneTurns:
    """What a session that goes on knows of kernels alone."""
    graph, library, device = lowered
    known = read_rows(folder)
    with Writer(folder / "profile.jsonl") as writer:
        kernels = Kernels(graph, library, ["net", "other"], writer, "s", known)
        rounds = Rounds(graph, library, device)
        return AloneTurns(Setting(kernels, rounds, device, "net+other", known, 2, lambda: 0.0, Steady(lambda: 0.0)))


def test_more_can_be_asked_for_later(lowered: Lowered, tmp_path: Path) -> None:
    graph, library, device = lowered
    few = collect(graph, library, device, tmp_path, most_alone=7, most_groups=2, repeats=1, patience=0.0)
    assert (few.alone, few.groups) == (7, 2)
    more = collect(graph, library, device, tmp_path, most_alone=20, most_groups=3, repeats=1, patience=0.0)
    assert (more.alone, more.groups, more.known) == (13, 1, 9)
    assert set(measured(read_rows(tmp_path).alone).values()) == {1}


def test_no_time_measures_nothing(lowered: Lowered, tmp_path: Path) -> None:
    graph, library, device = lowered
    result = collect(graph, library, device, tmp_path, seconds=0.0, **QUICK)
    assert result.alone == result.groups == 0 and "up" in result.stopped_by
    assert not read_rows(tmp_path).alone


def test_a_single_tenant_has_no_groups(tmp_path: Path) -> None:
    graph, library, device = lower_tenants({"only": branches(batch=2)}, "cpu", cache=tmp_path / "kernels")
    result = collect(graph, library, device, tmp_path / "data", **QUICK)
    assert result.stopped_by == "finished" and result.alone > 0 and result.groups == 0


def test_a_gpu_is_refused(lowered: Lowered, tmp_path: Path) -> None:
    graph, library, _ = lowered
    with pytest.raises(DeviceError, match="nvidia-h200"):
        collect(graph, library, Device.named("nvidia-h200"), tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_chunk_that_does_not_compile_is_told_once_and_costs_no_other(
    lowered: Lowered, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph, library, device = lowered
    ensure = library.ensure

    def refusing(wanted: Iterable[tuple[int, ...]]) -> int:
        chunks = list(wanted)
        if any(chunk[:2] == (0, 1) for chunk in chunks):
            raise GraphError("no such kernel")
        return ensure(chunks)

    monkeypatch.setattr(library, "ensure", refusing)
    key = kernel_key(library, 0, 3)
    result = collect(graph, library, device, tmp_path, **QUICK)
    data = read_rows(tmp_path)
    assert result.failures == 1 and [(f.k, f.i, f.why) for f in data.failures] == [(key, 1, "no such kernel")]
    # Chunks of two leave a rest of one item: no schedule has them.
    assert legal(lowered) - set(measured(data.alone)) == {(key, i, c) for i in (1, 2) for c in {1, device.units}}
    assert not any(run.k == key and run.i < 3 for g in data.groups for s in g.g for run in s.runs)
    before = (tmp_path / "profile.jsonl").read_text()
    again = collect(graph, library, device, tmp_path, **QUICK)
    assert (again.alone, again.groups, again.failures) == (0, 0, 0)
    assert len((tmp_path / "profile.jsonl").read_text()[len(before) :].splitlines()) == 1


def test_facts_that_an_earlier_version_wrote_are_written_anew(lowered: Lowered, tmp_path: Path) -> None:
    graph, library, device = lowered
    collect(graph, library, device, tmp_path, **QUICK)
    path, right = tmp_path / "profile.jsonl", read_rows(tmp_path).kernels
    with Writer(path) as writer:
        for key, facts in right.items():
            writer.write(Kernel(key, "net", msgspec.structs.replace(facts, counted=0, steps=0.0)))
    assert read_rows(tmp_path).kernels != right
    again = collect(graph, library, device, tmp_path, **QUICK)
    assert (again.alone, again.groups) == (0, 0) and read_rows(tmp_path).kernels == right
    size = path.stat().st_size
    collect(graph, library, device, tmp_path, **QUICK)
    assert b'"t":"k"' not in path.read_bytes()[size:]
