"""Schedules on disk: round trips, one reviewed file, and refusals that name the field."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gacer_tvm.errors import ScheduleError
from gacer_tvm.graph.synthetic import random_graph
from gacer_tvm.schedule import (
    Provenance,
    Schedule,
    Stream,
    TenantSchedule,
    Wait,
    from_json,
    make,
    to_json,
)

GOLDEN = Path(__file__).parent / "golden" / "schedule.json"

SCHEDULE = Schedule(
    graph="0123456789abcdef",
    device="nvidia-h200",
    tenants=(
        TenantSchedule(
            name="détecteur",
            stream=0,
            pointers=(2, 5),
            splits={1: (5, 3), 4: (2, 2, 4)},
            placement={1: (0, 2)},
        ),
        TenantSchedule(name="classifier", stream=1, pointers=(0, 40)),
    ),
    streams=(Stream(), Stream(priority=1), Stream(cores=(1, 2, 1))),
    order=tuple((n % 2, n + 1) for n in range(24)),
    waits=(Wait((0, 1), (1, 3)),),
    provenance=Provenance(
        strategy="evolve", cost_model="prior", predicted_seconds=0.00125, bound_seconds=0.001, seed=7
    ),
)


def test_the_golden_file_is_read_and_written_as_it_stands():
    text = GOLDEN.read_text(encoding="utf-8")
    assert from_json(text) == SCHEDULE
    assert to_json(SCHEDULE) == text


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_round_trip(seed, number):
    graph = random_graph(seed, tenants=1 + seed % 3, operators=1 + seed % 40, batch=1 + seed % 9)
    schedule = make.random(graph, "cpu-2x-avx512", number, cores=2)
    text = to_json(schedule)
    assert from_json(text) == schedule
    assert from_json(text.encode()) == schedule
    # It is JSON for everybody else too, in lines that can be reviewed.
    assert json.loads(text)["graph"] == graph.fingerprint
    assert max(len(line) for line in text.splitlines()) <= 112


def test_save_and_load(tmp_path):
    path = SCHEDULE.save(tmp_path / "schedules" / "h200" / "det+cls.json")
    assert Schedule.load(path) == SCHEDULE
    assert Schedule.load(str(path)) == SCHEDULE
    SCHEDULE.replace(device="other").save(path)
    assert Schedule.load(path).device == "other"
    assert [p.name for p in path.parent.iterdir()] == ["det+cls.json"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d.update(colour=1), ["unknown field `colour`"]),
        (lambda d: d["tenants"][1].update(pointer=[1]), ["unknown field `pointer`", "$.tenants[1]"]),
        (lambda d: d["streams"][2].update(sms=8), ["unknown field `sms`", "$.streams[2]"]),
        (lambda d: d["provenance"].update(who="me"), ["unknown field `who`", "$.provenance"]),
        (lambda d: d.pop("order"), ["missing required field `order`"]),
        (
            lambda d: d["tenants"][0].update(splits={"1": [5, "3"]}),
            ["`int`, got `str`", "$.tenants[0].splits[...][1]"],
        ),
        (lambda d: d["tenants"][0].update(splits={"x": [8]}), ["$.tenants[0].splits"]),
        (lambda d: d["order"].append([0, 1, 2]), ["length 2", "$.order[24]"]),
        (lambda d: d["waits"][0].update(before=[1.5, 0]), ["`int`, got `float`", "$.waits[0].before[0]"]),
        (lambda d: d.update(format=2), ["$.format", "found 2, expected 1", "search()"]),
    ],
)
def test_fields_that_do_not_fit_are_refused_by_path(tmp_path, change, words):
    data = json.loads(to_json(SCHEDULE))
    change(data)
    path = tmp_path / "bad.json"
    path.write_text(json.dumps(data))
    with pytest.raises(ScheduleError) as caught:
        Schedule.load(path)
    for word in [str(path), *words]:
        assert word in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[1, 2]", "null", '"schedule"', "\x00\xff"])
def test_what_is_no_schedule_is_refused(tmp_path, text):
    path = tmp_path / "bad.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ScheduleError, match=r"bad\.json: .*expected"):
        Schedule.load(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ScheduleError, match=r"nothing\.json: cannot read the schedule: No such file"):
        Schedule.load(tmp_path / "nothing.json")


def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "schedule.json"
    SCHEDULE.save(path)
    old = path.read_bytes()

    def full(_fd):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(
        ScheduleError, match=r"schedule\.json: cannot write the schedule: No space left on device"
    ):
        SCHEDULE.replace(device="other").save(path)
    assert path.read_bytes() == old
    assert [p.name for p in tmp_path.iterdir()] == ["schedule.json"]


def test_a_folder_in_the_way_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ScheduleError, match="cannot write the schedule"):
        SCHEDULE.save(tmp_path / "file" / "schedule.json")
