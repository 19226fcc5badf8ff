"""Inference batch-norm becomes part of the convolution before it, or one multiplication and one addition.

    y = gamma · (x - mean) / sqrt(var + epsilon) + beta  =  x · s + t,   s = gamma / sqrt(var + epsilon),  t = beta - mean · s

(Ioffe and Szegedy, arXiv 1502.03167, section 3.1.) `s` and `t` are computed in float64 and rounded once.

Only ``training=False`` is touched: with ``training=True`` the operator normalizes by the statistics of its own batch.
TVM's `DecomposeOpsForInference` does not look at that attribute, and `relax.op.nn.batch_norm` sets it by default, so
that pass would change the answer of such a module; it is therefore not used here.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .._tvm import relax
from .constants import as_constant, value_of
from .straighten import Walk, call_name, main_block, rebuild, use_counts

__all__ = ["fold_batch_norm"]

_CONVOLUTIONS = ("relax.nn.conv1d", "relax.nn.conv2d", "relax.nn.conv3d")


class _Linear(NamedTuple):
    """A convolution or matrix product with a constant weight, and the constant added to its result."""

    call: Any
    weight: np.ndarray
    weight_axis: int  # axis of the weight that holds the output channels
    bias: np.ndarray | None  # one number for each channel


def fold_batch_norm(module: Any) -> Any:
    """Fold every inference batch-norm with constant statistics.

    Rewrite
    -------
    ``batch_norm(conv(x, w) + b)`` → ``conv(x, w · s) + (b · s + t)``;
    ``batch_norm(x)`` → ``x · s + t`` where no convolution or matrix product with a single reader comes before.

    Parameters
    ----------
    module
        IRModule with a straight `main` and folded constants.
    """
    definitions = {binding.var: binding.value for binding in main_block(module)}
    uses = use_counts(module)

    def rewrite(walk: Walk, var: Any, call: Any) -> Any:
        if call_name(call) != "relax.nn.batch_norm":
            return None
        attrs = call.attrs
        found = [value_of(arg) for arg in call.args[1:5]]
        vectors = [vector for vector in found if vector is not None]
        if attrs.training or len(vectors) != 4:
            return None
        dtype = str(call.args[0].ty.dtype)
        ndim = int(call.args[0].ty.ndim)
        axis = int(attrs.axis) % ndim
        gamma, beta, mean, variance = (vector.astype("float64") for vector in vectors)
        scale = (gamma if attrs.scale else 1.0) / np.sqrt(variance + float(attrs.epsilon))
        shift = (beta if attrs.center else 0.0) - mean * scale

        source = _linear_before(walk.old.get(call.args[0]), definitions, uses, axis)
        if source is None:
            scaled = walk.builder.emit(relax.op.multiply(call.args[0], _channels(scale, axis, ndim, dtype)), var.name)
        else:
            extents = [1] * source.weight.ndim
            extents[source.weight_axis] = -1
            weight = (source.weight.astype("float64") * scale.reshape(extents)).astype(source.weight.dtype)
            args = [walk.resolve(source.call.args[0]), as_constant(weight)]
            scaled = walk.builder.emit(
                relax.Call(source.call.op, args, source.call.attrs, source.call.ty_args), var.name
            )
            if source.bias is not None:
                shift = shift + source.bias.astype("float64") * scale
        shifted = relax.op.add(scaled, _channels(shift, axis, ndim, dtype))
        return relax.Tuple([shifted, call.args[3], call.args[4]])

    return rebuild(module, rewrite)


def _channels(vector: np.ndarray, axis: int, ndim: int, dtype: str) -> Any:
    shape = [1] * ndim
    shape[axis] = -1
    return relax.const(np.ascontiguousarray(vector.reshape(shape)).astype(dtype), dtype)


def _linear_before(var: Any, definitions: dict[Any, Any], uses: Any, axis: int) -> _Linear | None:
    """The convolution or matrix product whose result, with a constant added or not, only this batch-norm reads."""
    if var is None or uses[var] != 1:
        return None
    value: Any = definitions.get(var)
    bias = None
    if call_name(value) == "relax.add":
        left, right = value.args
        added, base = (value_of(left), right) if value_of(left) is not None else (value_of(right), left)
        if added is None or not isinstance(base, relax.Var) or uses[base] != 1:
            return None
        bias = _per_channel(added, axis, base.ty)
        value = definitions.get(base)
        if bias is None:
            return None
    name = call_name(value)
    weight = value_of(value.args[1]) if name in (*_CONVOLUTIONS, "relax.matmul") else None
    if weight is None or weight.dtype not in (np.float16, np.float32, np.float64):
        return None
    if name in _CONVOLUTIONS:
        out_layout = str(value.attrs.out_layout) or str(value.attrs.data_layout)
        kernel_layout = str(value.attrs.kernel_layout)
        plain = out_layout.isalpha() and kernel_layout.isalpha() and out_layout.isupper() and kernel_layout.isupper()
        if not plain or out_layout.index("C") != axis:
            return None
        return _Linear(value, weight, kernel_layout.index("O"), bias)
    if name == "relax.matmul" and weight.ndim == 2 and axis == int(value.ty.ndim) - 1:
        return _Linear(value, weight, 1, bias)
    return None


def _per_channel(array: np.ndarray, axis: int, ty: Any) -> np.ndarray | None:
    """`array`, broadcast against `ty`, as one number for each channel; None when it varies along another axis."""
    channels = int(ty.shape.values[axis])
    full = (1,) * (int(ty.ndim) - array.ndim) + array.shape
    if len(full) != int(ty.ndim) or any(extent != 1 for i, extent in enumerate(full) if i != axis):
        return None
    return np.broadcast_to(array.reshape(-1), (channels,)) if full[axis] in (1, channels) else None
