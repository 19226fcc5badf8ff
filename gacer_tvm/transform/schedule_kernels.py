"""Kernels scheduled for the target by the project's rules."""

from __future__ import annotations

from typing import Any

from .._tvm import tir, tvm
from ..graph.calls import WHOLE
from ..kernels import rules

__all__ = ["ScheduleKernels"]

_DONE = (WHOLE, "tirx.is_scheduled")


@tvm.transform.module_pass(opt_level=0, name="ScheduleKernels")
class ScheduleKernels:
    """Schedules every kernel of the module that is not scheduled yet, with the first rule that fits its structure.

    Rewrite
    -------
    Loop nests become tiled, vectorized or bound to threads, as ``kernels.rules.schedule`` decides; the values that
    they compute stay the same within the rounding of their dtype. Kernels of chunks are left alone: they are scheduled
    before they get their first item (the argument `kernel` of `SplitOperators`).

    Parameters
    ----------
    target
        By default the current target.
    cores
        Cores that a kernel may count on (CPU).
    """

    def __init__(self, target: Any = None, cores: int = 1) -> None:
        self.target = target
        self.cores = cores

    def transform_module(self, module: Any, context: Any) -> Any:
        target = self.target if self.target is not None else tvm.target.Target.current(allow_none=False)
        made = {}
        with target:
            for gv, func in module.functions.items():
                if isinstance(func, tir.PrimFunc) and not any(key in (func.attrs or {}) for key in _DONE):
                    func = rules.schedule(func, target, self.cores).func
                made[gv] = func
        return tvm.IRModule(made, attrs=module.attrs)
