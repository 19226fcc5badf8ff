"""Reductions, scans and sorting."""

from __future__ import annotations

import typing

from gacer_tvm.relay.ast import Call, Expr, Tuple
from gacer_tvm.relay.op.build import TupleWrapper, call, known_ints, operator
from gacer_tvm.relay.op.transform import squeeze

__all__ = [
    "all", "any", "argmax", "argmin", "argsort", "logsumexp", "max", "mean", "mean_std", "mean_variance", "min", "prod",
    "searchsorted", "sort", "std", "sum", "topk", "variance",
]  # fmt: skip

Axis = typing.Union[int, "list[int]", "tuple[int, ...]", None]


def _axes(axis: typing.Any) -> typing.Any:
    return [axis] if isinstance(axis, int) else axis


_REDUCE = "axis=None, keepdims=False, exclude=False"
sum = operator("sum", "data", _REDUCE, convert={"axis": _axes})
mean = operator("mean", "data", _REDUCE, convert={"axis": _axes})
max = operator("max", "data", _REDUCE, convert={"axis": _axes})
min = operator("min", "data", _REDUCE, convert={"axis": _axes})
prod = operator("prod", "data", _REDUCE, convert={"axis": _axes})
all = operator("all", "data", _REDUCE, convert={"axis": _axes})
any = operator("any", "data", _REDUCE, convert={"axis": _axes})
argmax = operator("argmax", "data", _REDUCE + ", select_last_index=False", convert={"axis": _axes})
argmin = operator("argmin", "data", _REDUCE + ", select_last_index=False", convert={"axis": _axes})
sort = operator("sort", "data", "axis=-1, is_ascend=1")
argsort = operator("argsort", "data", "axis=-1, is_ascend=1, dtype='int32'")
searchsorted = operator("searchsorted", "sorted_sequence, values", "right=False, dtype='int32'")


def variance(
    data: Expr,
    axis: Axis = None,
    keepdims: bool = False,
    exclude: bool = False,
    unbiased: bool = False,
    with_mean: Expr | None = None,
) -> Call:
    """The variance along axes, around `with_mean` if it is given."""
    center = mean(data, axis, True, exclude) if with_mean is None else with_mean
    attrs = {"axis": _axes(axis), "keepdims": keepdims, "exclude": exclude, "unbiased": unbiased}
    return call("variance", [data, center], attrs)


def std(data: Expr, axis: Axis = None, keepdims: bool = False, exclude: bool = False, unbiased: bool = False) -> Call:
    """The standard deviation along axes."""
    return call("sqrt", [variance(data, axis, keepdims, exclude, unbiased)])


def mean_variance(
    data: Expr, axis: Axis = None, keepdims: bool = False, exclude: bool = False, unbiased: bool = False
) -> TupleWrapper:
    """The mean and the variance along axes."""
    center = mean(data, axis, True, exclude)
    spread = variance(data, axis, keepdims, exclude, unbiased, center)
    return TupleWrapper(Tuple((center if keepdims else squeeze(center, axis), spread)), 2)


def mean_std(data: Expr, axis: Axis = None, keepdims: bool = False, exclude: bool = False) -> TupleWrapper:
    """The mean and the standard deviation along axes."""
    center = mean(data, axis, True, exclude)
    spread = call("sqrt", [variance(data, axis, keepdims, exclude, with_mean=center)])
    return TupleWrapper(Tuple((center if keepdims else squeeze(center, axis), spread)), 2)


def logsumexp(data: Expr, axis: Axis = None, keepdims: bool = False) -> Call:
    """The logarithm of the sum of exponentials along axes, computed without overflow."""
    top = max(data, axis, True)
    total = call("log", [sum(call("exp", [data - top]), axis, True)])
    result = total + top
    return result if keepdims else squeeze(result, axis)


def topk(
    data: typing.Any,
    k: typing.Any = 1,
    axis: int = -1,
    ret_type: str = "both",
    is_ascend: bool = False,
    dtype: str = "int32",
) -> typing.Any:
    """The `k` largest (or smallest) numbers along an axis, their positions, or both."""
    attrs = {"axis": axis, "ret_type": ret_type, "is_ascend": is_ascend, "dtype": dtype}
    known = known_ints(k)
    made = call("dyn.topk", [data, k], attrs) if known is None else call("topk", [data], {"k": known[0], **attrs})
    return TupleWrapper(made, 2) if ret_type == "both" else made
