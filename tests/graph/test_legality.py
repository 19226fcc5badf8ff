"""The proof that an operator can be cut, against running it with everything outside the chunk spoilt."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from gacer_tvm._tvm import relax, te, tir, tvm
from gacer_tvm.graph.legality import prove_chunking
from gacer_tvm.graph.lower import fuse_passes

from .brute import TARGET, check_chunks, depends_on_others

BATCH = 6
op = relax.op


def kernels_of(build, *shapes, dtypes=None) -> dict:
    """The fused kernels of a model with inputs of `shapes`; how many outputs each has."""
    builder = relax.BlockBuilder()
    dtypes = dtypes or ["float32"] * len(shapes)
    inputs = [relax.Var(f"x{n}", relax.TensorType(s, d)) for n, (s, d) in enumerate(zip(shapes, dtypes))]
    with builder.function("main", inputs):
        with builder.dataflow():
            output = builder.emit_output(builder.normalize(build(*inputs)))
        builder.emit_func_output(output)
    with TARGET:
        module = tvm.transform.Sequential(fuse_passes())(builder.get())
    found = {}
    for block in module["main"].body.blocks:
        for binding in block.bindings:
            if getattr(getattr(binding.value, "op", None), "name", "") == "relax.call_tir":
                out = binding.value.ty_args[0]
                count = len(out.fields) if hasattr(out, "fields") else 1
                found[binding.value.args[0].name_hint] = (module[binding.value.args[0].name_hint], count)
    return found


def weight(*shape: int):
    return relax.const(np.random.default_rng(0).random(shape).astype("float32"))


B = BATCH
IMAGE = (B, 4, 8, 8)
ROWS = (B, 12)
TOKENS = (B, 5, 8)

# Each row of the output needs the same row of the inputs only.
DIVISIBLE = {
    "conv2d_bias_relu": (
        lambda x: op.nn.relu(op.add(op.nn.conv2d(x, weight(8, 4, 3, 3), padding=(1, 1)), weight(1, 8, 1, 1))),
        [IMAGE],
    ),
    "conv2d_stride": (lambda x: op.nn.conv2d(x, weight(8, 4, 3, 3), strides=(2, 2)), [IMAGE]),
    "depthwise": (lambda x: op.nn.conv2d(x, weight(4, 1, 3, 3), groups=4), [IMAGE]),
    "conv2d_nhwc": (
        lambda x: op.nn.conv2d(x, weight(8, 3, 3, 8), data_layout="NHWC", kernel_layout="OHWI"),
        [(B, 6, 6, 8)],
    ),
    "conv2d_transpose": (lambda x: op.nn.conv2d_transpose(x, weight(4, 3, 2, 2), strides=(2, 2)), [IMAGE]),
    "conv1d": (lambda x: op.nn.conv1d(x, weight(7, 5, 3)), [TOKENS]),
    "matmul": (lambda x: op.matmul(x, weight(12, 7)), [ROWS]),
    "matmul_square": (lambda x: op.matmul(x, weight(B, B)), [(B, B)]),
    "batched_matmul": (lambda x, y: op.matmul(x, y), [TOKENS, (B, 8, 3)]),
    "attention": (
        lambda q, k: op.nn.softmax(op.matmul(q, op.permute_dims(k, [0, 2, 1])), axis=-1),
        [TOKENS, TOKENS],
    ),
    "softmax": (lambda x: op.nn.softmax(x, axis=-1), [ROWS]),
    "log_softmax": (lambda x: op.nn.log_softmax(x, axis=1), [IMAGE]),
    "layer_norm": (lambda x: op.nn.layer_norm(x, weight(8), weight(8), axes=[-1]), [TOKENS]),
    "group_norm": (
        lambda x: op.nn.group_norm(x, weight(4), weight(4), num_groups=2, channel_axis=1, axes=[2, 3]),
        [IMAGE],
    ),
    "batch_norm_inference": (
        lambda x: op.multiply(op.subtract(x, weight(1, 4, 1, 1)), op.rsqrt(weight(1, 4, 1, 1))),
        [IMAGE],
    ),
    "max_pool": (lambda x: op.nn.max_pool2d(x, pool_size=(3, 3), strides=(2, 2), padding=(1, 1)), [IMAGE]),
    "avg_pool": (lambda x: op.nn.avg_pool2d(x, pool_size=(2, 2), padding=(1, 1)), [IMAGE]),
    "global_pool": (lambda x: op.nn.adaptive_avg_pool2d(x, output_size=(1, 1)), [IMAGE]),
    "uneven_adaptive_pool": (lambda x: op.nn.adaptive_avg_pool2d(x, output_size=(3, 3)), [IMAGE]),
    "mean_of_each": (lambda x: op.mean(x, axis=[1, 2]), [TOKENS]),
    "argmax": (lambda x: op.argmax(x, axis=1), [ROWS]),
    "embedding": (lambda x: op.take(weight(9, 4), x, axis=0), [(B, 5)], ["int64"]),
    "embedding_and_position": (
        lambda x: op.add(op.take(weight(9, 4), x, axis=0), weight(1, 5, 4)),
        [(B, 5)],
        ["int64"],
    ),
    # The rows that it picks may be anyone's: the first argument is read whole by every chunk.
    "pick_rows": (lambda x, i: op.take(x, i, axis=0), [(B, 4), (B,)], ["float32", "int64"]),
    "concat_channels": (lambda x, y: op.concat([x, y], axis=1), [IMAGE, (B, 3, 8, 8)]),
    "split_channels": (lambda x: op.split(x, 2, axis=1), [IMAGE]),
    "slice_inside": (lambda x: op.strided_slice(x, axes=[1], begin=[1], end=[11], strides=[3]), [ROWS]),
    "flip_inside": (lambda x: op.flip(x, axis=1), [ROWS]),
    "pad_inside": (lambda x: op.nn.pad(x, (0, 0, 1, 2)), [ROWS]),
    "transpose_inside": (lambda x: op.permute_dims(x, [0, 2, 1]), [TOKENS]),
    "broadcast_row": (lambda x: op.add(x, weight(1, 12)), [ROWS]),
    "weight_of_batch_extent": (lambda x: op.add(x, weight(B, 1, 1)), [(B, B, 4)]),
    "tokens_flattened": (lambda x: op.matmul(op.reshape(x, (B * 5, 8)), weight(8, 3)), [TOKENS]),
    "flattened_back": (lambda x: op.add(op.reshape(x, TOKENS), weight(5, 8)), [(B * 5, 8)]),
    "rows_of_items": (lambda x: op.nn.softmax(x, axis=-1), [(B * 3, 4)]),
    "where": (lambda x: op.where(op.greater(x, relax.const(0.9, "float32")), x, op.exp(x)), [ROWS]),
    "one_hot": (
        lambda x: op.one_hot(
            x,
            relax.prim_value(tir.FloatImm("float32", 1)),
            relax.prim_value(tir.FloatImm("float32", 0)),
            depth=4,
            axis=-1,
        ),
        [(B, 3)],
        ["int64"],
    ),
    "resize": (lambda x: op.image.resize2d(x, relax.ShapeExpr((16, 16)), method="linear"), [IMAGE]),
    "gelu_half": (lambda x: op.nn.gelu(x), [ROWS], ["float16"]),
}

# An item needs others, or has no place of its own in the output.
INDIVISIBLE = {
    "sum_over_batch": (lambda x: op.sum(x, axis=[0]), [ROWS]),
    "mean_over_batch_kept": (lambda x: op.subtract(x, op.mean(x, axis=[0], keepdims=True)), [ROWS]),
    "softmax_over_batch": (lambda x: op.nn.softmax(x, axis=0), [ROWS]),
    "batch_norm_statistics": (
        lambda x: op.nn.batch_norm(x, weight(4), weight(4), weight(4), weight(4), axis=1, training=True),
        [IMAGE],
    ),
    "batch_norm_by_hand": (
        lambda x: op.divide(
            op.subtract(x, op.mean(x, axis=[0, 2, 3], keepdims=True)),
            op.std(x, axis=[0, 2, 3], keepdims=True),
        ),
        [IMAGE],
    ),
    "transpose_batch": (lambda x: op.permute_dims(x, [1, 0]), [ROWS]),
    "transpose_batch_square": (lambda x: op.permute_dims(x, [1, 0]), [(B, B)]),
    "flip_batch": (lambda x: op.flip(x, axis=0), [ROWS]),
    "slice_batch": (lambda x: op.strided_slice(x, axes=[0], begin=[0], end=[3]), [ROWS]),
    "concat_batch": (lambda x, y: op.concat([x, y], axis=0), [ROWS, ROWS]),
    "gradient_of_weights": (lambda x, y: op.matmul(op.permute_dims(x, [1, 0]), y), [ROWS, (B, 3)]),
    "gradient_square": (lambda x, y: op.matmul(op.permute_dims(x, [1, 0]), y), [(B, B), (B, B)]),
    "cumsum_batch": (lambda x: op.cumsum(x, axis=0), [ROWS]),
    "sort_batch": (lambda x: op.sort(x, axis=0), [ROWS]),
    "regrouped": (lambda x: op.nn.softmax(op.reshape(x, (4, B * 3)), axis=-1), [ROWS]),
    "items_interleaved": (
        lambda x: op.exp(op.reshape(op.permute_dims(op.reshape(x, (B, 2, 6)), [1, 0, 2]), (B, 12))),
        [ROWS],
    ),
}


@pytest.mark.parametrize("name", DIVISIBLE)
def test_divisible_operators_are_cut_and_compute_the_same_bits(name):
    build, shapes, *dtypes = DIVISIBLE[name]
    found = kernels_of(build, *shapes, dtypes=dtypes[0] if dtypes else None)
    assert found
    for func, outputs in found.values():
        chunking = prove_chunking(func, outputs, BATCH)
        assert chunking.divisible, chunking.refusal
        check_chunks(func, outputs, BATCH, (1, 3, 2))


@pytest.mark.parametrize("name", INDIVISIBLE)
def test_operators_that_mix_items_are_refused_with_a_reason(name):
    build, shapes, *dtypes = INDIVISIBLE[name]
    found = kernels_of(build, *shapes, dtypes=dtypes[0] if dtypes else None)
    refused = []
    for func, outputs in found.values():
        chunking = prove_chunking(func, outputs, BATCH)
        if chunking.divisible:
            # A part of the model that does not mix items, such as x - mean: it must be right.
            check_chunks(func, outputs, BATCH, (4, 2))
        else:
            assert chunking.items == 1 and set(chunking.rows) == {0}
            refused.append(chunking.refusal)
            assert depends_on_others(func, outputs, BATCH)
    assert refused and all(refused)


def index_forms(batch: int):
    """Ways to compute a row from the row v and another variable i < 3; whether each is just v."""
    return {
        "v": (lambda v, i: v, True),
        "v+0*i": (lambda v, i: v + i * 0, True),
        "(3v+i)//3": (lambda v, i: (v * 3 + i) // 3, True),
        "v%B": (lambda v, i: v % batch, True),
        "B-1-v": (lambda v, i: batch - 1 - v, False),
        "(v+1)%B": (lambda v, i: (v + 1) % batch, False),
        "v//2": (lambda v, i: v // 2, False),
        "min(v,1)": (lambda v, i: tir.min(v, tir.IntImm("int32", 1)), False),
        "(v+i)%B": (lambda v, i: (v + i) % batch, False),
        "0": (lambda v, i: v * 0, False),
        "v^1": (lambda v, i: tir.bitwise_xor(v, tir.IntImm("int32", 1)) % batch, False),
        "select": (lambda v, i: tir.Select(v > 0, v - 1, v), False),
    }


@st.composite
def functions(draw):
    """A random PrimFunc of one or two stages over a batch, with its batch; None for what must not be refused."""
    batch = draw(st.integers(2, 6))
    forms = index_forms(batch)
    names = [draw(st.sampled_from(sorted(forms))) for _ in range(2)]
    reduce_batch = draw(st.integers(0, 5)) == 0
    position = draw(st.integers(0, 5)) == 0
    two_stages = draw(st.booleans())
    x = te.placeholder((batch, 3), name="x")
    w = te.placeholder((3,), name="w")
    one, two = forms[names[0]][0], forms[names[1]][0]
    local = forms[names[0]][1]

    def element(v, i):
        value = x[one(v, i), i] * w[i]
        if position:
            value = value + tir.Cast("float32", v)
        return value

    if two_stages:
        middle = te.compute((batch, 3), element, name="middle")
        y = te.compute((batch, 3), lambda v, i: middle[two(v, i), i] + w[i], name="y")
        local = local and forms[names[1]][1]
    elif reduce_batch:
        k = te.reduce_axis((0, batch), name="k")
        y = te.compute((batch, 3), lambda v, i: te.sum(x[k, i] * w[i], axis=k), name="y")
        local = False
    else:
        y = te.compute((batch, 3), element, name="y")
    event(" ".join(names[: 2 if two_stages else 1]))
    return te.create_prim_func([x, w, y]), batch, local and not position


@settings(max_examples=60, deadline=None)
@given(functions(), st.integers(0, 100))
def test_the_proof_is_sound_for_random_kernels(case, seed):
    """Whatever is accepted computes the same in chunks; what only uses an item's own row is accepted."""
    func, batch, local = case
    chunking = prove_chunking(func, 1, batch)
    event(f"divisible: {chunking.divisible}")
    if local:
        assert chunking.divisible, chunking.refusal
    if chunking.divisible:
        cut = 1 + seed % (batch - 1)
        check_chunks(func, 1, batch, (cut, batch - cut), seed)
    else:
        assert chunking.refusal


def test_a_batch_of_one_cannot_be_cut():
    func, outputs = next(iter(kernels_of(lambda x: op.exp(x), (1, 4)).values()))
    chunking = prove_chunking(func, outputs, 1)
    assert not chunking.divisible
    assert chunking.refusal == "the batch is 1"
