"""The kernels of one model, each run alone: which of them loses the most time."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._tvm import expr_ir, tir, tvm, tvm_ffi
from ..kernels.rules.program import parse

__all__ = ["Kernel", "flops_of", "kernel_times", "lost", "worst"]


@dataclass(frozen=True)
class Kernel:
    """One kernel of a model, run alone.

    Attributes
    ----------
    name, rule
        Its name and the rule that made it.
    calls
        Calls of it in one run of the model.
    ms
        Median of one call.
    flops, size
        Floating-point operations of its reductions, and bytes of its operands and results, one call.
    """

    name: str
    rule: str
    calls: int
    ms: float
    flops: float
    size: float


def flops_of(func: tir.PrimFunc) -> float:
    """Floating-point operations of the reductions of an unscheduled kernel."""
    try:
        stages = parse(func).stages
    except Exception:
        return 0.0
    return float(sum(2 * math.prod(a.extent for a in (*s.axes, *s.reduce)) for s in stages if s.reduce))


def kernel_times(
    module: Any, target: Any, used: dict[str, str], work: dict[str, float], clock: Any
) -> tuple[Kernel, ...]:
    """Every kernel of a scheduled module, run alone; the one that takes most of the model's time first.

    Parameters
    ----------
    module, target
        As it was compiled.
    used, work
        The rule and the floating-point operations of each kernel, by name.
    clock
        Seconds.
    """
    calls: Counter[str] = Counter()

    def count(call: Any) -> None:
        if getattr(call.op, "name", "") == "relax.call_tir":
            calls[call.args[0].name_hint] += 1

    tvm_ffi.structural_walk(module["main"].body, (expr_ir.Call, count))
    functions = {
        f"k{n}": (var.name_hint, func.with_attr("global_symbol", f"k{n}"))
        for n, (var, func) in enumerate(module.functions_items())
        if isinstance(func, tir.PrimFunc) and calls[var.name_hint]
    }
    with target:
        library = tvm.compile(tvm.IRModule({k: f for k, (_, f) in functions.items()}), target)
    rows = []
    for symbol, (name, func) in functions.items():
        buffers = [
            tvm.runtime.tensor(np.ones([int(d) for d in p.ty.shape], dtype=str(p.ty.dtype)))
            for p in func.params
        ]
        call = library[symbol]
        taken = []
        for _ in range(12):
            start = clock()
            call(*buffers)
            taken.append(clock() - start)
        size = float(sum(b.numpy().nbytes for b in buffers))
        rows.append(Kernel(name, used[name], calls[name], statistics.median(taken) * 1e3, work[name], size))
    return tuple(sorted(rows, key=lambda k: -k.ms * k.calls))


def lost(kernels: Sequence[Kernel]) -> dict[str, float]:
    """Milliseconds of a run of the model that each kernel takes beyond what the model's best rates would need.

    The best rates are the highest floating-point operations and bytes a millisecond of any kernel of the model; a kernel
    needs the longer of both.
    """
    rate = max((k.flops / k.ms for k in kernels if k.ms > 0), default=0.0)
    stream = max((k.size / k.ms for k in kernels if k.ms > 0), default=0.0)

    def needed(kernel: Kernel) -> float:
        return max(kernel.flops / rate if rate else 0.0, kernel.size / stream if stream else 0.0)

    return {k.name: (k.ms - needed(k)) * k.calls for k in kernels}


def worst(kernels: Sequence[Kernel]) -> str:
    """The kernel that loses the most time, in a few words; empty without kernels."""
    if not kernels:
        return ""
    loss = lost(kernels)
    kernel = max(kernels, key=lambda k: loss[k.name])
    times = f"{kernel.calls} x " if kernel.calls > 1 else ""
    return f"{kernel.name[:32]}: {times}{kernel.ms:.2f} ms, {loss[kernel.name]:.2f} lost"
