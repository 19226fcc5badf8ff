"""Operators that move, cut, join and index tensors."""

from __future__ import annotations

import typing

from gacer_tvm.relay.ast import Call, Constant, Expr, Tuple
from gacer_tvm.relay.op.build import TupleWrapper, as_expr, call, const, dtype_attr, known_ints, operator

__all__ = [
    "adv_index", "arange", "broadcast_to", "broadcast_to_like", "cast", "cast_like", "collapse_sum_like",
    "collapse_sum_to", "cumprod", "cumsum", "expand_dims", "full", "full_like", "gather", "gather_nd",
    "invert_permutation", "layout_transform", "matrix_set_diag", "meshgrid", "one_hot", "reinterpret", "repeat",
    "reshape", "reshape_like", "reverse", "reverse_reshape", "reverse_sequence", "scatter", "scatter_add",
    "scatter_elements", "scatter_nd", "sequence_mask", "slice_like", "sliding_window", "sparse_to_dense", "split",
    "squeeze", "strided_set", "strided_slice", "take", "tile", "transpose", "trilu", "unravel_index", "where",
]  # fmt: skip

cast = operator("cast", "data", "dtype")
cast_like = operator("cast_like", "data, dtype_like")
reinterpret = operator("reinterpret", "data", "dtype")
transpose = operator("transpose", "data", "axes=None")
reshape_like = operator(
    "reshape_like", "data, shape_like", "lhs_begin=0, lhs_end=None, rhs_begin=0, rhs_end=None"
)  # fmt: skip
reverse_reshape = operator("contrib_reverse_reshape", "data", "newshape")
take = operator("take", "data, indices", "axis=None, batch_dims=0, mode='clip'")
full_like = operator("full_like", "data, fill_value")
repeat = operator("repeat", "data", "repeats, axis=None")
reverse = operator("reverse", "data", "axis")
reverse_sequence = operator("reverse_sequence", "data, seq_lengths", "seq_axis=1, batch_axis=0")
where = operator("where", "condition, x, y")
broadcast_to_like = operator("broadcast_to_like", "data, broadcast_type")
collapse_sum_like = operator("collapse_sum_like", "data, collapse_type")
slice_like = operator("slice_like", "data, shape_like", "axes=None")
layout_transform = operator("layout_transform", "data", "src_layout, dst_layout")
gather_nd = operator("gather_nd", "data, indices", "batch_dims=0, index_rank=None")
scatter = operator("scatter", "data, indices, updates", "axis")
scatter_add = operator("scatter_add", "data, indices, updates", "axis")
scatter_elements = operator("scatter_elements", "data, indices, updates", "axis=0, reduction='update'")
scatter_nd = operator("scatter_nd", "data, indices, updates", "mode='update'")
sequence_mask = operator("sequence_mask", "data, valid_length", "mask_value=0, axis=0")
unravel_index = operator("unravel_index", "indices, shape")
invert_permutation = operator("invert_permutation", "data")
trilu = operator("trilu", "data, k", "upper=True")
cumsum = operator("cumsum", "data", "axis=None, dtype=None, exclusive=None", convert={"exclusive": bool})
cumprod = operator("cumprod", "data", "axis=None, dtype=None, exclusive=None", convert={"exclusive": bool})
sliding_window = operator("sliding_window", "data", "axis, window_shape, strides")


def reshape(data: typing.Any, newshape: typing.Any, allowzero: bool = False) -> Call:
    """Another shape for the same numbers; `newshape` may hold Relay's codes 0, -1, -2, -3, -4."""
    known = known_ints(newshape)
    if known is None:
        return call("dyn.reshape", [data, newshape], {"newshape": (), "allowzero": allowzero})
    return call("reshape", [data], {"newshape": known, "allowzero": allowzero})


def squeeze(data: typing.Any, axis: typing.Any = None) -> Call:
    """Drop dimensions of one; all of them, or those named."""
    if axis is None:
        return call("squeeze", [data], {"axis": None})
    known = known_ints(axis)
    return call("dyn.squeeze", [data, axis]) if known is None else call("squeeze", [data], {"axis": known})


def expand_dims(data: typing.Any, axis: typing.Any, num_newaxis: int = 1) -> Call:
    """New dimensions of one before `axis`."""
    if isinstance(axis, Expr) and not isinstance(axis, Constant):
        return call("dyn.expand_dims", [data, axis], {"num_newaxis": num_newaxis})
    known = typing.cast("tuple[int, ...]", known_ints(axis))
    return call("expand_dims", [data], {"axis": known[0], "num_newaxis": num_newaxis})


def tile(data: typing.Any, reps: typing.Any) -> Call:
    """A tensor repeated along its dimensions."""
    known = known_ints(reps)
    return call("dyn.tile", [data, reps], {"reps": ()}) if known is None else call("tile", [data], {"reps": known})


def broadcast_to(data: typing.Any, shape: typing.Any) -> Call:
    """A tensor repeated to a shape that it broadcasts to."""
    known = known_ints(shape)
    if known is None:
        return call("dyn.broadcast_to", [data, shape])
    return call("broadcast_to", [data], {"shape": known})


def full(fill_value: typing.Any, shape: typing.Any = (), dtype: str = "") -> Call:
    """A tensor of one number."""
    known = known_ints(shape)
    if known is None:
        return call("dyn.full", [fill_value, shape], {"dtype": dtype_attr(dtype)})
    return call("full", [fill_value], {"shape": known, "dtype": dtype_attr(dtype)})


def arange(start: typing.Any, stop: typing.Any = None, step: typing.Any = None, dtype: str = "float32") -> Call:
    """Evenly spaced numbers from `start` up to `stop`."""
    if stop is None:
        start, stop = 0, start
    bounds = [
        bound if isinstance(bound, Expr) else const(bound, dtype)
        for bound in (start, stop, 1 if step is None else step)
    ]
    # The attributes repeat what is known of the arguments, as text does.
    known = [bound.data.item() if isinstance(bound, Constant) else None for bound in bounds]
    return call("arange", bounds, {"start": known[0], "stop": known[1], "step": known[2], "dtype": dtype})


def collapse_sum_to(data: typing.Any, shape: typing.Any) -> Call:
    """A tensor summed to a shape that broadcasts to its own."""
    return call("collapse_sum_to", [data, shape if isinstance(shape, Expr) else const(list(shape), "int32")])


def meshgrid(data: typing.Any, indexing: str = "ij") -> TupleWrapper:
    """Coordinate grids of several vectors."""
    items = tuple(as_expr(item) for item in data)
    return TupleWrapper(call("meshgrid", [Tuple(items)], {"indexing": indexing}), len(items))


def split(data: typing.Any, indices_or_sections: typing.Any, axis: int = 0) -> TupleWrapper:
    """A tensor cut along an axis, into equal sections or before the given indices."""
    if isinstance(indices_or_sections, int):
        count, where = indices_or_sections, typing.cast(typing.Any, indices_or_sections)
    else:
        where = tuple(int(index) for index in indices_or_sections)
        count = len(where) + 1
    return TupleWrapper(call("split", [data], {"indices_or_sections": where, "axis": axis}), count)


def strided_slice(
    data: typing.Any,
    begin: typing.Any,
    end: typing.Any,
    strides: typing.Any = None,
    axes: typing.Any = None,
    slice_mode: str = "end",
) -> Call:
    """A slice of each dimension (or of `axes`), up to `end`, or of the sizes `end` in the mode "size"."""
    bounds = [begin, end, [1] if strides is None else strides]
    known = [known_ints(bound) for bound in bounds]
    if any(item is None for item in known):
        args = [data, *(bound if isinstance(bound, Expr) else const(list(bound)) for bound in bounds)]
        return call("dyn.strided_slice", args, {"slice_mode": slice_mode})
    attrs = {"begin": known[0], "end": known[1], "strides": known[2], "slice_mode": slice_mode, "axes": axes}
    return call("strided_slice", [data], attrs)


def strided_set(
    data: typing.Any, v: typing.Any, begin: typing.Any, end: typing.Any, strides: typing.Any = None
) -> Call:
    """A tensor with a slice replaced by `v`."""
    bounds = [begin, end, [1] if strides is None else strides]
    return call("strided_set", [data, v, *(b if isinstance(b, Expr) else const(list(b), "int32") for b in bounds)])


def gather(data: typing.Any, axis: int, indices: typing.Any) -> Call:
    """Elements picked along an axis, one index for each element of the result."""
    return call("gather", [data, indices], {"axis": axis})


def one_hot(
    indices: typing.Any, on_value: typing.Any, off_value: typing.Any, depth: typing.Any, axis: int, dtype: str
) -> Call:
    """A new dimension of size `depth` that holds `on_value` where the index says."""
    attrs = {"axis": axis, "dtype": dtype}
    known = known_ints(depth)
    if known is None:
        return call("dyn.one_hot", [indices, on_value, off_value, depth], attrs)
    return call("one_hot", [indices, on_value, off_value], {"depth": known[0], **attrs})


def matrix_set_diag(data: typing.Any, diagonal: typing.Any, k: typing.Any = 0, align: str = "RIGHT_LEFT") -> Call:
    """Matrices with diagonals replaced."""
    ends = list(k) if isinstance(k, (list, tuple)) else [k]
    attrs = {
        "k1": ends[0],
        "k2": ends[-1],
        "super_diag_right_align": align[:5] == "RIGHT",
        "sub_diag_right_align": align[-5:] == "RIGHT",
    }
    return call("matrix_set_diag", [data, diagonal], attrs)


def adv_index(inputs: typing.Any) -> Call:
    """numpy's indexing of `inputs[0]` by the tensors that follow."""
    return call("adv_index", [Tuple(tuple(as_expr(item) for item in inputs))])


def sparse_to_dense(
    sparse_indices: typing.Any, output_shape: typing.Any, sparse_values: typing.Any, default_value: typing.Any = 0
) -> Call:
    """A tensor of `default_value` with `sparse_values` at `sparse_indices`."""
    fill = default_value if isinstance(default_value, Expr) else const(default_value)
    shape = typing.cast("tuple[int, ...]", known_ints(output_shape))
    return call("sparse_to_dense", [sparse_indices, sparse_values, fill], {"output_shape": shape})
