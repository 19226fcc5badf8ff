"""Operator classes and arithmetic from shapes alone, and the cutting of flat keys."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gacer_tvm.logs.record import Tensor
from gacer_tvm.logs.target_text import parse_target
from gacer_tvm.logs.workload import classify, flat_shape_cuts, flops_of


@pytest.mark.parametrize(
    ("shapes", "op_class", "flops"),
    [
        ([(1, 56, 56, 64), (3, 3, 64, 64), (1, 56, 56, 64)], "conv2d", 2 * 56 * 56 * 64 * 9 * 64),
        ([(1, 64, 56, 56), (128, 64, 1, 1), (1, 128, 28, 28)], "conv2d", 2 * 28 * 28 * 128 * 64),
        ([(1, 224, 224, 3), (7, 7, 3, 64), (1, 1, 1, 64), (1, 112, 112, 64)], "conv2d", 2 * 112 * 112 * 64 * 49 * 3),
        ([(1, 28, 28, 256), (3, 3, 256, 1), (1, 14, 14, 256)], "depthwise_conv2d", 2 * 14 * 14 * 256 * 9),
        ([(1, 32, 14, 14), (32, 1, 3, 3), (1, 32, 14, 14)], "depthwise_conv2d", 2 * 14 * 14 * 32 * 9),
        ([(1, 14, 14, 256), (4, 4, 256, 256), (1, 14, 14, 256)], "conv2d_winograd", 2 * 16 * 49 * 256 * 256),
        ([(1, 8, 56, 56, 8), (16, 8, 1, 1, 8, 8), (1, 16, 56, 56, 8)], "conv2d", 2 * 56 * 56 * 128 * 64),
        ([(8, 512), (1000, 512), (8, 1000)], "dense", 2 * 8 * 512 * 1000),
        ([(12, 128, 64), (12, 128, 64), (12, 128, 128)], "batch_matmul", 2 * 12 * 128 * 128 * 64),
        ([(1, 7, 7, 2048), (1, 1, 1, 2048)], "pool", 7 * 7 * 2048),
        ([(1, 112, 112, 64), (1, 1, 1, 64), (1, 56, 56, 64)], "pool", 112 * 112 * 64),
        ([(1, 1000), (1, 1000)], "elementwise", 1000),
        ([(5, 7)], "unknown", None),
        ([(0, 7), (7, 7), (7, 7)], "unknown", None),
    ],
)
def test_classes(shapes: list[tuple[int, ...]], op_class: str, flops: float | None) -> None:
    """The class, and 2 * outputs * reduction for what multiplies and adds."""
    assert classify(shapes) == op_class
    assert flops_of(op_class, [Tensor(shape) for shape in shapes]) == flops


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 4),
    st.integers(7, 40),
    st.integers(2, 64),
    st.integers(2, 64),
    st.sampled_from([1, 3, 5]),
    st.sampled_from([1, 2]),
    st.integers(0, 2),
)
def test_flat_keys_are_cut_back(n: int, size: int, ci: int, co: int, kernel: int, stride: int, tail: int) -> None:
    """The shapes of a convolution with a fused tail come back from the flat list."""
    out = (size - 1) // stride + 1
    shapes = [(n, size, size, ci), (kernel, kernel, ci, co), *[(1, 1, 1, co)] * tail, (n, out, out, co)]
    flat = [extent for shape in shapes for extent in shape]
    assert shapes in flat_shape_cuts(flat)


def test_targets() -> None:
    """Kind, device, model and architecture out of target strings."""
    target = parse_target("cuda -keys=cuda,gpu -arch=sm_86 -max_num_threads=1024 -model=rtx3070 -thread_warp_size=32")
    assert (target.kind, target.device, target.model, target.arch) == ("cuda", "gpu", "rtx3070", "sm_86")
    target = parse_target("llvm -device=arm_cpu -model=snapdragon835 -target=arm64-linux-android -mattr=+neon")
    assert (target.kind, target.device, target.model) == ("llvm", "cpu", "snapdragon835")
    assert parse_target("ext_dev -device=vta -model=ultra96").device == "other"
    assert parse_target("").kind == ""
