"""Whether a kernel may be cut, by running it: what lies outside a chunk is spoilt, and must not matter."""

from __future__ import annotations

from typing import Any

import numpy as np

from gacer_tvm._tvm import tir, tvm
from gacer_tvm.graph.tir_blocks import shape_of
from gacer_tvm.kernels.chunk import at_items, with_offset

TARGET = tvm.target.Target({"kind": "llvm"})
SPOILS = (np.nan, 1e30, -1e30)


def compiled(functions: dict[str, Any]) -> Any:
    """PrimFuncs compiled as they stand."""
    named = {name: func.with_attr("global_symbol", name) for name, func in functions.items()}
    return tvm.compile(tvm.IRModule(named), TARGET)


def arguments(func: Any, seed: int, high: int = 3) -> list[np.ndarray]:
    """Random values for every parameter; integers lie in ``[0, high)``, so that they may be indices."""
    rng = np.random.default_rng(seed)
    made = []
    for param in func.params:
        dtype = np.dtype(str(param.ty.dtype))
        if dtype.kind == "f":
            made.append((rng.random(shape_of(param)) + 0.5).astype(dtype))
        else:
            made.append(rng.integers(0, 2 if dtype.kind == "b" else high, shape_of(param)).astype(dtype))
    return made


def call(function: Any, arrays: list[np.ndarray], *scalars: int) -> list[np.ndarray]:
    """Run a kernel on copies; all parameters as they are afterwards."""
    tensors = [tvm.runtime.tensor(a) for a in arrays]
    function(*tensors, *scalars)
    return [t.numpy() for t in tensors]


def spoilt(array: np.ndarray, rows: int, first: int, items: int, value: float) -> np.ndarray:
    """`array` with everything but the rows of the chunk made useless."""
    if rows == 0:
        return array
    if array.dtype.kind != "f":
        value = 0
    elif np.isfinite(value):
        value = np.clip(value, -np.finfo(array.dtype).max, np.finfo(array.dtype).max)
    made = np.full_like(array, value)
    made[first * rows : (first + items) * rows] = array[first * rows : (first + items) * rows]
    return made


def depends_on_others(func: Any, outputs: int, items: int) -> bool:
    """Whether some item of an output changes when the other items of the arguments are spoilt.

    Arguments whose axis 0 is the batch are taken to be batched. True also where an output has no batch at axis 0.
    """
    arrays = arguments(func, 1)
    rows = [a.shape[0] // items if a.ndim and a.shape[0] % items == 0 else 0 for a in arrays]
    if not all(rows[-outputs:]):
        return True
    kernel = compiled({"k": func})["k"]
    whole = call(kernel, arrays)
    for item in range(items):
        for value in SPOILS:
            found = call(kernel, [spoilt(a, r, item, 1, value) for a, r in zip(arrays, rows)])
            for n in range(len(arrays) - outputs, len(arrays)):
                part = slice(item * rows[n], (item + 1) * rows[n])
                if not np.array_equal(found[n][part], whole[n][part], equal_nan=True):
                    return True
    return False


def check_chunks(func: Any, outputs: int, batch: int, sizes: tuple[int, ...], seed: int = 0) -> None:
    """Cut `func` into chunks of `sizes` and compare with the whole, bit for bit.

    The chunks run on arguments that are spoilt outside of their items, in an output that they must not touch elsewhere.
    """
    assert sum(sizes) == batch
    kernels = {"whole": func}
    rows: tuple[int, ...] = ()
    for size in sorted(set(sizes) - {batch}):
        resized, rows = at_items(func, outputs, batch, size)
        kernels[f"items{size}"] = with_offset(resized, rows, batch)
        assert isinstance(kernels[f"items{size}"], tir.PrimFunc)
    library = compiled(kernels)
    arrays = arguments(func, seed)
    expected = call(library["whole"], arrays)
    inputs = len(arrays) - outputs
    for value in SPOILS:
        first = 0
        for size in sizes:
            if size == batch:
                break
            given = [
                spoilt(a, r, first, size, value) if n < inputs else np.full_like(a, 7)
                for n, (a, r) in enumerate(zip(arrays, rows))
            ]
            found = call(library[f"items{size}"], given, first)
            for n in range(inputs, len(arrays)):
                part = slice(first * rows[n], (first + size) * rows[n])
                np.testing.assert_array_equal(found[n][part], expected[n][part])
                untouched = np.full_like(arrays[n], 7)
                untouched[part] = found[n][part]
                np.testing.assert_array_equal(found[n], untouched)
            first += size
