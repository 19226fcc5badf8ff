"""Operators that make, move, cut and join tensors against numpy and torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gacer_tvm import relay
from gacer_tvm.errors import RelayError
from gacer_tvm.relay.slicing import reshaped
from tests.relay.running import check, variables

RNG = np.random.RandomState(2)
DATA = RNG.randn(2, 3, 4).astype("float32")


@pytest.mark.parametrize(
    ("shape", "target", "want"),
    [
        # The examples of TVM's documentation of reshape.
        ((2, 3, 4), (4, 0, 2), (4, 3, 2)),
        ((2, 3, 4), (2, 0, 0), (2, 3, 4)),
        ((2, 3, 4), (6, 1, -1), (6, 1, 4)),
        ((2, 3, 4), (3, -1, 8), (3, 1, 8)),
        ((2, 3, 4), (-1,), (24,)),
        ((2, 3, 4), (-2,), (2, 3, 4)),
        ((2, 3, 4), (2, -2), (2, 3, 4)),
        ((2, 3, 4), (-2, 1, 1), (2, 3, 4, 1, 1)),
        ((2, 3, 4), (-3, 4), (6, 4)),
        ((2, 3, 4, 5), (-3, -3), (6, 20)),
        ((2, 3, 4), (0, -3), (2, 12)),
        ((2, 3, 4), (-3, -2), (6, 4)),
        ((2, 3, 4), (-4, 1, 2, -2), (1, 2, 3, 4)),
        ((2, 3, 4), (2, -4, -1, 3, -2), (2, 1, 3, 4)),
        ((2, 12), (0, -4, 3, -1), (2, 3, 4)),
        ((2, 3, 4), (-3, -1), (6, 4)),
    ],
)
def test_reshape_codes(shape: tuple[int, ...], target: tuple[int, ...], want: tuple[int, ...]) -> None:
    assert reshaped(shape, target) == want


@pytest.mark.parametrize("target", [(5, 5), (-1, -1), (-4, 2), (0, 0, 0, 0), (-4, -1, -1, 3, 4), (-7,), (2, 3, 5)])
def test_reshape_refuses_what_does_not_fit(target: tuple[int, ...]) -> None:
    with pytest.raises(RelayError):
        reshaped((2, 3, 4), target)


def test_shapes() -> None:
    (x,) = variables(x=DATA)
    like = relay.const(np.zeros((6, 2, 2, 3), "float32"))
    cases = {
        "reshape": (relay.reshape(x, (-3, -4, 2, -1)), DATA.reshape(6, 2, 2)),
        "reshape number": (relay.reshape(x, -1), DATA.reshape(-1)),
        "reshape constant": (relay.reshape(x, relay.const([4, 6])), DATA.reshape(4, 6)),
        "reshape by argument": (
            relay.op.build.call("dyn.reshape", [x, relay.const([4, 6])], {"newshape": ()}),
            DATA.reshape(4, 6),
        ),
        "reverse_reshape": (relay.reverse_reshape(x, (-1, 0)), DATA.reshape(6, 4)),
        "reshape_like": (relay.reshape_like(x, relay.const(np.zeros((4, 6), "float32"))), DATA.reshape(4, 6)),
        "transpose": (relay.transpose(x), DATA.transpose()),
        "transpose axes": (relay.transpose(x, (1, -1, 0)), DATA.transpose(1, 2, 0)),
        "expand_dims": (relay.expand_dims(x, 1, 2), DATA[:, None, None]),
        "expand_dims last": (relay.expand_dims(x, -1), DATA[..., None]),
        "squeeze": (relay.squeeze(relay.expand_dims(x, 0)), DATA),
        "squeeze axis": (relay.squeeze(relay.expand_dims(x, 1, 2), axis=[1]), DATA[:, None]),
        "batch_flatten": (relay.nn.batch_flatten(x), DATA.reshape(2, 12)),
        "tile": (relay.tile(x, (2, 1, 3)), np.tile(DATA, (2, 1, 3))),
        "tile more": (relay.tile(x, (2, 1, 1, 1)), np.tile(DATA, (2, 1, 1, 1))),
        "tile fewer": (relay.tile(x, (2,)), np.tile(DATA, (2,))),
        "repeat": (relay.repeat(x, 2, axis=1), np.repeat(DATA, 2, 1)),
        "repeat flat": (relay.repeat(x, 3), np.repeat(DATA, 3)),
        "reverse": (relay.reverse(x, axis=-1), DATA[..., ::-1]),
        "broadcast_to": (
            relay.broadcast_to(relay.expand_dims(x, 0), (5, 2, 3, 4)),
            np.broadcast_to(DATA, (5, 2, 3, 4)),
        ),
        "broadcast_to_like": (relay.broadcast_to_like(relay.const(2.0), x), np.full_like(DATA, 2)),
        "collapse_sum_like": (
            relay.collapse_sum_like(x, relay.const(np.zeros((3, 1), "float32"))),
            DATA.sum((0, 2))[:, None],
        ),
        "collapse_sum_to": (relay.collapse_sum_to(x, (1, 4)), DATA.sum((0, 1))[None]),
        "slice_like": (relay.slice_like(x, relay.const(np.zeros((1, 2), "float32"))), DATA[:1, :2]),
        "slice_like axes": (relay.slice_like(x, like, axes=(1, 2)), DATA[:, :2, :2]),
        "sliding_window": (
            relay.sliding_window(x, 1, (2, 3), (1, 1)),
            np.lib.stride_tricks.sliding_window_view(DATA, (2, 3), (1, 2)),
        ),
    }
    check(cases, {"x": DATA})


def test_reshape_like_ranges() -> None:
    data = RNG.randn(1, 2, 3, 4).astype("float32")
    x, like = variables(x=data, y=np.zeros((6, 2, 2, 3), "float32"))
    call = relay.reshape_like(x, like, lhs_begin=1, rhs_end=3)
    check({"range": (call, data.reshape(1, 6, 2, 2))}, {"x": data, "y": np.zeros((6, 2, 2, 3), "float32")})


def test_join_and_split() -> None:
    (x,) = variables(x=DATA)
    cases = {
        "concatenate": (relay.concatenate([x, x * 2.0, x], axis=-1), np.concatenate([DATA, DATA * 2, DATA], -1)),
        "one": (relay.concatenate([x], axis=0), DATA),
        "stack": (relay.stack([x, x + 1.0], axis=1), np.stack([DATA, DATA + 1], 1)),
        "stack last": (relay.stack([x, x], axis=-1), np.stack([DATA, DATA], -1)),
        "split": (relay.split(x, 2, axis=2).astuple(), np.split(DATA, 2, 2)),
        "split indices": (relay.split(x, (1, 3), axis=2).astuple(), np.split(DATA, [1, 3], 2)),
        "split one": (relay.split(x, 1, axis=0).astuple(), [DATA]),
        "split and join": (relay.concatenate(relay.split(x, 3, axis=1).astuple(), axis=1), DATA),
        "meshgrid": (
            relay.meshgrid([relay.const([1, 2, 3]), relay.const([4, 5])]).astuple(),
            [grid.astype("int32") for grid in np.meshgrid([1, 2, 3], [4, 5], indexing="ij")],
        ),
        "meshgrid xy": (
            relay.meshgrid([relay.const([1, 2, 3]), relay.const([4, 5])], indexing="xy").astuple(),
            [grid.astype("int32") for grid in np.meshgrid([1, 2, 3], [4, 5], indexing="xy")],
        ),
    }
    check(cases, {"x": DATA})


def test_strided_slice() -> None:
    data = RNG.randn(5, 6, 7).astype("float32")
    (x,) = variables(x=data)
    slices: dict[str, tuple[Any, Any]] = {
        "end": (relay.strided_slice(x, (1, 0, 2), (4, 6, 5)), data[1:4, :, 2:5]),
        "negative": (relay.strided_slice(x, (-3, 0, 0), (-1, -1, 100)), data[-3:-1, :-1]),
        "strides": (relay.strided_slice(x, (0, 1, 0), (5, 6, 7), (2, 2, 3)), data[::2, 1::2, ::3]),
        "backward": (relay.strided_slice(x, (-1, 5, 6), (-6, 0, 1), (-1, -2, -3)), data[::-1, 5:0:-2, 6:1:-3]),
        "shorter": (relay.strided_slice(x, (2,), (4,)), data[2:4]),
        "axes": (relay.strided_slice(x, (1, 0), (3, -2), axes=(2, 0)), data[:-2, :, 1:3]),
        "axes strided": (relay.strided_slice(x, (6,), (0,), strides=(-2,), axes=(-1,)), data[..., 6:0:-2]),
        "size": (relay.strided_slice(x, (1, 2, 0), (2, -1, 3), slice_mode="size"), data[1:3, 2:, :3]),
        "whole": (relay.strided_slice(x, (0, 0, 0), (5, 6, 7)), data),
        "by arguments": (
            relay.op.build.call(
                "dyn.strided_slice", [x, *(relay.const(list(v)) for v in ((1, 0, 0), (4, 6, 7), (2, 1, 1)))]
            ),
            data[1:4:2],
        ),
    }
    check(slices, {"x": data})


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_slices_have_the_length_that_numpy_gives_them(data: st.DataObject) -> None:
    from gacer_tvm.relay.dims import RuleError
    from gacer_tvm.relay.slicing import sliced_dim

    size = data.draw(st.integers(1, 9))
    start, stop = data.draw(st.integers(-12, 12)), data.draw(st.integers(-12, 12))
    step = data.draw(st.sampled_from([-3, -2, -1, 1, 2, 3]))
    numbers = np.arange(size)
    want = numbers[start:stop:step]
    try:
        length, (first, last, _) = sliced_dim(size, (start, stop, step))
    except RuleError:
        # TVM refuses slices that run backwards, where numpy has none.
        assert len(want) == 0
        return
    assert length == len(want)
    if length == 0:
        return
    assert list(numbers[first : (None if last < 0 else last) : step]) == list(want)


def test_strided_set() -> None:
    data, value = RNG.randn(5, 6).astype("float32"), RNG.randn(2, 3).astype("float32")
    x, v = variables(x=data, v=value)
    want = data.copy()
    want[1:3, 0:6:2] = value
    check({"set": (relay.strided_set(x, v, [1, 0], [3, 6], [1, 2]), want)}, {"x": data, "v": value})


def test_making_tensors() -> None:
    (x,) = variables(x=DATA)
    cases = {
        "zeros": (relay.zeros((2, 3), "int32"), np.zeros((2, 3), "int32")),
        "ones": (relay.ones((2, 3), "float32"), np.ones((2, 3), "float32")),
        "full": (relay.full(relay.const(1.5), (2, 2)), np.full((2, 2), 1.5, "float32")),
        "full int": (relay.full(relay.const(3), (2,), "int64"), np.full((2,), 3, "int64")),
        "full scalar": (relay.full(relay.const(3.0), ()), np.asarray(3, "float32")),
        "full by argument": (
            relay.op.build.call("dyn.full", [relay.const(2.0), relay.const([2, 3])], {"dtype": None}),
            np.full((2, 3), 2, "float32"),
        ),
        "zeros by argument": (
            relay.op.build.call("dyn.zeros", [relay.const([2, 3])], {"dtype": "float32"}),
            np.zeros((2, 3), "float32"),
        ),
        "arange": (relay.arange(relay.const(1.0), relay.const(4.0), relay.const(0.5)), np.arange(1, 4, 0.5, "float32")),
        "arange int": (relay.arange(7, dtype="int32"), np.arange(7, dtype="int32")),
        "arange down": (relay.arange(5, 0, -2, dtype="int64"), np.arange(5, 0, -2)),
        "shape_of": (relay.shape_of(x), np.array([2, 3, 4], "int32")),
        "ndarray_size": (relay.ndarray_size(x), np.asarray(24, "int32")),
        "shape arithmetic": (
            relay.op.build.call(
                "dyn.reshape",
                [x, relay.concatenate([relay.take(relay.shape_of(x), relay.const([2]), axis=0), relay.const([-1])], 0)],
                {"newshape": ()},
            ),
            DATA.reshape(4, 6),
        ),
        "used": (relay.sum(x), np.asarray(DATA.sum())),
    }
    check(cases, {"x": DATA})


def test_one_hot() -> None:
    indices = np.array([[0, 2], [3, 1]], "int32")
    (x,) = variables(x=indices)
    eye = np.eye(4, dtype="float32")[indices]
    flag = relay.var("f", shape=(), dtype="float32")
    cases = {
        "last": (relay.one_hot(x, relay.const(1.0), relay.const(0.0), 4, -1, "float32"), eye),
        "axis 0": (relay.one_hot(x, relay.const(1.0), relay.const(0.0), 4, 0, "float32"), eye.transpose(2, 0, 1)),
        "values": (
            relay.one_hot(x, relay.const(5), relay.const(-1), 4, 1, "int32"),
            np.where(eye.transpose(0, 2, 1) == 1, 5, -1).astype("int32"),
        ),
        "run time": (relay.one_hot(x, flag, relay.const(0.0), 4, -1, "float32"), eye * np.float32(2.5)),
    }
    check(cases, {"x": indices, "f": np.float32(2.5)})


def test_layout_transform() -> None:
    data = RNG.randn(2, 8, 3, 5).astype("float32")
    odd = RNG.randn(1, 6, 2, 2).astype("float32")
    x, y = variables(x=data, y=odd)
    blocked = data.reshape(2, 2, 4, 3, 5).transpose(0, 1, 3, 4, 2)
    padded = np.concatenate([odd, np.zeros((1, 2, 2, 2), "float32")], 1)
    cases = {
        "NHWC": (relay.layout_transform(x, "NCHW", "NHWC"), data.transpose(0, 2, 3, 1)),
        "HWIO": (relay.layout_transform(x, "OIHW", "HWIO"), data.transpose(2, 3, 1, 0)),
        "same": (relay.layout_transform(x, "NCHW", "NCHW"), data),
        "NCHW4c": (relay.layout_transform(x, "NCHW", "NCHW4c"), blocked),
        "and back": (
            relay.layout_transform(relay.layout_transform(x, "NCHW", "NCHW4c"), "NCHW4c", "NHWC"),
            data.transpose(0, 2, 3, 1),
        ),
        "reblock": (
            relay.layout_transform(relay.layout_transform(x, "NCHW", "NCHW4c"), "NCHW4c", "NCHW2c"),
            data.reshape(2, 4, 2, 3, 5).transpose(0, 1, 3, 4, 2),
        ),
        "OIHW4i8o": (
            relay.layout_transform(relay.reshape(x, (8, 2, 3, 5)), "IOHW", "OIHW4i2o"),
            data.reshape(2, 4, 1, 2, 3, 5).transpose(2, 0, 4, 5, 1, 3),
        ),
        "padded": (relay.layout_transform(y, "NCHW", "NCHW4c"), padded.reshape(1, 2, 4, 2, 2).transpose(0, 1, 3, 4, 2)),
    }
    check(cases, {"x": data, "y": odd})


def test_rarer_operators() -> None:
    data = RNG.randn(3, 4, 4).astype("float32")
    lengths = np.array([2, 4, 1, 3], "int32")
    square = RNG.randn(4, 4).astype("float32")
    diagonal = RNG.randn(4).astype("float32")
    x, n, q, d = variables(x=data, n=lengths, q=square, d=diagonal)
    mask = np.where(np.arange(3)[:, None, None] < np.minimum(lengths, 3)[None, :, None], data, np.float32(-1))
    reversed_ = data.copy()
    for row in range(3):
        length = min(int(lengths[row]), 4)
        reversed_[row, :length] = data[row, :length][::-1]
    with_diagonal = square.copy()
    np.fill_diagonal(with_diagonal, diagonal)
    permutation = np.array([2, 0, 3, 1], "int32")
    cases = {
        "sequence_mask": (relay.sequence_mask(x, n, mask_value=-1.0, axis=0), mask),
        "sequence_mask 1": (
            relay.sequence_mask(x, relay.const(np.array([1, 2, 3], "int32")), axis=1),
            np.where(np.arange(4)[None, :, None] < np.array([1, 2, 3])[:, None, None], data, np.float32(0)),
        ),
        "reverse_sequence": (relay.reverse_sequence(x, relay.const(lengths[:3]), seq_axis=1, batch_axis=0), reversed_),
        "triu": (relay.trilu(x, relay.const(1)), np.triu(data, 1)),
        "tril": (relay.trilu(x, relay.const(-1), upper=False), np.tril(data, -1)),
        "matrix_set_diag": (relay.matrix_set_diag(q, d), with_diagonal),
        "invert_permutation": (
            relay.invert_permutation(relay.cast(relay.const(permutation.astype("float32")), "int32")),
            np.argsort(permutation).astype("int32"),
        ),
    }
    check(cases, {"x": data, "n": lengths, "q": square, "d": diagonal})
