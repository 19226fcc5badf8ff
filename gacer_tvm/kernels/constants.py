"""Operators whose operands are all constant, computed here and now.

`relax.transform.FoldConstant` compiles each of them, which takes about 80 ms apiece; the ones that importers leave behind by
the dozen are computed with NumPy instead.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .._tvm import expr_ir, relax, tvm, tvm_ffi
from ..frontend.constants import array_of, as_constant

__all__ = ["fold_constants"]


def _ints(value: Any) -> list[int]:
    return [int(v) for v in value]


def _shape(value: Any) -> tuple[int, ...]:
    return tuple(int(v) for v in value.values)


_UNARY: dict[str, Callable[[Any], Any]] = {
    "abs": np.abs, "exp": np.exp, "floor": np.floor, "ceil": np.ceil, "isnan": np.isnan, "log": np.log,
    "negative": np.negative, "sqrt": np.sqrt, "rsqrt": lambda x: (1 / np.sqrt(x)).astype(x.dtype),
    "square": np.square, "logical_not": np.logical_not,
}  # fmt: skip
_BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "add": np.add, "subtract": np.subtract, "multiply": np.multiply, "maximum": np.maximum, "minimum": np.minimum,
    "power": np.power, "equal": np.equal, "not_equal": np.not_equal, "less": np.less, "greater": np.greater,
    "less_equal": np.less_equal, "greater_equal": np.greater_equal, "logical_and": np.logical_and,
    "logical_or": np.logical_or,
}  # fmt: skip


def _evaluate(call: Any, arguments: list[Any]) -> Any:
    """The value of an operator on constants, or None if it is not one of the common ones."""
    name = str(call.op.name).removeprefix("relax.")
    arrays = [array_of(a) if isinstance(a, expr_ir.GenericConst) else a for a in arguments]
    first: Any = arrays[0]
    if name in _UNARY:
        return _UNARY[name](first)
    if name in _BINARY:
        return _BINARY[name](first, arrays[1])
    if name == "divide":
        wanted = np.divide(first, arrays[1]) if first.dtype.kind == "f" else None
        return wanted if wanted is None else wanted.astype(first.dtype)
    if name == "reshape":
        return first.reshape(_shape(arrays[1]))
    if name == "broadcast_to":
        return np.broadcast_to(first, _shape(arrays[1]))
    if name == "expand_dims":
        return np.expand_dims(first, tuple(_ints(call.attrs.axis)))
    if name == "squeeze":
        return np.squeeze(first, None if call.attrs.axis is None else tuple(_ints(call.attrs.axis)))
    if name == "permute_dims":
        return np.transpose(first, None if call.attrs.axes is None else _ints(call.attrs.axes))
    if name == "astype":
        return first.astype(str(call.attrs.dtype))
    if name == "where":
        return np.where(first, arrays[1], arrays[2])
    return None


def fold_constants(mod: tvm.IRModule) -> tvm.IRModule:
    """Replace common operators on constants by their values in every Relax function of `mod`."""
    for var, func in list(mod.functions_items()):
        if isinstance(func, relax.Function) and isinstance(func.body, relax.SeqExpr):
            mod[var] = _fold(func)
    return mod


def _fold(func: relax.Function) -> relax.Function:
    known: dict[Any, Any] = {}

    def put(node: Any) -> Any:
        return known.get(node, node)

    blocks = []
    for block in func.body.blocks:
        kept = []
        for binding in block.bindings:
            if not isinstance(binding, relax.VarBinding):
                kept.append(binding)
                continue
            value = tvm_ffi.structural_map(binding.value, (expr_ir.Var, put)) if known else binding.value
            constant = _constant(value)
            if constant is not None and isinstance(binding.var, relax.DataflowVar):
                known[binding.var] = constant
            else:
                kept.append(binding if value.same_as(binding.value) else relax.VarBinding(binding.var, value))
        made = relax.DataflowBlock if isinstance(block, relax.DataflowBlock) else relax.BindingBlock
        blocks.append(made(kept))
    if not known:
        return func
    body = relax.SeqExpr(blocks, func.body.body)
    return relax.Function(func.params, body, func.ret_ty, func.is_pure, func.attrs)


def _constant(value: Any) -> Any:
    if isinstance(value, expr_ir.GenericConst):
        return value
    if not isinstance(value, expr_ir.Call) or not isinstance(value.op, tvm.ir.Op):
        return None
    arguments = list(value.args)
    if not arguments or not all(isinstance(a, (expr_ir.GenericConst, relax.ShapeExpr)) for a in arguments):
        return None
    try:
        with np.errstate(all="ignore"):
            array = _evaluate(value, arguments)
    except (TypeError, ValueError):
        return None
    if array is None:
        return None
    return as_constant(np.asarray(array), str(value.ty.dtype))
