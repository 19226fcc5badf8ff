"""The table of type rules, filled by the modules beside it."""

from __future__ import annotations

from collections.abc import Callable

from gacer_tvm.relay.dims import RuleError
from gacer_tvm.relay.types import Type
from gacer_tvm.relay.values import OpCall

__all__ = ["RULES", "Rule", "rule"]

Rule = Callable[[OpCall], Type]
RULES: dict[str, Rule] = {}


def rule(*names: str, inputs: int | None = None) -> Callable[[Rule], Rule]:
    """Register a function as the type rule of the operators `names`.

    Parameters
    ----------
    names : str
    inputs : int, optional
        How many arguments the operators take, where that is fixed.
    """

    def register(function: Rule) -> Rule:
        def checked(call: OpCall) -> Type:
            if inputs is not None and len(call.args) != inputs:
                raise RuleError(f"expects {inputs} argument{'s' if inputs != 1 else ''}, found {len(call.args)}")
            return function(call)

        for name in names:
            RULES[name] = checked
        return function

    return register
