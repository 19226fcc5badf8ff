"""Type rules of the operators that work element by element."""

from __future__ import annotations

from gacer_tvm.relay.dims import RuleError, broadcast
from gacer_tvm.relay.rules.registry import rule
from gacer_tvm.relay.types import Dim, TensorType, TupleType, Type
from gacer_tvm.relay.values import OpCall

__all__ = ["ARITHMETIC", "COMPARISONS", "UNARY"]

UNARY = (
    "abs", "acos", "acosh", "annotation.bitpack_end", "annotation.bitpack_start", "annotation.cast_hint",
    "annotation.checkpoint", "annotation.compiler_begin", "annotation.compiler_end", "annotation.stop_fusion",
    "asin", "asinh", "atan", "atanh", "bitwise_not", "ceil", "clip", "copy", "cos", "cosh", "device_copy", "erf",
    "exp", "fast_erf", "fast_exp", "fast_tanh", "fixed_point_multiply", "floor", "hardswish", "log", "log10",
    "log2", "logical_not", "negative", "nn.leaky_relu", "nn.relu", "on_device", "ones_like", "round", "rsqrt",
    "sigmoid", "sign", "sin", "sinh", "sqrt", "tan", "tanh", "trunc", "zeros_like",
)  # fmt: skip
ARITHMETIC = (
    "add", "bitwise_and", "bitwise_or", "bitwise_xor", "divide", "floor_divide", "floor_mod", "left_shift",
    "logical_and", "logical_or", "logical_xor", "maximum", "minimum", "mod", "multiply", "power", "right_shift",
    "subtract", "trunc_divide", "trunc_mod",
)  # fmt: skip
COMPARISONS = ("equal", "greater", "greater_equal", "less", "less_equal", "not_equal")


@rule(*UNARY, inputs=1)
def _same(call: OpCall) -> Type:
    return call.tensor(0)


@rule("isfinite", "isinf", "isnan", inputs=1)
def _predicate(call: OpCall) -> Type:
    return TensorType(call.shape(0), "bool")


@rule(*ARITHMETIC, inputs=2)
def _arithmetic(call: OpCall) -> Type:
    return TensorType(_joined(call), call.dtype(0))


@rule(*COMPARISONS, inputs=2)
def _comparison(call: OpCall) -> Type:
    return TensorType(_joined(call), "bool")


def _joined(call: OpCall) -> tuple[Dim, ...]:
    # An operand without annotation takes the other one's type, the only one that needs no guess.
    for index in (0, 1):
        if not call.is_known(index) and call.is_known(1 - index):
            call.assign(index, call.tensor(1 - index))
    left, right = call.tensor(0), call.tensor(1)
    if left.dtype != right.dtype:
        raise RuleError(f"both operands must have one element type, found {left.dtype} and {right.dtype}")
    return broadcast(left.shape, right.shape)


@rule("where", inputs=3)
def _where(call: OpCall) -> Type:
    cond, left, right = (call.tensor(index) for index in range(3))
    if left.dtype != right.dtype:
        raise RuleError(f"both choices must have one element type, found {left.dtype} and {right.dtype}")
    chosen = broadcast(left.shape, right.shape)
    if len(cond.shape) == 1 and len(chosen) > 1 and cond.shape[0] == chosen[0] != chosen[-1]:
        # The first versions took a vector that picks rows.
        return TensorType(chosen, left.dtype)
    return TensorType(broadcast(cond.shape, chosen), left.dtype)


@rule("cast", inputs=1)
def _cast(call: OpCall) -> Type:
    return TensorType(call.shape(0), call.attr("dtype"))


@rule("cast_like", inputs=2)
def _cast_like(call: OpCall) -> Type:
    return TensorType(call.shape(0), call.dtype(1))


@rule("reinterpret", inputs=1)
def _reinterpret(call: OpCall) -> Type:
    return TensorType(call.shape(0), call.attr("dtype"))


@rule("nn.dropout", inputs=1)
def _dropout(call: OpCall) -> Type:
    # The result and the mask.
    return TupleType((call.tensor(0), call.tensor(0)))


@rule("full_like", inputs=2)
def _full_like(call: OpCall) -> Type:
    return call.tensor(0)


@rule("nn.bias_add", inputs=2)
def _bias_add(call: OpCall) -> Type:
    data = call.tensor(0)
    axis = call.attr("axis", 1)
    if not -len(data.shape) <= axis < len(data.shape):
        raise RuleError(f"axis {axis} is outside of data {data}")
    call.assign(1, TensorType((data.shape[axis],), data.dtype), "the bias")
    return data


@rule("nn.prelu", inputs=2)
def _prelu(call: OpCall) -> Type:
    data = call.tensor(0)
    axis = call.attr("axis", 1)
    if not -len(data.shape) <= axis < len(data.shape):
        raise RuleError(f"axis {axis} is outside of data {data}")
    call.assign(1, TensorType((data.shape[axis],), data.dtype), "the slope")
    return data


@rule("fixed_point_multiply_per_axis", inputs=4)
def _fixed_point_multiply_per_axis(call: OpCall) -> Type:
    return call.tensor(0)
