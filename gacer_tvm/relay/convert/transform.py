"""Converters of the operators that make, move, cut and join tensors."""

from __future__ import annotations

import typing
from collections.abc import Sequence

from gacer_tvm._tvm import relax, te, tir, topi
from gacer_tvm.relay.convert.create import static_shape
from gacer_tvm.relay.convert.emitter import Emitter, Rx
from gacer_tvm.relay.convert.registry import converter
from gacer_tvm.relay.dims import RuleError, known, normalize_axis
from gacer_tvm.relay.rules.create import target_shape
from gacer_tvm.relay.rules.transform import slice_spec
from gacer_tvm.relay.slicing import reshape_like_shape, reshaped, slice_attrs, sliced_dim
from gacer_tvm.relay.types import Any, Dim, TensorType, TupleType
from gacer_tvm.relay.values import OpCall


def _tagged(shape: Sequence[Dim], prefix: str) -> tuple[Dim, ...]:
    """A shape whose unknown dimensions carry their position, so that they can be told in a derived shape."""
    return tuple(Any(f"{prefix}{axis}") if isinstance(dim, Any) else dim for axis, dim in enumerate(shape))


def _concrete(shape: Sequence[Dim], sources: dict[str, Sequence[typing.Any]]) -> list[typing.Any]:
    """A shape derived from tagged ones in Relax's dimensions; one unknown may be left to inference as -1."""
    out: list[typing.Any] = []
    for dim in shape:
        if isinstance(dim, Any):
            out.append(sources[dim.name[0]][int(dim.name[1:])] if dim.name else -1)
        else:
            out.append(dim)
    if sum(1 for dim in out if isinstance(dim, int) and dim == -1) > 1:
        raise RuleError(f"more than one dimension of {tuple(shape)} is known only at run time")
    return out


@converter("reshape", "dyn.reshape")
def _reshape(e: Emitter, call: OpCall, data: Rx, _shape: Rx = None) -> Rx:
    data = e.emit(data)
    target = target_shape(call, 1, "newshape")
    shape = reshaped(_tagged(call.shape(0), "a"), target, bool(call.attr("allowzero", False)))
    return e.reshape(data, _concrete(shape, {"a": _dims(e, data)}))


def _dims(e: Emitter, data: Rx) -> list[typing.Any]:
    try:
        return e.shape(data)
    except ValueError:
        raise RuleError("the operand's dimensions are not known symbolically; give the inputs static shapes") from None


@converter("contrib_reverse_reshape")
def _reverse_reshape(e: Emitter, call: OpCall, data: Rx) -> Rx:
    return e.reshape(data, static_shape(call))


@converter("reshape_like")
def _reshape_like(e: Emitter, call: OpCall, data: Rx, like: Rx) -> Rx:
    data, like = e.emit(data), e.emit(like)
    bounds = (call.attr("lhs_begin", 0), call.attr("lhs_end"), call.attr("rhs_begin", 0), call.attr("rhs_end"))
    shape = reshape_like_shape(_tagged(call.shape(0), "a"), _tagged(call.shape(1), "b"), bounds)
    return e.reshape(data, _concrete(shape, {"a": _dims(e, data), "b": _dims(e, like)}))


@converter("transpose")
def _transpose(e: Emitter, call: OpCall, data: Rx) -> Rx:
    rank = call.rank(0)
    axes = call.attr("axes") or tuple(range(rank))[::-1]
    return e.permute(data, [normalize_axis(int(axis), rank) for axis in axes])


@converter("squeeze", "dyn.squeeze")
def _squeeze(e: Emitter, call: OpCall, data: Rx, _axis: Rx = None) -> Rx:
    axes = call.attr("axis") if _axis is None else call.ints(1, "axis")
    if axes is None:
        axes = [axis for axis, dim in enumerate(call.shape(0)) if dim == 1]
    listed = [axes] if isinstance(axes, int) else list(axes)
    return relax.op.squeeze(data, [normalize_axis(int(axis), call.rank(0)) for axis in listed]) if listed else data


@converter("expand_dims", "dyn.expand_dims")
def _expand_dims(e: Emitter, call: OpCall, data: Rx, _axis: Rx = None) -> Rx:
    stated = call.attr("axis") if _axis is None else call.ints(1, "axis")[0]
    axis = normalize_axis(stated, call.rank(0) + 1)
    count = int(call.attr("num_newaxis", 1))
    return relax.op.expand_dims(data, [axis + index for index in range(count)]) if count else data


@converter("concatenate")
def _concatenate(e: Emitter, call: OpCall, parts: list[Rx]) -> Rx:
    if len(parts) == 1:
        return parts[0]
    return relax.op.concat(parts, normalize_axis(call.attr("axis", 0), len(call.fields(0)[0].shape)))


@converter("stack")
def _stack(e: Emitter, call: OpCall, parts: list[Rx]) -> Rx:
    axis = normalize_axis(call.attr("axis", 0), len(call.fields(0)[0].shape) + 1)
    return relax.op.concat([e.emit(relax.op.expand_dims(part, [axis]), "expand_dims") for part in parts], axis)


@converter("split")
def _split(e: Emitter, call: OpCall, data: Rx) -> typing.Any:
    axis = normalize_axis(call.attr("axis", 0), call.rank(0))
    where = call.attr("indices_or_sections")
    count = len(typing.cast(TupleType, call.out).fields)
    if count == 1:
        return (data,)
    sections = where if isinstance(where, int) else [int(index) for index in where]
    return tuple(e.fields(relax.op.split(data, sections, axis), count))


@converter("strided_slice", "dyn.strided_slice")
def _strided_slice(e: Emitter, call: OpCall, data: Rx, *_bounds: Rx) -> Rx:
    axes: list[int] = []
    cuts: list[tuple[int, int, int]] = []
    for axis, stated in sorted(slice_spec(call).items()):
        dim = call.shape(0)[axis]
        size, (start, stop, step) = sliced_dim(dim, stated)
        if (known(dim) and size == dim and step == 1) or (not known(dim) and size == dim):
            continue
        if step < 0 and known(dim) and stop < 0:
            # A stop before the first element is written as one below the lowest negative index.
            stop = -typing.cast(int, dim) - 1
        axes.append(axis)
        cuts.append((start, stop, step))
    if not axes:
        return data
    begin, end, strides = ([cut[index] for cut in cuts] for index in range(3))
    return relax.op.strided_slice(data, axes, begin, end, strides)


@converter("strided_set")
def _strided_set(e: Emitter, call: OpCall, data: Rx, value: Rx, *_bounds: Rx) -> Rx:
    begin, end, strides = (call.ints(index, what) for index, what in ((2, "begin"), (3, "end"), (4, "strides")))
    cuts = {axis: (0, dim, 1) for axis, dim in enumerate(static_shape(call))}
    for axis, stated in slice_attrs(call.rank(0), begin, end, strides).items():
        cuts[axis] = sliced_dim(call.shape(0)[axis], stated)[1]

    def replaced(old: typing.Any, new: typing.Any) -> typing.Any:
        def element(*index: typing.Any) -> typing.Any:
            inside, place = [], []
            for at, axis in zip(index, range(len(cuts))):
                start, stop, step = cuts[axis]
                inside += [at >= start, at < stop] if step > 0 else [at <= start, at > stop]
                apart = at - start if step > 0 else start - at
                if abs(step) > 1:
                    inside.append(tir.floormod(apart, abs(step)) == 0)
                place.append(tir.floordiv(apart, abs(step)))
            return tir.if_then_else(tir.all(*inside), new(*place), old(*index))

        return te.compute(old.shape, element, name="strided_set")

    return e.te(replaced, data, value, name="strided_set")


@converter("slice_like")
def _slice_like(e: Emitter, call: OpCall, data: Rx, like: Rx) -> Rx:
    shape, out = call.shape(0), typing.cast(TensorType, call.out).shape
    axes = [axis for axis, (before, after) in enumerate(zip(shape, out)) if before != after]
    if not axes:
        return data
    ends = [e.shape(e.emit(like))[axis] for axis in axes]
    return relax.op.strided_slice(data, axes, [0] * len(axes), ends)


@converter("tile", "dyn.tile")
def _tile(e: Emitter, call: OpCall, data: Rx, _reps: Rx = None) -> Rx:
    return relax.op.tile(data, [int(count) for count in target_shape(call, 1, "reps")])


@converter("repeat")
def _repeat(e: Emitter, call: OpCall, data: Rx) -> Rx:
    axis = call.attr("axis")
    if axis is None:
        data, axis = e.reshape(data, [-1]), 0
    return relax.op.repeat(data, int(call.attr("repeats")), int(axis))


@converter("reverse")
def _reverse(e: Emitter, call: OpCall, data: Rx) -> Rx:
    return relax.op.flip(data, normalize_axis(int(call.attr("axis", 0)), call.rank(0)))


@converter("reverse_sequence")
def _reverse_sequence(e: Emitter, call: OpCall, data: Rx, lengths: Rx) -> Rx:
    seq, batch = int(call.attr("seq_axis", 1)), int(call.attr("batch_axis", 0))
    return e.te(topi.reverse_sequence, data, lengths, seq, batch, name="reverse_sequence")


@converter("collapse_sum_like", "collapse_sum_to")
def _collapse_sum(e: Emitter, call: OpCall, data: Rx, _like: Rx = None) -> Rx:
    return relax.op.collapse_sum_to(data, list(static_shape(call)))


@converter("sliding_window")
def _sliding_window(e: Emitter, call: OpCall, data: Rx) -> Rx:
    axis = normalize_axis(call.attr("axis"), call.rank(0))
    window, strides = ([int(number) for number in call.attr(name)] for name in ("window_shape", "strides"))
    return e.te(topi.sliding_window, data, axis, window, strides, name="sliding_window")
