"""Rows measured while cores lay far from each other are left out, counted, and measured once more."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from gacer_tvm.cost.near import best_rate, near_only, rates_of
from gacer_tvm.cost.rows import Alone, Data, Group, Noise, read_rows
from gacer_tvm.cost.train import of_device, train

from . import made


def noise(*rates: float) -> list[Noise]:
    return [Noise("s1", made.spread(1e-4), 0.1, float(n), rate) for n, rate in enumerate(rates)]


def with_rates(rows: list[object], near: float, far: float) -> list[object]:
    """The rows, every third of them far, and twice as long as it should be."""
    found: list[object] = []
    for n, row in enumerate(rows):
        if isinstance(row, Alone | Group):
            longer = tuple(2 * s for s in row.s) if n % 3 == 0 else row.s
            row = msgspec.structs.replace(row, e=far if n % 3 == 0 else near, s=longer)
        found.append(row)
    return found


@pytest.mark.parametrize(("rate", "kept"), [(0.0, True), (70.0, True), (40.0, True), (25.0, False)])
def test_a_row_counts_by_its_rate_and_the_best(rate: float, kept: bool) -> None:
    row = Alone("s1", "k", 1, 2, made.spread(1e-4), 5, 100.0, e=rate)
    data = Data(alone=[row], noise=noise(30.0, *[70.0] * 20, 280.0))
    assert best_rate(rates_of(data)) == 70.0
    left, out = near_only(data)
    assert (left.alone == [row]) == kept and out == (not kept)


def test_without_rates_all_rows_count() -> None:
    rows = [Alone("s1", "k", 1, 2, made.spread(1e-4), 5, 100.0)]
    assert near_only(Data(alone=rows)) == (Data(alone=rows), 0)


def test_a_model_is_not_taught_by_far_rows(tmp_path: Path) -> None:
    rows = with_rates(made.rows(groups=90), 70.0, 25.0)
    mixed = made.write(tmp_path / "mixed.jsonl", [*rows, *noise(*[70.0] * 20)])
    near = made.write(
        tmp_path / "near.jsonl",
        [*(r for r in rows if not (isinstance(r, Alone | Group) and r.e == 25.0)), *noise(*[70.0] * 20)],
    )
    a, b = train(mixed, rounds=60), train(near, rounds=60)
    far = len(read_rows(mixed).alone) + len(read_rows(mixed).groups) - len(read_rows(near).alone) - len(read_rows(near).groups)
    assert a.card.far == far > 0 and b.card.far == 0
    assert f"{far} measurements left out" in a.card.as_text()
    assert a.card.scores == b.card.scores
    assert read_rows(near).alone == near_only(read_rows(mixed))[0].alone


def test_the_rows_of_a_device_are_those_measured_near(tmp_path: Path) -> None:
    rows = with_rates(made.rows(), 70.0, 25.0)
    everything = read_rows(made.write(tmp_path / "a.jsonl", [*rows, *noise(*[70.0] * 20)]))
    mine, _ = of_device(everything, made.DEVICE.name)
    assert {r.e for r in (*mine.alone, *mine.groups)} == {70.0}
    assert mine.far == len(everything.alone) + len(everything.groups) - len(mine.alone) - len(mine.groups) > 0
