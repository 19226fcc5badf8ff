"""What is measured first: strata take turns, sizes far from each other come early, budgets are shares of the cores."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gacer_tvm.errors import TenantError
from gacer_tvm.profile import SUITE, suite_tenants
from gacer_tvm.profile.select import budgets, in_turn, sizes_in_turn


def test_strata_take_turns() -> None:
    items = [("a", n) for n in range(50)] + [("b", 0), ("c", 0)]
    order = in_turn(items, lambda item: item[0])
    assert {kind for kind, _ in order[:3]} == {"a", "b", "c"} and sorted(order) == sorted(items)
    assert order == in_turn(items, lambda item: item[0])


@given(st.lists(st.tuples(st.integers(0, 4), st.integers()), unique=True), st.integers(0, 99))
def test_no_stratum_is_a_turn_ahead_of_one_with_items_left(items: list[tuple[int, int]], seed: int) -> None:
    order = in_turn(items, lambda item: item[0], seed)
    assert sorted(order) == sorted(items)
    left = {kind: sum(k == kind for k, _ in items) for kind, _ in items}
    taken = dict.fromkeys(left, 0)
    for kind, _ in order:
        taken[kind] += 1
        assert all(taken[kind] <= taken[other] + 1 for other in left if taken[other] < left[other])


@given(st.integers(1, 70))
def test_sizes_are_all_of_them_the_whole_one_first(batch: int) -> None:
    sizes = sizes_in_turn(batch)
    assert sizes[0] == batch and sorted(sizes) == list(range(1, batch + 1))
    # The smallest is farthest from the whole one.
    assert batch == 1 or sizes[1] == 1


@given(st.integers(2, 70), st.data())
def test_early_sizes_lie_far_from_each_other(batch: int, data: st.DataObject) -> None:
    sizes = sizes_in_turn(batch)
    first = sizes[: data.draw(st.integers(1, batch))]
    # Sizes apart by a factor f each leave room for no more than log(batch) / log(f) + 1 of them.
    room = batch ** (1 / len(first)) * (1 + 1e-9)
    assert all(min(max(s, f) / min(s, f) for f in first) <= room for s in sizes)


@given(st.integers(1, 64), st.integers(2, 6))
def test_budgets_are_even_uneven_and_everything_for_all(cores: int, streams: int) -> None:
    found = budgets(cores, streams)
    assert len(found) == len(set(found))
    assert all(len(b) == streams and all(1 <= c <= cores for c in b) for b in found)
    assert (cores,) * streams in found
    assert any(len(set(b)) == 1 and (sum(b) <= cores or cores < streams) for b in found)
    if cores >= streams:
        assert any(sum(b) == cores and b.count(1) >= streams - 1 for b in found)


def test_the_suite_has_twelve_architectures_and_refuses_other_names() -> None:
    published = {name for members in SUITE.values() for name, _, _ in members if not name.startswith("drawn")}
    assert len(published) >= 12
    with pytest.raises(TenantError, match="'z'"):
        suite_tenants("z")


def test_no_network_stands_in_two_sets_of_the_suite_in_the_same_size() -> None:
    members = [spec for specs in SUITE.values() for spec in specs]
    assert len(members) == len(set(members))
