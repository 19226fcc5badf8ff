"""Networks drawn at random: the same every time, ordinary in size, and built like any other."""

from __future__ import annotations

import numpy as np
import pytest

import gacer_tvm
from gacer_tvm.executable.build import lower_tenants
from gacer_tvm.frontend import Tenant
from gacer_tvm.profile import SUITE
from gacer_tvm.profile.drawn import drawn_workload

from ..relay.running import run_module


def test_the_first_networks_convert_and_are_of_an_ordinary_size() -> None:
    kernels = set()
    for number in range(12):
        module, params = drawn_workload(number, 2)
        tenant = Tenant.from_relay(module, params, name="net")
        graph, library, _ = lower_tenants({"net": tenant}, "cpu", cache=False)
        assert graph.tenants[0].batch == 2 and 10 <= len(graph.operators) <= 60
        (output,) = graph.tenants[0].outputs.values()
        assert graph.buffers[output].shape[0] == 2 and graph.buffers[output].dtype == "float32"
        # A product and a sum of 3e8 multiply-adds an item at most.
        assert max(o.work.flops for o in graph.operators) <= 2 * 2 * 3e8
        found = {library.key(o.index, 2) for o in graph.operators if o.work.flops > 1e6}
        assert found - kernels
        kernels |= found
    # Sizes that no other network has: most kernels with something to compute stand in one network only.
    assert len(kernels) >= 60


def test_a_number_always_draws_the_same_network() -> None:
    for number in (0, 2):
        (one, first), (two, second) = drawn_workload(number, 2), drawn_workload(number, 2)
        assert gacer_tvm.relay.astext(one) == gacer_tvm.relay.astext(two)
        assert set(first) == set(second)
        assert all(np.array_equal(first[name], second[name]) for name in first)
    texts = {gacer_tvm.relay.astext(drawn_workload(number, 2)[0]) for number in range(12)}
    assert len(texts) == 12


@pytest.mark.parametrize("number", [2, 5, 7, 11])
def test_a_build_computes_what_tvm_does(number: int) -> None:
    module, params = drawn_workload(number, 1)
    with gacer_tvm.build({"net": Tenant.from_relay(module, params)}, schedule="sequential", cache=False) as executable:
        (index,) = executable.graph.tenants[0].inputs.values()
        x = np.random.default_rng(number).standard_normal(executable.graph.buffers[index].shape).astype("float32")
        (ours,) = executable.run({"net": {"data": x}})["net"]
    (truth,) = run_module(module, {"data": x}, params)
    assert np.isfinite(truth).all() and truth.std() > 0
    scale = np.abs(truth).max()
    np.testing.assert_allclose(np.asarray(ours) / scale, truth / scale, rtol=0, atol=1e-4)


def test_every_drawn_network_of_the_suite_is_another_one() -> None:
    drawn = [name for specs in SUITE.values() for name, _, _ in specs if name.startswith("drawn")]
    assert len(drawn) == len(set(drawn))
    for specs in SUITE.values():
        kinds = [int(name[5:]) % 3 == 2 for name, _, _ in specs if name.startswith("drawn")]
        assert kinds in ([], [False, False, True])
