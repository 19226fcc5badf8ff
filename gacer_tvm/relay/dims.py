"""Arithmetic on dimensions: whole numbers, or `Any` where a number is known only at run time."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from gacer_tvm.errors import RelayError
from gacer_tvm.relay.types import ANY, Any, Dim, FuncType, TensorType, TupleType, Type, TypeVar

__all__ = [
    "RuleError",
    "add",
    "agree",
    "broadcast",
    "ceil_div",
    "check_type",
    "div",
    "known",
    "mul",
    "normalize_axes",
    "normalize_axis",
    "product",
    "sub",
    "unify",
]


class RuleError(RelayError):
    """An operator's operands or attributes contradict its type rule; whoever calls the rule adds the place."""


_DTYPE = re.compile(r"bool|u?int(1|4|8|16|32|64)|float(16|32|64)|bfloat16|float[48]_\w+")
# More elements than any machine holds: such a shape is a mistake or an attack.
_MOST = 2**48
# TVM walks nested tuples by recursion.
_DEEPEST = 64


def check_type(type_: Type | None) -> None:
    """Refuse types that cannot exist: unknown element types, negative or absurd dimensions, endless nesting.

    Raises
    ------
    RuleError
    """
    stack: list[tuple[Type | None, int]] = [(type_, 0)]
    while stack:
        item, depth = stack.pop()
        if depth > _DEEPEST:
            raise RuleError(f"tuples nest more than {_DEEPEST} deep")
        if isinstance(item, TupleType):
            stack.extend((field, depth + 1) for field in item.fields)
        elif isinstance(item, TensorType):
            if not isinstance(item.dtype, str) or _DTYPE.fullmatch(item.dtype) is None:
                raise RuleError(f"{item.dtype!r} is no element type")
            size = 1
            for dim in item.shape:
                if isinstance(dim, Any):
                    continue
                if dim < 0:
                    raise RuleError(f"{item} has a negative dimension")
                size *= max(dim, 1)
            if size > _MOST:
                raise RuleError(f"{item} has more elements than any memory holds")


def known(dim: Dim) -> bool:
    """Whether `dim` is a number."""
    return not isinstance(dim, Any)


def add(left: Dim, right: Dim) -> Dim:
    """The sum; `x + 0` keeps the name of a symbolic `x`."""
    if isinstance(left, Any) or isinstance(right, Any):
        return left if right == 0 else right if left == 0 else ANY
    return left + right


def sub(left: Dim, right: Dim) -> Dim:
    """The difference."""
    if isinstance(left, Any) or isinstance(right, Any):
        return left if right == 0 else ANY
    return left - right


def mul(left: Dim, right: Dim) -> Dim:
    """The product; `x * 1` keeps the name of a symbolic `x`."""
    if isinstance(left, Any) or isinstance(right, Any):
        return left if right == 1 else right if left == 1 else ANY
    return left * right


def div(left: Dim, right: Dim) -> Dim:
    """The quotient rounded down."""
    if isinstance(left, Any) or isinstance(right, Any):
        return left if right == 1 else ANY
    if right == 0:
        raise RuleError("a dimension is divided by zero")
    return left // right


def ceil_div(left: Dim, right: int) -> Dim:
    """The quotient rounded up."""
    return div(add(left, right - 1), right) if right != 1 else left


def product(dims: Iterable[Dim]) -> Dim:
    """The product of all dimensions, 1 for none."""
    result: Dim = 1
    for dim in dims:
        result = mul(result, dim)
    return result


def unify(left: Dim, right: Dim, what: str = "dimensions") -> Dim:
    """The dimension that both sides stand for; a number wins over an unknown.

    Raises
    ------
    RuleError
        If both are numbers and differ.
    """
    if isinstance(left, Any):
        return right if known(right) or not left.name else left
    if isinstance(right, Any) or left == right:
        return left
    raise RuleError(f"{what} must be equal, found {left} and {right}")


def broadcast(left: Sequence[Dim], right: Sequence[Dim]) -> tuple[Dim, ...]:
    """The shape of an elementwise operation on both shapes, aligned at their last dimensions."""
    rank = max(len(left), len(right))
    out: list[Dim] = []
    for position in range(-rank, 0):
        one = left[position] if -position <= len(left) else 1
        two = right[position] if -position <= len(right) else 1
        if one == 1:
            out.append(two)
        elif two == 1 or one == two:
            out.append(one)
        elif isinstance(one, Any) and isinstance(two, Any):
            # Unnamed unknowns are unrelated numbers, so that nothing can be said of their broadcast.
            out.append(ANY)
        elif isinstance(one, Any) or isinstance(two, Any):
            out.append(two if isinstance(one, Any) else one)
        else:
            raise RuleError(f"shapes {tuple(left)} and {tuple(right)} do not broadcast: {one} against {two}")
    return tuple(out)


def normalize_axis(axis: int, rank: int, what: str = "axis") -> int:
    """`axis` counted from the front.

    Raises
    ------
    RuleError
        If it is outside [-rank, rank).
    """
    if not -rank <= axis < rank:
        raise RuleError(f"{what} {axis} is outside of a tensor of {rank} dimensions")
    return axis % rank if rank else 0


def normalize_axes(axes: int | Sequence[int] | None, rank: int, exclude: bool = False) -> tuple[int, ...]:
    """Sorted, distinct axes counted from the front; None or none at all means all, `exclude` takes the others."""
    listed = [axes] if isinstance(axes, int) else list(axes or ())
    if not listed:
        return tuple(range(rank))
    chosen = {normalize_axis(int(axis), rank) for axis in listed}
    return tuple(axis for axis in range(rank) if (axis in chosen) != exclude)


def agree(left: Type | None, right: Type | None) -> bool:
    """Whether two types can be the same one: unknown dimensions, unstated types and type variables fit anything."""
    stack: list[tuple[Type | None, Type | None]] = [(left, right)]
    while stack:
        one, two = stack.pop()
        if one is None or two is None or isinstance(one, TypeVar) or isinstance(two, TypeVar):
            continue
        if isinstance(one, TensorType) and isinstance(two, TensorType):
            if one.dtype != two.dtype or len(one.shape) != len(two.shape):
                return False
            if any(known(a) and known(b) and a != b for a, b in zip(one.shape, two.shape)):
                return False
        elif isinstance(one, TupleType) and isinstance(two, TupleType):
            if len(one.fields) != len(two.fields):
                return False
            stack.extend(zip(one.fields, two.fields))
        elif isinstance(one, FuncType) and isinstance(two, FuncType):
            if len(one.arg_types) != len(two.arg_types):
                return False
            stack.extend(zip(one.arg_types, two.arg_types))
            stack.append((one.ret_type, two.ret_type))
        elif one != two:
            return False
    return True
