"""Two tiny models, lowered once for the tests of the profiler."""

from __future__ import annotations

import pytest

from gacer_tvm.cost import Device
from gacer_tvm.executable.build import lower_tenants
from gacer_tvm.graph.model import MultiTenantGraph
from gacer_tvm.kernels.library import KernelLibrary

from ..models import branches, convnet

Lowered = tuple[MultiTenantGraph, KernelLibrary, Device]


@pytest.fixture(scope="session")
def lowered(tmp_path_factory: pytest.TempPathFactory) -> Lowered:
    """Graph, library and device; batch 3, so that chunks of two leave a rest."""
    tenants = {"net": convnet(batch=3), "other": branches(batch=3)}
    graph, library, device = lower_tenants(tenants, "cpu", cache=tmp_path_factory.mktemp("kernels"))
    return graph, library, device
