"""What a unit of the GPU suite works with: the models on both sides, the target, and how sessions are opened."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .._tvm import tvm
from ..cost import Device
from ..errors import DeviceError, TenantError
from ..frontend import Tenant
from ..graph.build import build_graph
from ..graph.model import MultiTenantGraph
from ..kernels.layout import prepare
from ..kernels.library import KernelLibrary
from ..kernels.store import KernelStore
from ..kernels.target import make_target
from ..models import SETS
from .gpu_turns import Turns

__all__ = ["SMALL", "Bench", "Net", "gpu_bench", "plain_nets", "small_nets", "torch_inputs"]

#: The one set of a rehearsal.
SMALL: dict[str, tuple[str, ...]] = {"small": ("image", "words")}


@dataclass(frozen=True)
class Net:
    """One model of a set.

    Attributes
    ----------
    name
        Its tenant's name.
    module, inputs
        PyTorch module in evaluation mode and example inputs, on the host, in the dtype of the cell.
    """

    name: str
    module: Any
    inputs: tuple[Any, ...]


@dataclass(frozen=True)
class Bench:
    """The place where the suite runs.

    Attributes
    ----------
    target, device
        tvm Target, and the device model that schedules are searched for.
    torch_device
        Where PyTorch runs, ``cuda`` or ``cpu``.
    open
        Opens a session of a plan.
    nets
        Makes the models of a set: ``(set, batch) → [(name, module, inputs)]`` in float32.
    sets
        Set name to model names.
    store
        Compiled kernels kept between processes; None: in memory only.
    providers
        Schedules from tuning records (`gacer_tvm.kernels.library.Provider`).
    search_seconds
        Most seconds for one search, and for one measurement of candidates.
    torch_timed
        Why PyTorch's ways cannot be timed beside ours; "" where they can.
    turns
        When the device is this unit's alone, and for how long in all.
    schedules
        Folder of schedules searched for beforehand (`gacer_tvm.bench.gpu_schedules`); None: all are searched for here.
    """

    target: Any
    device: Device
    torch_device: str
    open: Callable[..., Any]
    nets: Callable[[str, int], list[tuple[str, Any, tuple[Any, ...]]]]
    sets: Mapping[str, tuple[str, ...]]
    store: KernelStore | None = None
    providers: tuple[Any, ...] = field(default=())
    search_seconds: float = 20.0
    torch_timed: str = ""
    turns: Turns = field(default_factory=Turns)
    schedules: Path | None = None

    def models(self, which: str, batch: int, dtype: str) -> list[Net]:
        """The models of a set in ``float32`` or ``float16``."""
        made = []
        for name, module, inputs in self.nets(which, batch):
            if dtype == "float16":
                module = module.half()
                inputs = tuple(x.half() if x.is_floating_point() else x for x in inputs)
            made.append(Net(name, module, inputs))
        return made

    def lowered(self, nets: list[Net]) -> tuple[MultiTenantGraph, KernelLibrary]:
        """The models as one graph, with the library of its kernels."""
        import torch

        tenants = []
        for net in nets:
            with torch.no_grad():
                program = torch.export.export(net.module, net.inputs)
            tenants.append(Tenant.from_torch(program, name=net.name, batch_axis=0))
        graph = build_graph(tenants, self.target, prepare)
        return graph, KernelLibrary(graph, self.target, providers=self.providers, store=self.store)

    def feed(self, session: Any, graph: MultiTenantGraph, nets: list[Net]) -> None:
        """The models' example inputs."""
        for net in nets:
            info = next(t for t in graph.tenants if t.name == net.name)
            for buffer, value in zip(info.inputs.values(), net.inputs, strict=True):
                array = value.numpy()
                expected = np.dtype(graph.buffers[buffer].dtype)
                if array.dtype != expected:
                    raise TenantError(f"{graph.buffers[buffer].name}: expected {expected}, found {array.dtype}")
                session.feed(buffer, array)


def gpu_bench(
    cache: str | None = None,
    size: int = 224,
    tuning_logs: Any = None,
    *,
    rehearse: bool = False,
    torch_device: str | None = None,
    turns: Turns | None = None,
    device: str | None = None,
    schedules: Path | None = None,
) -> Bench:
    """The real place: the first CUDA device of this machine.

    Parameters
    ----------
    cache
        Folder of compiled kernels; the user's cache folder by default.
    size
        Height and width of images.
    tuning_logs
        As for `gacer_tvm.build`.
    rehearse
        Two tiny models in place of the sets, and a moment for searches.
    torch_device
        Where PyTorch computes the reference answers: by default on the GPU, where it can.
    turns
        Entered already, where other units run at the same time.
    device
        Name of the device model; by default that of the device's own name.
    schedules
        Folder of schedules searched for beforehand.

    Raises
    ------
    DeviceError
        Where there is none; the message says what is missing.
    """
    from ..cost.of_target import device_called
    from ..runtime.cuda import CudaSession
    from ..runtime.doctor import why_no_cuda
    from ..tune.provider import providers

    missing = why_no_cuda()
    if missing:
        raise DeviceError(f"the GPU suite needs a CUDA device: {missing}")
    target = make_target("cuda")
    without = _why_no_torch()
    if torch_device == "cpu":
        without = without or "PyTorch was told to stay on the host"
    return Bench(
        target=target,
        device=Device.named(device) if device else device_called(str(tvm.cuda(0).device_name), target),
        torch_device="cpu" if without else "cuda",
        open=CudaSession,
        nets=small_nets if rehearse else lambda which, batch: plain_nets(which, batch, size),
        sets=SMALL if rehearse else SETS,
        store=KernelStore(cache),
        providers=providers(tuning_logs) if tuning_logs else (),
        search_seconds=1.0 if rehearse else 20.0,
        torch_timed=without,
        turns=turns or Turns(),
        schedules=schedules,
    )


def _why_no_torch() -> str:
    import torch

    if torch.cuda.is_available():
        return ""
    built = torch.version.cuda
    return f"PyTorch {torch.__version__} " + (f"for CUDA {built} sees no GPU" if built else "is built without CUDA")


def plain_nets(which: str, batch: int, size: int) -> list[tuple[str, Any, tuple[Any, ...]]]:
    """The models of a set from PyTorch alone, without torchvision."""
    from ..models import torch_model
    from . import nets

    found = []
    for name in SETS[which]:
        made = nets.make(name, batch, size) if name in nets.NETS else torch_model(name, batch)
        found.append((name, *made))
    return found


def small_nets(which: str, batch: int) -> list[tuple[str, Any, tuple[Any, ...]]]:
    """The models of a rehearsal: a convolution with a head, and an embedding with two outputs."""
    from . import nets

    return [(name, *nets.small(name, batch)) for name in SMALL[which]]


def torch_inputs(net: Net, device: str) -> tuple[Any, tuple[Any, ...]]:
    """A copy of a model and its inputs on PyTorch's device.

    The model itself stays on the host: `Module.to` works in place, and an export of a module on the GPU with inputs on the
    host fails.
    """
    return copy.deepcopy(net.module).to(device), tuple(x.to(device) for x in net.inputs)
