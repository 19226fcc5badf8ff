"""Between types and values: a value of which only the type is known, the type that two branches share."""

from __future__ import annotations

from gacer_tvm.errors import RelayError
from gacer_tvm.relay.ast import If, Var
from gacer_tvm.relay.dims import RuleError, agree, check_type, unify
from gacer_tvm.relay.types import TensorType, TupleType, Type
from gacer_tvm.relay.values import Tensor, Value, expr_where, type_of

__all__ = ["check_condition", "check_parameter", "join_types", "value_of_type"]


def check_condition(expr: If, cond: Value) -> None:
    """Refuse a condition that is no boolean scalar."""
    found = type_of(cond)
    if not isinstance(found, TensorType) or found.dtype != "bool" or any(dim != 1 for dim in found.shape):
        raise RelayError(f"The condition of the if{expr_where(expr)} must be a bool scalar, found {found}.")


def join_types(left: Type | None, right: Type | None) -> Type | None:
    """The type that fits both, unknown dimensions made known by either side; None if there is none."""
    if not agree(left, right) or left is None or right is None:
        return None
    done: list[Type] = []
    stack: list[tuple[Type, Type, bool]] = [(left, right, False)]
    while stack:
        one, two, built = stack.pop()
        if isinstance(one, TupleType) and isinstance(two, TupleType):
            if built:
                parts = tuple(done[len(done) - len(one.fields) :])
                del done[len(done) - len(parts) :]
                done.append(TupleType(parts))
            else:
                stack.append((one, two, True))
                stack.extend((a, b, False) for a, b in reversed(list(zip(one.fields, two.fields))))
        elif isinstance(one, TensorType) and isinstance(two, TensorType):
            done.append(TensorType(tuple(unify(a, b) for a, b in zip(one.shape, two.shape)), one.dtype))
        else:
            done.append(one)
    return done[0]


def value_of_type(type_: Type | None) -> Value:
    """A value of which only the type is known."""
    done: list[Value] = []
    stack: list[tuple[Type | None, bool]] = [(type_, False)]
    while stack:
        item, built = stack.pop()
        if isinstance(item, TupleType):
            if built:
                parts = tuple(done[len(done) - len(item.fields) :])
                del done[len(done) - len(parts) :]
                done.append(parts)
            else:
                stack.append((item, True))
                stack.extend((part, False) for part in reversed(item.fields))
        elif item is None or isinstance(item, TensorType):
            done.append(Tensor(item))
        else:
            raise RelayError(f"Values of the type {item} are not supported: only tensors and tuples of tensors are.")
    return done[0]


def check_parameter(param: Var) -> None:
    """Refuse a parameter whose type cannot exist."""
    try:
        check_type(param.type_annotation)
    except RuleError as error:
        raise RelayError(f"The parameter %{param.name_hint}{expr_where(param)}: {error}.") from None
