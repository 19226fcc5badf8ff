"""The executable: right answers under every schedule, clear errors for bad input, nothing compiled twice."""

from __future__ import annotations

import json

import numpy as np
import pytest

import gacer_tvm
from gacer_tvm.errors import DeviceError, GacerError, GraphError, ScheduleError, TenantError
from gacer_tvm.executable.build import assemble, lower_tenants
from gacer_tvm.schedule import make

from .models import alone, convolutional, dense


def check_outputs(executable, modules, inputs):
    """Every output equals that of its tenant compiled alone by TVM (float32, 1e-5 relative to the output's size)."""
    outputs = executable.run(inputs)
    assert list(outputs) == list(modules)
    for name, module in modules.items():
        expected = alone(module, *inputs[name].values())
        assert len(outputs[name]) == len(expected)
        for found, wanted in zip(outputs[name], expected, strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5 * np.abs(wanted).max())


@pytest.mark.parametrize("schedule", ["sequential", "parallel", "auto"])
def test_answers(schedule, modules, inputs, cache):
    with gacer_tvm.build(
        modules, schedule=schedule, cache=cache, search_seconds=2, measure_seconds=2
    ) as executable:
        check_outputs(executable, modules, inputs)
        if schedule == "auto":
            assert {"sequential", "parallel"} <= set(executable.decision.measured)
            assert executable.decision.chosen in executable.decision.measured


def test_random_schedules_compile_nothing_new(modules, inputs, cache):
    graph, library, device = lower_tenants(modules, cache=cache)
    sizes = {o.index: (1, 2, 4) for o in graph.operators}
    library.ensure([(o.index, s) for o in graph.operators for s in ((1, 2, 4) if o.chunking.divisible else (4,))])
    before = library.compiled
    for seed in range(25):
        schedule = make.random(graph, device.name, seed, chunk_sizes=sizes, cores=device.units)
        with assemble(graph, library, device, schedule) as executable:
            check_outputs(executable, modules, inputs)
    assert library.compiled == before
    cut = make.random(graph, device.name, 3, chunk_sizes=sizes, cores=device.units)
    assert any(t.splits for t in cut.tenants), "the schedules tried should cut something"


def test_kernels_are_kept_between_libraries(modules, cache, tmp_path):
    first = lower_tenants(modules, cache=tmp_path)[1]
    wanted = [(o.index, 4) for o in first.graph.operators]
    assert first.ensure(wanted) > 0
    second = lower_tenants(modules, cache=tmp_path)[1]
    assert second.ensure(wanted) == 0
    assert second.compiled == 0


def test_a_damaged_store_is_passed_over(modules, tmp_path, inputs):
    first = lower_tenants(modules, cache=tmp_path)[1]
    wanted = [(o.index, 4) for o in first.graph.operators]
    first.ensure(wanted)
    for file in tmp_path.iterdir():
        # A new file in its place: the old one is mapped into this process.
        data = file.read_bytes()
        file.unlink()
        file.write_bytes(data[:40])
    graph, second, device = lower_tenants(modules, cache=tmp_path)
    assert second.ensure(wanted) > 0
    with assemble(graph, second, device, "sequential") as executable:
        check_outputs(executable, modules, inputs)


def test_dlpack_in_dlpack_out(built, inputs):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    fed = {name: {k: torch.from_numpy(v) for k, v in arrays.items()} for name, arrays in inputs.items()}
    found = built.run(fed)
    expected = built.run(inputs)
    for name in inputs:
        for tensor, array in zip(found[name], expected[name], strict=True):
            assert not isinstance(tensor, np.ndarray)
            np.testing.assert_array_equal(torch.from_dlpack(tensor).numpy(), array)


def test_outputs_are_copies(built, inputs):
    first = built.run(inputs)
    kept = first["ranker"][0].copy()
    other = {n: {k: v * 2 + 1 for k, v in a.items()} for n, a in inputs.items()}
    built.run(other)
    np.testing.assert_array_equal(first["ranker"][0], kept)


def test_bare_array_for_a_single_input(built, inputs):
    bare = {name: next(iter(arrays.values())) for name, arrays in inputs.items()}
    np.testing.assert_array_equal(built.run(bare)["vision"][0], built.run(inputs)["vision"][0])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda i: {"vision": i["vision"]}, ["ranker", "missing"]),
        (lambda i: {**i, "other": {}}, ["other", "unknown"]),
        (lambda i: {**i, "ranker": {"wrong": i["ranker"]["data"]}}, ["ranker", "wrong", "data"]),
        (lambda i: {**i, "ranker": {"data": i["ranker"]["data"][:2]}}, ["ranker", "data", "(4, 24)", "(2, 24)"]),
        (lambda i: {**i, "ranker": {"data": i["ranker"]["data"].astype("float64")}}, ["ranker", "float32", "float64"]),
        (lambda i: {**i, "ranker": {"data": [[1.0]]}}, ["ranker", "data", "list"]),
        (lambda i: 3, ["mapping", "int"]),
    ],
)
def test_wrong_inputs_name_the_place(built, inputs, change, words):
    with pytest.raises(TenantError) as caught:
        built.run(change(inputs))
    for word in words:
        assert word in str(caught.value)


def test_unknown_operators_of_all_tenants_are_listed_at_once(tmp_path):
    onnx = pytest.importorskip("onnx", reason="the onnx extra is not installed")
    from gacer_tvm import relay
    from gacer_tvm.errors import UnsupportedOperatorError

    def model(*operators):
        nodes = [
            onnx.helper.make_node(op, [f"t{n}"], [f"t{n + 1}"], domain="" if op == "Relu" else "com.acme")
            for n, op in enumerate(operators)
        ]
        ends = [onnx.helper.make_tensor_value_info(t, onnx.TensorProto.FLOAT, [2]) for t in ("t0", f"t{len(nodes)}")]
        opsets = [onnx.helper.make_opsetid("", 17), onnx.helper.make_opsetid("com.acme", 1)]
        return onnx.helper.make_model(onnx.helper.make_graph(nodes, "g", ends[:1], ends[1:]), opset_imports=opsets)

    text = '#[version = "0.0.5"]\ndef @main(%x: Tensor[(2), float32]) { acme.gnarl(%x) }'
    tenants = {"a": model("Relu", "Frob", "Frob"), "b": model("Relu"), "c": model("Quux"), "d": relay.parse(text)}
    with pytest.raises(UnsupportedOperatorError) as caught:
        gacer_tvm.build(tenants, schedule="parallel", cache=tmp_path)
    lines = str(caught.value).splitlines()
    for tenant, operators in (("a", ["com.acme.Frob (2"]), ("c", ["com.acme.Quux (1"]), ("d", ["acme.gnarl"])):
        said = "\n".join(lines).split(f"tenant {tenant!r}")[1].split("tenant '")[0]
        assert all(operator in said for operator in operators), tenant
    assert "tenant 'b'" not in str(caught.value)


def test_wrong_sets_of_tenants():
    with pytest.raises(GraphError, match="no tenant"):
        gacer_tvm.build({})
    with pytest.raises(GraphError, match="two tenants are named 'a'"):
        gacer_tvm.build([gacer_tvm.Tenant.of(dense(1), "a"), gacer_tvm.Tenant.of(dense(2), "a")])
    with pytest.raises(TenantError, match="expected a Tenant"):
        gacer_tvm.build({"a": 7})
    with pytest.raises(DeviceError, match="sm_90"):
        gacer_tvm.build({"a": dense(1)}, target={"kind": "cuda"})
    with pytest.raises(ScheduleError, match="'fastest'"):
        gacer_tvm.build({"a": dense(1)}, schedule="fastest")


def test_schedule_of_another_graph_or_device(built, modules, cache):
    other = {"vision": convolutional(1, batch=2), "ranker": dense(2)}
    with pytest.raises(ScheduleError, match="graph"):
        gacer_tvm.build(other, schedule=built.schedule, cache=cache)
    with pytest.raises(ScheduleError, match="nvidia-h200"):
        gacer_tvm.build(modules, schedule=built.schedule.replace(device="nvidia-h200"), cache=cache)


def test_profile_trace_and_report(built, tmp_path):
    profile = built.profile()
    assert len(profile.spans) == len(built.plan.launches)
    for span in profile.spans:
        assert 0 <= span.start <= span.end
    events = json.loads(built.trace(tmp_path / "trace.json").read_text())["traceEvents"]
    spans = [e for e in events if e["ph"] == "X"]
    assert {e["name"] for e in spans} == {o.name for o in built.graph.operators}
    names = {e["args"]["name"] for e in events if e["name"] == "process_name"}
    assert names == {"vision", "ranker"}
    report = built.report()
    assert report.launches == len(profile.spans)
    assert sum(report.rules.values()) == len(report.kernels)
    assert all(k.rule for k in report.kernels)
    for word in ("vision", "ranker", "peak", "kernels by origin"):
        assert word in report.as_text()


def test_timeline_is_drawn(built, tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    file = tmp_path / "timeline.png"
    built.profile().draw(file)
    assert file.read_bytes().startswith(b"\x89PNG")


def test_a_failing_kernel_surfaces_and_the_executable_survives(built, inputs, monkeypatch):
    expected = built.run(inputs)["ranker"][0]
    built.close()
    session = built._open()

    def fail(*_):
        raise ValueError("kernel broke")

    calls = list(session._calls)
    session._calls = [(fail, ()) if n == 1 else call for n, call in enumerate(calls)]
    with pytest.raises(ValueError, match="kernel broke"):
        built.run(inputs)
    session.close()
    session._calls = calls
    np.testing.assert_array_equal(built.run(inputs)["ranker"][0], expected)


def test_benchmark_gives_every_timing(built):
    timed = built.benchmark(repeats=7, warmup=1)
    assert len(timed.seconds) == 7
    assert min(timed.seconds) <= timed.median <= max(timed.seconds)


def test_every_error_is_ours():
    for kind in (DeviceError, GraphError, ScheduleError, TenantError):
        assert issubclass(kind, GacerError)
