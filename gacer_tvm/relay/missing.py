"""Constants that a text refers to but does not have, as parameters.

A constant missing in `@main` becomes a parameter of `@main`. One missing in another function becomes a parameter of
that function and of every function that calls it, up to `@main`, and the calls pass it on.
"""

from __future__ import annotations

from collections.abc import Mapping

from gacer_tvm.errors import RelayError
from gacer_tvm.relay.ast import Call, Expr, Function, GlobalVar, IRModule, Var
from gacer_tvm.relay.walk import post_order, rewrite

__all__ = ["add_parameters"]


def add_parameters(module: IRModule, missing: Mapping[str | None, Mapping[int, Var]]) -> IRModule:
    """The module with variables for missing constants among the parameters.

    Parameters
    ----------
    module : IRModule
    missing : Mapping of str or None to Mapping of int to Var
        The variables by function (None for a text that is a bare expression) and index.

    Raises
    ------
    RelayError
        If a function that lacks constants is used otherwise than by a direct call.
    """
    if not missing:
        return module
    wanted = {name or "main": dict(variables) for name, variables in missing.items()}
    called = {name: _called(name, function) for name, function in module.functions.items()}
    changed = True
    while changed:
        changed = False
        for name, callees in called.items():
            mine = wanted.setdefault(name, {})
            for callee in callees:
                for index, var in wanted.get(callee, {}).items():
                    if index not in mine:
                        mine[index] = Var(var.name_hint, var.type_annotation, var.span)
                        changed = True
    functions = {}
    for name, function in module.functions.items():
        mine = wanted[name]
        functions[name] = _extended(function, mine, wanted) if mine else function
    return IRModule(functions, module.type_definitions, module.attrs)


def _called(name: str, function: Function) -> list[str]:
    found: dict[str, None] = {}
    for node in post_order(function):
        if isinstance(node, Call) and isinstance(node.op, GlobalVar):
            found[node.op.name_hint] = None
    found.pop(name, None)
    return list(found)


def _extended(function: Function, mine: Mapping[int, Var], wanted: Mapping[str, Mapping[int, Var]]) -> Function:
    present = {id(param) for param in function.params}
    names = {param.name_hint for param in function.params}
    replaced: dict[int, Var] = {}
    added: list[Var] = []
    for index in sorted(mine):
        var = mine[index]
        if id(var) in present:
            # A bare expression's free variables are its parameters already; only their order is to be put right.
            added.append(var)
            continue
        name = var.name_hint
        while name in names:
            name += "_"
        names.add(name)
        renamed = var if name == var.name_hint else Var(name, var.type_annotation, var.span)
        replaced[id(var)] = renamed
        added.append(renamed)

    def pass_on(node: Expr) -> Expr:
        if isinstance(node, Var):
            return replaced.get(id(node), node)
        if isinstance(node, Call):
            if isinstance(node.op, GlobalVar) and wanted.get(node.op.name_hint):
                theirs = wanted[node.op.name_hint]
                more = tuple(replaced.get(id(mine[index]), mine[index]) for index in sorted(theirs))
                return Call(node.op, node.args + more, node.attrs, node.type_args, node.span, node.checked_type)
            operands: tuple[Expr, ...] = node.args
        else:
            operands = ()
        for operand in operands:
            if isinstance(operand, GlobalVar) and wanted.get(operand.name_hint):
                raise RelayError(
                    f"@{operand.name_hint} lacks constants and is passed as a value, so that they cannot be passed "
                    "to it; print the module with its constants."
                )
        return node

    needs_rewrite = any(id(var) in replaced and replaced[id(var)] is not var for var in mine.values()) or any(
        wanted.get(callee) for callee in _called("", function)
    )
    body = rewrite(function.body, pass_on) if needs_rewrite else function.body
    kept = tuple(param for param in function.params if id(param) not in {id(var) for var in added})
    return Function(
        kept + tuple(added), body, function.ret_type, function.type_params, function.attrs, function.span, None
    )
