"""A merged module of two tenants written by hand, and what each pass makes of it, as TVMScript."""

from __future__ import annotations

import functools
from typing import Any

from gacer_tvm._tvm import tvm

HEADER = """\
@I.ir_module
class Module:
    I.module_attrs({"gacer.tenants": [
        {"name": "a", "batch": 4, "inputs": ["x"], "outputs": ["y"]},
        {"name": "b", "batch": 3, "inputs": ["x"], "outputs": ["low", "high"]},
    ]})
"""

# a: double, a view, add one. b: one operator with two outputs.
KERNELS = """
    @T.prim_func(s_tir=True)
    def a__double(x: T.Buffer((T.int64(4), T.int64(2)), "float32"), y: T.Buffer((T.int64(4), T.int64(2)), "float32")):
        for i, j in T.grid(T.int64(4), T.int64(2)):
            with T.sblock("double"):
                vi, vj = T.axis.remap("SS", [i, j])
                y[vi, vj] = x[vi, vj] * T.float32(2)

    @T.prim_func(s_tir=True)
    def a__increment(x: T.Buffer((T.int64(8),), "float32"), y: T.Buffer((T.int64(8),), "float32")):
        for i in range(T.int64(8)):
            with T.sblock("increment"):
                vi = T.axis.spatial(T.int64(8), i)
                y[vi] = x[vi] + T.float32(1)

    @T.prim_func(s_tir=True)
    def b__halves(
        x: T.Buffer((T.int64(3), T.int64(2)), "float32"),
        low: T.Buffer((T.int64(3),), "float32"),
        high: T.Buffer((T.int64(3),), "float32"),
    ):
        for i in range(T.int64(3)):
            with T.sblock("low"):
                vi = T.axis.spatial(T.int64(3), i)
                low[vi] = x[vi, T.int64(0)]
        for i in range(T.int64(3)):
            with T.sblock("high"):
                vi = T.axis.spatial(T.int64(3), i)
                high[vi] = x[vi, T.int64(1)]
"""

# The kernels of chunks: fewer items, tensors of the whole batch, the first item as the last argument.
CHUNK_KERNELS = """
    @T.prim_func(s_tir=True)
    def a__double__items1(
        x: T.Buffer((T.int64(4), T.int64(2)), "float32"), y: T.Buffer((T.int64(4), T.int64(2)), "float32"), lo: T.int64
    ):
        T.func_attr({"gacer.items": 1, "gacer.whole": "a__double"})
        for i, j in T.grid(T.int64(1), T.int64(2)):
            with T.sblock("double"):
                vi, vj = T.axis.remap("SS", [i, j])
                y[vi + lo, vj] = x[vi + lo, vj] * T.float32(2)

    @T.prim_func(s_tir=True)
    def a__double__items3(
        x: T.Buffer((T.int64(4), T.int64(2)), "float32"), y: T.Buffer((T.int64(4), T.int64(2)), "float32"), lo: T.int64
    ):
        T.func_attr({"gacer.items": 3, "gacer.whole": "a__double"})
        for i, j in T.grid(T.int64(3), T.int64(2)):
            with T.sblock("double"):
                vi, vj = T.axis.remap("SS", [i, j])
                y[vi + lo, vj] = x[vi + lo, vj] * T.float32(2)

    @T.prim_func(s_tir=True)
    def a__increment__items2(
        x: T.Buffer((T.int64(8),), "float32"), y: T.Buffer((T.int64(8),), "float32"), lo: T.int64
    ):
        T.func_attr({"gacer.items": 2, "gacer.whole": "a__increment"})
        for i in range(T.int64(4)):
            with T.sblock("increment"):
                vi = T.axis.spatial(T.int64(4), i)
                y[vi + lo * T.int64(2)] = x[vi + lo * T.int64(2)] + T.float32(1)

    @T.prim_func(s_tir=True)
    def b__halves__items1(
        x: T.Buffer((T.int64(3), T.int64(2)), "float32"),
        low: T.Buffer((T.int64(3),), "float32"),
        high: T.Buffer((T.int64(3),), "float32"),
        lo: T.int64,
    ):
        T.func_attr({"gacer.items": 1, "gacer.whole": "b__halves"})
        for i in range(T.int64(1)):
            with T.sblock("low"):
                vi = T.axis.spatial(T.int64(1), i)
                low[vi + lo] = x[vi + lo, T.int64(0)]
        for i in range(T.int64(1)):
            with T.sblock("high"):
                vi = T.axis.spatial(T.int64(1), i)
                high[vi + lo] = x[vi + lo, T.int64(1)]

    @T.prim_func(s_tir=True)
    def b__halves__items2(
        x: T.Buffer((T.int64(3), T.int64(2)), "float32"),
        low: T.Buffer((T.int64(3),), "float32"),
        high: T.Buffer((T.int64(3),), "float32"),
        lo: T.int64,
    ):
        T.func_attr({"gacer.items": 2, "gacer.whole": "b__halves"})
        for i in range(T.int64(2)):
            with T.sblock("low"):
                vi = T.axis.spatial(T.int64(2), i)
                low[vi + lo] = x[vi + lo, T.int64(0)]
        for i in range(T.int64(2)):
            with T.sblock("high"):
                vi = T.axis.spatial(T.int64(2), i)
                high[vi + lo] = x[vi + lo, T.int64(1)]
"""

MAIN = """
    @R.function
    def main(
        a__x: R.Tensor((4, 2), "float32"), b__x: R.Tensor((3, 2), "float32")
    ) -> R.Tuple(R.Tensor((8,), "float32"), R.Tensor((3,), "float32"), R.Tensor((3,), "float32")):
        cls = Module
        with R.dataflow():
{bindings}
            out: R.Tuple(
                R.Tensor((8,), "float32"), R.Tensor((3,), "float32"), R.Tensor((3,), "float32")
            ) = (more, low, high)
            R.output(out)
        return out
"""

DOUBLE = 'doubled = R.call_tir(cls.a__double, (a__x,), out_ty=R.Tensor((4, 2), "float32"))'
FLAT = 'flat: R.Tensor((8,), "float32") = R.reshape(doubled, R.shape([8]))'
INCREMENT = 'more = R.call_tir(cls.a__increment, (flat,), out_ty=R.Tensor((8,), "float32"))'
HALVES = 'parts = R.call_tir(cls.b__halves, (b__x,), out_ty=[R.Tensor((3,), "float32"), R.Tensor((3,), "float32")])'
LOW = 'low: R.Tensor((3,), "float32") = parts[0]'
HIGH = 'high: R.Tensor((3,), "float32") = parts[1]'


def alloc(name: str, shape: str) -> str:
    """A binding that allocates a float32 tensor."""
    return (
        f'{name}: R.Tensor(({shape},), "float32") = R.builtin.alloc_tensor('
        f'R.shape([{shape}]), R.dtype("float32"), 0, R.str("global"))'
    )


def chunk(name: str, kernel: str, arguments: str, shape: str, place: int) -> str:
    """A binding of a chunk with one output."""
    ty = f'R.Tensor(({shape},), "float32")'
    return f"{name} = R.call_tir_inplace(cls.{kernel}, ({arguments}), out_ty={ty}, inplace_indices=[{place}])"


def chunk_of_two(name: str, kernel: str, arguments: str) -> str:
    """A binding of a chunk of ``b__halves``."""
    ty = 'R.Tensor((3,), "float32")'
    return f"{name} = R.call_tir_inplace(cls.{kernel}, ({arguments}), out_ty=[{ty}, {ty}], inplace_indices=[1, 2])"


@functools.cache  # parsing takes a second
def module(*bindings: str, kernels: str = KERNELS) -> Any:
    """A module of these bindings."""
    lines = "\n".join(" " * 12 + line for line in bindings)
    return tvm.script.from_source(HEADER + kernels + MAIN.format(bindings=lines))


def merged() -> Any:
    """The module before all passes."""
    return module(DOUBLE, FLAT, INCREMENT, HALVES, LOW, HIGH)
