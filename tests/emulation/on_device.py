"""Tests that run only where the emulated driver is found (see test_emulated_device.py)."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import pytest

from gacer_tvm._tvm import relax, tvm
from gacer_tvm.frontend import Tenant
from gacer_tvm.graph.build import build_graph
from gacer_tvm.kernels.library import KernelLibrary
from gacer_tvm.kernels.rules import cuda
from gacer_tvm.kernels.target import make_target
from gacer_tvm.plan import check_plan, lower
from gacer_tvm.runtime.cuda import CudaSession
from gacer_tvm.runtime.doctor import doctor
from gacer_tvm.schedule import make

from ..runtime.cuda_cases import answers, image_model, some_inputs, two_tenants, word_model


@lru_cache(maxsize=1)
def lowered() -> tuple[Any, KernelLibrary]:
    target = make_target("cuda")
    graph = build_graph([Tenant.of(image_model(1), "image"), Tenant.of(word_model(2), "words")], target)
    return graph, KernelLibrary(graph, target)


def session_of(kind: Any, **given: Any) -> CudaSession:
    graph, library = lowered()
    schedule = getattr(make, kind)(graph, "gpu") if isinstance(kind, str) else make.random(graph, "gpu", kind)
    plan = lower(schedule, graph)
    check_plan(plan, graph)
    return CudaSession(graph, plan, library, **given)


def cases(seed: int) -> tuple[dict[int, np.ndarray], dict[int, np.ndarray]]:
    """Inputs and answers by the buffers of the graph for CUDA."""
    there, here = two_tenants(), lowered()[0]
    inputs = some_inputs(seed)
    pairs = [(a, b) for s, t in zip(there.tenants, here.tenants) for a, b in zip(s.inputs.values(), t.inputs.values())]
    outs = [(a, b) for s, t in zip(there.tenants, here.tenants) for a, b in zip(s.outputs.values(), t.outputs.values())]
    known = answers(inputs)
    return {b: inputs[a] for a, b in pairs}, {b: known[a] for a, b in outs}


def check(found: dict[int, Any], expected: dict[int, np.ndarray]) -> None:
    for buffer, value in expected.items():
        held = found[buffer].numpy() if hasattr(found[buffer], "numpy") else found[buffer]
        np.testing.assert_allclose(held, value, rtol=1e-3, atol=1e-4)


def test_the_device_is_found() -> None:
    health = doctor(trial=False)
    assert health.cuda and any("compute capability 9.0, 132 SMs" in f.found for f in health.findings)


@pytest.mark.parametrize("use_graph", [True, False])
@pytest.mark.parametrize("kind", ["sequential", "parallel", 3, 11])
def test_right_answers(kind: Any, use_graph: bool) -> None:
    session = session_of(kind, use_graph=use_graph)
    for seed in range(2):
        inputs, expected = cases(seed)
        for buffer, array in inputs.items():
            session.feed(buffer, array)
        session.round()
        check({b: session.fetch(b) for b in expected}, expected)
    check({b: session.fetch(b, as_numpy=False) for b in expected}, expected)
    times = session.timed_round()
    assert all(0 <= start <= end for start, end in times) and len(times) == len(session.plan.launches)
    session.close()


def test_inputs_on_the_device_are_used_where_they_are() -> None:
    session = session_of("parallel")
    inputs, expected = cases(1)
    there = {b: tvm.runtime.tensor(a, tvm.cuda(0)) for b, a in inputs.items()}
    for buffer, tensor in there.items():
        session.feed(buffer, tensor)
        assert session.memory.tensors[buffer].data_ptr() == tensor.data_ptr()
    session.round()
    check({b: session.fetch(b) for b in expected}, expected)
    session.close()


def test_several_sessions_and_rounds_in_flight() -> None:
    sessions = [session_of("parallel"), session_of(7)]
    under_way = []
    for seed in range(3):
        inputs, expected = cases(seed)
        for session in sessions:
            for buffer, array in inputs.items():
                session.feed(buffer, array)
            under_way.append((session.launch(list(expected)), expected))
    for one, wanted in reversed(under_way):
        check(one.outputs(), wanted)
    main = sessions[0].issue.main
    for session in sessions:
        session.enqueue(main)
    sessions[0].driver.finish(main)
    sessions[0].close()
    check({b: sessions[1].fetch(b) for b in expected}, expected)
    sessions[1].close()


def test_what_no_clever_rule_takes_still_runs_on_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Left unbound it would be host code, and the host cannot read the device's memory."""
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType((4, 3, 5, 5), "float16"))
    with builder.function("main", [x]):
        with builder.dataflow():
            pooled = builder.emit(relax.op.nn.adaptive_avg_pool2d(x, (3, 3)))
            out = builder.emit_output(relax.op.nn.softmax(pooled, axis=-1))
        builder.emit_func_output(out)
    target = make_target("cuda")
    graph = build_graph([Tenant.of(builder.get(), "pool")], target)
    value = np.random.default_rng(0).standard_normal((4, 3, 5, 5)).astype("float16")
    found = {}
    for names in (cuda.NAMES, ()):
        monkeypatch.setattr(cuda, "NAMES", names)
        library = KernelLibrary(graph, target)
        plan = lower(make.random(graph, "gpu", 2), graph)
        session = CudaSession(graph, plan, library)
        (buffer,), (result,) = graph.tenants[0].inputs.values(), graph.tenants[0].outputs.values()
        session.feed(buffer, value)
        session.round()
        found[len(names)] = session.fetch(result)
        assert "unscheduled" not in {kernel.rule for kernel in library.kernels().values()}
        assert "threads" in {kernel.rule for kernel in library.kernels().values()}
        session.close()
    wide = value.astype(np.float64)
    edges = [(0, 2), (1, 4), (3, 5)]
    means = np.array([[wide[:, :, a:b, c:d].mean((2, 3)) for c, d in edges] for a, b in edges]).transpose(2, 3, 0, 1)
    expected = np.exp(means) / np.exp(means).sum(-1, keepdims=True)
    for value in found.values():
        np.testing.assert_allclose(value, expected, atol=2e-3)
