"""Layers that make their own weights, named after the layer."""

from __future__ import annotations

import typing

from gacer_tvm.relay import op
from gacer_tvm.relay.ast import Call, Expr, Function, TupleGetItem, Var
from gacer_tvm.relay.op import nn
from gacer_tvm.relay.op.build import var
from gacer_tvm.relay.walk import free_vars

__all__ = [
    "batch_norm_infer",
    "conv2d",
    "conv2d_transpose",
    "conv_kernel_layout",
    "dense_add_bias",
    "function_of",
    "hard_swish",
]


def batch_norm_infer(data: Expr, name: str, **options: typing.Any) -> TupleGetItem:
    """Batch normalization by stored statistics: `name_gamma`, `name_beta`, `name_moving_mean`, `name_moving_var`."""
    stored = [var(f"{name}_{kind}") for kind in ("gamma", "beta", "moving_mean", "moving_var")]
    return typing.cast(TupleGetItem, nn.batch_norm(data, *stored, **options)[0])


def conv2d(data: Expr, name: str, weight: Var | None = None, **options: typing.Any) -> Call:
    """A convolution with the weight `name_weight`."""
    return typing.cast(Call, nn.conv2d(data, weight or var(f"{name}_weight"), **options))


def conv2d_transpose(data: Expr, name: str, **options: typing.Any) -> Call:
    """A transposed convolution with the weight `name_weight`."""
    return typing.cast(Call, nn.conv2d_transpose(data, var(f"{name}_weight"), **options))


def dense_add_bias(data: Expr, name: str, units: int, weight: Var | None = None, bias: Var | None = None) -> Call:
    """A dense layer with the weight `name_weight` and the bias `name_bias`."""
    product = nn.dense(data, weight or var(f"{name}_weight"), units=units)
    return typing.cast(Call, nn.bias_add(product, bias or var(f"{name}_bias"), axis=-1))


def conv_kernel_layout(data_layout: str, is_depthwise: bool = False) -> str:
    """The kernel layout that goes with a data layout."""
    if data_layout == "NCHW":
        return "OIHW"
    return "HWOI" if is_depthwise else "HWIO"


def hard_swish(data: Expr) -> Expr:
    """`data * clip(data + 3, 0, 6) / 6`."""
    return data * (op.clip(data + 3.0, 0.0, 6.0) / 6.0)  # type: ignore[no-any-return]


def function_of(body: Expr) -> Function:
    """A function of all variables that its body uses."""
    return Function(free_vars(body), body)
