"""Rebuilding `main` as one straight dataflow block, with a hook that may replace each call.

All rewrites of this stage are written on top of `rebuild`: one walk over the bindings, in order, tuples resolved on the
way, so that a rewrite sees calls whose arguments are variables or constants and nothing else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from .._tvm import relax, tvm
from ..errors import TenantError

__all__ = ["Rewrite", "Walk", "call_name", "main_block", "rebuild", "single_block", "use_counts"]


class Walk:
    """What a rewrite may use: the builder, and the ways between the old function's variables and the new one's."""

    def __init__(self, builder: Any) -> None:
        self.builder = builder
        self.new: dict[Any, Any] = {}  # old variable -> new expression
        self.old: dict[Any, Any] = {}  # new variable -> the old variable it stands for

    def bind(self, var: Any, expr: Any) -> None:
        """The old `var` is now `expr`."""
        self.new[var] = expr
        if isinstance(expr, relax.Var):
            self.old.setdefault(expr, var)

    def resolve(self, expr: Any) -> Any:
        """An expression of the old function in terms of the new one."""
        if isinstance(expr, relax.Var):
            return self.new.get(expr, expr)
        if isinstance(expr, relax.Tuple):
            return relax.Tuple([self.resolve(item) for item in expr.fields])
        if isinstance(expr, relax.TupleGetItem):
            whole = self.resolve(expr.tuple_value)
            return whole.fields[expr.index] if isinstance(whole, relax.Tuple) else relax.TupleGetItem(whole, expr.index)
        if isinstance(expr, relax.Call):
            return relax.Call(expr.op, [self.resolve(arg) for arg in expr.args], expr.attrs, expr.ty_args)
        return expr

    def emit(self, var: Any, expr: Any) -> Any:
        """Bind what `expr` computes to new variables named after `var`."""
        if isinstance(expr, relax.Tuple):
            return relax.Tuple([self.emit(var, item) for item in expr.fields])
        if isinstance(expr, relax.Call | relax.TupleGetItem):
            return self.builder.emit(expr, var.name)
        return expr


# (walk, variable of the old function, the call with its new arguments) -> replacement or None
Rewrite = Callable[[Walk, Any, Any], Any]


def call_name(expr: Any) -> str:
    """Name of the operator that `expr` calls ("relax.add"), or "" when it is no call of an operator."""
    return str(expr.op.name) if isinstance(expr, relax.Call) and isinstance(expr.op, tvm.ir.Op) else ""


def single_block(module: Any, who: str) -> Any:
    """Inline private functions and gather `main` into one dataflow block.

    Raises
    ------
    TenantError
        When the function has a branch, a loop or a side effect, for which there is no fixed sequence of operators.
    """
    transform = relax.transform
    module = transform.InlinePrivateFunctions()(module)
    module = transform.Normalize()(module)
    module = transform.ConvertToDataflow(min_size=1)(module)
    blocks = [block for block in module["main"].body.blocks if block.bindings]
    for block in blocks:
        if isinstance(block, relax.DataflowBlock):
            continue
        for binding in block.bindings:
            value = binding.value
            if isinstance(value, relax.If):
                raise TenantError(
                    f"{who}: it branches on a value known only at run time ({binding.var.name}); a tenant is one fixed "
                    f"sequence of operators: export the branch that is taken, or compute both and select with where"
                )
            if isinstance(value, relax.Call) and isinstance(value.op, tvm.ir.GlobalVar):
                raise TenantError(
                    f"{who}: it calls the function {value.op.name_hint!r}, which is recursive or not private; inline it "
                    f"first (relax.transform.InlinePrivateFunctions, unrolled loops)"
                )
            if isinstance(value, relax.Call):
                raise TenantError(f"{who}: the operator {_callee(value)} has side effects; a tenant must be pure")
    return module


def _callee(call: Any) -> str:
    return call_name(call) or str(call.op).strip()


def main_block(module: Any) -> list[Any]:
    """All bindings of `main`, in order."""
    return [binding for block in module["main"].body.blocks for binding in block.bindings]


def use_counts(module: Any) -> Counter[Any]:
    """How often each variable of `main` is read (by operators or as a result)."""
    counts: Counter[Any] = Counter()

    def visit(expr: Any) -> None:
        if isinstance(expr, relax.Var):
            counts[expr] += 1
        elif isinstance(expr, relax.Tuple):
            for item in expr.fields:
                visit(item)
        elif isinstance(expr, relax.TupleGetItem):
            visit(expr.tuple_value)
        elif isinstance(expr, relax.Call):
            for arg in expr.args:
                visit(arg)

    for binding in main_block(module):
        visit(binding.value)
    visit(module["main"].body.body)
    return counts


def rebuild(module: Any, rewrite: Rewrite | None = None) -> Any:
    """Emit `main` anew as one dataflow block that returns a flat tuple of tensors.

    Parameters
    ----------
    module
        IRModule whose `main` was made straight by `single_block`.
    rewrite
        Called for each call; what it returns (a variable, constant, tuple or call) takes the call's place, None keeps it.

    Returns
    -------
    IRModule
        With the same other functions and module attributes.
    """
    function = module["main"]
    builder = relax.BlockBuilder(module)
    walk = Walk(builder)
    outputs: list[Any] = []

    def flatten(expr: Any) -> None:
        if isinstance(expr, relax.Tuple):
            for item in expr.fields:
                flatten(item)
        elif isinstance(expr.ty, relax.TupleType):
            for index in range(len(expr.ty.fields)):
                flatten(builder.emit(relax.TupleGetItem(expr, index)))
        else:
            outputs.append(expr)

    params = list(function.params)
    with builder.function("main_rebuilt", params):
        with builder.dataflow():
            for binding in main_block(module):
                var, value = binding.var, walk.resolve(binding.value)
                if isinstance(binding, relax.MatchCast):
                    same = tvm.ir.structural_equal(value.ty, binding.ty)
                    walk.bind(var, value if same else builder.match_cast(value, binding.ty, var.name))
                    continue
                if rewrite is not None and isinstance(value, relax.Call):
                    replacement = rewrite(walk, var, value)
                    value = value if replacement is None else replacement
                walk.bind(var, walk.emit(var, value))
            flatten(walk.resolve(function.body.body))
            result = builder.emit_output(relax.Tuple(outputs))
        builder.emit_func_output(result)
    rebuilt = builder.get()
    fresh = rebuilt["main_rebuilt"]
    functions = {
        name: body for name, body in rebuilt.functions_items() if name.name_hint not in ("main", "main_rebuilt")
    }
    attrs = {key: function.attrs[key] for key in _kept_attributes(function)}
    functions[module.get_global_var("main")] = fresh.with_attrs({**attrs, "global_symbol": "main"})
    return tvm.IRModule(functions, attrs=module.attrs)


def _kept_attributes(function: Any) -> list[str]:
    dropped = {"num_input", "params", "tir_var_lower_bound", "tir_var_upper_bound", "global_symbol"}
    return [key for key in (function.attrs.keys() if function.attrs else ()) if key not in dropped]
