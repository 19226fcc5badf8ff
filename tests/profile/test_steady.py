"""Cores that a host moves apart and back: what is measured meanwhile is not kept, as far as patience goes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from gacer_tvm.kernels.target import make_target
from gacer_tvm.profile.exchange import Exchange
from gacer_tvm.profile.steady import Steady
from gacer_tvm.runtime import usable_cores

NEAR, FAR = 70.0, 25.0


class Machine:
    """A clock that only measuring and sleeping move, and the rates of the exchange from then to then."""

    def __init__(self, far: Sequence[tuple[float, float]]) -> None:
        self.now, self.far = 0.0, far

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def rate(self) -> float:
        return FAR if any(begin <= self.now < end for begin, end in self.far) else NEAR

    def measure(self) -> tuple[float, float]:
        began = self.now
        self.now += 2.0
        return began, self.now

    def steady(self, known: Sequence[float] = (NEAR,) * 50, patience: float = 100.0) -> Steady:
        return Steady(self.rate, known, patience, self.clock, self.sleep)


def test_a_machine_whose_cores_stay_is_measured_at_once() -> None:
    machine = Machine([])
    steady = machine.steady()
    assert steady(machine.measure) == ((0.0, 2.0), NEAR)
    assert steady.lost == 0.0


@pytest.mark.parametrize("far", [(0.0, 30.0), (1.0, 30.0), (1.9, 7.5)])
def test_what_met_a_move_is_measured_once_more_when_the_cores_are_back(far: tuple[float, float]) -> None:
    machine = Machine([far])
    steady = machine.steady()
    (began, ended), rate = steady(machine.measure)
    assert rate == NEAR and began >= far[1] and ended == machine.now
    # All that passed before, waiting and measuring in vain, was lost.
    assert steady.lost == began


def test_patience_ends_and_the_rate_tells() -> None:
    machine = Machine([(0.0, 1e9)])
    steady = machine.steady(patience=10.0)
    _, rate = steady(machine.measure)
    assert rate == FAR and 10.0 <= steady.lost <= 13.0
    lost = steady.lost
    # No more of it for what comes after.
    _, rate = steady(machine.measure)
    assert rate == FAR and steady.lost == lost


def test_a_machine_that_was_never_seen_better_does_not_wait() -> None:
    machine = Machine([(0.0, 1e9)])
    steady = machine.steady(known=())
    assert steady(machine.measure) == ((0.0, 2.0), FAR) and steady.lost == 0.0


def test_one_lucky_rate_does_not_make_others_far() -> None:
    machine = Machine([])
    steady = machine.steady(known=(*[NEAR] * 20, 4 * NEAR))
    assert steady(machine.measure) == ((0.0, 2.0), NEAR)


def test_a_rate_of_nothing_is_no_reason_to_wait() -> None:
    machine = Machine([])
    steady = Steady(lambda: 0.0, [NEAR], 10.0, machine.clock, machine.sleep)
    assert steady(machine.measure) == ((0.0, 2.0), 0.0)


@pytest.fixture(scope="module")
def exchange() -> Iterator[Exchange]:
    yield Exchange(make_target("llvm"), 2)


@pytest.mark.skipif(usable_cores() < 2, reason="one core exchanges nothing")
def test_each_core_reads_what_the_other_wrote(exchange: Exchange) -> None:
    rate = exchange.rate(5)
    # Between a network's and a register's.
    assert 1e8 < rate < 1e13
    blocks, sums = exchange._blocks.numpy(), exchange._sums.numpy()
    assert blocks[0].sum() != blocks[1].sum()
    assert sums.tolist() == [blocks[1, :, 0].sum(), blocks[0, :, 0].sum()]


def test_one_core_exchanges_nothing() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        Exchange(make_target("llvm"), 1)
