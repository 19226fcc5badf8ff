"""How much machine code a candidate would become, told after lowering and before LLVM is asked.

MetaSchedule's CPU space has candidates that unroll hundreds of steps whose vector loads are gathers: LLVM works half a minute on
one of them, and none has ever won.
"""

from __future__ import annotations

from typing import Any

from .._tvm import expr_ir, tir, tvm, tvm_ffi

__all__ = ["LIMIT", "TooMuchCode", "bounded", "memory_operations"]

# Loads and stores of machine registers; two to three seconds of LLVM's time. What has won so far has some hundreds.
LIMIT = 6144
# The pass after which nothing multiplies any more.
_LAST = "tirx.UnrollLoop"
# Elements of one register; only the order of magnitude matters.
_LANES = 16


class TooMuchCode(Exception):
    """A candidate that would become more code than a trial may cost."""


def memory_operations(module: Any) -> int:
    """Loads and stores of registers in the lowered functions of `module`, a gather's elements each as a load and an insertion."""
    total = 0

    def count(node: Any) -> None:
        nonlocal total
        total += max((_operations(index) for index in node.indices), default=1)

    for function in module.functions.values():
        tvm_ffi.structural_walk(function.body, [(expr_ir.TensorLoad, count), (tir.BufferStore, count)])
    return total


def _operations(index: Any) -> int:
    if isinstance(index, tir.Ramp):
        lanes = int(index.lanes)
        together = isinstance(index.stride, tir.IntImm) and int(index.stride) == 1
        # A vector of another width is put together from the powers of two that it holds.
        return -(-lanes // _LANES) + bin(lanes % _LANES).count("1") if together else 2 * lanes
    lanes_of_type = str(index.ty.dtype).partition("x")[2]
    return 2 * int(lanes_of_type) if lanes_of_type.isdigit() else 1


class bounded:
    """Within it, compiling a function of more than `limit` memory operations raises `TooMuchCode` instead.

    Parameters
    ----------
    limit
        Loads and stores.
    """

    def __init__(self, limit: int = LIMIT) -> None:
        self.limit, self.found = limit, 0
        measure = self

        @tvm.instrument.pass_instrument
        class Size:
            def run_after_pass(self, module: Any, info: Any) -> None:
                if info.name == _LAST:
                    measure.found = max(measure.found, memory_operations(module))
                    if measure.found > limit:
                        raise RuntimeError("too much code")

        self._context = tvm.transform.PassContext(instruments=[Size()])

    def __enter__(self) -> bounded:
        self._context.__enter__()
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        self._context.__exit__(kind, error, trace)
        # What passes through TVM's passes comes out as an exception of TVM's.
        if error is not None and self.found > self.limit:
            raise TooMuchCode(f"{self.found} memory operations, at most {self.limit}") from error
