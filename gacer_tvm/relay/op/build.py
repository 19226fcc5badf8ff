"""Making operator calls in Python: scalars become constants, attributes get defaults, signatures are lines of text."""

from __future__ import annotations

import ast
import inspect
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from gacer_tvm.errors import RelayError
from gacer_tvm.relay.ast import Call, Constant, Expr, Op, Tuple, TupleGetItem, Var
from gacer_tvm.relay.attrs import call_attrs
from gacer_tvm.relay.types import Any, Dim, TensorType, Type

__all__ = ["TupleWrapper", "as_expr", "call", "const", "known_ints", "operator", "pairs_of", "var"]

# What Python's own numbers become, as in TVM.
_NARROW = {"int64": "int32", "float64": "float32"}


class TupleWrapper:
    """The result of a call with several fields, usable as a sequence: `a, b = relay.split(x, 2)`.

    Parameters
    ----------
    tuple_value : Expr
    size : int
        The number of fields.
    """

    def __init__(self, tuple_value: Expr, size: int) -> None:
        self.tuple_value = tuple_value
        self.size = size

    def astuple(self) -> Expr:
        """The call itself, whose value is the tuple."""
        return self.tuple_value

    def __getitem__(self, index: int) -> TupleGetItem:
        if not -self.size <= index < self.size:
            raise IndexError(f"field {index} of a tuple of {self.size}")
        return TupleGetItem(self.tuple_value, index % self.size)

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[TupleGetItem]:
        return (self[index] for index in range(self.size))

    def __repr__(self) -> str:
        return f"TupleWrapper({self.tuple_value!r}, {self.size})"


def const(value: typing.Any, dtype: str | None = None) -> Constant:
    """A constant tensor.

    Parameters
    ----------
    value : bool, int, float, list, numpy.ndarray, or anything with `.numpy()`
    dtype : str, optional
        Python's integers are int32 and its floats float32 when it is not stated; arrays keep their type.
    """
    if isinstance(value, Constant):
        return value
    if hasattr(value, "numpy") and not isinstance(value, np.ndarray):
        value = value.numpy()
    if isinstance(value, np.ndarray):
        array = value if dtype is None else value.astype(_np_dtype(dtype))
    else:
        array = np.asarray(value, dtype=None if dtype is None else _np_dtype(dtype))
        if dtype is None and not isinstance(value, np.generic) and str(array.dtype) in _NARROW:
            array = array.astype(_NARROW[str(array.dtype)])
    if array.dtype == object:
        raise RelayError(f"A constant cannot be made of {type(value).__name__}.")
    return Constant(array)


def _np_dtype(dtype: str) -> typing.Any:
    if dtype == "bfloat16" or dtype.startswith("float8"):
        import ml_dtypes

        return np.dtype(getattr(ml_dtypes, dtype))
    return np.dtype(dtype)


def var(
    name_hint: str,
    type_annotation: Type | str | None = None,
    shape: Sequence[typing.Any] | None = None,
    dtype: str = "float32",
    span: typing.Any = None,
) -> Var:
    """A variable, typed by `type_annotation` or by `shape` and `dtype`; untyped if neither is given.

    Parameters
    ----------
    name_hint : str
    type_annotation : Type or str, optional
        A string is the element type of a scalar.
    shape : sequence of int or Any, optional
    dtype : str
    span : optional
        Ignored; accepted because scripts pass it.
    """
    if type_annotation is not None and shape is not None:
        raise RelayError(f"%{name_hint}: give either type_annotation or shape, not both.")
    if shape is not None:
        type_annotation = TensorType(tuple(_dim(dim) for dim in shape), dtype)
    elif isinstance(type_annotation, str):
        type_annotation = TensorType((), type_annotation)
    return Var(name_hint, type_annotation)


def _dim(dim: typing.Any) -> Dim:
    return dim if isinstance(dim, Any) else int(dim)


def as_expr(value: typing.Any) -> Expr:
    """An expression from what scripts pass: expressions, wrapped tuples, sequences of expressions, numbers, arrays."""
    if isinstance(value, Expr):
        return value
    if isinstance(value, TupleWrapper):
        return value.astuple()
    if isinstance(value, (list, tuple)) and any(isinstance(item, (Expr, TupleWrapper, list, tuple)) for item in value):
        return Tuple(tuple(as_expr(item) for item in value))
    return const(value)


def call(name: str, args: Sequence[typing.Any], attrs: Mapping[str, typing.Any] | None = None) -> Call:
    """A call of the operator `name` with attributes checked and completed."""
    return Call(Op(name), tuple(as_expr(arg) for arg in args), call_attrs(name, attrs or {}))


def known_ints(value: typing.Any) -> tuple[int, ...] | None:
    """A shape or list of axes as plain numbers; None if it is an expression known only at run time."""
    if isinstance(value, Constant):
        return tuple(int(number) for number in value.data.reshape(-1))
    if isinstance(value, Expr):
        return None
    if isinstance(value, (list, tuple)):
        return tuple(int(number) for number in value)
    if isinstance(value, np.ndarray):
        return tuple(int(number) for number in value.reshape(-1))
    return (int(value),)


def pairs_of(value: Sequence[typing.Any]) -> list[list[int]]:
    """Pairs of numbers, such as the widths of padding, as plain lists."""
    return [[int(number) for number in pair] for pair in value]


def spread(count: int) -> Callable[[typing.Any], typing.Any]:
    """A conversion of one number into `count` of them, as for strides and window sizes."""

    def convert(value: typing.Any) -> typing.Any:
        if value is None or isinstance(value, (list, tuple)):
            return value
        return [value] * count

    return convert


def padding(rank: int) -> Callable[[typing.Any], typing.Any]:
    """A conversion of padding into one number for each side of `rank` dimensions, as TVM's builder wrote it."""

    def convert(value: typing.Any) -> list[int]:
        stated = list(value) if isinstance(value, (list, tuple)) else [value] * rank
        if len(stated) == 1:
            stated *= rank
        if len(stated) == rank:
            stated *= 2
        if len(stated) != 2 * rank:
            raise RelayError(f"Padding must have {rank} or {2 * rank} numbers, found {value!r}.")
        return stated

    return convert


def dtype_attr(value: typing.Any) -> typing.Any:
    """An element type, unset where scripts pass an empty string."""
    return None if value in ("", None) else str(value)


def operator(
    name: str,
    tensors: str,
    attrs: str = "",
    fields: int = 0,
    convert: Mapping[str, Callable[[typing.Any], typing.Any]] | None = None,
) -> Callable[..., typing.Any]:
    """A Python function that calls an operator, with TVM's parameter names, order and defaults.

    Parameters
    ----------
    name : str
        The operator.
    tensors : str
        Names of its arguments, separated by commas.
    attrs : str
        The attributes as written in a Python signature: "axis=-1, keepdims=False".
    fields : int
        For operators with several results, their number; the function then returns a `TupleWrapper`.
    convert : Mapping of str to callable, optional
        By attribute: applied to the value given.
    """
    arguments = [part.strip() for part in tensors.split(",") if part.strip()]
    defaults = _signature(attrs)
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    parameters = [inspect.Parameter(argument, kind) for argument in arguments]
    parameters += [inspect.Parameter(key, kind, default=default) for key, default in defaults.items()]
    signature = inspect.Signature(parameters)
    conversions = dict(convert or {})

    def build(*args: typing.Any, **kwargs: typing.Any) -> typing.Any:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        given = {}
        for key in defaults:
            value = bound.arguments[key]
            value = conversions[key](value) if key in conversions else value
            given[key] = dtype_attr(value) if key.endswith("dtype") else value
        made = call(name, [bound.arguments[argument] for argument in arguments], given)
        return TupleWrapper(made, fields) if fields else made

    build.__name__ = build.__qualname__ = name.rsplit(".", 1)[-1]
    build.__doc__ = f"A call of Relay's operator `{name}`; parameters as in TVM."
    build.__signature__ = signature  # type: ignore[attr-defined]
    return build


def _signature(text: str) -> dict[str, typing.Any]:
    """The defaults in a line of Python parameters; `inspect.Parameter.empty` where there is none."""
    arguments = typing.cast(ast.FunctionDef, ast.parse(f"def f({text}): ...").body[0]).args
    missing = len(arguments.args) - len(arguments.defaults)
    defaults: list[typing.Any] = [inspect.Parameter.empty] * missing
    defaults += [ast.literal_eval(default) for default in arguments.defaults]
    return {argument.arg: default for argument, default in zip(arguments.args, defaults)}
