"""The four model sets, end to end on the CPU against PyTorch, under the plain ways, the search, and random schedules."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'gacer-tvm[torch]'")

from gacer_tvm import models  # noqa: E402
from gacer_tvm.executable.build import assemble, lower_tenants  # noqa: E402
from gacer_tvm.frontend import Tenant  # noqa: E402
from gacer_tvm.kernels import cubin  # noqa: E402
from gacer_tvm.schedule import make  # noqa: E402

BATCH = 4
TOLERANCE = 1e-4
RANDOM = 50
# Chunk sizes that random schedules draw from; each is one more kernel an operator.
SIZES = {"deep": (2, 4)}


def tenants_of(members):
    """Tenants of a set at small inputs, their inputs by name, and PyTorch's outputs."""
    tenants, inputs, expected = {}, {}, {}
    for name in members:
        module, arguments = models.torch_model(name, BATCH, None if name in ("lstm", "bert") else 64)
        tenants[name] = Tenant.from_torch(torch.export.export(module, arguments), name=name, batch_axis=0)
        inputs[name] = dict(zip(tenants[name].inputs, (a.numpy() for a in arguments), strict=True))
        with torch.no_grad():
            found = module(*arguments)
        expected[name] = [t.numpy() for t in torch.utils._pytree.tree_leaves(found)]
    return tenants, inputs, expected


def largest_error(outputs, expected):
    """Largest difference over all outputs, relative to the largest value of each."""
    worst = 0.0
    for name, arrays in expected.items():
        assert len(outputs[name]) == len(arrays)
        for found, wanted in zip(outputs[name], arrays, strict=True):
            assert found.shape == wanted.shape
            worst = max(worst, float(np.abs(found - wanted).max() / np.abs(wanted).max()))
    return worst


@pytest.mark.slow
@pytest.mark.parametrize("which", list(models.SETS))
def test_a_set_matches_pytorch_under_every_schedule(which, tmp_path):
    tenants, inputs, expected = tenants_of(models.SETS[which])
    graph, library, device = lower_tenants(tenants, cache=tmp_path)
    sizes = SIZES.get(which, (1, 2, 4))
    library.ensure(
        (o.index, s) for o in graph.operators for s in (sizes if o.chunking.divisible else (BATCH,))
    )
    assert sum(o.chunking.divisible for o in graph.operators) > len(graph.operators) // 2
    for way in ("sequential", "parallel"):
        with assemble(graph, library, device, way) as executable:
            assert largest_error(executable.run(inputs), expected) < TOLERANCE, way
    compiled = library.compiled
    allowed = {o.index: sizes for o in graph.operators}
    for seed in range(RANDOM):
        schedule = make.random(graph, device.name, seed, chunk_sizes=allowed, cores=device.units)
        with assemble(graph, library, device, schedule) as executable:
            assert largest_error(executable.run(inputs), expected) < TOLERANCE, f"random schedule {seed}"
    assert library.compiled == compiled, "random schedules over compiled chunk sizes compile nothing"
    with assemble(graph, library, device, "auto", search_seconds=2, measure_seconds=2) as executable:
        assert largest_error(executable.run(inputs), expected) < TOLERANCE, "auto"


def test_vision_transformer_becomes_a_tenant(tmp_path):
    module, arguments = models.torch_model("vit_b_16", 2, 32)
    tenant = Tenant.from_torch(torch.export.export(module, arguments), name="vit", batch_axis=0)
    graph, library, device = lower_tenants({"vit": tenant}, cache=tmp_path)
    with assemble(graph, library, device, "parallel") as executable, torch.no_grad():
        found = executable.run({"vit": arguments[0].numpy()})["vit"]
        assert largest_error({"vit": found}, {"vit": [module(*arguments).numpy()]}) < TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("which", list(models.SETS))
def test_a_set_builds_for_cuda(which):
    """Without a device: source for every kernel, none left without threads; machine code where a compiler is present."""
    tenants = {name: models.tenant(name, 2, None if name in ("lstm", "bert") else 64) for name in models.SETS[which]}
    graph, library, device = lower_tenants(tenants, target="nvidia-h200", cache=False)
    with assemble(graph, library, device, "parallel") as executable:
        assert executable.report().rules
    sources = {}
    for operator in graph.operators:
        kernel = library.get(operator.index, 2)
        assert kernel.launch is not None and kernel.launch.grid >= 1, operator.name
        assert 1 <= kernel.launch.block <= 1024, operator.name
        assert kernel.launch.shared_bytes <= 48 * 1024, operator.name
        sources[kernel.key] = cubin.device_source(library.origins[kernel.key])
        assert f"k_{kernel.key}_kernel" in sources[kernel.key], operator.name
    if which == "light" and cubin.compilers():
        found = set()
        for source in set(sources.values()):
            found |= set(cubin.compile_cuda(source, "sm_90").kernels)
        assert {key for key in sources if not any(k.startswith(f"k_{key}_kernel") for k in found)} == set()
