"""Convolutions and matrix products against torch, in every layout that Relay has."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from gacer_tvm import relay
from tests.relay.running import check, variables

RNG = np.random.RandomState(4)


def _randn(*shape: int) -> np.ndarray:
    return RNG.randn(*shape).astype("float32")


def _t(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))


def _conv(data: np.ndarray, weight: np.ndarray, **options: Any) -> np.ndarray:
    function = {3: F.conv1d, 4: F.conv2d, 5: F.conv3d}[data.ndim]
    return function(_t(data), _t(weight), **options).numpy()


def test_conv2d_options() -> None:
    data, weight, grouped = _randn(2, 4, 9, 8), _randn(6, 4, 3, 3), _randn(6, 2, 3, 3)
    deep, multiple = _randn(4, 1, 3, 3), _randn(4, 2, 3, 3)
    x, w, g, d, m = variables(x=data, w=weight, g=grouped, d=deep, m=multiple)
    padded = np.pad(data, ((0, 0), (0, 0), (2, 0), (1, 3)))
    cases = {
        "plain": (relay.nn.conv2d(x, w), _conv(data, weight)),
        "padded": (relay.nn.conv2d(x, w, padding=1, strides=2), _conv(data, weight, padding=1, stride=2)),
        "uneven": (relay.nn.conv2d(x, w, padding=(2, 1, 0, 3)), _conv(padded, weight)),
        "dilated": (
            relay.nn.conv2d(x, w, padding=(2, 1), dilation=(2, 1), strides=(1, 2)),
            _conv(data, weight, padding=(2, 1), dilation=(2, 1), stride=(1, 2)),
        ),
        "grouped": (
            relay.nn.conv2d(x, g, groups=2, channels=6, kernel_size=3, padding=1),
            _conv(data, grouped, groups=2, padding=1),
        ),
        "depthwise": (
            relay.nn.conv2d(x, d, groups=4, channels=4, kernel_size=3),
            _conv(data, deep, groups=4),
        ),
        # Relay stores a depthwise weight as (channels, multiplier, ...).
        "multiplier": (
            relay.nn.conv2d(x, m, groups=4, channels=8, kernel_size=3),
            _conv(data, multiple.reshape(8, 1, 3, 3), groups=4),
        ),
        "to NHWC": (relay.nn.conv2d(x, w, out_layout="NHWC"), _conv(data, weight).transpose(0, 2, 3, 1)),
    }
    check(cases, {"x": data, "w": weight, "g": grouped, "d": deep, "m": multiple}, atol=1e-5)


def test_conv2d_layouts() -> None:
    data, weight, deep, multiple = _randn(1, 4, 7, 6), _randn(5, 4, 3, 2), _randn(4, 1, 3, 3), _randn(4, 2, 3, 3)
    nhwc = data.transpose(0, 2, 3, 1)
    arrays = {
        "x": nhwc,
        "hwio": weight.transpose(2, 3, 1, 0),
        "hwoi": weight.transpose(2, 3, 0, 1),
        "ohwi": weight.transpose(0, 2, 3, 1),
        "oihw": weight,
        "deep_hwoi": deep.transpose(2, 3, 0, 1),
        "multiple_hwoi": multiple.transpose(2, 3, 0, 1),
        "hwcn": data.transpose(2, 3, 1, 0),
    }
    names = variables(**arrays)
    by_name = {var.name_hint: var for var in names}
    x = by_name["x"]
    plain = _conv(data, weight, padding=1).transpose(0, 2, 3, 1)
    cases: dict[str, tuple[Any, Any]] = {}
    for layout in ("hwio", "hwoi", "ohwi", "oihw"):
        call = relay.nn.conv2d(
            x,
            by_name[layout],
            padding=1,
            data_layout="NHWC",
            kernel_layout=layout.upper(),
            channels=5,
            kernel_size=(3, 2),
        )
        cases[layout] = (call, plain)
    options = {"groups": 4, "kernel_size": 3, "data_layout": "NHWC", "kernel_layout": "HWOI"}
    cases["depthwise"] = (
        relay.nn.conv2d(x, by_name["deep_hwoi"], channels=4, **options),
        _conv(data, deep, groups=4).transpose(0, 2, 3, 1),
    )
    cases["multiplier"] = (
        relay.nn.conv2d(x, by_name["multiple_hwoi"], channels=8, **options),
        _conv(data, multiple.reshape(8, 1, 3, 3), groups=4).transpose(0, 2, 3, 1),
    )
    cases["HWCN"] = (
        relay.nn.conv2d(by_name["hwcn"], by_name["hwio"], data_layout="HWCN", kernel_layout="HWIO"),
        _conv(data, weight).transpose(2, 3, 1, 0),
    )
    check(cases, arrays, atol=1e-5)


def test_blocked_layouts() -> None:
    data, weight, deep = _randn(1, 8, 6, 6), _randn(16, 8, 3, 3), _randn(8, 1, 3, 3)
    x, w, d = variables(x=data, w=weight, d=deep)
    packed = relay.layout_transform(x, "NCHW", "NCHW4c")
    kernel = relay.layout_transform(w, "OIHW", "OIHW4i8o")
    depth_kernel = relay.layout_transform(d, "OIHW", "OIHW1i4o")
    conv = relay.nn.contrib_conv2d_nchwc(
        packed,
        kernel,
        padding=1,
        channels=16,
        kernel_size=3,
        data_layout="NCHW4c",
        kernel_layout="OIHW4i8o",
        out_layout="NCHW8c",
    )
    depthwise = relay.nn.contrib_depthwise_conv2d_nchwc(
        packed,
        depth_kernel,
        padding=1,
        channels=8,
        kernel_size=3,
        groups=8,
        data_layout="NCHW4c",
        kernel_layout="OIHW1i4o",
        out_layout="NCHW4c",
    )
    pooled = relay.nn.max_pool2d(conv, 2, 2, layout="NCHW8c")
    want = _conv(data, weight, padding=1)
    cases = {
        "conv": (relay.layout_transform(conv, "NCHW8c", "NCHW"), want),
        "depthwise": (relay.layout_transform(depthwise, "NCHW4c", "NCHW"), _conv(data, deep, padding=1, groups=8)),
        "pool": (relay.layout_transform(pooled, "NCHW8c", "NCHW"), F.max_pool2d(_t(want), 2).numpy()),
    }
    check(cases, {"x": data, "w": weight, "d": deep}, atol=1e-5)


def test_conv1d_and_3d() -> None:
    wave, filters = _randn(2, 3, 10), _randn(4, 3, 3)
    volume, kernel = _randn(1, 2, 5, 6, 4), _randn(3, 2, 2, 3, 2)
    grouped = _randn(6, 1, 3)
    x, w, v, k, g, y = variables(x=wave, w=filters, v=volume, k=kernel, g=grouped, y=wave.transpose(0, 2, 1))
    cases = {
        "1d": (relay.nn.conv1d(x, w, padding=1, strides=2), _conv(wave, filters, padding=1, stride=2)),
        "1d uneven": (
            relay.nn.conv1d(x, w, padding=(2, 0), dilation=2),
            _conv(np.pad(wave, ((0, 0), (0, 0), (2, 0))), filters, dilation=2),
        ),
        "1d grouped": (relay.nn.conv1d(x, g, groups=3), _conv(wave, grouped, groups=3)),
        "NWC": (
            relay.nn.conv1d(y, relay.transpose(w, (2, 1, 0)), data_layout="NWC", kernel_layout="WIO"),
            _conv(wave, filters).transpose(0, 2, 1),
        ),
        "3d": (
            relay.nn.conv3d(v, k, padding=(1, 1, 0), strides=(1, 2, 1)),
            _conv(volume, kernel, padding=(1, 1, 0), stride=(1, 2, 1)),
        ),
        "NDHWC": (
            relay.nn.conv3d(
                relay.transpose(v, (0, 2, 3, 4, 1)),
                relay.transpose(k, (2, 3, 4, 1, 0)),
                data_layout="NDHWC",
                kernel_layout="DHWIO",
            ),
            _conv(volume, kernel).transpose(0, 2, 3, 4, 1),
        ),
    }
    arrays = {"x": wave, "w": filters, "v": volume, "k": kernel, "g": grouped, "y": wave.transpose(0, 2, 1)}
    check(cases, arrays, atol=1e-5)


def test_conv_transpose() -> None:
    data, weight, grouped = _randn(2, 4, 5, 4), _randn(4, 3, 3, 2), _randn(4, 2, 3, 3)
    wave, filters = _randn(1, 3, 6), _randn(3, 2, 4)
    volume, kernel = _randn(1, 2, 3, 4, 3), _randn(2, 3, 2, 3, 2)
    arrays = {"x": data, "w": weight, "g": grouped, "s": wave, "f": filters, "v": volume, "k": kernel}
    x, w, g, s, f, v, k = variables(**arrays)
    t, u = _t(data), _t(weight)
    want = F.conv_transpose2d(t, u, stride=2, padding=1, output_padding=(1, 0)).numpy()
    cases = {
        "plain": (relay.nn.conv2d_transpose(x, w), F.conv_transpose2d(t, u).numpy()),
        "strided": (
            relay.nn.conv2d_transpose(
                x, w, strides=2, padding=1, output_padding=(1, 0), channels=3, kernel_size=(3, 2)
            ),
            want,
        ),
        "dilated": (
            relay.nn.conv2d_transpose(x, w, dilation=(2, 1)),
            F.conv_transpose2d(t, u, dilation=(2, 1)).numpy(),
        ),
        "grouped": (
            relay.nn.conv2d_transpose(x, g, groups=2, channels=4, kernel_size=3, strides=2),
            F.conv_transpose2d(t, _t(grouped), groups=2, stride=2).numpy(),
        ),
        "uneven": (
            relay.nn.conv2d_transpose(x, w, padding=(1, 0, 0, 1)),
            F.conv_transpose2d(t, u).numpy()[:, :, 1:, :-1],
        ),
        "NHWC": (
            relay.nn.conv2d_transpose(
                relay.transpose(x, (0, 2, 3, 1)),
                relay.transpose(w, (2, 3, 1, 0)),
                strides=2,
                padding=1,
                output_padding=(1, 0),
                data_layout="NHWC",
                kernel_layout="HWOI",
            ),
            want.transpose(0, 2, 3, 1),
        ),
        "1d": (
            relay.nn.conv1d_transpose(s, f, strides=2, padding=1, output_padding=1),
            F.conv_transpose1d(_t(wave), _t(filters), stride=2, padding=1, output_padding=1).numpy(),
        ),
        "3d": (
            relay.nn.conv3d_transpose(v, k, strides=(1, 2, 1)),
            F.conv_transpose3d(_t(volume), _t(kernel), stride=(1, 2, 1)).numpy(),
        ),
    }
    check(cases, arrays, atol=1e-5)


def test_low_precision_sums_in_the_stated_type() -> None:
    data = RNG.randint(-128, 128, (1, 3, 5, 5)).astype("int8")
    weight = RNG.randint(-128, 128, (2, 3, 3, 3)).astype("int8")
    matrix = RNG.randint(-128, 128, (4, 7)).astype("int8")
    other = RNG.randint(0, 256, (5, 7)).astype("uint8")
    x, w, m, o = variables(x=data, w=weight, m=matrix, o=other)
    want = F.conv2d(_t(data).double(), _t(weight).double()).numpy().astype("int32")
    cases = {
        "conv": (relay.nn.conv2d(x, w, out_dtype="int32"), want),
        "dense": (relay.nn.dense(m, m, out_dtype="int32"), matrix.astype("int32") @ matrix.T.astype("int32")),
        "mixed": (relay.nn.dense(m, o, out_dtype="int32"), matrix.astype("int32") @ other.T.astype("int32")),
    }
    check(cases, {"x": data, "w": weight, "m": matrix, "o": other})


def test_matrix_products() -> None:
    left, right, deep = _randn(4, 6), _randn(5, 6), _randn(2, 3, 6)
    stack, other, single = _randn(3, 4, 5), _randn(3, 2, 5), _randn(1, 2, 5)
    packed = right[:4].reshape(2, 2, 6).transpose(0, 2, 1)
    arrays = {"a": left, "b": right, "d": deep, "s": stack, "o": other, "e": single, "p": packed}
    a, b, d, s, o, e, p = variables(**arrays)
    cases = {
        "dense": (relay.nn.dense(a, b), left @ right.T),
        "dense units": (relay.nn.dense(d, b, units=5), deep @ right.T),
        "matmul": (relay.nn.matmul(a, relay.transpose(b)), left @ right.T),
        "matmul transposed": (
            relay.nn.matmul(relay.transpose(a), b, transpose_a=True, transpose_b=True),
            left @ right.T,
        ),
        "batch_matmul": (relay.nn.batch_matmul(s, o), stack @ other.transpose(0, 2, 1)),
        "batch broadcast": (relay.nn.batch_matmul(s, e), stack @ single.transpose(0, 2, 1)),
        "batch plain": (
            relay.nn.batch_matmul(s, relay.transpose(o, (0, 2, 1)), transpose_b=False),
            stack @ other.transpose(0, 2, 1),
        ),
        "batch transposed": (
            relay.nn.batch_matmul(relay.transpose(s, (0, 2, 1)), o, transpose_a=True),
            stack @ other.transpose(0, 2, 1),
        ),
        "dense_pack": (relay.nn.contrib_dense_pack(a, p, weight_layout="NC2n"), left @ right[:4].T),
    }
    check(cases, arrays, atol=1e-5)


def test_deformable_conv2d() -> None:
    data, weight = _randn(1, 4, 6, 6), _randn(3, 4, 3, 3)
    still = np.zeros((1, 18, 4, 4), "float32")
    x, w, o = variables(x=data, w=weight, o=still)
    shifted = np.zeros((1, 18, 4, 4), "float32")
    shifted[:, 0::2] = 1.0
    # Sampling every tap one row lower is a convolution of the image moved up by one row.
    moved = np.concatenate([data[:, :, 1:], np.zeros((1, 4, 1, 6), "float32")], 2)
    cases = {
        "no offset": (relay.nn.deformable_conv2d(x, o, w, channels=3, kernel_size=3), _conv(data, weight)),
        "one row": (relay.nn.deformable_conv2d(x, relay.const(shifted), w), _conv(moved, weight)),
    }
    check(cases, {"x": data, "w": weight, "o": still}, atol=1e-4)
