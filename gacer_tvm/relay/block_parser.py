"""Expressions that brackets enclose: functions, branches, cases, tuples, references."""

from __future__ import annotations

from gacer_tvm.relay.ast import (
    NO_ATTRS,
    Attrs,
    Call,
    Clause,
    Expr,
    Function,
    GlobalVar,
    If,
    Match,
    Pattern,
    PatternConstructor,
    PatternTuple,
    PatternVar,
    PatternWildcard,
    RefCreate,
    RefRead,
    RefWrite,
    Tuple,
    Var,
)
from gacer_tvm.relay.leaf_parser import LeafParser
from gacer_tvm.relay.trampoline import Steps

__all__ = ["BlockParser"]


class BlockParser(LeafParser):
    """Reads atoms: leaves, and what brackets enclose. What stands within the brackets is the subclass's to read."""

    def sequence(self) -> Steps:
        """Bindings and the expression that is their value."""
        raise NotImplementedError

    def expr(self) -> Steps:
        """Calls joined by operators."""
        raise NotImplementedError

    def atom(self) -> Steps:
        """The smallest expressions, and those that brackets enclose."""
        cursor = self.cursor
        kind, start = cursor.kind, cursor.index
        if kind == "graph":
            return self._graph_var(cursor.take(), start)
        if kind == "local":
            return self._local_var(cursor.take(), start)
        if kind == "number":
            return self._number(start)
        if kind == "ident":
            return self._identifier(start)
        if kind == "global":
            name = cursor.take()
            self.globals_used.setdefault(name, start)
            return GlobalVar(name, cursor.span(start))
        if kind == "meta":
            return self._meta_expr(start)
        if kind == "(":
            return (yield self._parenthesized(start))
        if kind == "fn":
            cursor.take()
            return (yield self.function(start))
        if kind == "if":
            return (yield self._if(start))
        if kind in ("match", "match?"):
            return (yield self._match(start))
        if kind in ("ref", "ref_read", "ref_write"):
            return (yield self._reference(start))
        if kind == "{":
            return (yield self.block())
        if kind == "-":
            cursor.take()
            value = yield self.call()
            return Call(self._op("negative"), (value,), NO_ATTRS, (), cursor.span(start))
        raise cursor.error("an expression")

    def block(self) -> Steps:
        """`{ sequence }`."""
        self.cursor.expect("{", "'{'")
        self.scope.push()
        value = yield self.sequence()
        self.scope.pop()
        self.cursor.expect("}", "';' or '}' after an expression")
        return value

    def _parenthesized(self, start: int) -> Steps:
        """`()`, `(e)`, `(e,)`, `(e, f)`; `(r := e)` in TVM 0.6."""
        cursor = self.cursor
        cursor.take()
        if cursor.accept(")"):
            return Tuple((), cursor.span(start), self.note())
        parts = [(yield self.sequence())]
        if cursor.accept(":="):
            value = yield self.expr()
            cursor.expect(")", "')' after the value written")
            return RefWrite(parts[0], value, cursor.span(start))
        if cursor.accept(")"):
            return parts[0]
        while not cursor.accept(")"):
            if not cursor.accept(","):
                raise cursor.error("',' or ')' after an expression")
            if cursor.kind != ")":
                parts.append((yield self.sequence()))
        return Tuple(tuple(parts), cursor.span(start), self.note())

    def function(self, start: int) -> Steps:
        """A function from its type parameters on: `[A](%x: T, Name=value) -> T { body }`."""
        cursor, scope = self.cursor, self.scope
        scope.push()
        outer = set(self.types.type_vars)
        type_params = self.types.generics()
        cursor.expect("(", "'(' and the parameters of a function")
        params: list[Var] = []
        given: dict[str, object] = {}
        while not cursor.accept(")"):
            if self.attributes.at_attribute():
                given = yield self.attributes.attributes()
                break
            var = self._declaration("or an attribute among the parameters")
            scope.bind(var.name_hint, var)
            params.append(var)
            if not cursor.accept(",") and cursor.kind != ")":
                raise cursor.error("',' or ')' after a parameter")
        result = (yield self.types.steps()) if cursor.accept("->") else None
        cursor.expect("{", "'{' and the body of the function")
        body = yield self.sequence()
        cursor.expect("}", "';' or '}' after an expression")
        note = self.note()
        self.types.type_vars = outer
        scope.pop()
        given.pop("virtual_device", None)
        attrs = Attrs("DictAttrs", given) if given else NO_ATTRS
        return Function(tuple(params), body, result, type_params, attrs, cursor.span(start), note)

    def _if(self, start: int) -> Steps:
        cursor = self.cursor
        cursor.take()
        cursor.expect("(", "'(' and the condition of the if")
        condition = yield self.sequence()
        cursor.expect(")", "')' after the condition")
        true_branch = yield self.block()
        cursor.expect("else", "'else'")
        false_branch = (yield self._if(cursor.index)) if cursor.kind == "if" else (yield self.block())
        return If(condition, true_branch, false_branch, cursor.span(start), self.note())

    def _reference(self, start: int) -> Steps:
        cursor = self.cursor
        kind = cursor.take()
        cursor.expect("(", f"'(' after {kind}")
        first = yield self.sequence()
        value: Expr
        if kind == "ref_write":
            cursor.expect(",", "',' and the value to write")
            second = yield self.sequence()
            value = RefWrite(first, second, cursor.span(start))
        else:
            value = RefCreate(first, cursor.span(start)) if kind == "ref" else RefRead(first, cursor.span(start))
        cursor.expect(")", f"')' after the arguments of {kind}")
        return value

    def _match(self, start: int) -> Steps:
        cursor, scope = self.cursor, self.scope
        complete = cursor.take() == "match"
        data = yield self.atom()
        cursor.expect("{", "'{' and the cases of the match")
        clauses: list[Clause] = []
        while not cursor.accept("}"):
            scope.push()
            pattern = yield self._pattern()
            cursor.expect("=>", "'=>' after a pattern")
            clauses.append(Clause(pattern, (yield self.sequence())))
            scope.pop()
            if not cursor.accept(",") and cursor.kind != "}":
                raise cursor.error("',' or '}' after a case")
        return Match(data, tuple(clauses), complete, cursor.span(start), self.note())

    def _pattern(self) -> Steps:
        cursor = self.cursor
        kind = cursor.kind
        if kind == "local":
            var = self._declaration("in a pattern")
            self.scope.bind(var.name_hint, var)
            return PatternVar(var)
        if kind == "ident":
            name = cursor.value
            if name == "_":
                cursor.take()
                return PatternWildcard()
            constructor = self.scope.constructors.get(name)
            if constructor is None:
                raise cursor.error("a constructor's name, %name or _ as pattern")
            cursor.take()
            fields = (yield self._patterns()) if cursor.kind == "(" else ()
            return PatternConstructor(constructor, fields)
        if kind == "(":
            return PatternTuple((yield self._patterns()))
        raise cursor.error("a pattern")

    def _patterns(self) -> Steps:
        cursor = self.cursor
        cursor.take()
        found: list[Pattern] = []
        while not cursor.accept(")"):
            found.append((yield self._pattern()))
            if not cursor.accept(",") and cursor.kind != ")":
                raise cursor.error("',' or ')' after a pattern")
        return tuple(found)
