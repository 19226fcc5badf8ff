"""A DAG as a TIR function: tensor expressions, one block a formula, blocks in the DAG's order."""

from __future__ import annotations

from typing import Any

from gacer_tvm._tvm import te, tir, tvm

from .dag import Call, Compute, Dag, Expr, Load, Num, Placeholder, Var

__all__ = ["block_names", "prim_func_of"]

# Functions of one argument that both the old printer and today's operators know under these names.
_UNARY = {
    "exp": "exp",
    "log": "log",
    "sqrt": "sqrt",
    "rsqrt": "rsqrt",
    "tanh": "tanh",
    "sigmoid": "sigmoid",
    "erf": "erf",
    "floor": "floor",
    "ceil": "ceil",
    "fabs": "abs",
    "abs": "abs",
    "round": "round",
    "cos": "cos",
    "sin": "sin",
}


def block_names(dag: Dag) -> tuple[str, ...]:
    """Names of the stages, made unique in the way that `prim_func_of` names its blocks."""
    seen: dict[str, int] = {}
    names = []
    for stage in dag.stages:
        base = "".join(c if c.isalnum() or c == "_" else "_" for c in stage.name) or "stage"
        count = seen.get(base, 0)
        seen[base] = count + 1
        name = base if count == 0 else f"{base}_s{count}"
        while name in names:
            name += "_"
        names.append(name)
    return tuple(names)


def prim_func_of(dag: Dag) -> Any:
    """The unscheduled function of a DAG: parameters are the inputs in order, then the output.

    Blocks have the names of `block_names`, constants and padding included; nothing is inlined. Indices are 64 bits wide, so
    that the function is structurally equal to what Relax makes of the same operators.
    """
    tensors: list[Any] = []
    names = block_names(dag)
    for stage, name in zip(dag.stages, names, strict=True):
        if isinstance(stage, Placeholder):
            tensors.append(te.placeholder(stage.shape, dtype=stage.dtype, name=name))
        else:
            tensors.append(_compute(stage, name, tensors))
    inputs = [tensor for tensor, stage in zip(tensors, dag.stages, strict=True) if isinstance(stage, Placeholder)]
    return te.create_prim_func([*inputs, tensors[-1]], index_dtype_override="int64")


def _compute(stage: Compute, name: str, tensors: list[Any]) -> Any:
    reduce = [te.reduce_axis((0, extent), name=axis) for axis, extent in stage.reduce]

    def formula(*axes: Any) -> Any:
        scope = {axis: var for (axis, _), var in zip(stage.axes, axes, strict=True)}
        scope.update({axis: var for (axis, _), var in zip(stage.reduce, reduce, strict=True)})
        value = _build(stage.body, scope, tensors)
        if not stage.combiner:
            return value
        reducer = {"+": te.sum, "max": te.max, "min": te.min}[stage.combiner]
        return reducer(value, axis=reduce)

    return te.compute(stage.shape, formula, name=name)


def _build(expr: Expr, scope: dict[str, Any], tensors: list[Any]) -> Any:
    if isinstance(expr, Var):
        return scope[expr.name]
    if isinstance(expr, Num):
        if expr.dtype == "bool":
            return tir.const(bool(expr.value), "bool")
        return tir.const(expr.value, expr.dtype)
    if isinstance(expr, Load):
        return tensors[expr.stage](*[_build(index, scope, tensors) for index in expr.indices])
    return _call(expr, [_build(arg, scope, tensors) for arg in expr.args])


def _call(expr: Call, args: list[Any]) -> Any:
    op = expr.op
    if op.startswith("cast:"):
        return args[0].astype(op.removeprefix("cast:"))
    if op in _UNARY:
        return getattr(tir, _UNARY[op])(args[0])
    if op == "!":
        return tir.Not(args[0])
    if op == "if":
        return tir.if_then_else(*args)
    if op == "select":
        return tir.Select(*args)
    left, right = args
    simple = {
        "+": lambda: left + right,
        "-": lambda: left - right,
        "*": lambda: left * right,
        "//": lambda: tvm.tirx.floordiv(left, right),
        "%": lambda: tvm.tirx.floormod(left, right),
        "max": lambda: tvm.tirx.max(left, right),
        "min": lambda: tvm.tirx.min(left, right),
        ">=": lambda: left >= right,
        ">": lambda: left > right,
        "<=": lambda: left <= right,
        "<": lambda: left < right,
        "==": lambda: tir.EQ(left, right),
        "!=": lambda: tir.NE(left, right),
        "&&": lambda: tir.And(left, right),
        "||": lambda: tir.Or(left, right),
        "/": lambda: tvm.tirx.div(left, right),
    }
    return simple[op]()
