"""Schedules for kernels without tuning: the first rule that fits a function's structure makes the kernel."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from ..._tvm import tir, tvm
from . import cuda
from .base import Machine, NotApplicable, Rule, Scheduled, machine
from .fallback import as_written, plain
from .rows import rows
from .tiled import tiled

__all__ = ["Scheduled", "schedule"]

_CPU_RULES: tuple[tuple[str, Rule], ...] = (
    ("rows", rows),
    ("tiled", tiled),
    ("as written", as_written),
    ("plain", plain),
)


def schedule(func: tir.PrimFunc, target: tvm.target.Target, cores: int = 1) -> Scheduled:
    """Schedule one fused, unscheduled PrimFunc for `target` with the first rule that fits its structure.

    Parameters
    ----------
    func : tir.PrimFunc
        As the "zero" pipeline leaves it: blocks under perfect loop nests, static shapes.
    target : tvm.target.Target
        What it will be compiled for; its vector width decides tile sizes.
    cores : int
        Cores that the kernel may count on; it stays correct on any number.

    Returns
    -------
    Scheduled
        Never fails: what no rule could do is returned as it is ("unscheduled"); on a CPU that still is a kernel.
    """
    failures: list[tuple[str, str]] = []
    for name, rule in _rules(target, cores):
        try:
            return Scheduled(_like(func, rule(func)), name, tuple(failures))
        except NotApplicable:
            continue
        except Exception as error:  # a rule must never stop a build: the next one is tried, the error is kept
            lines = str(error).strip().splitlines()
            failures.append((name, f"{type(error).__name__}: {lines[0] if lines else ''}"))
    return Scheduled(func, "unscheduled", tuple(failures))


def _rules(target: tvm.target.Target, cores: int) -> list[tuple[str, Callable[[tir.PrimFunc], tir.PrimFunc]]]:
    if target.kind.name == "llvm":
        figures = machine(target, cores)
        return [(name, _on(rule, figures)) for name, rule in _CPU_RULES]
    dlight = [(f"dlight.{name}", partial(cuda.apply, name, target=target)) for name in cuda.NAMES]
    return [*dlight, ("threads", cuda.threads)]


def _on(rule: Rule, figures: Machine) -> Callable[[tir.PrimFunc], tir.PrimFunc]:
    return lambda func: rule(func, figures)


def _like(func: tir.PrimFunc, made: tir.PrimFunc) -> tir.PrimFunc:
    """`made` with the attributes of `func`: a kernel keeps its name and pattern, and says it is scheduled."""
    for key, value in (func.attrs or {}).items():
        made = made.with_attr(key, value)
    return made.with_attr("tirx.is_scheduled", True)
