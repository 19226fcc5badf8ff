"""Type rules of the operators that make, move, cut and join tensors."""

from __future__ import annotations

from gacer_tvm.relay.dims import RuleError, add, div, known, mul, normalize_axis, product, unify
from gacer_tvm.relay.layout import transformed_shape
from gacer_tvm.relay.rules.create import target_shape
from gacer_tvm.relay.rules.registry import rule
from gacer_tvm.relay.slicing import reshape_like_shape, reshaped, slice_attrs, sliced_dim
from gacer_tvm.relay.types import ANY, Dim, TensorType, TupleType, Type
from gacer_tvm.relay.values import OpCall

__all__ = ["concatenated", "slice_spec"]


@rule("reshape", "dyn.reshape")
def _reshape(call: OpCall) -> Type:
    data = call.tensor(0)
    target = target_shape(call, 1, "newshape")
    return TensorType(reshaped(data.shape, target, bool(call.attr("allowzero", False))), data.dtype)


@rule("contrib_reverse_reshape", inputs=1)
def _reverse_reshape(call: OpCall) -> Type:
    data = call.tensor(0)
    shape = reshaped(data.shape[::-1], tuple(call.attr("newshape"))[::-1])
    return TensorType(shape[::-1], data.dtype)


@rule("reshape_like", inputs=2)
def _reshape_like(call: OpCall) -> Type:
    data = call.tensor(0)
    bounds = (call.attr("lhs_begin", 0), call.attr("lhs_end"), call.attr("rhs_begin", 0), call.attr("rhs_end"))
    return TensorType(reshape_like_shape(data.shape, call.shape(1), bounds), data.dtype)


@rule("transpose", inputs=1)
def _transpose(call: OpCall) -> Type:
    data = call.tensor(0)
    rank = len(data.shape)
    axes = call.attr("axes") or tuple(range(rank))[::-1]
    order = [normalize_axis(int(axis), rank) for axis in axes]
    if sorted(order) != list(range(rank)):
        raise RuleError(f"axes {list(axes)} are no permutation of {rank} dimensions")
    return TensorType(tuple(data.shape[axis] for axis in order), data.dtype)


@rule("squeeze", "dyn.squeeze")
def _squeeze(call: OpCall) -> Type:
    data = call.tensor(0)
    axes = call.attr("axis") if len(call.args) == 1 else call.ints(1, "axis")
    if axes is None:
        return TensorType(tuple(dim for dim in data.shape if dim != 1), data.dtype)
    chosen = {normalize_axis(int(axis), len(data.shape)) for axis in ([axes] if isinstance(axes, int) else axes)}
    for axis in chosen:
        if known(data.shape[axis]) and data.shape[axis] != 1:
            raise RuleError(f"axis {axis} of {data} is no 1 and cannot be squeezed")
    return TensorType(tuple(dim for axis, dim in enumerate(data.shape) if axis not in chosen), data.dtype)


@rule("expand_dims", "dyn.expand_dims")
def _expand_dims(call: OpCall) -> Type:
    data = call.tensor(0)
    axis = call.attr("axis") if len(call.args) == 1 else call.ints(1, "axis")[0]
    axis = normalize_axis(axis, len(data.shape) + 1)
    ones = (1,) * int(call.attr("num_newaxis", 1))
    return TensorType((*data.shape[:axis], *ones, *data.shape[axis:]), data.dtype)


@rule("concatenate", inputs=1)
def _concatenate(call: OpCall) -> Type:
    return concatenated(call.fields(0), call.attr("axis", 0))


def concatenated(fields: tuple[TensorType, ...], axis: int) -> TensorType:
    """The type of tensors joined along `axis`."""
    if not fields:
        raise RuleError("needs at least one tensor")
    rank = len(fields[0].shape)
    axis = normalize_axis(axis, rank)
    shape = list(fields[0].shape)
    for field in fields[1:]:
        if field.dtype != fields[0].dtype or len(field.shape) != rank:
            raise RuleError(f"all tensors must have one rank and element type, found {fields[0]} and {field}")
        for index, dim in enumerate(field.shape):
            shape[index] = add(shape[index], dim) if index == axis else unify(shape[index], dim)
    return TensorType(tuple(shape), fields[0].dtype)


@rule("stack", inputs=1)
def _stack(call: OpCall) -> Type:
    fields = call.fields(0)
    if not fields:
        raise RuleError("needs at least one tensor")
    shape = list(fields[0].shape)
    for field in fields[1:]:
        if field.dtype != fields[0].dtype or len(field.shape) != len(shape):
            raise RuleError(f"all tensors must have one type, found {fields[0]} and {field}")
        shape = [unify(left, right) for left, right in zip(shape, field.shape)]
    axis = normalize_axis(call.attr("axis", 0), len(shape) + 1)
    return TensorType((*shape[:axis], len(fields), *shape[axis:]), fields[0].dtype)


@rule("split", inputs=1)
def _split(call: OpCall) -> Type:
    data = call.tensor(0)
    axis = normalize_axis(call.attr("axis", 0), len(data.shape))
    size = data.shape[axis]
    where = call.attr("indices_or_sections")
    if isinstance(where, int):
        if where <= 0 or (known(size) and size % where):  # type: ignore[operator]
            raise RuleError(f"a dimension of {size} does not split into {where} equal parts")
        parts: list[Dim] = [div(size, where)] * where
    else:
        starts: list[Dim] = [0, *(int(index) for index in where)]
        ends: list[Dim] = [*starts[1:], size]
        parts = [ANY if not known(end) else end - start for start, end in zip(starts, ends)]  # type: ignore[operator]
        if any(known(part) and part < 0 for part in parts):  # type: ignore[operator]
            raise RuleError(f"the indices {list(where)} are not ascending within a dimension of {size}")
    shapes = ((*data.shape[:axis], part, *data.shape[axis + 1 :]) for part in parts)
    return TupleType(tuple(TensorType(shape, data.dtype) for shape in shapes))


@rule("strided_slice", "dyn.strided_slice")
def _strided_slice(call: OpCall) -> Type:
    data = call.tensor(0)
    shape = list(data.shape)
    for axis, bounds in slice_spec(call).items():
        shape[axis], _ = sliced_dim(shape[axis], bounds)
    return TensorType(tuple(shape), data.dtype)


def slice_spec(call: OpCall) -> dict[int, tuple[int, int, int]]:
    """The slice of each axis that a `strided_slice` call states."""
    if len(call.args) > 1:
        begin, end, strides = (call.ints(index, what) for index, what in ((1, "begin"), (2, "end"), (3, "strides")))
    else:
        begin, end = list(call.attr("begin") or ()), list(call.attr("end") or ())
        strides = call.attr("strides")
    mode = call.attr("slice_mode") or "end"
    return slice_attrs(call.rank(0), begin, end, strides, mode, call.attr("axes"))


@rule("strided_set", inputs=5)
def _strided_set(call: OpCall) -> Type:
    return call.tensor(0)


@rule("slice_like", inputs=2)
def _slice_like(call: OpCall) -> Type:
    data, like = call.tensor(0), call.shape(1)
    shape = list(data.shape)
    axes = call.attr("axes") or range(min(len(shape), len(like)))
    for stated in axes:
        axis = normalize_axis(int(stated), len(shape))
        if axis >= len(like):
            raise RuleError(f"axis {axis} is outside of the target shape {like}")
        if known(like[axis]) and known(shape[axis]) and like[axis] > shape[axis]:  # type: ignore[operator]
            raise RuleError(f"the target's dimension {like[axis]} is larger than the data's {shape[axis]}")
        shape[axis] = like[axis]
    return TensorType(tuple(shape), data.dtype)


@rule("tile", "dyn.tile")
def _tile(call: OpCall) -> Type:
    data = call.tensor(0)
    reps = target_shape(call, 1, "reps")
    rank = max(len(reps), len(data.shape))
    shape: tuple[Dim, ...] = (*((1,) * (rank - len(data.shape))), *data.shape)
    times = (*((1,) * (rank - len(reps))), *reps)
    return TensorType(tuple(mul(dim, count) for dim, count in zip(shape, times)), data.dtype)


@rule("repeat", inputs=1)
def _repeat(call: OpCall) -> Type:
    data = call.tensor(0)
    times = int(call.attr("repeats"))
    if call.attr("axis") is None:
        return TensorType((mul(product(data.shape), times),), data.dtype)
    axis = normalize_axis(int(call.attr("axis")), len(data.shape))
    return TensorType((*data.shape[:axis], mul(data.shape[axis], times), *data.shape[axis + 1 :]), data.dtype)


@rule("reverse", inputs=1)
def _reverse(call: OpCall) -> Type:
    normalize_axis(int(call.attr("axis", 0)), call.rank(0))
    return call.tensor(0)


@rule("reverse_sequence", inputs=2)
def _reverse_sequence(call: OpCall) -> Type:
    return call.tensor(0)


@rule("collapse_sum_like", inputs=2)
def _collapse_sum_like(call: OpCall) -> Type:
    return TensorType(call.shape(1), call.dtype(0))


@rule("collapse_sum_to")
def _collapse_sum_to(call: OpCall) -> Type:
    return TensorType(target_shape(call, 1, "shape"), call.dtype(0))


@rule("layout_transform", inputs=1)
def _layout_transform(call: OpCall) -> Type:
    data = call.tensor(0)
    return TensorType(transformed_shape(data.shape, call.attr("src_layout"), call.attr("dst_layout")), data.dtype)


@rule("sliding_window", inputs=1)
def _sliding_window(call: OpCall) -> Type:
    data = call.tensor(0)
    axis, window, strides = (call.attr(name) for name in ("axis", "window_shape", "strides"))
    axis = normalize_axis(axis, len(data.shape))
    sizes = [div(add(add(dim, -size), step), step) for dim, size, step in zip(data.shape[axis:], window, strides)]
    return TensorType((*data.shape[:axis], *sizes, *window), data.dtype)
