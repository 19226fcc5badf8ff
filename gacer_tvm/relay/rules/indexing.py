"""Type rules of gathering and scattering."""

from __future__ import annotations

from gacer_tvm.relay.dims import RuleError, broadcast, known, normalize_axis, unify
from gacer_tvm.relay.rules.registry import rule
from gacer_tvm.relay.types import Dim, TensorType, Type
from gacer_tvm.relay.values import OpCall


def _check_integer(dtype: str) -> None:
    if not dtype.startswith(("int", "uint")):
        raise RuleError(f"the indices must be integers, found {dtype}")


@rule("take", inputs=2)
def _take(call: OpCall) -> Type:
    data, indices = call.tensor(0), call.tensor(1)
    _check_integer(indices.dtype)
    if call.attr("axis") is None:
        return TensorType(indices.shape, data.dtype)
    axis = normalize_axis(int(call.attr("axis")), len(data.shape))
    batch = int(call.attr("batch_dims") or 0)
    batch += len(indices.shape) if batch < 0 else 0
    if not 0 <= batch <= min(axis, len(indices.shape)):
        raise RuleError(f"batch_dims {batch} must lie between 0 and the axis {axis}")
    return TensorType((*data.shape[:axis], *indices.shape[batch:], *data.shape[axis + 1 :]), data.dtype)


@rule("gather", inputs=2)
def _gather(call: OpCall) -> Type:
    data, indices = call.tensor(0), call.tensor(1)
    _check_integer(indices.dtype)
    axis = normalize_axis(int(call.attr("axis")), len(data.shape))
    if len(indices.shape) != len(data.shape):
        raise RuleError(f"data and indices must have one rank, found {data} and {indices}")
    for index, (left, right) in enumerate(zip(data.shape, indices.shape)):
        if index != axis:
            unify(left, right, f"dimensions {index} of data and indices")
    return TensorType(indices.shape, data.dtype)


@rule("gather_nd", inputs=2)
def _gather_nd(call: OpCall) -> Type:
    data, indices = call.tensor(0), call.tensor(1)
    _check_integer(indices.dtype)
    if not indices.shape or not known(indices.shape[0]):
        raise RuleError("the first dimension of the indices must be a number")
    depth = int(indices.shape[0]) + int(call.attr("batch_dims") or 0)  # type: ignore[arg-type]
    if depth > len(data.shape):
        raise RuleError(f"indices of depth {depth} do not fit data {data}")
    return TensorType((*indices.shape[1:], *data.shape[depth:]), data.dtype)


@rule("scatter", "scatter_add", "scatter_elements", "scatter_nd", inputs=3)
def _scatter(call: OpCall) -> Type:
    data = call.tensor(0)
    _check_integer(call.dtype(1))
    if call.dtype(2) != data.dtype:
        raise RuleError(f"updates must be {data.dtype} as the data, found {call.dtype(2)}")
    if call.name != "scatter_nd":
        normalize_axis(int(call.attr("axis", 0)), len(data.shape))
    return data


@rule("adv_index", inputs=1)
def _adv_index(call: OpCall) -> Type:
    data, *indices = call.fields(0)
    if len(indices) > len(data.shape):
        raise RuleError(f"{len(indices)} indices are too many for data {data}")
    shape: tuple[Dim, ...] = ()
    for index in indices:
        _check_integer(index.dtype)
        shape = broadcast(shape, index.shape)
    return TensorType((*shape, *data.shape[len(indices) :]), data.dtype)


@rule("unravel_index", inputs=2)
def _unravel_index(call: OpCall) -> Type:
    indices, shape = call.tensor(0), call.tensor(1)
    rank = shape.shape[0] if shape.shape else 1
    return TensorType((rank, *indices.shape), indices.dtype)


@rule("sparse_to_dense", inputs=3)
def _sparse_to_dense(call: OpCall) -> Type:
    return TensorType(tuple(int(dim) for dim in call.attr("output_shape")), call.dtype(1))
