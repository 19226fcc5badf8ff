"""Reading Relay text: modules, and single expressions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gacer_tvm.errors import RelayError
from gacer_tvm.relay.ast import Constructor, Expr, Function, IRModule, TypeData
from gacer_tvm.relay.cursor import Cursor
from gacer_tvm.relay.expr_parser import ExprParser
from gacer_tvm.relay.lexer import Source, tokenize
from gacer_tvm.relay.metadata import MetaTable
from gacer_tvm.relay.missing import add_parameters
from gacer_tvm.relay.scope import Scope

__all__ = ["parse", "parse_expr"]


def parse(
    text: str,
    source: str = "Relay text",
    *,
    missing_constants: str = "error",
    metadata: Mapping[str, Sequence[Any]] | None = None,
) -> IRModule:
    """The module that a Relay text writes.

    Reads version 0.0.5 (TVM 0.7 to 0.19) and 0.0.4 (TVM 0.6), with or without the version line, and a bare function or
    expression, which becomes `@main`.

    Parameters
    ----------
    text : str
    source : str
        Name of the file or the like, for messages and spans.
    missing_constants : {"error", "params"}
        What to do when the text refers to constants (`meta[relay.Constant][0]`) but has no table of them, as when it
        was printed with `print(mod)`: refuse it, or make each a parameter `constant_0`, `constant_1`, ... behind those
        of `@main`, in the order of their indices, of the type noted behind the reference.
    metadata : Mapping of str to sequence, optional
        Objects for meta references beyond the text's own table, by type key; arrays for "relay.Constant".

    Returns
    -------
    IRModule

    Raises
    ------
    RelaySyntaxError
        Where the text is not of the grammar: line, column, what was expected and what was found.
    RelayError
        If its table cannot be read.
    """
    reader = _Reader(text, source, missing_constants, metadata)
    return reader.module()


def parse_expr(text: str, source: str = "Relay text", *, metadata: Mapping[str, Sequence[Any]] | None = None) -> Expr:
    """The expression that a Relay text writes, with or without the version line; raises as `parse`."""
    return _Reader(text, source, "error", metadata).expression()


class _Reader:
    """One reading of one text."""

    def __init__(self, text: str, source: str, missing: str, metadata: Mapping[str, Sequence[Any]] | None) -> None:
        if not isinstance(text, str):
            raise RelayError(f"Relay text must be a string, not {type(text).__name__}.")
        tokens = tokenize(Source(source, text))
        self.cursor = Cursor(tokens)
        self.scope = Scope()
        self.meta = MetaTable(tokens, metadata, missing)
        self.exprs = ExprParser(self.cursor, self.scope, self.meta, old=tokens.version == "0.0.4")

    def expression(self) -> Expr:
        found: Expr = self.cursor.run(self.exprs.sequence())
        if self.cursor.kind != "eof":
            raise self.cursor.error("the end of the text")
        return found

    def module(self) -> IRModule:
        cursor = self.cursor
        if cursor.kind in ("def", "type", "extern") or (cursor.kind == "eof" and len(cursor.kinds) == 1):
            if cursor.kind == "eof":
                raise cursor.error("Relay text, beginning with 'def @main'")
            module = self._definitions()
        elif cursor.kind == "global" and cursor.ahead() == "=":
            raise cursor.complaint(
                "this is a lowered TIR function (primfn), not Relay; save the module before lowering"
            )
        else:
            # TVM prints a function that is in no module bare.
            module = IRModule.from_expr(self.expression())
        for name, index in self.exprs.globals_used.items():
            if name not in module:
                raise cursor.complaint(f"the function @{name} is used but not defined in this text", index)
        return add_parameters(module, self.meta.variables)

    def _definitions(self) -> IRModule:
        cursor = self.cursor
        types, ends = self._type_definitions()
        functions: dict[str, Function] = {}
        while cursor.kind != "eof":
            if cursor.index in ends:
                cursor.move_to(ends[cursor.index])
                continue
            if cursor.kind == "global" and cursor.ahead() == "=":
                raise cursor.complaint(
                    f"@{cursor.value} is a lowered TIR function (primfn), not Relay; save the module before lowering"
                )
            start = cursor.index
            cursor.expect("def", "'def @name', 'type Name' or the end of the text")
            name = cursor.expect("global", "'@name' after def")
            if name in functions:
                raise cursor.complaint(f"the function @{name} is defined twice", start)
            if cursor.kind == "=":
                raise cursor.complaint(f"@{name} is an external function, not Relay")
            self.exprs.function_name = name
            functions[name] = cursor.run(self.exprs.function(start))
        return IRModule(functions, types)

    def _type_definitions(self) -> tuple[dict[str, TypeData], dict[int, int]]:
        """All type definitions, read first because functions may stand before what they use; and where each ends."""
        cursor = self.cursor
        found: dict[str, TypeData] = {}
        ends: dict[int, int] = {}
        for index, kind in enumerate(cursor.kinds):
            before = cursor.kinds[index - 1] if index else ""
            # `type` may also be an attribute's name, behind a bracket or comma; definitions follow a definition's end.
            if kind == "type" and cursor.kinds[index + 1] == "ident" and before in ("", "}", "]", "ident", "extern"):
                extern = before == "extern"
                cursor.move_to(index)
                start = index - 1 if extern else index
                data = self._type_definition(extern)
                if data.name in found:
                    raise cursor.complaint(f"the type {data.name} is defined twice", index)
                found[data.name] = data
                ends[start] = cursor.index
        cursor.move_to(0)
        return found, ends

    def _type_definition(self, extern: bool) -> TypeData:
        cursor, types = self.cursor, self.exprs.types
        cursor.take()
        name = cursor.expect("ident", "the name of a type")
        params = types.generics()
        constructors: list[Constructor] = []
        if cursor.accept("{"):
            while not cursor.accept("}"):
                start = cursor.index
                constructor = cursor.expect("ident", "a constructor's name")
                inputs: tuple[Any, ...] = ()
                if cursor.kind == "(":
                    cursor.take()
                    inputs, _ = cursor.run(types.types_until(")"))
                if constructor in self.scope.constructors:
                    raise cursor.complaint(f"the constructor {constructor} is defined twice", start)
                made = Constructor(constructor, name, inputs, cursor.span(start))
                self.scope.constructors[constructor] = made
                constructors.append(made)
                if not cursor.accept(",") and cursor.kind != "}":
                    raise cursor.error("',' or '}' after a constructor")
        types.type_vars = set()
        return TypeData(name, params, tuple(constructors), extern)
