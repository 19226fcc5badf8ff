"""Schedules for kernels without tuning: the first rule that fits a function's structure makes the kernel."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial

from ..._tvm import tir, tvm
from . import cuda, cuda_own
from .base import Machine, NotApplicable, Rule, Scheduled, machine
from .fallback import as_written, plain
from .rows import rows
from .tile import Plan
from .tiled import near as _near
from .tiled import tiled
from .tiled import tilings as _tilings

__all__ = ["Scheduled", "near", "retiled", "schedule", "tilings"]

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


def tilings(func: tir.PrimFunc, target: tvm.target.Target, cores: int = 1) -> list[str]:
    """Tilings of a kernel that our own rules make, the default first, as text for `retiled`; a clock decides."""
    if target.kind.name == "cuda":
        return cuda_own.tilings(func)
    if target.kind.name != "llvm" or schedule(func, target, cores).rule != "tiled":
        return []
    try:
        return [_text(p) for p in _tilings(func, machine(target, cores))]
    except NotApplicable:
        return []


def retiled(func: tir.PrimFunc, target: tvm.target.Target, cores: int, tiling: str) -> tir.PrimFunc:
    """The kernel of `func` under one of its `tilings`.

    Raises
    ------
    NotApplicable
        If the tiling is not one of this function's (or of this version's).
    """
    if target.kind.name == "cuda":
        made = cuda_own.apply(func, tiling)
        cuda.check_bound(made, tiling)
        return _like(func, made)
    try:
        return _like(func, tiled(func, machine(target, cores), _plan(tiling)))
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise NotApplicable(f"tiling {tiling!r}: {error}") from error


def near(func: tir.PrimFunc, target: tvm.target.Target, cores: int, tiling: str) -> list[str]:
    """Tilings one step away from one of `tilings` (or of `near`); some of them `retiled` will refuse. CUDA: none."""
    if target.kind.name == "cuda":
        return []
    return [_text(p) for p in _near(func, machine(target, cores), _plan(tiling))]


def _plan(text: str) -> Plan:
    held = json.loads(text)
    return Plan(**{**held, "order": tuple(held["order"]), "unrolled": frozenset(held["unrolled"])})


def _text(plan: Plan) -> str:
    return json.dumps({k: sorted(v) if isinstance(v, frozenset) else v for k, v in vars(plan).items()}, sort_keys=True)


def _rules(target: tvm.target.Target, cores: int) -> list[tuple[str, Callable[[tir.PrimFunc], tir.PrimFunc]]]:
    if target.kind.name == "llvm":
        figures = machine(target, cores)
        return [(name, _on(rule, figures)) for name, rule in _CPU_RULES]
    own = [(name, partial(_own, name)) for name in cuda_own.RULES]
    dlight = [(f"dlight.{name}", partial(cuda.apply, name, target=target)) for name in cuda.NAMES]
    return [*own, *dlight, ("threads", cuda.threads)]


def _own(name: str, func: tir.PrimFunc) -> tir.PrimFunc:
    made = cuda_own.default(name, func)
    cuda.check_bound(made, name)
    return made


def _on(rule: Rule, figures: Machine) -> Callable[[tir.PrimFunc], tir.PrimFunc]:
    return lambda func: rule(func, figures)


def _like(func: tir.PrimFunc, made: tir.PrimFunc) -> tir.PrimFunc:
    """`made` with the attributes of `func`: a kernel keeps its name and pattern, and says it is scheduled."""
    for key, value in (func.attrs or {}).items():
        made = made.with_attr(key, value)
    return made.with_attr("tirx.is_scheduled", True)
