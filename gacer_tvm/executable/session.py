"""One door to the runtimes: the session that fits the device."""

from __future__ import annotations

from typing import Any

from ..cost import Device
from ..errors import DeviceError
from ..graph.model import MultiTenantGraph
from ..kernels.library import KernelLibrary
from ..plan import LaunchPlan
from ..runtime import Constants, CpuSession

__all__ = ["open_session"]


def open_session(
    graph: MultiTenantGraph, plan: LaunchPlan, library: KernelLibrary, device: Device, constants: Any = None
) -> Any:
    """Make a plan ready to run on a device.

    Parameters
    ----------
    constants
        The parameters in device memory, to be shared by several sessions of one graph; made anew by default.

    Raises
    ------
    DeviceError
        If the device is not here.
    """
    if device.kind == "cpu":
        return CpuSession(graph, plan, library, constants or Constants(graph), device.units)
    try:
        from ..runtime.cuda import CudaSession
    except ImportError as error:
        raise DeviceError(f"the CUDA runtime cannot be loaded: {error}; run `gacer-tvm doctor`") from error
    return CudaSession(graph, plan, library, constants)
