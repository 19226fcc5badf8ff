"""What converters build with: Relax's operators, constants, tensor expressions, and the shapes of what was built."""

from __future__ import annotations

import typing
from collections.abc import Callable, Sequence

import numpy as np

from gacer_tvm._tvm import expr_ir, relax, tir
from gacer_tvm.relay.types import Any, Dim, TensorType

__all__ = ["Emitter", "Rx"]

Rx = typing.Any  # a Relax expression
# Constants are stored in the module; longer ranges are cheaper to compute.
_FEW = 65536
_UNSAFE = str.maketrans({".": "_", "/": "_"})


class Emitter:
    """Appends bindings to the function that a block builder is making.

    Parameters
    ----------
    builder : tvm.relax.BlockBuilder
        Inside a function and a dataflow block.
    """

    def __init__(self, builder: typing.Any) -> None:
        self.builder = builder
        self.name = ""

    def emit(self, expr: Rx, name: str = "") -> Rx:
        """Bind an expression to a variable; variables and constants stay as they are."""
        if isinstance(expr, (expr_ir.Var, expr_ir.Constant)):
            return expr
        return self.builder.emit(expr, name_hint=(name or self.name).translate(_UNSAFE))

    def te(self, function: Callable[..., typing.Any], *args: typing.Any, name: str = "", **kwargs: typing.Any) -> Rx:
        """Bind what a tensor expression computes; a tuple variable if it yields several tensors.

        Parameters
        ----------
        function : callable
            Takes TE tensors in place of Relax expressions.
        name : str
            Of the kernel.
        """
        hint = (name or self.name).translate(_UNSAFE)
        return self.builder.emit_te(function, *args, primfunc_name_hint=hint, **kwargs)

    @staticmethod
    def const(value: typing.Any, dtype: str) -> Rx:
        """A constant tensor, or scalar, of the given element type."""
        return relax.const(np.asarray(value, dtype=np_dtype(dtype)), dtype)

    def numbers(self, count: int, dtype: str) -> Rx:
        """The numbers 0, 1, ... as a vector: a constant, or computed if there are many."""
        if count <= _FEW:
            return self.const(np.arange(count), dtype)
        return self.emit(relax.op.arange(0, count, 1, dtype), "arange")

    @staticmethod
    def prim(value: float | int, dtype: str) -> typing.Any:
        """A number in an operator's attributes or a tensor expression."""
        return tir.const(value, dtype)

    def fields(self, tuple_expr: Rx, count: int) -> list[Rx]:
        """Variables for the first `count` fields of a tuple expression."""
        bound = self.emit(tuple_expr)
        return [self.emit(relax.TupleGetItem(bound, index)) for index in range(count)]

    @staticmethod
    def shape(expr: Rx) -> list[typing.Any]:
        """The dimensions of a bound expression: whole numbers where known, else symbolic expressions."""
        shape = expr.ty.shape
        if shape is None:
            raise ValueError("the shape is not known symbolically")
        return [int(dim) if isinstance(dim, tir.IntImm) else dim for dim in shape.values]

    @staticmethod
    def dtype(expr: Rx) -> str:
        """The element type of a bound expression."""
        return str(expr.ty.dtype)

    # The few operators that many converters need; each result is bound.

    def reshape(self, data: Rx, shape: Sequence[typing.Any]) -> Rx:
        """`data` with another shape; itself if it has that one already."""
        data = self.emit(data)
        if same_dims(self.shape(data), shape):
            return data
        return self.emit(relax.op.reshape(data, list(shape)), "reshape")

    def permute(self, data: Rx, axes: Sequence[int]) -> Rx:
        """`data` with its axes reordered; itself for the identity."""
        if list(axes) == list(range(len(axes))):
            return self.emit(data)
        return self.emit(relax.op.permute_dims(data, list(axes)), "transpose")

    def cast(self, data: Rx, dtype: str) -> Rx:
        """`data` with another element type; itself if it has that one already."""
        data = self.emit(data)
        return data if self.dtype(data) == dtype else self.emit(relax.op.astype(data, dtype), "cast")

    def add(self, left: Rx, right: Rx) -> Rx:
        """The elementwise sum."""
        return self.emit(relax.op.add(left, right), "add")

    def subtract(self, left: Rx, right: Rx) -> Rx:
        """The elementwise difference."""
        return self.emit(relax.op.subtract(left, right), "subtract")

    def multiply(self, left: Rx, right: Rx) -> Rx:
        """The elementwise product."""
        return self.emit(relax.op.multiply(left, right), "multiply")

    def along(self, vector: Rx, axis: int, rank: int) -> Rx:
        """A vector shaped to broadcast along `axis` (from the front) of a tensor of `rank` dimensions."""
        vector = self.emit(vector)
        dims = self.shape(vector)
        if axis == rank - 1:
            return vector
        return self.reshape(vector, [*dims, *([1] * (rank - 1 - axis))])


def np_dtype(dtype: str) -> typing.Any:
    """numpy's type for TVM's name of an element type."""
    if dtype == "bfloat16" or dtype.startswith(("float8", "float4")):
        import ml_dtypes

        return np.dtype(getattr(ml_dtypes, dtype))
    return np.dtype(dtype)


def same_dims(left: Sequence[typing.Any], right: Sequence[typing.Any]) -> bool:
    """Whether both are the same dimensions, as far as numbers and identical symbols can tell."""
    if len(left) != len(right):
        return False
    return all(
        one is two if not (isinstance(one, int) and isinstance(two, int)) else one == two
        for one, two in zip(left, right)
    )


def relax_type(type_: TensorType, symbols: dict[str, typing.Any]) -> typing.Any:
    """The Relax type of a tensor; unknown dimensions become variables, the same one for the same name.

    Parameters
    ----------
    type_ : TensorType
    symbols : dict of str to variable
        Filled with the variables made for named dimensions.
    """
    dims = [_symbol(dim, symbols) for dim in type_.shape]
    return relax.TensorType(dims, type_.dtype)


def _symbol(dim: Dim, symbols: dict[str, typing.Any]) -> typing.Any:
    if not isinstance(dim, Any):
        return int(dim)
    name = dim.name or f"d{len(symbols)}"
    if name not in symbols or not dim.name:
        symbols[name if dim.name else f"?{len(symbols)}"] = variable = tir.Var(name, "int64")
        return variable
    return symbols[name]
