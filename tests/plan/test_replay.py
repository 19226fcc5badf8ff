"""Plans that pass the checker, replayed on real threads: nothing waits forever, nothing runs too early."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given, settings

from gacer_tvm.plan import check_plan
from gacer_tvm.runtime import NullRuntime
from gacer_tvm.runtime.streams import ThreadStreams

from .cases import plans
from .reference import happens_before

_PATIENCE_S = 20.0


def in_time(action) -> None:
    """Run `action` on a thread of its own; fail if it does not end."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            action()
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(_PATIENCE_S)
    assert not thread.is_alive(), "deadlock: the round did not end"
    if failures:
        raise failures[0]


@settings(max_examples=80, deadline=None)
@given(plans(operators=10))
def test_checked_plans_never_deadlock_and_keep_their_order(case):
    graph, _, plan = case
    check_plan(plan, graph)
    before = happens_before(plan)
    runtime = NullRuntime(plan)
    try:
        for _ in range(3):
            in_time(runtime.round)
            order = [index for index, _ in runtime.record.launches]
            assert sorted(order) == list(range(len(plan.launches)))
            rank = {index: n for n, index in enumerate(order)}
            assert all(rank[a] < rank[b] for b in rank for a in before[b])
            assert all(plan.launches[i].stream == stream for i, stream in runtime.record.launches)
    finally:
        runtime.close()


@settings(max_examples=40, deadline=None)
@given(plans(operators=6))
def test_a_failing_kernel_ends_its_round_and_the_next_one_works(case):
    """Whichever launch fails: its error arrives, no thread stays behind, and the streams can be used again."""
    _, _, plan = case
    failing = {"at": -1}
    done: list[int] = []

    def kernel(index: int) -> None:
        if index == failing["at"]:
            raise ValueError(f"launch {index}")
        done.append(index)

    streams = ThreadStreams(plan, [(kernel, (launch.index,)) for launch in plan.launches])
    try:
        for index in range(len(plan.launches)):
            failing["at"] = index
            with pytest.raises(ValueError, match=f"launch {index}$"):
                in_time(streams.round)
            failing["at"] = -1
            done.clear()
            in_time(streams.round)
            before = happens_before(plan)
            assert sorted(done) == list(range(len(plan.launches)))
            rank = {n: k for k, n in enumerate(done)}
            assert all(rank[a] < rank[b] for b in rank for a in before[b])
    finally:
        streams.close()
