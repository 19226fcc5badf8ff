"""What the schedule rules share: the target's figures, the result, the signal that a rule does not apply."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from ..._tvm import tir, tvm

__all__ = ["Machine", "NotApplicable", "Rule", "Scheduled", "machine"]


class NotApplicable(Exception):
    """Raised by a rule for a kernel that it does not cover; the next rule is asked."""


@dataclass(frozen=True)
class Machine:
    """The figures of a CPU target that the rules read.

    Attributes
    ----------
    lanes : int
        float32 elements of one vector register.
    registers : int
        Vector registers.
    cores : int
        Cores that one kernel may use; a hint, kernels run on any number.
    """

    lanes: int
    registers: int
    cores: int


@dataclass(frozen=True)
class Scheduled:
    """A scheduled kernel.

    Attributes
    ----------
    func : tir.PrimFunc
        The scheduled function; same parameters, same order as the unscheduled one.
    rule : str
        The rule that made it, e.g. ``"contraction"``; every kernel has one.
    failures : tuple of (str, str)
        Rules that should have applied but raised, with the first line of the error.
    """

    func: tir.PrimFunc
    rule: str
    failures: tuple[tuple[str, str], ...] = field(default=())


Rule = Callable[[tir.PrimFunc, Machine], tir.PrimFunc]


def machine(target: tvm.target.Target, cores: int) -> Machine:
    """The figures of a CPU `target`, with `cores` cores for one kernel."""
    bits = tvm.target.codegen.llvm_get_vector_width(target)
    if bits <= 0:
        bits = 128
    # AVX-512 and AArch64 have 32 vector registers, AVX and SSE 16.
    triple = str(target.attrs.get("mtriple", ""))
    many = bits >= 512 or "aarch64" in triple or "arm64" in triple
    return Machine(lanes=bits // 32, registers=32 if many else 16, cores=max(1, cores))
