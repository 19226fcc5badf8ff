"""A replayed kernel checked against the unscheduled one, on random inputs, before anyone may use it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from gacer_tvm._tvm import s_tir, tvm, tvm_ffi

from .twin import cpu_twin

__all__ = ["Check", "compiled", "numpy_dtype", "random_arguments", "verify_schedule"]

# What an unscheduled loop nest gets through in about two minutes.
_MAX_POINTS = 10**11
_MAX_ELEMENTS = 1 << 29
# Reordered sums differ by rounding: relative to the largest magnitude of the output.
_TOLERANCE = {"float64": 1e-9, "float32": 1e-4, "float16": 2e-2, "bfloat16": 5e-2}


@dataclass(frozen=True, slots=True)
class Check:
    """The outcome: the largest error over the largest magnitude, where it ran (``cpu``, ``cpu twin``, ``cuda``)."""

    passed: bool
    error: float
    ran_on: str


def verify_schedule(function: Any, scheduled: Any, target: Any, seed: int = 0) -> Check:
    """Run both functions on the same random inputs and compare.

    Parameters
    ----------
    function, scheduled
        The unscheduled and the scheduled PrimFunc; the last parameter written is the output.
    target
        A CPU target, or a GPU one: then the scheduled function runs on the device if there is one, else as its CPU twin.

    Raises
    ------
    ValueError
        If the function is too large to run unscheduled here.
    """
    _check_size(function)
    gpu = "gpu" in [str(key) for key in target.keys]
    inputs, shape, dtype = random_arguments(function, seed)
    wanted = _run(_interchanged(function), inputs, shape, dtype, "llvm", tvm.cpu())
    if not gpu:
        ran_on = "cpu"
        found = _run(scheduled, inputs, shape, dtype, target, tvm.cpu())
    elif str(target.kind.name) == "cuda" and tvm.cuda(0).exist:
        ran_on = "cuda"
        found = _run(scheduled, inputs, shape, dtype, target, tvm.cuda(0))
    else:
        ran_on = "cpu twin"
        twin = cpu_twin(scheduled)
        found = _run(twin.function, inputs, shape, dtype, "llvm", tvm.cpu(), twin.workspaces)
    return Check(*_compare(wanted, found, dtype), ran_on)


def _interchanged(function: Any) -> Any:
    """The unscheduled function with the last spatial loop of each reduction innermost, and the first one parallel.

    Each output element sums up in the same order, so the answer is the same to the bit; the bare nest of a large product
    would take minutes.
    """
    schedule = s_tir.Schedule(function)
    names: list[str] = []
    tvm_ffi.structural_walk(
        function.body, (s_tir.SBlock, lambda block: names.append(block.name_hint) if block.init is not None else None)
    )
    try:
        for name in names:
            block = schedule.get_sblock(name)
            kinds = [int(iter_var.iter_type) for iter_var in schedule.get(block).iter_vars]
            loops = list(schedule.get_loops(block))
            spatial = [loop for loop, kind in zip(loops, kinds, strict=True) if kind == 0]
            reduce = [loop for loop, kind in zip(loops, kinds, strict=True) if kind == 2]
            if spatial and reduce:
                schedule.reorder(*reduce, spatial[-1])
                if len(spatial) > 1:
                    schedule.parallel(schedule.fuse(*spatial[:-1]))
                schedule.decompose_reduction(block, reduce[0])
    except (RuntimeError, ValueError):
        return function
    return schedule.mod["main"]


def _check_size(function: Any) -> None:
    elements = sum(math.prod(int(extent) for extent in param.ty.shape) for param in function.params)
    points = 0

    def note(block: Any) -> None:
        nonlocal points
        points += math.prod(int(getattr(iter_var.dom.extent, "value", 1)) for iter_var in block.iter_vars)

    tvm_ffi.structural_walk(function.body, (s_tir.SBlock, note))
    if elements > _MAX_ELEMENTS or points > _MAX_POINTS:
        raise ValueError(f"too large to check here ({elements:.2g} elements, {points:.2g} loop iterations)")


def random_arguments(function: Any, seed: int) -> tuple[list[np.ndarray], tuple[int, ...], str]:
    """Random inputs of a function, and shape and dtype of its last parameter, the output."""
    rng = np.random.default_rng(seed)
    arrays: list[np.ndarray] = []
    shapes = [tuple(int(extent) for extent in param.ty.shape) for param in function.params]
    dtypes = [str(param.ty.dtype) for param in function.params]
    for shape, dtype in list(zip(shapes, dtypes, strict=True))[:-1]:
        if dtype.startswith(("float", "bfloat")):
            arrays.append(rng.uniform(-1.0, 1.0, shape).astype(numpy_dtype(dtype)))
        elif dtype == "bool":
            arrays.append(rng.integers(0, 2, shape).astype(bool))
        else:
            arrays.append(rng.integers(0, 5, shape).astype(dtype))
    return arrays, shapes[-1], dtypes[-1]


def numpy_dtype(dtype: str) -> Any:
    """A TVM dtype as numpy takes it."""
    if dtype == "bfloat16":
        import ml_dtypes

        return ml_dtypes.bfloat16
    return dtype


def compiled(function: Any, target: Any) -> Any:
    """A function compiled as the kernel library compiles it, and ready to be called."""
    if not isinstance(target, str) and str(target.kind.name) == "cuda":
        from gacer_tvm.kernels import cubin

        cubin.install()
    module = tvm.IRModule({"main": function.with_attr("global_symbol", "main")})
    with tvm.target.Target(target) if isinstance(target, str) else target:
        return tvm.compile(module, target=target)["main"]


def _run(
    function: Any,
    inputs: list[np.ndarray],
    shape: tuple[int, ...],
    dtype: str,
    target: Any,
    device: Any,
    workspaces: tuple[tuple[tuple[int, ...], str], ...] = (),
) -> np.ndarray:
    call = compiled(function, target)
    arrays = [tvm.runtime.tensor(array, device) for array in inputs]
    # What a kernel forgets to write must not look like an answer.
    output = tvm.runtime.tensor(np.full(shape, 77, dtype=numpy_dtype(dtype)), device)
    spaces = [tvm.runtime.tensor(np.full(size, 77, dtype=numpy_dtype(kind)), device) for size, kind in workspaces]
    call(*arrays, output, *spaces)
    result: np.ndarray = output.numpy()
    return result


def _compare(wanted: np.ndarray, found: np.ndarray, dtype: str) -> tuple[bool, float]:
    if not dtype.startswith(("float", "bfloat")):
        return bool(np.array_equal(wanted, found)), float(np.count_nonzero(wanted != found))
    a, b = wanted.astype("float64"), found.astype("float64")
    finite = np.isfinite(a)
    if not np.array_equal(finite, np.isfinite(b)) or not np.array_equal(a[~finite], b[~finite], equal_nan=True):
        return False, float("inf")
    scale = max(float(np.abs(a[finite]).max(initial=0.0)), 1e-12)
    error = float(np.abs(a[finite] - b[finite]).max(initial=0.0)) / scale
    return error <= _TOLERANCE.get(dtype, 1e-4), error
