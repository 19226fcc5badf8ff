"""The CUDA session on a simulated device: right answers in any order that the edges allow, and the right driver calls."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

from gacer_tvm.errors import DeviceError, PlanError, RuntimeFailure, TenantError
from gacer_tvm.plan import LaunchPlan, check_plan, lower
from gacer_tvm.runtime.cuda import CudaSession
from gacer_tvm.runtime.cuda_driver import connection_limit
from gacer_tvm.schedule import make

from ..plan.cases import with_launch
from .cuda_cases import answers, lending_library, some_inputs, two_tenants
from .simulated import OnDevice, SimulatedDevice

pytestmark = pytest.mark.filterwarnings("ignore:the schedule has:RuntimeWarning")


def plan_of(kind: Any) -> LaunchPlan:
    graph = two_tenants()
    if kind == "sequential":
        schedule = make.sequential(graph, "gpu")
    elif kind == "parallel":
        schedule = make.parallel(graph, "gpu")
    else:
        schedule = make.random(graph, "gpu", kind)
    plan = lower(schedule, graph)
    check_plan(plan, graph)
    return plan


def session_of(kind: Any, seed: int = 0, **given: Any) -> tuple[CudaSession, SimulatedDevice]:
    device = SimulatedDevice(seed)
    return CudaSession(two_tenants(), plan_of(kind), lending_library(), driver=device, **given), device


def check_answers(found: dict[int, np.ndarray], inputs: dict[int, np.ndarray]) -> None:
    for buffer, expected in answers(inputs).items():
        np.testing.assert_allclose(found[buffer], expected, rtol=1e-3, atol=1e-4)


def outputs_of(session: CudaSession) -> dict[int, np.ndarray]:
    return {b: session.fetch(b) for t in session.graph.tenants for b in t.outputs.values()}


def feed(session: CudaSession, inputs: dict[int, Any]) -> None:
    for buffer, array in inputs.items():
        session.feed(buffer, array)


@pytest.mark.parametrize("use_graph", [True, False])
@pytest.mark.parametrize("kind", ["sequential", "parallel", *range(20)])
def test_right_answers_in_any_order_that_the_edges_allow(kind: Any, use_graph: bool) -> None:
    session, _ = session_of(kind, use_graph=use_graph)
    for seed in range(3):
        inputs = some_inputs(seed)
        feed(session, inputs)
        session.round()
        check_answers(outputs_of(session), inputs)
    session.close()


def test_kernels_are_lent_workspace_by_stream() -> None:
    """Somebody needs workspace, launches of one stream share it, launches of two streams never do."""
    session, device = session_of("parallel")
    session.round()
    lent: dict[int, set[int]] = {}
    launches = [entry for entry in device.log if entry[0] == "launch"][: len(session.plan.launches)]
    for launch, (_, _, stream, arguments) in zip(session.plan.launches, launches, strict=True):
        kernel = lending_library().get(launch.operator, launch.items)
        assert len(arguments) == len(launch.buffers) + (not launch.whole) + len(kernel.workspaces)
        if kernel.workspaces:
            lent.setdefault(stream, set()).update(arguments[-len(kernel.workspaces) :])
    assert len(lent) > 1
    places = list(lent.values())
    assert all(a.isdisjoint(b) for n, a in enumerate(places) for b in places[:n])


def test_a_round_before_the_capture_then_one_graph_a_round() -> None:
    session, device = session_of("parallel")
    session.round()
    session.round()
    count = len(session.plan.launches)
    marks = [entry[0] for entry in device.log if entry[0] in ("begin", "end", "launch", "replay")]
    assert marks == [*["launch"] * count, "begin", *["launch"] * count, "end", "replay", "replay"]
    finished = device.log.index(("finish",), device.log.index(next(e for e in device.log if e[0] == "launch")))
    assert finished < device.log.index(("begin", session.issue.main.number)), "the capture waits for the warm-up round"
    assert device.launched_in_capture == count


def test_fork_edges_and_join_are_those_of_the_plan() -> None:
    session, device = session_of(11, use_graph=False)
    assert session.plan.edges > 0 and len(session.issue.streams) > 2
    session._prepare()
    del device.log[:]
    session.issue.round(session._calls)
    log = device.log
    main = session.issue.main.number
    others = [s.number for n, s in sorted(session.issue.streams.items())][1:]
    assert log[0][0] == "record" and log[0][2] == main
    fork = log[0][1]
    assert log[1 : 1 + len(others)] == [("wait", fork, other) for other in others]
    recorded: dict[int, int] = {}
    launches = iter(session.plan.launches)
    waits: list[int] = []
    last = None
    for entry in log[1 + len(others) : -2 * len(others)]:
        if entry[0] == "wait":
            waits.append(entry[1])
        elif entry[0] == "launch":
            last = next(launches)
            assert entry[2] == session.issue.streams[last.stream].number
            assert sorted(waits) == sorted(recorded[w] for w in last.waits)
            waits = []
        else:
            assert last is not None and entry[2] == session.issue.streams[last.stream].number
            recorded[last.index] = entry[1]
    assert next(launches, None) is None
    assert set(recorded) == {w for launch in session.plan.launches for w in launch.waits}
    join = log[-2 * len(others) :]
    for other, (record, wait) in zip(others, zip(join[::2], join[1::2])):
        assert record[0] == "record" and record[2] == other
        assert wait == ("wait", record[1], main)


def test_a_needed_edge_left_out_gives_wrong_answers_somewhere() -> None:
    """The simulated device would show a race: without it the other tests would prove little."""
    graph, plan = two_tenants(), plan_of(11)
    inputs = some_inputs()
    wrong = False
    for launch in plan.launches:
        if not launch.waits:
            continue
        broken = with_launch(plan, launch.index, waits=())
        with pytest.raises(PlanError):
            check_plan(broken, graph)
        for seed in range(6):
            session = CudaSession(graph, broken, lending_library(), driver=SimulatedDevice(seed))
            feed(session, inputs)
            session.round()
            try:
                check_answers(outputs_of(session), inputs)
            except AssertionError:
                wrong = True
            session.close()
    assert wrong


def test_a_plan_that_waits_for_the_future_is_refused() -> None:
    plan = with_launch(plan_of("parallel"), 0, waits=(1,))
    with pytest.raises(PlanError, match=r"tenant '\w+', operator .* waits for launch 1, which is issued after it"):
        CudaSession(two_tenants(), plan, lending_library(), driver=SimulatedDevice())


def test_inputs_on_the_device_are_used_where_they_are() -> None:
    session, device = session_of("parallel")
    first, second = some_inputs(1), some_inputs(2)
    there = {b: OnDevice(a, device) for b, a in first.items()}
    feed(session, there)
    session.round()
    check_answers(outputs_of(session), first)
    copies = [e for e in device.log if e[0] == "copy" and e[1] in {a.nbytes for a in first.values()}]
    fetched = {two_tenants().buffers[b].nbytes for b in answers(first)}
    assert all(e[1] in fetched for e in copies), "no input was copied"
    # New values at the same place need no new graph; another place needs one; the old place has its graph still.
    for buffer, array in second.items():
        there[buffer].array[...] = array
    session.round()
    check_answers(outputs_of(session), second)
    elsewhere = {b: OnDevice(a, device) for b, a in first.items()}
    for given in (elsewhere, there, elsewhere):
        feed(session, given)
        session.round()
        check_answers(outputs_of(session), first if given is elsewhere else second)
    assert sum(e[0] == "begin" for e in device.log) == 2
    feed(session, first)
    session.round()
    check_answers(outputs_of(session), first)


def test_ever_new_places_end_in_copies_not_captures() -> None:
    session, device = session_of("parallel")
    for seed in range(14):
        inputs = some_inputs(seed)
        feed(session, {b: OnDevice(a, device) for b, a in inputs.items()})
        session.round()
        check_answers(outputs_of(session), inputs)
    assert sum(e[0] == "begin" for e in device.log) <= 9


def test_device_arrays_that_kernels_cannot_read_are_copied_or_refused() -> None:
    session, device = session_of("sequential")
    inputs = some_inputs(3)
    feed(session, {b: OnDevice(a, device, offset=4) for b, a in inputs.items()})
    session.round()
    check_answers(outputs_of(session), inputs)
    buffer, array = next(iter(inputs.items()))
    with pytest.raises(TenantError, match=r"image/.*contiguous"):
        session.feed(buffer, OnDevice(array, device, contiguous=False))


def test_several_rounds_in_flight_keep_their_inputs_and_outputs_apart() -> None:
    session, _ = session_of(7)
    wanted = list(answers(some_inputs()))
    sent, rounds = [], []
    for seed in range(5):
        inputs = some_inputs(seed)
        feed(session, inputs)
        sent.append({b: a.copy() for b, a in inputs.items()})
        rounds.append(session.launch(wanted))
        # Later writes of the caller must not reach the device.
        for array in inputs.values():
            array[...] = np.nan
    for inputs, under_way in reversed(list(zip(sent, rounds, strict=True))):
        check_answers(under_way.outputs(), inputs)
    assert rounds[0].outputs() == {}


def test_several_sessions_share_constants_and_nothing_else() -> None:
    device = SimulatedDevice(5)
    sessions = [CudaSession(two_tenants(), plan_of(kind), lending_library(), driver=device) for kind in ("parallel", 4)]
    assert sessions[0].constants is sessions[1].constants
    sizes = [e[1] for e in device.log if e[0] == "allocate"]
    assert sizes == [sessions[0].constants.nbytes, sessions[0].memory.nbytes, sessions[1].memory.nbytes]
    data = [some_inputs(1), some_inputs(2)]
    for session, inputs in zip(sessions, data, strict=True):
        feed(session, inputs)
    under_way = [session.launch() for _ in range(2) for session in sessions]
    for one in under_way:
        one.wait()
    sessions[1].close()
    check_answers(outputs_of(sessions[0]), data[0])
    sessions[0].round()
    check_answers(outputs_of(sessions[0]), data[0])


def test_sessions_back_to_back_on_one_stream() -> None:
    device = SimulatedDevice(1)
    sessions = [CudaSession(two_tenants(), plan_of(k), lending_library(), driver=device) for k in ("sequential", 5)]
    inputs = some_inputs(2)
    for session in sessions:
        feed(session, inputs)
        session.round()
    stream = device.stream()
    del device.log[:]
    last = [session.launch(stream=stream) for session in sessions][-1]
    last.wait()
    assert [e for e in device.log if e[0] == "replay"] == [("replay", stream.number)] * 2
    check_answers(outputs_of(sessions[1]), inputs)
    without, _ = session_of("sequential", use_graph=False)
    with pytest.raises(RuntimeFailure, match="graph"):
        without.launch(stream=stream)


def test_constants_are_freed_with_the_last_session() -> None:
    import gc

    session, device = session_of("sequential")
    nbytes = session.constants.nbytes
    session.round()
    session.close()
    session.close()
    assert ("free", session.memory.nbytes) in device.log and ("free", nbytes) not in device.log
    with pytest.raises(RuntimeFailure, match="closed"):
        session.round()
    del session
    gc.collect()
    assert ("free", nbytes) in device.log
    assert not device.memory


@pytest.mark.parametrize("use_graph", [True, False])
def test_timed_rounds_respect_streams_and_edges(use_graph: bool) -> None:
    session, device = session_of(11, use_graph=use_graph)
    inputs = some_inputs()
    feed(session, inputs)
    times = session.timed_round()
    check_answers(outputs_of(session), inputs)
    assert len(times) == len(session.plan.launches)
    if not use_graph:  # the simulated clock runs with the steps of streams; a graph is one step
        last: dict[int, float] = {}
        for launch, (start, end) in zip(session.plan.launches, times, strict=True):
            assert 0 < start < end
            assert start > max([last.get(launch.stream, 0.0), *(times[w][1] for w in launch.waits)])
            last[launch.stream] = end
    else:
        assert len(session.timed_rounds(3)) == 3
        assert sum(e[0] == "begin" for e in device.log) == 1, "the timed graph is captured once"


def test_fetch_as_tensor_is_a_copy() -> None:
    session, _ = session_of("sequential")
    inputs = some_inputs(1)
    feed(session, inputs)
    session.round()
    held = {b: session.fetch(b, as_numpy=False) for b in answers(inputs)}
    feed(session, some_inputs(2))
    session.round()
    check_answers({b: t.numpy() for b, t in held.items()}, inputs)


def test_random_inputs_are_those_of_the_cpu_session() -> None:
    session, _ = session_of("sequential")
    session.feed_random(3)
    session.round()
    rng = np.random.default_rng(3)
    inputs = {
        b: rng.standard_normal(session.graph.buffers[b].shape).astype("float32")
        for t in session.graph.tenants
        for b in t.inputs.values()
    }
    check_answers(outputs_of(session), inputs)


def test_host_arrays_of_other_libraries_and_dtypes() -> None:
    from gacer_tvm._tvm import tvm
    from gacer_tvm.runtime.cuda import _host_bytes

    plain = np.arange(12, dtype=np.float32).reshape(3, 4)
    expected = np.frombuffer(plain.tobytes(), np.uint8)
    np.testing.assert_array_equal(_host_bytes(plain, 48), expected)
    np.testing.assert_array_equal(_host_bytes(np.asfortranarray(plain), 48), expected)
    np.testing.assert_array_equal(_host_bytes(tvm.runtime.tensor(plain), 48), expected)
    brief = plain.astype(ml_dtypes.bfloat16)
    held = tvm.runtime.empty((3, 4), "bfloat16")
    held._create_view((24,), "uint8").copyfrom(np.frombuffer(brief.tobytes(), np.uint8))
    np.testing.assert_array_equal(_host_bytes(held, 24), np.frombuffer(brief.tobytes(), np.uint8))


def test_a_failing_launch_names_the_operator_and_leaves_no_capture() -> None:
    session, device = session_of("parallel")
    session.round()
    session._graphs.clear()
    device.loaded.clear()
    with pytest.raises(RuntimeFailure, match=r"tenant 'image', operator 'image/.*cannot be launched.*cuModuleLoadData"):
        session.round()
    assert device.capture is None


def test_kernels_without_code_are_refused() -> None:
    from dataclasses import replace as changed

    class Sourceless:
        def ensure(self, wanted: Any) -> int:
            return 0

        def get(self, operator: int, items: int, cores: int | None = None) -> Any:
            return changed(lending_library().get(operator, items, cores), call=None)

    with pytest.raises(DeviceError, match="without a CUDA device"):
        CudaSession(two_tenants(), plan_of("parallel"), Sourceless(), driver=SimulatedDevice())  # type: ignore[arg-type]


def test_too_few_connections_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_DEVICE_MAX_CONNECTIONS", "1")
    assert "is 1" in connection_limit(2) and connection_limit(1) == ""
    with pytest.warns(RuntimeWarning, match="2 streams but CUDA_DEVICE_MAX_CONNECTIONS is 1"):
        session, _ = session_of("parallel")
    assert session.notes
    monkeypatch.delenv("CUDA_DEVICE_MAX_CONNECTIONS")
    assert connection_limit(8) == "" and "is not set, which means 8" in connection_limit(9)
    monkeypatch.setenv("CUDA_DEVICE_MAX_CONNECTIONS", "32")
    assert connection_limit(32) == ""


def test_nothing_is_collected_while_a_graph_is_captured() -> None:
    """Memory that an old session's cycle gives back during a capture would break the capture."""
    import gc

    session, device = session_of("parallel")
    found: list[bool] = []

    class Cycle:
        def __init__(self) -> None:
            self.me = self

        def __del__(self) -> None:
            found.append(device.capture is not None)

    launch = device.launch

    def littering(*given: Any) -> None:
        Cycle()
        launch(*given)

    device.launch = littering  # type: ignore[method-assign]
    limits = gc.get_threshold()
    gc.set_threshold(1, 1, 1)
    try:
        session.round()
    finally:
        gc.set_threshold(*limits)
    gc.collect()
    assert len(found) == 2 * len(session.plan.launches) and not any(found)
    assert gc.isenabled()
