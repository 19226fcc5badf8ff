"""Legality against its definition, and messages that name the tenant and the operator."""

from __future__ import annotations

import re

import msgspec
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from gacer_tvm.errors import ScheduleError
from gacer_tvm.graph.synthetic import Layer, make_graph, random_graph
from gacer_tvm.schedule import Schedule, Stream, Wait, check, make

from .reference import is_legal


def accepted(schedule, graph) -> bool:
    try:
        check(schedule, graph)
    except ScheduleError:
        return False
    return True


@st.composite
def graphs(draw):
    return random_graph(
        draw(st.integers(0, 10**6)),
        tenants=draw(st.integers(1, 3)),
        operators=draw(st.integers(1, 6)),
        batch=draw(st.integers(1, 5)),
    )


@settings(max_examples=200, deadline=None)
@given(graphs(), st.integers(0, 10**6), st.sampled_from([None, 1, 4]))
def test_random_schedules_are_legal(graph, seed, cores):
    schedule = make.random(graph, "test", seed, cores=cores)
    assert is_legal(schedule, graph)
    assert check(schedule, graph, "test") is schedule
    assert make.random(graph, "test", seed, cores=cores) == schedule


@settings(max_examples=100, deadline=None)
@given(graphs(), st.integers(0, 10**6))
def test_random_schedules_keep_to_the_sizes_given(graph, seed):
    sizes = {o.index: (1, 2) for o in graph.operators[::2]}
    schedule = make.random(graph, "test", seed, chunk_sizes=sizes)
    for index, part in enumerate(schedule.tenants):
        for position, chosen in part.splits.items():
            assert set(chosen) <= set(sizes[graph.tenants[index].first + position])


@given(graphs())
def test_plain_schedules_are_legal(graph):
    for schedule in (
        make.sequential(graph, "d"),
        make.parallel(graph, "d"),
        make.parallel(graph, "d", cores=2),
    ):
        assert is_legal(schedule, graph)
        check(schedule, graph, "d")


numbers = st.integers(-1, 7)


@st.composite
def mutated(draw, schedule: Schedule) -> Schedule:
    """A schedule with one thing changed, often for the worse."""
    which = draw(st.integers(0, len(schedule.tenants) - 1))
    part = schedule.tenants[which]
    kind = draw(
        st.sampled_from(["splits", "placement", "pointers", "stream", "order", "waits", "streams", "cores"])
    )
    event(kind)
    if kind == "splits":
        sizes = tuple(draw(st.lists(st.integers(0, 4), min_size=1, max_size=3)))
        part = msgspec.structs.replace(part, splits={**part.splits, draw(numbers): sizes})
    elif kind == "placement":
        chosen = tuple(draw(st.lists(st.integers(-1, 3), min_size=1, max_size=3)))
        part = msgspec.structs.replace(part, placement={**part.placement, draw(numbers): chosen})
    elif kind == "pointers":
        part = msgspec.structs.replace(part, pointers=tuple(draw(st.lists(numbers, max_size=3))))
    elif kind == "stream":
        part = msgspec.structs.replace(part, stream=draw(numbers))
    elif kind == "order":
        tenants = st.integers(-1, len(schedule.tenants))
        if draw(st.booleans()):
            shuffled = tuple(draw(st.permutations(schedule.order)))
            return schedule.replace(order=shuffled)
        entries = draw(st.lists(st.tuples(tenants, st.integers(0, 4)), max_size=6))
        return schedule.replace(order=tuple(entries))
    elif kind == "waits":
        ends = st.tuples(st.integers(0, len(schedule.tenants) - 1), numbers)
        return schedule.replace(waits=(Wait(draw(ends), draw(ends)),))
    elif kind == "streams":
        return schedule.replace(streams=schedule.streams[: draw(st.integers(0, len(schedule.streams)))])
    else:
        cores = Stream(cores=tuple(draw(st.lists(st.integers(0, 3), max_size=3))))
        return schedule.replace(streams=(cores, *schedule.streams[1:]))
    tenants = list(schedule.tenants)
    tenants[which] = part
    return schedule.replace(tenants=tuple(tenants))


@settings(max_examples=600, deadline=None)
@given(st.data())
def test_verdict_is_the_definition_on_mutated_schedules(data):
    graph = data.draw(graphs())
    schedule = make.random(graph, "test", data.draw(st.integers(0, 10**6)))
    changed = data.draw(mutated(schedule))
    legal = is_legal(changed, graph)
    event(f"legal: {legal}")
    assert accepted(changed, graph) == legal


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_refusals_of_random_operators_name_tenant_and_operator(data):
    """Whatever is wrong with the chunks of one operator, the message says whose they are."""
    graph = data.draw(graphs())
    schedule = make.random(graph, "test", data.draw(st.integers(0, 10**6)))
    operator = data.draw(st.sampled_from(graph.operators))
    info = graph.tenants[operator.tenant]
    part = schedule.tenants[operator.tenant]
    splits = {k: v for k, v in part.splits.items() if k != operator.position}
    placement = {k: v for k, v in part.placement.items() if k != operator.position}
    wrong = ["sum", "zero", "stream", "count"]
    if not operator.chunking.divisible and info.batch > 1:
        wrong.append("indivisible")
    kind = data.draw(st.sampled_from(wrong))
    event(kind)
    if kind == "sum":
        splits[operator.position] = (info.batch, data.draw(st.integers(1, 3)))
    elif kind == "zero":
        splits[operator.position] = (info.batch, 0)
    elif kind == "indivisible":
        splits[operator.position] = (1, info.batch - 1)
    elif kind == "stream":
        placement[operator.position] = (len(schedule.streams) + data.draw(st.integers(0, 2)),)
    else:
        placement[operator.position] = (0, 0)
    tenants = list(schedule.tenants)
    tenants[operator.tenant] = msgspec.structs.replace(part, splits=splits, placement=placement)
    broken = schedule.replace(tenants=tuple(tenants))
    assert not is_legal(broken, graph)
    with pytest.raises(ScheduleError) as caught:
        check(broken, graph)
    assert repr(info.name) in str(caught.value) and repr(operator.name) in str(caught.value)


def two_tenants():
    """Two tenants of batch 4; the second operator of each cannot be cut."""
    layers = [
        Layer("conv", 1e6, 4096, 256),
        Layer("softmax", 1e6, 4096, 0, inputs=(0,), divisible=False),
        Layer("dense", 1e6, 4096, 256, inputs=(1,)),
    ]
    return make_graph({"det": (4, layers), "cls": (4, layers)})


def changed(**fields) -> Schedule:
    """The parallel schedule of `two_tenants` with fields of tenant ``cls`` changed."""
    schedule = make.parallel(two_tenants(), "gpu")
    return schedule.replace(
        tenants=(schedule.tenants[0], msgspec.structs.replace(schedule.tenants[1], **fields))
    )


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"splits": {0: (3, 2)}}, ["'cls'", "'cls/0_conv'", "[3, 2]", "batch 4"]),
        ({"splits": {0: (4, 0)}}, ["'cls'", "'cls/0_conv'", "positive"]),
        (
            {"splits": {1: (2, 2)}},
            ["'cls'", "'cls/1_softmax'", "cannot be cut", "reads other items", "remove the split"],
        ),
        ({"splits": {3: (4,)}}, ["'cls'", "position 3", "0..2"]),
        (
            {"splits": {0: (2, 2)}, "placement": {0: (0,)}},
            ["'cls'", "'cls/0_conv'", "1 streams for 2 chunks"],
        ),
        ({"placement": {2: (5,)}}, ["'cls'", "'cls/2_dense'", "stream 5", "0..1"]),
        ({"stream": 2}, ["'cls'", "stream 2", "0..1"]),
        ({"pointers": (1,)}, ["'cls'", "1 pointers", "expected 0", "'det'"]),
    ],
)
def test_refusals_name_tenant_operator_expected_and_found(fields, words):
    with pytest.raises(ScheduleError) as caught:
        check(changed(**fields), two_tenants())
    for word in words:
        assert word in str(caught.value)


def test_a_wait_for_what_comes_later_names_both_ends():
    graph = two_tenants()
    schedule = make.parallel(graph, "gpu").replace(waits=(Wait((1, 2), (0, 0)),))
    with pytest.raises(ScheduleError, match=r"tenant 'det', operator 'det/0_conv' waits for .*'cls/2_dense'"):
        check(schedule, graph)


def test_pointers_out_of_order_or_range_are_named():
    graph = two_tenants()
    schedule = make.parallel(graph, "gpu")
    for pointers in ((2, 1), (0, 4)):
        tenants = tuple(msgspec.structs.replace(t, pointers=pointers) for t in schedule.tenants)
        with pytest.raises(
            ScheduleError, match=rf"'det': pointers {re.escape(str(list(pointers)))}, expected .* 0\.\.3"
        ):
            check(schedule.replace(tenants=tenants), graph)


def test_another_graph_device_format_or_set_is_refused():
    graph = two_tenants()
    schedule = make.parallel(graph, "gpu")
    other = random_graph(1)
    with pytest.raises(
        ScheduleError, match=f"made for graph {graph.fingerprint}, .* {other.fingerprint}.*tenants are"
    ):
        check(schedule, other)
    deeper = make_graph({"det": (8, [Layer("conv", 1, 64, 0)]), "cls": (8, [Layer("conv", 1, 64, 0)])})
    with pytest.raises(ScheduleError, match="same tenant names, but another model"):
        check(schedule, deeper)
    with pytest.raises(ScheduleError, match="made for device 'gpu', expected 'cpu'"):
        check(schedule, graph, "cpu")
    with pytest.raises(ScheduleError, match="format 2, expected 1"):
        check(schedule.replace(format=2), graph)
    with pytest.raises(ScheduleError, match=r"names tenants \['cls', 'det'\], expected \['det', 'cls'\]"):
        check(schedule.replace(tenants=schedule.tenants[::-1]), graph)
