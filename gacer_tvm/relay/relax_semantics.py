"""What a Relay module means in Relax: each operator call becomes bindings, each branch a selection."""

from __future__ import annotations

import typing

import numpy as np

from gacer_tvm._tvm import relax
from gacer_tvm.errors import RelayError
from gacer_tvm.relay.ast import If
from gacer_tvm.relay.convert import CONVERTERS, Emitter
from gacer_tvm.relay.convert.emitter import relax_type
from gacer_tvm.relay.dims import RuleError, check_type, known
from gacer_tvm.relay.fold import fold
from gacer_tvm.relay.infer import TypeSemantics
from gacer_tvm.relay.type_values import check_condition, join_types
from gacer_tvm.relay.types import TensorType, TupleType, Type
from gacer_tvm.relay.values import OpCall, Tensor, Value, expr_where, type_of

__all__ = ["RelaxSemantics", "check_output"]


class RelaxSemantics(TypeSemantics):
    """Evaluates a module to Relax bindings; types are inferred and compared with Relax's own on the way.

    Parameters
    ----------
    emitter : Emitter
    check : bool
        Whether to compare with the types that the source noted.
    """

    def __init__(self, emitter: Emitter, check: bool = True) -> None:
        super().__init__(check)
        self._e = emitter

    def call(self, call: OpCall) -> Value:
        """Bind what an operator computes; numbers known before running need no binding."""
        self.apply_rule(call)
        const = fold(call)
        if const is not None:
            return Tensor(typing.cast(TensorType, call.out), const=const)
        self._e.name = call.name
        operands = [self._operand(arg) for arg in call.args]
        try:
            result = CONVERTERS[call.name](self._e, call, *operands)
            return self._finish(call, result, call.out)
        except RuleError as error:
            raise RelayError(f"{call.name}{call.where()} cannot be converted: {error}.") from None
        except (ValueError, TypeError, RuntimeError, AssertionError, IndexError, AttributeError) as error:
            operands_text = ", ".join(str(type_of(arg)) for arg in call.args)
            raise RelayError(
                f"{call.name}{call.where()} on ({operands_text}) with {dict(call.attrs)} cannot be converted: {error}"
            ) from error

    def _operand(self, value: Value) -> typing.Any:
        """The Relax expression of a value, a list of them for a tuple."""
        if isinstance(value, tuple):
            return [self._operand(part) for part in value]
        if isinstance(value, Tensor):
            return self.data(value)
        raise RelayError("An operator is given a function where it takes tensors.")

    def data(self, value: Tensor) -> typing.Any:
        """The Relax expression of a tensor; a constant is made at its first use."""
        if value.data is None:
            if value.const is None or value.type is None:
                raise RelayError("A tensor has no value.")
            value.data = relax.const(np.ascontiguousarray(value.const).reshape(value.const.shape), value.type.dtype)
        return value.data

    def _finish(self, call: OpCall, result: typing.Any, type_: Type | None) -> Value:
        """Bind what a converter returned and hold Relax's type against the inferred one."""
        if isinstance(type_, TupleType):
            if not isinstance(result, tuple):
                result = tuple(self._e.fields(result, len(type_.fields)))
            return tuple(self._finish(call, part, field) for part, field in zip(result, type_.fields))
        expected = typing.cast(TensorType, type_)
        bound = self._e.emit(result)
        found = bound.ty
        dims = None if found.shape is None else self._e.shape(bound)
        if str(found.dtype) != expected.dtype or found.ndim != len(expected.shape):
            raise RelayError(_mismatch(call, expected, f"{found.dtype} of {found.ndim} dimensions"))
        if dims is None:
            if expected.is_static:
                bound = self._e.builder.match_cast(bound, relax_type(expected, {}))
        elif any(known(want) and isinstance(got, int) and want != got for want, got in zip(expected.shape, dims)):
            raise RelayError(_mismatch(call, expected, f"shape {tuple(dims)}"))
        elif any(not known(want) and isinstance(got, int) for want, got in zip(expected.shape, dims)):
            expected = TensorType(
                tuple(got if isinstance(got, int) else want for want, got in zip(expected.shape, dims)), expected.dtype
            )
        return Tensor(expected, data=bound)

    def select(self, expr: If, cond: Value, then: Value, other: Value) -> Value:
        """Both branches are computed, and the condition picks: right for pure code, and it keeps the graph straight."""
        check_condition(expr, cond)
        if then is other:
            return then
        if join_types(type_of(then), type_of(other)) is None:
            raise RelayError(
                f"The branches of the if{expr_where(expr)} have the types {type_of(then)} and {type_of(other)}."
            )
        flag = self._e.reshape(self.data(typing.cast(Tensor, cond)), [])
        done: list[Value] = []
        stack: list[tuple[Value, Value, bool]] = [(then, other, False)]
        while stack:
            one, two, built = stack.pop()
            if isinstance(one, tuple) and isinstance(two, tuple):
                if built:
                    parts = tuple(done[len(done) - len(one) :])
                    del done[len(done) - len(parts) :]
                    done.append(parts)
                else:
                    stack.append((one, two, True))
                    stack.extend((a, b, False) for a, b in reversed(list(zip(one, two))))
            else:
                done.append(self._pick(flag, typing.cast(Tensor, one), typing.cast(Tensor, two)))
        return done[0]

    def _pick(self, flag: typing.Any, then: Tensor, other: Tensor) -> Tensor:
        if then is other:
            return then
        joined = typing.cast(TensorType, join_types(then.type, other.type))
        return Tensor(joined, data=self._e.emit(relax.op.where(flag, self.data(then), self.data(other)), "select"))

    def output(self, value: Value) -> typing.Any:
        """The Relax expression that a function returns for a value."""
        done: list[typing.Any] = []
        stack: list[tuple[Value, bool]] = [(value, False)]
        while stack:
            item, built = stack.pop()
            if isinstance(item, tuple):
                if built:
                    parts = done[len(done) - len(item) :]
                    del done[len(done) - len(item) :]
                    done.append(relax.Tuple(parts))
                else:
                    stack.append((item, True))
                    stack.extend((part, False) for part in reversed(item))
            elif isinstance(item, Tensor):
                done.append(self.data(item))
            else:
                raise RelayError("@main returns a function; only tensors and tuples of tensors can be outputs.")
        return done[0]


def _mismatch(call: OpCall, expected: TensorType, found: str) -> str:
    return f"{call.name}{call.where()} should yield {expected} but its conversion yields {found}; please report this."


def check_output(value: Value) -> None:
    """Refuse a result that Relax cannot return."""
    try:
        check_type(type_of(value))
    except RuleError as error:
        raise RelayError(f"The result of @main: {error}.") from None
