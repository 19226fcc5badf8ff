"""Building chains of `let` and `if` step by step, as TVM's `relay.ScopeBuilder`."""

from __future__ import annotations

import contextlib
import typing
from collections.abc import Iterator

from gacer_tvm.errors import RelayError
from gacer_tvm.relay.ast import Expr, If, Let, Var
from gacer_tvm.relay.op.build import as_expr
from gacer_tvm.relay.types import Type

__all__ = ["ScopeBuilder"]


class _Scope:
    def __init__(self) -> None:
        self.bindings: list[tuple[Var, Expr]] = []
        self.value: Expr | None = None
        self.branch: tuple[Expr, Expr] | None = None


class ScopeBuilder:
    """Collects bindings, then wraps a value in them.

    ``builder.let("y", relay.add(x, x))`` gives the variable, ``builder.ret(y)`` states the value, ``builder.get()`` is
    the whole expression. ``with builder.if_scope(c): builder.ret(a)`` and ``with builder.else_scope(): builder.ret(b)``
    state an `if` as the value of the scope around them.
    """

    def __init__(self) -> None:
        self._scopes = [_Scope()]

    def let(self, var: Var | str | tuple[str, Type], value: typing.Any) -> Var:
        """Bind `value` to a variable, given as one, by its name, or by name and type."""
        if isinstance(var, str):
            var = Var(var)
        elif isinstance(var, tuple):
            var = Var(*var)
        self._scopes[-1].bindings.append((var, as_expr(value)))
        return var

    def ret(self, value: typing.Any) -> None:
        """State the scope's value."""
        if self._scopes[-1].value is not None:
            raise RelayError("ret was called twice in one scope.")
        self._scopes[-1].value = as_expr(value)

    @contextlib.contextmanager
    def if_scope(self, cond: Expr) -> Iterator[None]:
        """The scope of the value when `cond` holds."""
        self._scopes.append(_Scope())
        yield
        then = self._close()
        self._scopes[-1].branch = (cond, then)

    @contextlib.contextmanager
    def else_scope(self) -> Iterator[None]:
        """The scope of the value when the condition of the `if_scope` before does not hold."""
        branch = self._scopes[-1].branch
        if branch is None:
            raise RelayError("else_scope must follow if_scope.")
        self._scopes.append(_Scope())
        yield
        other = self._close()
        self._scopes[-1].branch = None
        self.ret(If(*branch, other))

    def _close(self) -> Expr:
        scope = self._scopes.pop()
        if scope.branch is not None:
            raise RelayError("if_scope is not followed by else_scope.")
        if scope.value is None:
            raise RelayError("A scope has no value: call ret.")
        value = scope.value
        for var, bound in reversed(scope.bindings):
            value = Let(var, bound, value)
        return value

    def get(self) -> Expr:
        """The expression built; the builder is empty afterwards."""
        result = self._close()
        self._scopes = [_Scope()]
        return result
