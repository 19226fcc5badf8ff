"""Whole models through the passes and the pipeline, in TVM's own virtual machine."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from gacer_tvm._tvm import relax, tvm
from gacer_tvm.cost import Device
from gacer_tvm.errors import DeviceError, GraphError, ScheduleError, TenantError
from gacer_tvm.frontend import Tenant
from gacer_tvm.graph.build import build_graph
from gacer_tvm.graph.read import read_graph
from gacer_tvm.schedule import make
from gacer_tvm.transform import (
    LAUNCHES,
    MergeTenants,
    Regulate,
    ScheduleKernels,
    ScheduleTenants,
    attach_schedule,
    attached_schedule,
)

from ..models import CPU, branches, build, convnet, inputs_for, op, run_alone, run_main

GPU = tvm.target.Target(
    {
        "kind": "cuda",
        "arch": "sm_90",
        "max_threads_per_block": 1024,
        "max_shared_memory_per_block": 49152,
        "thread_warp_size": 32,
    },
    host="llvm",
)


@pytest.fixture(scope="module")
def graph():
    modules = {"det": convnet(seed=1), "cls": branches(seed=2)}
    return build_graph([Tenant.from_relax(m, name=n) for n, m in modules.items()], CPU)


@pytest.fixture(scope="module")
def inputs(graph):
    return inputs_for(graph)


@pytest.fixture(scope="module")
def expected(inputs):
    return run_alone(convnet(seed=1), inputs["det"]) + run_alone(branches(seed=2), inputs["cls"])


def cut_everything(graph, device="test"):
    """A schedule that cuts every operator that can be cut, the tenants in turn."""
    for seed in range(1000):
        schedule = make.random(graph, device, seed)
        parts = sum(len(t.splits) for t in schedule.tenants)
        if parts >= sum(o.chunking.divisible for o in graph.operators) * 2 // 3 and len(schedule.order) > 4:
            return schedule
    raise AssertionError("no such schedule among 1000")


def same_bits(found, expected) -> None:
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)


def close(found, expected) -> None:
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def two_functions():
    both = convnet(seed=1, entry="det")
    for gv, func in branches(seed=2, entry="cls").functions.items():
        both[gv] = func
    return both


def test_merge_tenants_makes_what_build_graph_makes(graph, inputs, expected):
    merged = MergeTenants(CPU)(two_functions())
    names = [str(entry["name"]) for entry in merged.attrs["gacer.tenants"]]
    assert names == ["cls", "det"]
    found = run_main(merged, {name: inputs[name] for name in names})
    same_bits(found, [*expected[1:], expected[0]])
    assert {t.fingerprint for t in read_graph(merged).tenants} == {t.fingerprint for t in graph.tenants}


def test_merge_tenants_takes_batch_axes():
    module = build(lambda x: op.nn.relu(x), (4, 3), entry="only")
    assert read_graph(MergeTenants()(module)).tenants[0].batch == 4
    assert read_graph(MergeTenants(batch_axes={"only": None})(module)).tenants[0].batch == 1
    with pytest.raises(GraphError, match=r"batch_axes names \['other'\], expected some of .*'only'"):
        MergeTenants(batch_axes={"other": 0})(module)
    with pytest.raises(TenantError, match="only"):
        MergeTenants(batch_axes={"only": 7})(module)


def test_merge_tenants_needs_a_public_function():
    with pytest.raises(GraphError, match="no public Relax function"):
        MergeTenants()(tvm.IRModule({}))


def test_the_pipeline_does_all(graph, inputs, expected):
    close(run_main(graph.module, inputs, relax_pipeline="gacer"), expected)


@pytest.mark.parametrize(
    "options", [{"schedule": "sequential"}, {"schedule": "parallel"}, {"evaluations": 30}]
)
def test_the_pipeline_takes_what_schedule_tenants_takes(graph, inputs, expected, options):
    pipeline = relax.get_pipeline("gacer", **options)
    close(run_main(graph.module, inputs, relax_pipeline=pipeline), expected)


def test_the_pipeline_keeps_a_schedule_that_is_there(graph, inputs, expected):
    schedule = cut_everything(graph)
    attached = attach_schedule(graph.module, schedule)
    regulated = Regulate(schedule)(graph.module)
    for module in (attached, regulated):
        # Its device is no device that could be searched for: a search would replace it.
        made = tvm.transform.Sequential([relax.get_pipeline("gacer")])(module)
        assert attached_schedule(made) == schedule
        assert len(made.attrs[LAUNCHES]) == len(regulated.attrs[LAUNCHES])
        close(run_main(module, inputs, relax_pipeline="gacer"), expected)


def test_the_pipeline_refuses_what_is_not_merged():
    with pytest.raises(GraphError, match="MergeTenants"):
        tvm.compile(convnet(), CPU, relax_pipeline="gacer")


def test_passes_compose_with_tvms_own(graph, inputs, expected):
    schedule = cut_everything(graph)
    passes = [
        relax.transform.CanonicalizeBindings(),
        Regulate(schedule),
        relax.transform.EliminateCommonSubexpr(),
        relax.transform.CanonicalizeBindings(),
        relax.transform.FoldConstant(),
        relax.transform.DeadCodeElimination(),
    ]
    module = tvm.transform.Sequential(passes)(graph.module)
    relax.analysis.well_formed(module)
    assert read_graph(module).operators == graph.operators
    same_bits(run_main(module, inputs), expected)


def test_results_of_one_run_are_not_overwritten_by_the_next(graph, inputs):
    module = Regulate(cut_everything(graph))(graph.module)
    vm = relax.VirtualMachine(tvm.compile(module, CPU), tvm.cpu())

    def run(seed):
        arrays = [a for tenant in inputs_for(graph, seed).values() for a in tenant.values()]
        return vm["main"](*(tvm.runtime.tensor(a) for a in arrays))

    first = run(1)
    kept = [t.numpy() for t in first]
    second = [t.numpy() for t in run(2)]
    assert any(not np.array_equal(a, b) for a, b in zip(kept, second))
    same_bits([t.numpy() for t in first], kept)


def test_schedule_tenants_finds_the_device_of_the_target(graph):
    with CPU:
        assert attached_schedule(ScheduleTenants("parallel")(graph.module)).device == Device.host_cpu().name
    with GPU:
        assert attached_schedule(ScheduleTenants("parallel")(graph.module)).device == "nvidia-h200"
    unknown = tvm.target.Target({"kind": "cuda", "arch": "sm_35"}, host="llvm")
    with unknown, pytest.raises(DeviceError, match="no device model for target"):
        ScheduleTenants("parallel")(graph.module)
    titan = Device.named("nvidia-titan-v")
    found = ScheduleTenants("auto", titan, evaluations=40)(graph.module)
    assert attached_schedule(found).device == "nvidia-titan-v"
    with pytest.raises(ScheduleError, match="made for device 'nvidia-titan-v', expected 'nvidia-h200'"):
        ScheduleTenants(attached_schedule(found), Device.named("nvidia-h200"))(graph.module)


def test_schedule_kernels_schedules_each_kernel_once(graph, inputs, expected):
    with CPU:
        once = ScheduleKernels()(graph.module)
        twice = ScheduleKernels()(once)
    for operator in graph.operators:
        assert int(once[operator.kernel].attrs["tirx.is_scheduled"])
    tvm.ir.assert_structural_equal(once, twice)
    close(run_main(once, inputs), expected)


def test_the_pipeline_generates_cuda(graph):
    """No device is needed: the kernels of chunks become CUDA code that takes their first item."""
    plain = make.parallel(graph, "nvidia-h200")
    cut = msgspec.structs.replace(plain.tenants[0], splits={0: (3, 1), 3: (2, 2)})
    module = attach_schedule(graph.module, plain.replace(tenants=(cut, *plain.tenants[1:])))
    executable = tvm.compile(module, GPU, relax_pipeline="gacer")
    text = "\n".join(m.inspect_source() for m in _modules(executable.mod) if m.kind == "cuda")
    first, last = graph.operators[0].kernel, graph.operators[3].kernel
    for name in (f"{first}__items3", f"{first}__items1", f"{last}__items2", graph.operators[1].kernel):
        assert f"{name}_kernel" in text
    for name in (first, last):
        assert f"{name}_kernel" not in text
    assert "int64_t lo" in text


def _modules(module):
    yield module
    for imported in module.imports:
        yield from _modules(imported)
