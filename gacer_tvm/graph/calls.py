"""Reads a fused main function: the kernel calls in order, with the tensors that they read and write.

A regulated main (`gacer_tvm.transform`) is read too. An operator that was cut there is one call again:

    out = R.builtin.alloc_tensor(…)
    a = R.call_tir_inplace(conv2d__items3, (x, w, out, 0), inplace_indices=[2])     →  Call("conv2d", …,
    b = R.call_tir_inplace(conv2d__items5, (x, w, a, 3), inplace_indices=[2])             chunks=((0, 3), (3, 5)))
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .._tvm import expr_ir, relax, tir, tvm
from ..errors import GraphError

__all__ = ["ITEMS", "WHOLE", "Call", "StraightLine", "Tensor", "read_main"]

# Attributes of a chunk's kernel: the kernel of the whole batch that it is a piece of, and how many items it computes.
WHOLE = "gacer.whole"
ITEMS = "gacer.items"


@dataclass(eq=False)
class Tensor:
    """One tensor value of a main function, compared by identity; `value` is that of a constant, where wanted."""

    shape: tuple[int, ...]
    dtype: str
    value: Any = None
    constant: bool = False


@dataclass(frozen=True)
class Call:
    """One operator: kernel name, tensors read, tensors written.

    Attributes
    ----------
    kernel
        Name of its PrimFunc over the whole batch; empty for a reshape.
    reads, writes
        Tensors in argument order.
    vars
        The variables that its kernel calls are bound to, in order; one unless it was cut.
    chunks
        First item and number of items of each kernel call; empty where it was not cut.
    """

    kernel: str
    reads: tuple[Tensor, ...]
    writes: tuple[Tensor, ...]
    vars: tuple[Any, ...] = ()
    chunks: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class StraightLine:
    """A main function as data; a call without a kernel name is a reshape of one tensor."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    calls: tuple[Call, ...]


def read_main(module: Any, tenant: str, values: bool = True) -> StraightLine:
    """Read ``module["main"]``.

    Parameters
    ----------
    module
        IRModule of a fused main and its kernels.
    tenant
        Its name, for messages.
    values
        Whether the values of constants are wanted.

    Raises
    ------
    GraphError
        Listing every construct that is not a kernel call, with how often it occurs.
    """
    return _Reader(module, tenant, values).read(module["main"])


class _Reader:
    def __init__(self, module: Any, tenant: str, with_values: bool) -> None:
        self.module = module
        self.tenant = tenant
        self.with_values = with_values
        self.values: dict[Any, Any] = {}
        self.constants: dict[int, Tensor] = {}
        self.alive: list[Any] = []
        self.refused: Counter[str] = Counter()
        self.calls: list[Call] = []
        # Tensors allocated for a cut operator, and the call that fills them.
        self.empty: set[Tensor] = set()
        self.filled: dict[Tensor, int] = {}

    def read(self, main: Any) -> StraightLine:
        inputs = []
        for param in main.params:
            tensor = self._tensor(param.ty, f"input {param.name}")
            self.values[param] = tensor
            inputs.append(tensor)
        body = main.body
        result: Any
        if isinstance(body, relax.SeqExpr):
            for block in body.blocks:
                for binding in block.bindings:
                    self._bind(binding)
            result = body.body
        else:
            result = body
        if self.refused:
            listed = ", ".join(f"{name} ({count}x)" for name, count in sorted(self.refused.items()))
            raise GraphError(
                f"tenant {self.tenant!r}: expected only kernel calls after lowering, found {listed}; "
                f"these operators have no kernel in TVM {tvm.__version__}: rewrite the model without them"
            )
        outputs = self._flatten(self._value(result))
        return StraightLine(tuple(inputs), tuple(outputs), tuple(self.calls))

    def _bind(self, binding: Any) -> None:
        value = binding.value
        if isinstance(binding, relax.MatchCast):
            self.values[binding.var] = self._value(value)
            return
        if isinstance(value, expr_ir.Call) and getattr(value.op, "name", None) == "relax.call_tir":
            self.values[binding.var] = self._call(value, binding.var)
        elif isinstance(value, expr_ir.Call) and getattr(value.op, "name", None) == "relax.call_tir_inplace":
            self.values[binding.var] = self._chunk(value, binding.var)
        elif isinstance(value, expr_ir.Call) and getattr(value.op, "name", None) == "relax.builtin.alloc_tensor":
            tensor = self._tensor(binding.var.ty, binding.var.name)
            self.empty.add(tensor)
            self.values[binding.var] = tensor
        elif isinstance(value, expr_ir.Call) and getattr(value.op, "name", None) == "relax.reshape":
            source = self._value(value.args[0])
            result = self._tensor(binding.var.ty, binding.var.name)
            self.calls.append(Call("", (source,), (result,)))
            self.values[binding.var] = result
        elif isinstance(value, expr_ir.Call):
            self.refused[str(getattr(value.op, "name", value.op))] += 1
            self.values[binding.var] = None
        else:
            self.values[binding.var] = self._value(value)

    def _call(self, call: Any, var: Any) -> Any:
        kernel = call.args[0].name_hint
        reads = tuple(self._flatten([self._value(a) for a in call.args[1]]))
        if len(call.args) > 2 and len(call.args[2]):
            self.refused[f"{kernel} with shape arguments"] += 1
        out = call.ty_args[0]
        fields = list(out.fields) if hasattr(out, "fields") else [out]
        writes = tuple(self._tensor(ty, kernel) for ty in fields)
        self.calls.append(Call(kernel, reads, writes, (var,)))
        return list(writes) if hasattr(out, "fields") else writes[0]

    def _chunk(self, call: Any, var: Any) -> Any:
        """One chunk: the first one makes the call, the others join it."""
        name = call.args[0].name_hint
        func = self.module[name]
        if WHOLE not in (func.attrs or {}):
            self.refused[f"{name} in place"] += 1
            return None
        *arguments, first = call.args[1]
        into = sorted(int(n) for n in call.attrs.inplace_indices)
        count = into[0]
        reads = tuple(self._flatten([self._value(a) for a in arguments[:count]]))
        writes = tuple(self._flatten([self._value(a) for a in arguments[count:]]))
        chunk = (int(first), int(func.attrs[ITEMS]))
        kernel = str(func.attrs[WHOLE])
        place = self.filled.get(writes[0])
        if place is None:
            for tensor in writes:
                if tensor not in self.empty:
                    self.refused[f"{name} into a tensor that is not its own"] += 1
                self.filled[tensor] = len(self.calls)
            self.calls.append(Call(kernel, reads, writes, (var,), (chunk,)))
        else:
            before = self.calls[place]
            if (before.kernel, before.reads, before.writes) != (kernel, reads, writes):
                self.refused[f"{name} into the tensor of {before.kernel}"] += 1
            self.calls[place] = replace(before, vars=(*before.vars, var), chunks=(*before.chunks, chunk))
        return list(writes) if len(writes) > 1 else writes[0]

    def _value(self, expr: Any) -> Any:
        if isinstance(expr, expr_ir.GenericConst):
            key = expr.value.__chandle__() if hasattr(expr.value, "__chandle__") else id(expr.value)
            if key not in self.constants:
                self.alive.append(expr.value)
                shape = tuple(int(d) for d in expr.value.shape)
                data = _array(expr.value) if self.with_values else None
                self.constants[key] = Tensor(shape, str(expr.value.dtype), data, constant=True)
            return self.constants[key]
        if isinstance(expr, expr_ir.Tuple):
            return [self._value(field) for field in expr.fields]
        if isinstance(expr, relax.TupleGetItem):
            whole = self._value(expr.tuple_value)
            return None if whole is None else whole[expr.index]
        if isinstance(expr, expr_ir.Var):
            if expr not in self.values:
                self.refused[f"the unbound variable {expr.name}"] += 1
                return None
            return self.values[expr]
        if isinstance(expr, relax.ShapeExpr):
            return None
        self.refused[type(expr).__name__] += 1
        return None

    def _flatten(self, value: Any) -> list[Tensor]:
        if isinstance(value, list):
            return [t for item in value for t in self._flatten(item)]
        return [] if value is None else [value]

    def _tensor(self, ty: Any, name: str) -> Tensor:
        shape = getattr(ty, "shape", None)
        if shape is None or any(not isinstance(d, tir.IntImm) for d in shape):
            raise GraphError(
                f"tenant {self.tenant!r}: {name} has the type {ty}, expected a tensor of static shape; "
                f"give the shapes when making the tenant"
            )
        return Tensor(tuple(int(d) for d in shape), str(ty.dtype))


def _array(tensor: Any) -> Any:
    """The values of a TVM tensor as a NumPy array, without a copy where NumPy has the dtype."""
    try:
        return np.from_dlpack(tensor)
    except (BufferError, TypeError, RuntimeError):
        return tensor.numpy()
