"""What the tests of schedule rules share: modules of one operator, their kernels, runs of them, a whole-module run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gacer_tvm._tvm import relax, tir, tvm
from gacer_tvm.graph.lower import fuse
from gacer_tvm.kernels import layout, rules
from gacer_tvm.kernels.target import make_target

TARGET = make_target("llvm")


def module(operands: Sequence[Any], make: Callable[..., Any]) -> Any:
    """``main`` over `operands`: a shape tuple is an input, an array a constant."""
    builder = relax.BlockBuilder()
    arguments = [
        relax.const(x, str(x.dtype)) if isinstance(x, np.ndarray) else relax.Var(f"x{n}", relax.TensorType(x, "float32"))
        for n, x in enumerate(operands)
    ]
    inputs = [a for a, x in zip(arguments, operands) if not isinstance(x, np.ndarray)]
    with builder.function("main", inputs):
        with builder.dataflow():
            result = builder.emit_output(builder.emit(make(*arguments)))
        builder.emit_func_output(result)
    return builder.get()


def kernels(mod: Any) -> dict[str, Any]:
    """Fused, unscheduled kernels of a module, by name."""
    fused = fuse(mod, TARGET, "test")
    return {v.name_hint: f for v, f in fused.functions_items() if isinstance(f, tir.PrimFunc)}


def run(func: Any, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """All parameters of a compiled kernel after one call."""
    library = tvm.compile(func.with_attr("global_symbol", "kernel"), TARGET)
    tensors = [tvm.runtime.tensor(a) for a in arrays]
    library["kernel"](*tensors)
    return [t.numpy() for t in tensors]


def drawn(func: Any, seed: int = 0) -> list[np.ndarray]:
    """Values for the parameters of a kernel (outputs hold noise that it must overwrite)."""
    rng = np.random.default_rng(seed)
    arrays = []
    for param in func.params:
        shape, dtype = [int(d) for d in param.ty.shape], str(param.ty.dtype)
        values = rng.standard_normal(shape) if "float" in dtype else rng.integers(0, 2, shape)
        arrays.append(np.asarray(values).astype(dtype))
    return arrays


def built(mod: Any, cores: int = 2) -> tuple[Any, dict[str, str]]:
    """`mod` prepared, fused, scheduled and compiled: a function of arrays, and the rule of each kernel."""
    fused = fuse(layout.prepare(mod, TARGET), TARGET, "test")
    used = {}
    for var, func in list(fused.functions_items()):
        if isinstance(func, tir.PrimFunc):
            made = rules.schedule(func, TARGET, cores)
            assert made.failures == (), f"{var.name_hint}: {made.failures}"
            used[var.name_hint] = made.rule
            fused[var] = made.func
    machine = relax.VirtualMachine(tvm.compile(fused, TARGET), tvm.cpu())

    def call(*arrays: np.ndarray) -> np.ndarray:
        return machine["main"](*(tvm.runtime.tensor(a) for a in arrays)).numpy()

    return call, used


def close(ours: np.ndarray, truth: np.ndarray, dtype: str = "float32") -> None:
    """Equal up to rounding of sums: 1e-4 relative to the largest element (float32)."""
    scale = max(1.0, float(np.abs(truth).max())) if truth.size else 1.0
    np.testing.assert_allclose(ours / scale, truth / scale, rtol=0, atol=1e-4 if dtype == "float32" else 2e-2)
