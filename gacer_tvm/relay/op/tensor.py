"""Operators that work element by element, and those that make tensors."""

from __future__ import annotations

import typing

from gacer_tvm.relay.ast import Call, Tuple
from gacer_tvm.relay.op.build import TupleWrapper, as_expr, call, dtype_attr, known_ints, operator

__all__ = [
    "abs",
    "acos",
    "acosh",
    "add",
    "asin",
    "asinh",
    "atan",
    "atanh",
    "bitwise_and",
    "bitwise_not",
    "bitwise_or",
    "bitwise_xor",
    "ceil",
    "clip",
    "concatenate",
    "copy",
    "cos",
    "cosh",
    "divide",
    "einsum",
    "equal",
    "erf",
    "exp",
    "fast_erf",
    "fast_exp",
    "fast_tanh",
    "fixed_point_multiply",
    "floor",
    "floor_divide",
    "floor_mod",
    "greater",
    "greater_equal",
    "isfinite",
    "isinf",
    "isnan",
    "left_shift",
    "less",
    "less_equal",
    "log",
    "log10",
    "log2",
    "logical_and",
    "logical_not",
    "logical_or",
    "logical_xor",
    "maximum",
    "minimum",
    "mod",
    "multiply",
    "ndarray_size",
    "negative",
    "not_equal",
    "ones",
    "ones_like",
    "power",
    "right_shift",
    "round",
    "rsqrt",
    "shape_of",
    "sigmoid",
    "sign",
    "sin",
    "sinh",
    "sqrt",
    "stack",
    "subtract",
    "tan",
    "tanh",
    "trunc",
    "trunc_divide",
    "trunc_mod",
    "zeros",
    "zeros_like",
]

abs = operator("abs", "data")
acos = operator("acos", "data")
acosh = operator("acosh", "data")
asin = operator("asin", "data")
asinh = operator("asinh", "data")
atan = operator("atan", "data")
atanh = operator("atanh", "data")
bitwise_not = operator("bitwise_not", "data")
ceil = operator("ceil", "data")
copy = operator("copy", "data")
cos = operator("cos", "data")
cosh = operator("cosh", "data")
erf = operator("erf", "data")
exp = operator("exp", "data")
fast_erf = operator("fast_erf", "data")
fast_exp = operator("fast_exp", "data")
fast_tanh = operator("fast_tanh", "data")
floor = operator("floor", "data")
isfinite = operator("isfinite", "data")
isinf = operator("isinf", "data")
isnan = operator("isnan", "data")
log = operator("log", "data")
log10 = operator("log10", "data")
log2 = operator("log2", "data")
logical_not = operator("logical_not", "data")
negative = operator("negative", "data")
ones_like = operator("ones_like", "data")
round = operator("round", "data")
rsqrt = operator("rsqrt", "data")
sigmoid = operator("sigmoid", "data")
sign = operator("sign", "data")
sin = operator("sin", "data")
sinh = operator("sinh", "data")
sqrt = operator("sqrt", "data")
tan = operator("tan", "data")
tanh = operator("tanh", "data")
trunc = operator("trunc", "data")
zeros_like = operator("zeros_like", "data")
add = operator("add", "lhs, rhs")
bitwise_and = operator("bitwise_and", "lhs, rhs")
bitwise_or = operator("bitwise_or", "lhs, rhs")
bitwise_xor = operator("bitwise_xor", "lhs, rhs")
divide = operator("divide", "lhs, rhs")
equal = operator("equal", "lhs, rhs")
floor_divide = operator("floor_divide", "lhs, rhs")
floor_mod = operator("floor_mod", "lhs, rhs")
greater = operator("greater", "lhs, rhs")
greater_equal = operator("greater_equal", "lhs, rhs")
left_shift = operator("left_shift", "lhs, rhs")
less = operator("less", "lhs, rhs")
less_equal = operator("less_equal", "lhs, rhs")
logical_and = operator("logical_and", "lhs, rhs")
logical_or = operator("logical_or", "lhs, rhs")
logical_xor = operator("logical_xor", "lhs, rhs")
maximum = operator("maximum", "lhs, rhs")
minimum = operator("minimum", "lhs, rhs")
mod = operator("mod", "lhs, rhs")
multiply = operator("multiply", "lhs, rhs")
not_equal = operator("not_equal", "lhs, rhs")
power = operator("power", "lhs, rhs")
right_shift = operator("right_shift", "lhs, rhs")
subtract = operator("subtract", "lhs, rhs")
trunc_divide = operator("trunc_divide", "lhs, rhs")
trunc_mod = operator("trunc_mod", "lhs, rhs")
clip = operator("clip", "a", "a_min, a_max")
fixed_point_multiply = operator("fixed_point_multiply", "data", "multiplier, shift")
shape_of = operator("shape_of", "data", "dtype='int32'")
ndarray_size = operator("ndarray_size", "data", "dtype='int32'")


def _fields(data: typing.Any) -> typing.Any:
    """A tuple expression from a sequence of tensors, or the tuple that is one already."""
    if isinstance(data, (TupleWrapper, Call, Tuple)):
        return as_expr(data)
    return Tuple(tuple(as_expr(item) for item in data))


def concatenate(data: typing.Any, axis: int = 0) -> Call:
    """Tensors joined along an axis."""
    return call("concatenate", [_fields(data)], {"axis": axis})


def stack(data: typing.Any, axis: int = 0) -> Call:
    """Tensors joined along a new axis."""
    return call("stack", [_fields(data)], {"axis": axis})


def einsum(data: typing.Any, equation: str) -> Call:
    """Einstein summation over the tensors in `data`."""
    return call("einsum", [_fields(data)], {"equation": equation})


def zeros(shape: typing.Any, dtype: str) -> Call:
    """A tensor of zeros."""
    return _filled("zeros", shape, dtype)


def ones(shape: typing.Any, dtype: str) -> Call:
    """A tensor of ones."""
    return _filled("ones", shape, dtype)


def _filled(name: str, shape: typing.Any, dtype: str) -> Call:
    known = known_ints(shape)
    if known is None:
        return call(f"dyn.{name}", [shape], {"dtype": dtype_attr(dtype)})
    return call(name, [], {"shape": known, "dtype": dtype_attr(dtype)})
