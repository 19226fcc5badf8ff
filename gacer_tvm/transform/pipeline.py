"""The pipeline ``"gacer"`` for ``tvm.compile(merged, target, relax_pipeline="gacer")``."""

from __future__ import annotations

from typing import Any

from .._tvm import relax, tvm
from ..cost import Device
from ..kernels import rules
from .attributes import LAUNCHES, SCHEDULE
from .regulate import regulate_passes
from .remove_whole_kernels import RemoveWholeKernels
from .schedule_kernels import ScheduleKernels
from .schedule_tenants import ScheduleTenants

__all__ = ["finish_passes", "gacer_pipeline", "regulation_passes"]


def regulation_passes(module: Any, target: Any, schedule: Any, device: Device | None, options: Any) -> list[Any]:
    """What is left to do to regulate `module`: a schedule found where none is attached, then applied."""
    attrs = module.attrs or {}
    if LAUNCHES in attrs:
        return []
    kernel = _scheduler(target, device)
    search = [] if SCHEDULE in attrs and schedule == "auto" else [ScheduleTenants(schedule, device, **options)]
    return [*search, *regulate_passes(kernel=kernel)]


def finish_passes(target: Any, device: Device | None) -> list[Any]:
    """Kernels scheduled, then TVM's own lowering."""
    return [
        RemoveWholeKernels(),
        ScheduleKernels(target, _cores(target, device)),
        relax.get_pipeline("default_build"),
    ]


def gacer_pipeline(schedule: Any = "auto", device: Device | None = None, **options: Any) -> Any:
    """The pipeline registered as ``"gacer"``: a merged module in, a module ready for code generation out.

    A module that is regulated already keeps its schedule; one with a schedule attached is regulated by it; else one is
    searched for.

    Parameters
    ----------
    schedule, device
        As for `ScheduleTenants`.
    **options
        As for `ScheduleTenants`; by default the search stops after ten seconds.
    """
    if schedule == "auto":
        options.setdefault("time_budget_s", 10.0)

    @tvm.transform.module_pass(opt_level=0, name="gacer")  # type: ignore[untyped-decorator]
    def pipeline(module: Any, context: Any) -> Any:
        target = tvm.target.Target.current(allow_none=True) or tvm.target.Target({"kind": "llvm"})
        with target:
            passes = regulation_passes(module, target, schedule, device, options) + finish_passes(target, device)
            return tvm.transform.Sequential(passes)(module)

    return pipeline


def _cores(target: Any, device: Device | None) -> int:
    if target.kind.name != "llvm":
        return 1
    return (device or Device.host_cpu()).cores or 1


def _scheduler(target: Any, device: Device | None) -> Any:
    cores = _cores(target, device)
    return lambda func: rules.schedule(func, target, cores).func
