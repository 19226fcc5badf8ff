"""A place for units of the GPU suite without a GPU."""

from __future__ import annotations

from typing import Any

import pytest

from gacer_tvm.bench.gpu_bench import SMALL, Bench, small_nets
from gacer_tvm.cost import Device
from gacer_tvm.executable import choose as choose_module
from gacer_tvm.kernels.store import KernelStore
from gacer_tvm.kernels.target import make_target
from gacer_tvm.runtime.cuda import CudaSession

from ..runtime.simulated import SimulatedDevice


@pytest.fixture(scope="session")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> KernelStore:
    """Kernels compiled once for all tests."""
    return KernelStore(tmp_path_factory.mktemp("kernels"))


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, kernels: KernelStore) -> Bench:
    """Two tiny models on a simulated device."""
    device = SimulatedDevice(0)

    def opened(graph: Any, plan: Any, library: Any, *_: Any) -> CudaSession:
        return CudaSession(graph, plan, library, driver=device)

    monkeypatch.setattr(choose_module, "open_session", opened)
    return Bench(
        target=make_target("cpu"),
        device=Device.named("nvidia-h200"),
        torch_device="cpu",
        open=opened,
        nets=small_nets,
        sets=SMALL,
        search_seconds=0.05,
        store=kernels,
    )
