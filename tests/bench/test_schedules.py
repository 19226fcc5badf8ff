"""The committed schedules and the code that makes their index."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import numpy as np
import pytest

from gacer_tvm.bench import schedules, schedules_measured
from gacer_tvm.cost import AnalyticPrior, Device
from gacer_tvm.graph.synthetic import random_graph
from gacer_tvm.plan import lower
from gacer_tvm.schedule import Schedule, make
from gacer_tvm.sim import simulate

FOLDER = Path(__file__).resolve().parents[2] / "schedules"
FILES = sorted(p for p in FOLDER.glob("*/*.json") if p.name != "measured.json")


def test_every_committed_schedule_reads_and_is_in_the_index() -> None:
    index = (FOLDER / "README.md").read_text()
    assert {p.parent.name for p in FILES} > set(Device.names())
    for path in FILES:
        schedule = Schedule.load(path)
        assert schedule.device == path.parent.name
        models = path.stem.removesuffix("-64").split("+")
        assert tuple(t.name for t in schedule.tenants) == tuple(models)
        if "-64" not in path.stem:
            assert f"({path.parent.name}/{path.name})" in index


def test_each_part_of_the_search_pays_in_the_committed_table() -> None:
    """both >= spatial, both >= temporal, both >= the better plain way, on every device; small gains are explained."""
    text = (FOLDER / "README.md").read_text().partition(schedules.MEASURED)[0]
    rows = re.findall(r"^\| \[([\w+]+)\]\([^)]*\) \|(.*)\|$", text, re.M)
    assert len(rows) == len(schedules.SETS) * (text.count("\n## "))
    small = 0
    for _, cells in rows:
        values = [cell.strip() for cell in cells.split("|")]
        sequential, parallel, spatial, temporal, both, beyond, bound = map(float, values[:7])
        assert both <= min(spatial, temporal, sequential, parallel)
        assert bound <= beyond <= both
        gain = 1 - beyond / min(sequential, parallel)
        assert float(values[7].rstrip("%")) == pytest.approx(100 * gain, abs=0.06)
        small += gain < 0.01
    assert text.count("no schedule can gain more than that") == small


def test_the_measured_section_says_what_the_data_say() -> None:
    (data,) = FOLDER.glob("*/measured.json")
    sets = msgspec.json.decode(data.read_bytes(), type=list[schedules_measured.MeasuredSet])
    assert [s.models for s in sets] == list(schedules.SETS)
    section = schedules_measured.as_markdown(sets)
    index = (FOLDER / "README.md").read_text()
    assert schedules_measured.with_section(index, section) == index
    assert schedules.measured_section(index).lstrip("\n") == section
    for each in sets:
        plain = min(each.ways["sequential"].median, each.ways["parallel"].median)
        assert each.ways["gacer"].median <= 1.02 * plain, each.models


def test_time_lines_are_compared_by_the_ends_of_kernels() -> None:
    graph, device = random_graph(3, tenants=2, operators=5), Device.named("nvidia-titan-v")
    plan = lower(make.random(graph, device.name, 1), graph, device=device.name)
    line = simulate(plan.schedule, graph, device, AnalyticPrior())
    ends = {(int(o), int(f)): e for o, f, e in zip(line.operator, line.first_item, line.end, strict=True)}
    spans = np.array([(0.0, ends[launch.operator, launch.first]) for launch in plan.launches])
    makespan, difference = schedules_measured.timeline_difference(plan, graph, device, AnalyticPrior(), spans)
    assert makespan == line.makespan and difference == 0.0
    late = spans + np.array([0.0, 0.5 * line.makespan])
    _, difference = schedules_measured.timeline_difference(plan, graph, device, AnalyticPrior(), late)
    assert difference == pytest.approx(0.5 / 1.5)
