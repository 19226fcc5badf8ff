"""Type rules of the operators that make tensors: constants, ranges, grids, masks and shapes as numbers."""

from __future__ import annotations

import math

from gacer_tvm.relay.dims import RuleError, broadcast, normalize_axis
from gacer_tvm.relay.rules.registry import rule
from gacer_tvm.relay.types import ANY, TensorType, TupleType, Type
from gacer_tvm.relay.values import OpCall

__all__ = ["arange_length", "target_shape"]


def target_shape(call: OpCall, index: int, attr: str) -> tuple[int, ...]:
    """A shape given by an attribute, or (in the dynamic forms) by a constant argument."""
    stated = call.attr(attr)
    if stated is not None and len(call.args) <= index:
        return tuple(int(dim) for dim in stated)
    return tuple(call.ints(index, "the shape"))


@rule("broadcast_to", "dyn.broadcast_to")
def _broadcast_to(call: OpCall) -> Type:
    data = call.tensor(0)
    shape = target_shape(call, 1, "shape")
    if broadcast(data.shape, shape) != shape:
        raise RuleError(f"{data} does not broadcast to {shape}")
    return TensorType(shape, data.dtype)


@rule("broadcast_to_like", inputs=2)
def _broadcast_to_like(call: OpCall) -> Type:
    return TensorType(call.shape(1), call.dtype(0))


@rule("zeros", "ones", "dyn.zeros", "dyn.ones")
def _init(call: OpCall) -> Type:
    return TensorType(target_shape(call, 0, "shape"), call.attr("dtype"))


@rule("full", "dyn.full")
def _full(call: OpCall) -> Type:
    return TensorType(target_shape(call, 1, "shape"), call.attr("dtype") or call.dtype(0))


def arange_length(start: float, stop: float, step: float) -> int:
    """How many numbers `arange` yields."""
    if step == 0:
        raise RuleError("the step of a range must not be zero")
    return max(0, math.ceil((stop - start) / step))


@rule("arange", inputs=3)
def _arange(call: OpCall) -> Type:
    bounds = [call.const(index) for index in range(3)]
    if any(bound is None for bound in bounds):
        return TensorType((ANY,), call.attr("dtype"))
    start, stop, step = (float(bound.reshape(-1)[0]) for bound in bounds if bound is not None)
    return TensorType((arange_length(start, stop, step),), call.attr("dtype"))


@rule("meshgrid", inputs=1)
def _meshgrid(call: OpCall) -> Type:
    fields = call.fields(0)
    shape = [field.shape[0] if field.shape else 1 for field in fields]
    if call.attr("indexing", "ij") == "xy" and len(shape) > 1:
        shape[0], shape[1] = shape[1], shape[0]
    return TupleType(tuple(TensorType(tuple(shape), field.dtype) for field in fields))


@rule("one_hot", "dyn.one_hot")
def _one_hot(call: OpCall) -> Type:
    shape = call.shape(0)
    depth = int(call.attr("depth", 0)) if len(call.args) == 3 else call.ints(3, "depth")[0]
    axis = normalize_axis(call.attr("axis", -1), len(shape) + 1)
    return TensorType((*shape[:axis], depth, *shape[axis:]), call.attr("dtype") or call.dtype(1))


@rule("shape_of", "vm.shape_of", inputs=1)
def _shape_of(call: OpCall) -> Type:
    rank = call.rank(0)
    return TensorType((rank,) if rank else (), call.attr("dtype") or "int32")


@rule("ndarray_size", "contrib.ndarray_size", inputs=1)
def _ndarray_size(call: OpCall) -> Type:
    return TensorType((), call.attr("dtype") or "int32")


@rule("matrix_set_diag", inputs=2)
def _matrix_set_diag(call: OpCall) -> Type:
    return call.tensor(0)


@rule("trilu", inputs=2)
def _trilu(call: OpCall) -> Type:
    return call.tensor(0)


@rule("invert_permutation", inputs=1)
def _invert_permutation(call: OpCall) -> Type:
    return call.tensor(0)


@rule("sequence_mask", inputs=2)
def _sequence_mask(call: OpCall) -> Type:
    return call.tensor(0)
