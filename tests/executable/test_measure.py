"""Ways timed in turn: as many timings of each, and none right after another way's call."""

from __future__ import annotations

import pytest

from gacer_tvm.executable import measure
from gacer_tvm.executable.measure import interleave


def test_a_call_that_is_timed_follows_one_of_the_same_side(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "_SETTLED", 0.0)
    calls: list[str] = []
    sides = {name: lambda name=name: calls.append(name) for name in ("a", "b", "c")}
    timed = interleave(sides, repeats=4, warmup=1)
    assert [len(q.seconds) for q in timed.values()] == [4, 4, 4]
    # The order turns round: nobody always runs behind the same one.
    there, back = list("aabbcc"), list("ccbbaa")
    assert calls == ["a", "b", "c", *there, *back, *there, *back]


def test_untimed_calls_fill_the_time_that_threads_of_another_side_spin(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(measure, "_SETTLED", 0.010)
    monkeypatch.setattr(measure.time, "perf_counter", lambda: clock[0])
    taken: list[float] = []

    def side() -> None:
        clock[0] += 0.003
        taken.append(clock[0])

    timed = interleave({"only": side}, repeats=2, warmup=0)["only"]
    # Four calls of 3 ms until 10 ms are over, then the one that counts.
    assert len(taken) == 10 and timed.seconds == pytest.approx((0.003, 0.003))
