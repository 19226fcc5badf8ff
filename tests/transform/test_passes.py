"""Each pass by itself: modules before and after, compared by structure."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from gacer_tvm._tvm import relax, tvm
from gacer_tvm.errors import GraphError, ScheduleError
from gacer_tvm.graph.read import read_graph
from gacer_tvm.schedule import Schedule, Stream, make
from gacer_tvm.transform import (
    LAUNCHES,
    SCHEDULE,
    AnnotateStreams,
    OrderOperators,
    Regulate,
    RemoveWholeKernels,
    ScheduleTenants,
    SplitOperators,
    attach_schedule,
    attached_schedule,
)

from ..models import run_main
from .modules import (
    CHUNK_KERNELS,
    DOUBLE,
    FLAT,
    HALVES,
    HIGH,
    INCREMENT,
    KERNELS,
    LOW,
    alloc,
    chunk,
    chunk_of_two,
    merged,
    module,
)

INPUTS = {
    "a": {"x": np.arange(8, dtype="float32").reshape(4, 2)},
    "b": {"x": np.arange(6, dtype="float32").reshape(3, 2)},
}
EXPECTED = [
    np.arange(8, dtype="float32") * 2 + 1,
    np.array([0, 2, 4], "float32"),
    np.array([1, 3, 5], "float32"),
]


def schedule(order=((0, 2), (1, 1)), a=None, b=None, streams=1) -> Schedule:
    """A schedule of `merged` with fields of the tenants changed."""
    plain = make.sequential(read_graph(merged()), "test")
    tenants = tuple(
        msgspec.structs.replace(tenant, **(fields or {})) for tenant, fields in zip(plain.tenants, (a, b))
    )
    return plain.replace(order=order, tenants=tenants, streams=(Stream(),) * streams)


SPLIT = {"a": {"splits": {0: (3, 1), 1: (2, 2)}}, "b": {"splits": {0: (1, 2)}}}


def split_module(*, kernels: str = KERNELS + CHUNK_KERNELS):
    """`merged` with all of its operators cut as `SPLIT` says."""
    return module(
        alloc("doubled_out", "4, 2"),
        chunk("doubled_0", "a__double__items3", "a__x, doubled_out, 0", "4, 2", 1),
        chunk("doubled", "a__double__items1", "a__x, doubled_0, 3", "4, 2", 1),
        FLAT,
        alloc("more_out", "8"),
        chunk("more_0", "a__increment__items2", "flat, more_out, 0", "8", 1),
        chunk("more", "a__increment__items2", "flat, more_0, 2", "8", 1),
        alloc("parts_out0", "3"),
        alloc("parts_out1", "3"),
        chunk_of_two("parts_0", "b__halves__items1", "b__x, parts_out0, parts_out1, 0"),
        'parts_0_0: R.Tensor((3,), "float32") = parts_0[0]',
        'parts_0_1: R.Tensor((3,), "float32") = parts_0[1]',
        chunk_of_two("parts", "b__halves__items2", "b__x, parts_0_0, parts_0_1, 1"),
        LOW,
        HIGH,
        kernels=kernels,
    )


def same(found, expected) -> None:
    relax.analysis.well_formed(found)
    tvm.ir.assert_structural_equal(found, expected, map_free_vars=True)


def computes_the_same(found) -> None:
    for a, b in zip(run_main(found, INPUTS), EXPECTED, strict=True):
        np.testing.assert_array_equal(a, b)


def test_order_operators():
    found = OrderOperators(schedule(order=((0, 1), (1, 1), (0, 1))))(merged())
    same(found, module(DOUBLE, HALVES, FLAT, INCREMENT, LOW, HIGH))
    computes_the_same(found)


def test_order_operators_that_stand_in_order_already():
    same(OrderOperators(schedule())(merged()), merged())


def test_order_operators_keeps_chunks_together():
    cut = SplitOperators(schedule(a={"splits": {0: (3, 1)}}))(merged())
    found = OrderOperators(schedule(order=((1, 1), (0, 2)), a={"splits": {0: (3, 1)}}))(cut)
    same(
        found,
        SplitOperators(schedule(a={"splits": {0: (3, 1)}}))(
            module(HALVES, DOUBLE, FLAT, INCREMENT, LOW, HIGH)
        ),
    )
    computes_the_same(found)


def test_split_operators():
    found = SplitOperators(schedule(**SPLIT))(merged())
    same(found, split_module())
    computes_the_same(found)


def test_split_operators_without_splits_changes_nothing():
    same(SplitOperators(schedule())(merged()), merged())
    same(SplitOperators(schedule(a={"splits": {0: (4,)}}))(merged()), merged())


def test_split_operators_makes_one_kernel_a_chunk_size():
    found = SplitOperators(schedule(a={"splits": {0: (1, 1, 1, 1)}}))(merged())
    names = {gv.name_hint for gv in found.get_global_vars()}
    assert names == {"main", "a__double", "a__double__items1", "a__increment", "b__halves"}
    computes_the_same(found)


def test_split_operators_schedules_a_kernel_before_it_gets_its_offset():
    seen = []

    def mark(func):
        seen.append([tuple(int(d) for d in p.ty.shape) for p in func.params])
        return func.with_attr("mark", 1)

    found = SplitOperators(schedule(a={"splits": {0: (3, 1)}}), kernel=mark)(merged())
    assert seen == [[(3, 2), (3, 2)], [(1, 2), (1, 2)]]
    func = found["a__double__items3"]
    assert int(func.attrs["mark"]) == 1 and [str(p.name) for p in func.params] == ["x", "y", "lo"]


def test_annotate_streams():
    chosen = schedule(
        order=((0, 1), (1, 1), (0, 1)),
        a={"splits": {0: (3, 1)}, "placement": {0: (0, 1)}, "pointers": (1,)},
        b={"stream": 1, "pointers": (1,)},
        streams=2,
    )
    before = SplitOperators(chosen)(OrderOperators(chosen)(merged()))
    found = AnnotateStreams(chosen)(before)
    entries = [
        {name: list(v) if name == "waits" else v for name, v in entry.items()}
        for entry in found.attrs[LAUNCHES]
    ]
    # The two chunks of `double` wait for nobody, although one takes the tensor from the other.
    assert entries == [
        {"operator": "a/0_double", "first": 0, "items": 3, "stream": 0, "cluster": 0, "waits": []},
        {"operator": "a/0_double", "first": 3, "items": 1, "stream": 1, "cluster": 0, "waits": []},
        {"operator": "b/0_halves", "first": 0, "items": 3, "stream": 1, "cluster": 0, "waits": []},
        {"operator": "a/1_increment", "first": 0, "items": 4, "stream": 0, "cluster": 1, "waits": [2]},
    ]
    assert attached_schedule(found) == chosen
    # Nothing else has changed.
    same(found.without_attr(LAUNCHES).without_attr(SCHEDULE), before)


def test_annotate_streams_of_what_was_not_applied():
    cut, moved = schedule(**SPLIT), schedule(order=((1, 1), (0, 2)))
    with pytest.raises(
        ScheduleError, match=r"kernel call 0 of main is 'a/0_double' items 0\.\.4, expected .* 0\.\.3"
    ):
        AnnotateStreams(cut)(merged())
    with pytest.raises(ScheduleError, match=r"'a/0_double'.*expected 'b/0_halves'.*run OrderOperators"):
        AnnotateStreams(moved)(merged())


def test_regulate_is_the_passes_in_a_row():
    chosen = schedule(order=((0, 1), (1, 1), (0, 1)), **SPLIT)
    found = Regulate(chosen)(merged())
    one_by_one = merged()
    for step in (OrderOperators(chosen), SplitOperators(chosen), AnnotateStreams(chosen)):
        one_by_one = step(one_by_one)
    same(found, one_by_one)
    # Cutting first and ordering then comes to the same.
    same(
        tvm.transform.Sequential([SplitOperators(chosen), OrderOperators(chosen), AnnotateStreams(chosen)])(
            merged()
        ),
        found,
    )
    computes_the_same(found)


def test_a_regulated_module_is_still_the_graph():
    graph = read_graph(merged())
    again = read_graph(Regulate(schedule(order=((0, 1), (1, 1), (0, 1)), **SPLIT))(merged()))
    assert again.fingerprint == graph.fingerprint
    assert (again.tenants, again.operators, again.buffers) == (graph.tenants, graph.operators, graph.buffers)


def test_a_regulated_module_survives_printing_and_parsing():
    found = Regulate(schedule(order=((1, 1), (0, 2)), **SPLIT))(merged())
    parsed = tvm.script.from_source(found.script(show_meta=True))
    tvm.ir.assert_structural_equal(parsed, found)
    assert attached_schedule(parsed) == attached_schedule(found)
    computes_the_same(parsed)


def test_remove_whole_kernels():
    cut = SplitOperators(schedule(**SPLIT))(merged())
    same(RemoveWholeKernels()(cut), split_module(kernels=CHUNK_KERNELS))
    same(RemoveWholeKernels()(merged()), merged())
    with pytest.raises(GraphError, match="'a': main calls double, increment, which the module does not hold"):
        read_graph(RemoveWholeKernels()(cut))


def test_the_attached_schedule_is_taken():
    chosen = schedule(**SPLIT)
    attached = attach_schedule(merged(), chosen)
    assert attached_schedule(attached) == chosen
    assert attached_schedule(merged()) is None
    same(Regulate()(attached), Regulate(chosen)(merged()))


def test_schedule_tenants_attaches_and_checks():
    graph = read_graph(merged())
    for name in ("sequential", "parallel"):
        found = ScheduleTenants(name)(merged())
        same(found.without_attr(SCHEDULE), merged())
        assert attached_schedule(found).provenance.strategy == name
    other = schedule().replace(graph="another")
    with pytest.raises(
        ScheduleError, match=f"made for graph another, these tenants are graph {graph.fingerprint}"
    ):
        ScheduleTenants(other)(merged())
    with pytest.raises(ScheduleError, match="made for device 'test'"):
        ScheduleTenants(schedule())(merged())
    with pytest.raises(ScheduleError, match="schedule is a int; expected 'auto'"):
        ScheduleTenants(3)(merged())
    with pytest.raises(ScheduleError, match="cannot read the schedule"):
        ScheduleTenants("nowhere.json")(merged())
    with pytest.raises(ScheduleError, match=r"\['seed'\] are for a search"):
        ScheduleTenants("parallel", seed=1)


def test_schedule_tenants_searches_and_reads_files(tmp_path):
    found = ScheduleTenants("auto", time_budget_s=2.0, evaluations=50)(merged())
    best = attached_schedule(found)
    assert best.provenance.predicted_seconds > 0
    best.save(tmp_path / "best.json")
    again = ScheduleTenants(tmp_path / "best.json")(merged())
    assert attached_schedule(again) == best
    computes_the_same(Regulate()(again))


@pytest.mark.parametrize("step", [OrderOperators, SplitOperators, AnnotateStreams, Regulate])
def test_passes_refuse_what_does_not_fit(step):
    with pytest.raises(ScheduleError, match="no schedule, expected one as an argument"):
        step()(merged())
    with pytest.raises(ScheduleError, match="made for graph another"):
        step(schedule().replace(graph="another"))(merged())
    with pytest.raises(ScheduleError, match="tenant 'a', operator 'a/0_double': chunks"):
        step(schedule(a={"splits": {0: (3, 3)}}))(merged())
    with pytest.raises(GraphError, match="MergeTenants"):
        step(schedule())(merged().without_attr("gacer.tenants"))


def test_cutting_twice_is_refused():
    cut = SplitOperators(schedule(**SPLIT))(merged())
    with pytest.raises(GraphError, match="cut already"):
        SplitOperators(schedule(**SPLIT))(cut)


def test_lowered_modules_are_refused():
    lowered = relax.transform.ToNonDataflow()(merged())
    with pytest.raises(GraphError, match="expected one DataflowBlock"):
        OrderOperators(schedule())(lowered)
