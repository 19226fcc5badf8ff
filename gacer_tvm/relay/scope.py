"""Names that are in scope while Relay text is read."""

from __future__ import annotations

from typing import Any

from gacer_tvm.relay.ast import Constructor, Expr, Var

__all__ = ["Scope"]

_ABSENT = object()


class Scope:
    """Local variables by name and graph bindings by number, lexically scoped: a later binding hides the earlier.

    One table for all scopes and a list of what to restore at each scope's end: looking up does not grow with depth.
    """

    def __init__(self) -> None:
        self.vars: dict[str, Var] = {}
        self.graph: dict[int, Expr] = {}
        # TVM's parser has one table for all of a module's numbers, and its printer now and then relies on that: a
        # number bound in one branch is used in the other. Such uses find the latest binding anywhere.
        self.graph_anywhere: dict[int, Expr] = {}
        self.constructors: dict[str, Constructor] = {}
        self._restore: list[list[tuple[dict[Any, Any], Any, Any]]] = [[]]

    def push(self) -> None:
        """Begin a scope."""
        self._restore.append([])

    def pop(self) -> None:
        """End the scope begun last; what it hid is visible again."""
        for table, key, before in reversed(self._restore.pop()):
            if before is _ABSENT:
                del table[key]
            else:
                table[key] = before

    def bind(self, name: str, var: Var) -> None:
        """Make `%name` mean `var` until the scope ends."""
        self._restore[-1].append((self.vars, name, self.vars.get(name, _ABSENT)))
        self.vars[name] = var

    def bind_graph(self, number: int, value: Expr) -> None:
        """Make `%number` mean `value` until the scope ends."""
        self._restore[-1].append((self.graph, number, self.graph.get(number, _ABSENT)))
        self.graph[number] = value
        self.graph_anywhere[number] = value

    def lookup_graph(self, number: int) -> Expr | None:
        """What `%number` means here."""
        found = self.graph.get(number)
        return found if found is not None else self.graph_anywhere.get(number)
