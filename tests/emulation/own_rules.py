"""Our own CUDA rules on the emulated device, every other tiling, beside the same functions unscheduled on the CPU."""

from __future__ import annotations

import json
import os
from functools import lru_cache
from typing import Any

import numpy as np
import pytest

from gacer_tvm._tvm import relax, tir, tvm
from gacer_tvm.graph.lower import fuse
from gacer_tvm.kernels import cubin, layout, rules
from gacer_tvm.kernels.launch_shape import launch_shape
from gacer_tvm.kernels.rules import cuda_own
from gacer_tvm.kernels.rules.base import NotApplicable
from gacer_tvm.kernels.target import make_target

nn, op = relax.op.nn, relax.op



def _swish(x: Any) -> Any:
    """Uses its argument twice: what follows the product branches."""
    return op.multiply(x, op.clip(op.add(x, x), 0, 6))


def _conv(**options: Any) -> Any:
    def make(x: Any, weight: Any, *rest: Any) -> Any:
        y = nn.conv2d(x, weight, out_dtype="float32", **options)
        y = op.astype(y, "float16") if x.ty.dtype == "float16" else y
        y = op.add(y, rest[0]) if rest else y
        return _swish(y)

    return make


def _matmul(x: Any, weight: Any, *rest: Any) -> Any:
    y = op.matmul(x, weight, out_dtype="float32")
    y = op.astype(y, "float16") if x.ty.dtype == "float16" else y
    return nn.relu(op.add(y, rest[0])) if rest else nn.relu(y)


# Name: shapes of the operands, what is made of them, the rules that are to fit (in single precision, in half).
CASES: dict[str, tuple[tuple[tuple[int, ...], ...], Any, tuple[str, str]]] = {
    "3x3": (((2, 12, 9, 11), (20, 12, 3, 3), (1, 20, 1, 1)), _conv(padding=1), ("gemm", "tensor gemm")),
    "3x3, strides, even": (((2, 16, 12, 8), (32, 16, 3, 3)), _conv(padding=1, strides=2), ("gemm", "tensor gemm")),
    "1x1": (((2, 24, 8, 8), (40, 24, 1, 1), (1, 40, 1, 1)), _conv(), ("gemm", "tensor gemm")),
    "1x1, strides": (((3, 20, 8, 8), (18, 20, 1, 1)), _conv(strides=2), ("gemm", "tensor gemm")),
    "7x7 of three channels": (((1, 3, 20, 22), (24, 3, 7, 7)), _conv(padding=3, strides=2), ("gemm", "tensor gemm")),
    "depthwise": (((2, 10, 9, 9), (10, 1, 3, 3), (1, 10, 1, 1)), _conv(padding=1, groups=10), ("direct", "direct")),
    "few channels": (((4, 3, 6, 6), (8, 3, 3, 3), (1, 8, 1, 1)), _conv(padding=1), ("gemm", "tensor gemm")),
    "one pixel": (((4, 40, 1, 1), (24, 40, 1, 1), (1, 24, 1, 1)), _conv(), ("thin", "thin")),
    "matrix product": (((40, 70), (70, 50), (50,)), _matmul, ("gemm", "tensor gemm")),
    "rows of eight": (((8, 130), (130, 70), (70,)), _matmul, ("thin", "thin")),
    "batched": (((3, 20, 24), (3, 24, 36)), _matmul, ("gemm", "tensor gemm")),
}


@lru_cache(maxsize=64)
def _function(name: str, dtype: str) -> Any:
    shapes, make, _ = CASES[name]
    builder = relax.BlockBuilder()
    arguments = [relax.Var(f"x{n}", relax.TensorType(shape, dtype)) for n, shape in enumerate(shapes)]
    with builder.function("main", arguments):
        with builder.dataflow():
            result = builder.emit_output(builder.emit(make(*arguments)))
        builder.emit_func_output(result)
    target = make_target("cuda")
    fused = fuse(layout.prepare(builder.get(), target), target, "test")
    functions = [f for _, f in fused.functions_items() if isinstance(f, tir.PrimFunc)]
    assert len(functions) == 1, fused
    return functions[0]


@lru_cache(maxsize=64)
def _truth(name: str, dtype: str) -> tuple[list[np.ndarray], np.ndarray]:
    func = _function(name, dtype)
    rng = np.random.default_rng(1)
    arrays = [(rng.standard_normal([int(d) for d in p.ty.shape]) / 2).astype(dtype) for p in func.params]
    tensors = [tvm.runtime.tensor(a) for a in arrays]
    tvm.compile(func.with_attr("global_symbol", "main"), make_target("llvm"))["main"](*tensors)
    return arrays, tensors[-1].numpy()


def _run(func: Any, name: str, dtype: str) -> np.ndarray:
    target = make_target("cuda")
    cubin.install()
    with target:
        library = tvm.compile(tvm.IRModule({"main": func.with_attr("global_symbol", "main")}), target)
    arrays = _truth(name, dtype)[0]
    tensors = [tvm.runtime.tensor(a, tvm.cuda(0)) for a in arrays[:-1]]
    found = []
    for order in ("", "1"):
        # The emulated device runs blocks one after another: once from the first to the last, once from the last to the first.
        os.environ.pop("EMULATED_CUDA_BACKWARDS", None)
        if order:
            os.environ["EMULATED_CUDA_BACKWARDS"] = order
        result = tvm.runtime.tensor(np.full_like(arrays[-1], np.nan), tvm.cuda(0))
        library["main"](*tensors, result)
        found.append(result.numpy())
    np.testing.assert_array_equal(*found)
    return found[0]


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("name", CASES)
def test_every_other_tiling_computes_what_the_function_says(name: str, dtype: str) -> None:
    func, target = _function(name, dtype), make_target("cuda")
    expected = _truth(name, dtype)[1].astype(np.float64)
    made = rules.schedule(func, target)
    assert made.rule == CASES[name][2][dtype == "float16"] and not made.failures, made
    known = rules.tilings(func, target)
    assert known and {json.loads(text)["rule"] for text in known} == {made.rule}
    ran = 0
    for text in known[::2]:
        try:
            scheduled = rules.retiled(func, target, 1, text)
        except NotApplicable:
            continue
        shape = launch_shape(scheduled)
        assert shape is not None and shape.block <= 1024
        found = _run(scheduled, name, dtype).astype(np.float64)
        error = np.abs(found - expected).max() / max(1.0, np.abs(expected).max())
        assert error <= (1e-5 if dtype == "float32" else 4e-3), (text, error)
        ran += 1
    assert ran >= 1


def test_a_tiling_that_is_none_is_refused() -> None:
    func = _function("matrix product", "float32")
    for text in ("", "[]", '{"rule": "gemm"}', '{"rule": "else", "rows": 1}', '{"rule": "thin", "wide": 32, "shares": 8}'):
        with pytest.raises(NotApplicable):
            cuda_own.apply(func, text)
