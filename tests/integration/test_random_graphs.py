"""Random models under random schedules: the same answers as each model built alone, bit for bit."""

from __future__ import annotations

import os

import numpy as np
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from gacer_tvm._tvm import relax, tvm
from gacer_tvm.frontend import Tenant
from gacer_tvm.graph.build import build_graph
from gacer_tvm.graph.read import read_graph
from gacer_tvm.kernels.library import KernelLibrary
from gacer_tvm.plan import check_plan, lower
from gacer_tvm.runtime import Constants, CpuSession
from gacer_tvm.schedule import make
from gacer_tvm.transform import Regulate

from ..models import CPU, branches, convnet, inputs_for, run_main
from ..random_models import models

# A longer hunt: GACER_EXAMPLES=300 pytest tests/integration/test_random_graphs.py
_EXAMPLES = int(os.environ.get("GACER_EXAMPLES", "10"))
_SLOW = settings(
    max_examples=_EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def alone(module, inputs) -> list[np.ndarray]:
    """The model compiled by TVM as it comes."""
    vm = relax.VirtualMachine(tvm.compile(module, CPU), tvm.cpu())
    return [t.numpy() for t in vm["main"](*(tvm.runtime.tensor(a) for a in inputs.values()))]


def as_it_is(func, target, cores):
    """Kernels left as TVM's own default leaves them: the same arithmetic as in the model built alone."""
    return func, "as it is"


def run(graph, library, constants, schedule, inputs) -> list[np.ndarray]:
    plan = lower(schedule, graph)
    check_plan(plan, graph)
    session = CpuSession(graph, plan, library, constants, 2)
    try:
        for tenant in graph.tenants:
            for name, index in tenant.inputs.items():
                session.feed(index, inputs[tenant.name][name])
        # Twice: the second round finds the memory as the first one left it.
        session.round()
        session.round()
        return [session.fetch(b) for t in graph.tenants for b in t.outputs.values()]
    finally:
        session.close()


@st.composite
def tenant_sets(draw):
    modules = {f"t{n}": draw(models()) for n in range(draw(st.integers(1, 3)))}
    graph = build_graph([Tenant.from_relax(m, name=name) for name, m in modules.items()], CPU)
    return modules, graph


@_SLOW
@given(tenant_sets(), st.lists(st.integers(0, 10**6), min_size=6, max_size=6))
def test_the_cpu_runtime_gives_the_answers_of_each_tenant_alone(case, seeds):
    modules, graph = case
    inputs = inputs_for(graph)
    expected = [a for name, module in modules.items() for a in alone(module, inputs[name])]
    library = KernelLibrary(graph, CPU, providers=[as_it_is])
    constants = Constants(graph)
    schedules = [make.sequential(graph, "cpu"), make.parallel(graph, "cpu", 2)]
    schedules += [make.random(graph, "cpu", seed, cores=2) for seed in seeds]
    event(f"divisible: {sum(o.chunking.divisible for o in graph.operators)} of {len(graph.operators)}")
    for schedule in schedules:
        for a, b in zip(run(graph, library, constants, schedule, inputs), expected, strict=True):
            np.testing.assert_array_equal(a, b)


@_SLOW
@given(tenant_sets(), st.integers(0, 10**6))
def test_the_regulated_module_gives_them_in_tvms_own_virtual_machine(case, seed):
    modules, graph = case
    inputs = inputs_for(graph)
    expected = [a for name, module in modules.items() for a in alone(module, inputs[name])]
    regulated = Regulate(make.random(graph, "cpu", seed))(graph.module)
    relax.analysis.well_formed(regulated)
    again = read_graph(regulated)
    assert (again.fingerprint, again.operators) == (graph.fingerprint, graph.operators)
    for a, b in zip(run_main(regulated, inputs), expected, strict=True):
        np.testing.assert_array_equal(a, b)


@settings(_SLOW, max_examples=-(-_EXAMPLES // 2))
@given(tenant_sets(), st.integers(0, 10**6))
def test_scheduled_kernels_give_them_within_rounding(case, seed):
    """Kernels made by the project's rules, and the pipeline that makes them."""
    modules, graph = case
    inputs = inputs_for(graph)
    expected = [a for name, module in modules.items() for a in alone(module, inputs[name])]
    library = KernelLibrary(graph, CPU, cores=2)
    schedule = make.random(graph, "cpu", seed, cores=2)
    found = run(graph, library, Constants(graph), schedule, inputs)
    piped = run_main(Regulate(schedule)(graph.module), inputs, relax_pipeline="gacer")
    for a, b, c in zip(found, piped, expected, strict=True):
        np.testing.assert_allclose(a, c, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(b, c, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_a_hundred_schedules_compile_nothing_new(seed):
    """Once a chunk size is compiled, schedules that use it cost no compilation."""
    graph = build_graph(
        [Tenant.from_relax(m, name=n) for n, m in {"a": convnet(), "b": branches()}.items()], CPU
    )
    library = KernelLibrary(graph, CPU, providers=[as_it_is])
    sizes = {o.index: (1, 2) for o in graph.operators if o.chunking.divisible}
    library.ensure([(i, s) for i, each in sizes.items() for s in each])
    library.ensure([(o.index, graph.tenants[o.tenant].batch) for o in graph.operators])
    before = library.compiled
    for n in range(100):
        schedule = make.random(graph, "cpu", 100 * seed + n, chunk_sizes=sizes)
        library.ensure(lower(schedule, graph).kernels)
    assert library.compiled == before
