"""Printing Relay modules and expressions as text that the parser reads back."""

from __future__ import annotations

from gacer_tvm.errors import RelayError
from gacer_tvm.relay.ast import (
    Call,
    Constant,
    Constructor,
    Expr,
    Function,
    GlobalVar,
    If,
    IRModule,
    Let,
    Match,
    Op,
    Pattern,
    PatternConstructor,
    PatternTuple,
    PatternVar,
    RefCreate,
    RefRead,
    RefWrite,
    Tuple,
    TupleGetItem,
    TypeData,
    Var,
)
from gacer_tvm.relay.json_writer import MetaWriter
from gacer_tvm.relay.lexer import is_name
from gacer_tvm.relay.print_places import Block, Places, find_places, is_leaf
from gacer_tvm.relay.print_values import NameTable, ValuePrinter
from gacer_tvm.relay.trampoline import Steps, run
from gacer_tvm.relay.types import Type, type_text
from gacer_tvm.relay.walk import free_vars

__all__ = ["astext"]

# Blocks that nest deeper are not indented further: indentation would grow with the square of the depth.
_MAX_INDENT = 40


def astext(node: IRModule | Expr, show_meta_data: bool = True, show_types: bool = True) -> str:
    """Relay text of version 0.0.5, as TVM prints it.

    Parameters
    ----------
    node : IRModule or Expr
        An expression's free variables are declared with `free_var`.
    show_meta_data : bool
        Whether to write the table of constants behind the text; without it the text is for people, and `parse` refuses
        it if there are constants other than numbers.
    show_types : bool
        Whether to note known types in comments.

    Returns
    -------
    str
        `parse` (`parse_expr` for an expression) reads it back to an equal tree, in which shared nodes are shared.

    Raises
    ------
    RelayError
        If the tree holds something that Relay text cannot say.
    """
    printer = _Printer(show_types)
    if isinstance(node, IRModule):
        printer.module(node)
    else:
        printer.expression(node)
    text = '#[version = "0.0.5"]\n' + "".join(printer.out)
    if show_meta_data and printer.meta:
        text += f"\n#[metadata]\n{printer.meta.text()}\n"
    return text


class _Printer:
    """One printing: pieces of text in order, and the names and numbers given."""

    def __init__(self, show_types: bool) -> None:
        self.out: list[str] = []
        self.meta = MetaWriter()
        self.values = ValuePrinter(self.meta, self._reference)
        self._show_types = show_types
        self._type_texts: dict[int, str] = {}
        self._numbers = 0
        self._names: dict[int, str] = {}
        self._table = NameTable()
        self._places: Places = find_places(Tuple(()))

    def module(self, module: IRModule) -> None:
        for index, definition in enumerate(module.type_definitions.values()):
            self.out.append("\n" if index else "")
            self._type_definition(definition)
        for index, (name, function) in enumerate(module.functions.items()):
            self.out.append("\n" if index or module.type_definitions else "")
            if not is_name("@" + name):
                raise RelayError(f"The function name {name!r} cannot be written as Relay text.")
            self._start(function.body)
            run(self._function(f"def @{name}", function, self._places.root, 0, note=False))
            self.out.append("\n")

    def expression(self, expr: Expr) -> None:
        self._start(expr)
        for var in free_vars(expr):
            self.out.append(f"free_var {self._declare(var)};\n")
        run(self._block(self._places.root, expr, 0))
        self.out.append("\n")

    def _start(self, body: Expr) -> None:
        self._places = find_places(body)
        self._names = {}
        self._table = NameTable()

    # Statements

    def _block(self, block: Block, value: Expr, level: int) -> Steps:
        """The statements of a block whose value is `value`; the last without a line's end."""
        out, blocks = self.out, self._places.blocks
        indent = "  " * min(level, _MAX_INDENT)
        position = 0
        while True:
            for bound in block.bound.get(position, ()):
                at = len(out)
                out.append("")
                yield self._value(bound, level)
                # Numbered after what it holds, as TVM does.
                name = self._names[id(bound)] = f"%{self._numbers}"
                self._numbers += 1
                out[at] = f"{indent}{name} = "
                out.append(";\n")
            out.append(indent)
            if not isinstance(value, Let) or blocks[id(value), 0] is not block:
                yield self._use(value, level)
                return
            out.append(f"let {self._declare(value.var)} = ")
            yield self._use(value.value, level)
            out.append(";\n")
            value = value.body
            position += 1

    def _braces(self, block: Block, value: Expr, level: int, brackets: str = "{}") -> Steps:
        self.out.append(brackets[0] + "\n")
        yield self._block(block, value, level + 1)
        self.out.append(f"\n{'  ' * min(level, _MAX_INDENT)}{brackets[1]}")

    def _declare(self, var: Var) -> str:
        name = self._names.get(id(var))
        if name is not None:
            raise RelayError(f"The variable {name} is bound twice: the tree is not well formed.")
        name = self._names[id(var)] = "%" + self._table.allocate(var.name_hint)
        if var.type_annotation is not None:
            name += f": {self._type(var.type_annotation)}"
        return name + self._note(var)

    # Expressions

    def _use(self, node: Expr, level: int) -> Steps:
        """A node where it is used: itself if it is written there, else what it is bound to."""
        if id(node) in self._places.inline and not is_leaf(node):
            yield self._value(node, level)
        else:
            self.out.append(self._reference(node) + (self._note(node) if isinstance(node, Constant) else ""))

    def _reference(self, node: Expr) -> str:
        name = self._names.get(id(node))
        if name is not None:
            return name
        match node:
            case Constant():
                return self.values.constant(node)
            case GlobalVar():
                if not is_name("@" + node.name_hint):
                    raise RelayError(f"The function name {node.name_hint!r} cannot be written as Relay text.")
                return f"@{node.name_hint}"
            case Op():
                if not is_name(node.name):
                    raise RelayError(f"The operator name {node.name!r} cannot be written as Relay text.")
                return node.name
            case Constructor():
                return node.name_hint
            case Var():
                raise RelayError(f"The variable %{node.name_hint} is used where it is not bound.")
        raise RelayError(f"{node!r} cannot be written as part of an attribute.")

    def _argument(self, node: Expr) -> str:
        return self._reference(node) + (self._note(node) if isinstance(node, Constant) else "")

    def _value(self, node: Expr, level: int) -> Steps:
        """A node itself, with its type noted behind it."""
        out, argument = self.out, self._argument
        blocks = self._places.blocks
        match node:
            case Call():
                self._call(node)
            case Tuple():
                comma = "," if len(node.fields) == 1 else ""
                out.append(f"({', '.join(argument(field) for field in node.fields)}{comma}){self._note(node)}")
            case TupleGetItem():
                out.append(f"{self._field_owner(node.tuple_value)}.{node.index}{self._note(node)}")
            case Function():
                yield self._function("fn ", node, blocks[id(node), 0], level)
            case Let():
                yield self._braces(blocks[id(node), 0], node, level, "()")
            case If():
                out.append(f"if ({argument(node.cond)}) ")
                yield self._braces(blocks[id(node), 0], node.true_branch, level)
                out.append(" else ")
                yield self._braces(blocks[id(node), 1], node.false_branch, level)
            case RefCreate():
                out.append(f"ref({argument(node.value)})")
            case RefRead():
                out.append(f"ref_read({argument(node.ref)})")
            case RefWrite():
                out.append(f"ref_write({argument(node.ref)}, {argument(node.value)})")
            case Match():
                yield self._match(node, level)
            case _:
                raise RelayError(f"{node!r} cannot be written as Relay text.")

    def _field_owner(self, node: Expr) -> str:
        text = self._reference(node)
        # A number or a name would run together with the field's number.
        return text if text.startswith("%") else f"({text})"

    def _call(self, node: Call) -> None:
        callee = self._reference(node.op)
        written = [self._argument(argument) for argument in node.args] + self.values.call_attributes(node)
        if isinstance(node.op, Constructor) and not node.op.inputs and not written:
            self.out.append(callee + self._note(node))
        else:
            self.out.append(f"{callee}({', '.join(written)}){self._note(node)}")

    def _function(self, head: str, node: Function, block: Block, level: int, note: bool = True) -> Steps:
        params = [self._declare(param) for param in node.params] + self.values.dict_attributes(node.attrs)
        generics = f"[{', '.join(var.name for var in node.type_params)}]" if node.type_params else ""
        result = f" -> {self._type(node.ret_type)}" if node.ret_type is not None else ""
        self.out.append(f"{head}{generics}({', '.join(params)}){result} ")
        yield self._braces(block, node.body, level)
        if note:
            self.out.append(self._note(node))

    def _match(self, node: Match, level: int) -> Steps:
        out = self.out
        indent = "  " * min(level + 1, _MAX_INDENT)
        out.append(f"match{'' if node.complete else '?'} ({self._argument(node.data)}) {{\n")
        for part, clause in enumerate(node.clauses):
            out.append(f"{indent}{self._pattern(clause.lhs)} => ")
            yield self._braces(self._places.blocks[id(node), part], clause.rhs, level + 1)
            out.append(",\n")
        out.append(f"{'  ' * min(level, _MAX_INDENT)}}}")

    def _pattern(self, pattern: Pattern) -> str:
        out: list[str] = []
        stack: list[Pattern | str] = [pattern]
        while stack:
            item = stack.pop()
            if isinstance(item, str):
                out.append(item)
            elif isinstance(item, PatternVar):
                out.append(self._declare(item.var))
            elif isinstance(item, (PatternConstructor, PatternTuple)):
                if isinstance(item, PatternConstructor):
                    out.append(item.constructor.name_hint)
                    if not item.patterns:
                        continue
                out.append("(")
                stack.append(")")
                for index in range(len(item.patterns) - 1, -1, -1):
                    stack.append(item.patterns[index])
                    if index:
                        stack.append(", ")
            else:
                out.append("_")
        return "".join(out)

    def _type_definition(self, definition: TypeData) -> None:
        generics = f"[{', '.join(var.name for var in definition.type_vars)}]" if definition.type_vars else ""
        if definition.extern:
            self.out.append(f"extern type {definition.name}{generics}\n")
            return
        self.out.append(f"type {definition.name}{generics} {{\n")
        for constructor in definition.constructors:
            inputs = ", ".join(type_text(item) for item in constructor.inputs)
            self.out.append(f"  {constructor.name_hint}{f'({inputs})' if inputs else ''},\n")
        self.out.append("}\n")

    # Types

    def _type(self, type_: Type) -> str:
        # Modules share a few type objects among many nodes.
        text = self._type_texts.get(id(type_))
        if text is None:
            text = self._type_texts[id(type_)] = type_text(type_)
        return text

    def _note(self, node: Expr) -> str:
        if not self._show_types or node.checked_type is None:
            return ""
        return f" /* ty={self._type(node.checked_type)} */"
