"""Type and shape inference for whole modules, checked against the types that TVM's printer noted behind expressions.

`infer_types` gives a module whose `@main` is fully annotated, weights without annotation included. Inference knows
every operator that is converted (`rules/`), evaluates functions where they are called, and computes shape arithmetic on
small integers, so that shapes that a module derives from other shapes are known too.
"""

from __future__ import annotations

import typing

from gacer_tvm.errors import RelayError
from gacer_tvm.relay.annotate import annotate
from gacer_tvm.relay.ast import Call, Constant, Expr, Function, If, IRModule, Var
from gacer_tvm.relay.dims import RuleError, agree, check_type
from gacer_tvm.relay.evaluate import Evaluator
from gacer_tvm.relay.fold import fold
from gacer_tvm.relay.rules import RULES
from gacer_tvm.relay.survey import check_convertible
from gacer_tvm.relay.type_values import check_condition, check_parameter, join_types, value_of_type
from gacer_tvm.relay.types import FuncType, TensorType, Type
from gacer_tvm.relay.values import Closure, Frame, OpCall, Tensor, Value, expr_where, type_of

__all__ = ["TypeSemantics", "infer_type", "infer_types", "result_type"]


class TypeSemantics:
    """Evaluates a module to types.

    Parameters
    ----------
    check : bool
        Whether to compare with the types that the source noted behind expressions (`/* ty=... */`).
    """

    def __init__(self, check: bool = True) -> None:
        self._check = check
        self.types: dict[int, Value] = {}

    def constant(self, expr: Constant) -> Tensor:
        """The type and the numbers of a constant."""
        return Tensor(expr.type, const=expr.data)

    def call(self, call: OpCall) -> Value:
        """The result of an operator: its type by rule, its numbers where they can be known."""
        self.apply_rule(call)
        const = fold(call)
        if const is not None:
            return Tensor(typing.cast(TensorType, call.out), const=const)
        return value_of_type(call.out)

    def apply_rule(self, call: OpCall) -> None:
        """Set `call.out` by the operator's type rule.

        Raises
        ------
        RelayError
            If the rule refuses the operands; the message names the operator and its place.
        """
        found = RULES.get(call.name)
        if found is None:
            raise RelayError(f"The operator {call.name}{call.where()} is not known.")
        try:
            call.out = found(call)
            check_type(call.out)
        except RuleError as error:
            raise RelayError(_rule_message(call, str(error))) from None
        except (TypeError, ValueError, IndexError, KeyError, AttributeError, OverflowError) as error:
            # A rule meets attributes of the wrong kind only in modules that no TVM has written.
            raise RelayError(_rule_message(call, f"attributes or operands make no sense ({error})")) from error

    def select(self, expr: If, cond: Value, then: Value, other: Value) -> Value:
        """The common type of both branches."""
        check_condition(expr, cond)
        joined = join_types(type_of(then), type_of(other))
        if joined is None:
            raise RelayError(
                f"The branches of the if{expr_where(expr)} have the types {type_of(then)} and {type_of(other)}."
            )
        return value_of_type(joined)

    def bind(self, var: Var, value: Value) -> Value:
        """Check a value against the variable's annotation, or fill its type in."""
        stated = var.type_annotation
        if isinstance(value, Tensor) and value.type is None and isinstance(stated, TensorType):
            value.type = stated
        found = type_of(value)
        if not agree(found, stated):
            raise RelayError(f"%{var.name_hint}{expr_where(var)} is stated as {stated}, but its value is {found}.")
        return value

    def result(self, function: Function, value: Value) -> Value:
        """Check a function's value against the type that it states."""
        if not agree(type_of(value), function.ret_type):
            raise RelayError(
                f"The function{expr_where(function)} is stated to return {function.ret_type}, but returns "
                f"{type_of(value)}."
            )
        return value

    def note(self, expr: Expr, value: Value, frame: Frame) -> None:
        """Remember the value of an expression, and compare it with what the source noted."""
        self.types.setdefault(id(expr), value)
        if self._check and expr.checked_type is not None and not isinstance(value, Closure):
            found = type_of(value)
            if not agree(found, expr.checked_type):
                name = expr.op.name if isinstance(expr, Call) and hasattr(expr.op, "name") else type(expr).__name__
                raise RelayError(
                    f"{name}{expr_where(expr)} is noted to have the type {expr.checked_type}, but inference finds "
                    f"{found}. If the module was edited, drop the type comments or pass check_types=False."
                )


def _rule_message(call: OpCall, reason: str) -> str:
    operands = ", ".join(str(type_of(arg) or "?") for arg in call.args)
    return f"{call.name}{call.where()}: {reason}. Its operands are ({operands})."


def main_arguments(function: Function) -> list[Value]:
    """Values for a function's parameters, as far as their types are stated."""
    values: list[Value] = []
    for param in function.params:
        stated = param.type_annotation
        if isinstance(stated, FuncType):
            raise RelayError(f"The parameter %{param.name_hint} is a function; only tensors and tuples can be inputs.")
        check_parameter(param)
        value = value_of_type(stated)
        if isinstance(value, Tensor):
            value.var = param
        values.append(value)
    return values


def result_type(module: IRModule, entry: str = "main", check_types: bool = True) -> Type:
    """The type of what a function of the module returns.

    Parameters
    ----------
    module : IRModule
    entry : str
    check_types : bool
        Whether noted types must agree.
    """
    function = module[entry]
    check_convertible(module, entry)
    value = Evaluator(module, TypeSemantics(check_types)).run(function, main_arguments(function))
    found = type_of(value)
    if found is None:
        raise RelayError(f"The type of what @{entry} returns is not known; annotate its parameters.")
    return found


def infer_types(module: IRModule, check_types: bool = True) -> IRModule:
    """The module with the types of all parameters, results and expressions filled in.

    Parameters
    ----------
    module : IRModule
    check_types : bool
        Whether types that the source noted behind expressions must agree with the inferred ones.

    Returns
    -------
    IRModule
        A new module. Functions that only others call are left as they were, except for what calls from annotated
        functions show; parameters of untyped weights get annotations.

    Raises
    ------
    RelayError
        Where types contradict each other, or a parameter's type cannot be found.
    """
    functions = dict(module.functions)
    for name, function in module.functions.items():
        if name != "main" and any(param.type_annotation is None for param in function.params):
            continue
        check_convertible(module, name)
        semantics = TypeSemantics(check_types)
        arguments = main_arguments(function)
        value = Evaluator(module, semantics).run(function, arguments)
        for param, argument in zip(function.params, arguments):
            if type_of(argument) is None:
                raise RelayError(
                    f"The type of %{param.name_hint}, a parameter of @{name}, is not stated and nothing shows it. "
                    "Give it a shape where it is made."
                )
            semantics.types.setdefault(id(param), argument)
        functions[name] = annotate(function, semantics.types, type_of(value))
    return IRModule(functions, module.type_definitions, module.attrs)


def infer_type(expr: Expr) -> Type:
    """The type of an expression; its free variables must be annotated or inferable.

    Parameters
    ----------
    expr : Expr
    """
    module = IRModule.from_expr(expr)
    found = result_type(module)
    if isinstance(expr, Function):
        main = infer_types(module)["main"]
        return FuncType(tuple(p.type_annotation for p in main.params), main.ret_type)
    return found
