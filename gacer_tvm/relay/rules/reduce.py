"""Type rules of reductions, scans and sorting."""

from __future__ import annotations

from gacer_tvm.relay.dims import RuleError, normalize_axes, normalize_axis, product
from gacer_tvm.relay.rules.registry import rule
from gacer_tvm.relay.types import Dim, TensorType, TupleType, Type
from gacer_tvm.relay.values import OpCall

__all__ = ["reduced_shape"]


def reduced_shape(call: OpCall) -> tuple[Dim, ...]:
    """The shape that the reduction attributes `axis`, `exclude` and `keepdims` leave of argument 0."""
    shape = call.shape(0)
    axes = normalize_axes(call.attr("axis"), len(shape), bool(call.attr("exclude", False)))
    if call.attr("keepdims", False):
        return tuple(1 if axis in axes else dim for axis, dim in enumerate(shape))
    return tuple(dim for axis, dim in enumerate(shape) if axis not in axes)


@rule("sum", "mean", "max", "min", "prod", inputs=1)
def _reduce(call: OpCall) -> Type:
    return TensorType(reduced_shape(call), call.dtype(0))


@rule("all", "any", inputs=1)
def _logical(call: OpCall) -> Type:
    if call.dtype(0) != "bool":
        raise RuleError(f"data must be bool, found {call.dtype(0)}")
    return TensorType(reduced_shape(call), "bool")


@rule("variance", inputs=2)
def _variance(call: OpCall) -> Type:
    return TensorType(reduced_shape(call), call.dtype(0))


@rule("argmax", "argmin", inputs=1)
def _arg_reduce(call: OpCall) -> Type:
    # TVM took the element type of the dimensions, which is int64 for modules whose shapes were computed.
    noted = call.noted
    dtype = noted.dtype if isinstance(noted, TensorType) and noted.dtype == "int64" else "int32"
    return TensorType(reduced_shape(call), dtype)


@rule("cumsum", "cumprod", inputs=1)
def _scan(call: OpCall) -> Type:
    data = call.tensor(0)
    dtype = call.attr("dtype") or data.dtype
    if call.attr("axis") is None:
        return TensorType((product(data.shape),), dtype)
    normalize_axis(call.attr("axis"), len(data.shape))
    return TensorType(data.shape, dtype)


@rule("sort", inputs=1)
def _sort(call: OpCall) -> Type:
    return call.tensor(0)


@rule("argsort")
def _argsort(call: OpCall) -> Type:
    return TensorType(call.shape(0), call.attr("dtype") or "int32")


@rule("topk", "dyn.topk")
def _topk(call: OpCall) -> Type:
    data = call.tensor(0)
    axis = normalize_axis(call.attr("axis", -1), len(data.shape))
    k = call.attr("k", 1) if len(call.args) == 1 else call.ints(1, "k")[0]
    size: Dim = data.shape[axis] if k is None or k < 1 else k
    shape = (*data.shape[:axis], size, *data.shape[axis + 1 :])
    values = TensorType(shape, data.dtype)
    indices = TensorType(shape, call.attr("dtype") or "int32")
    kind = call.attr("ret_type", "both")
    return TupleType((values, indices)) if kind == "both" else values if kind == "values" else indices


@rule("searchsorted", inputs=2)
def _searchsorted(call: OpCall) -> Type:
    return TensorType(call.shape(1), call.attr("dtype") or "int32")


@rule("einsum", inputs=1)
def _einsum(call: OpCall) -> Type:
    fields = call.fields(0)
    equation = str(call.attr("equation")).replace(" ", "")
    left, _, right = equation.partition("->")
    terms = left.split(",")
    if len(terms) != len(fields) or "." in equation:
        raise RuleError(f"equation {equation!r} does not fit {len(fields)} operands without ellipsis")
    sizes: dict[str, Dim] = {}
    for term, operand in zip(terms, fields):
        if len(term) != len(operand.shape):
            raise RuleError(f"term {term!r} of {equation!r} does not fit {operand}")
        for letter, dim in zip(term, operand.shape):
            if sizes.get(letter, 1) == 1:
                sizes[letter] = dim
    if "->" not in equation:
        letters = left.replace(",", "")
        right = "".join(sorted(letter for letter in set(letters) if letters.count(letter) == 1))
    missing = sorted(set(right) - set(sizes))
    if missing:
        raise RuleError(f"equation {equation!r} yields {', '.join(missing)} that no operand has")
    return TensorType(tuple(sizes[letter] for letter in right), fields[0].dtype)
