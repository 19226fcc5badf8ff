"""Resizing and sampling against torch and ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from onnx import TensorProto, helper

from gacer_tvm import relay
from tests.relay.running import check, variables

RNG = np.random.RandomState(7)
IMAGE = RNG.rand(1, 2, 5, 6).astype("float32")


def _t(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))


def _onnx_resize(data: np.ndarray, size: tuple[int, ...], **attributes: Any) -> np.ndarray:
    node = helper.make_node("Resize", ["x", "", "", "sizes"], ["y"], **attributes)
    graph = helper.make_graph(
        [node],
        "resize",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, data.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [*data.shape[:2], *size])],
        [helper.make_tensor("sizes", TensorProto.INT64, [data.ndim], [*data.shape[:2], *size])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    onnx.checker.check_model(model)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": data})[0]


SIZES = [(8, 9), (10, 12), (3, 4)]


@pytest.mark.parametrize("size", SIZES)
def test_resize2d_linear_and_cubic(size: tuple[int, int]) -> None:
    (x,) = variables(x=IMAGE)
    cases = {}
    for mode in ("half_pixel", "align_corners", "asymmetric"):
        linear = relay.image.resize2d(x, size, coordinate_transformation_mode=mode)
        want = _onnx_resize(IMAGE, size, mode="linear", coordinate_transformation_mode=mode)
        cases[f"linear {mode}"] = (linear, want)
        cubic = relay.image.resize2d(x, size, method="cubic", coordinate_transformation_mode=mode, cubic_alpha=-0.75)
        want = _onnx_resize(IMAGE, size, mode="cubic", coordinate_transformation_mode=mode, cubic_coeff_a=-0.75)
        cases[f"cubic {mode}"] = (cubic, want)
    cases["cubic exclude"] = (
        relay.image.resize2d(x, size, method="cubic", cubic_exclude=1),
        _onnx_resize(IMAGE, size, mode="cubic", exclude_outside=1, cubic_coeff_a=-0.5),
    )
    check(cases, {"x": IMAGE}, atol=1e-5)


@pytest.mark.parametrize("size", SIZES)
def test_resize2d_nearest(size: tuple[int, int]) -> None:
    (x,) = variables(x=IMAGE)
    rounding = {
        "floor": "floor",
        "ceil": "ceil",
        "round": "round_prefer_ceil",
        "round_prefer_floor": "round_prefer_floor",
    }
    cases = {}
    for mode in ("half_pixel", "asymmetric", "align_corners"):
        for ours in ("floor", "ceil", "round_prefer_floor"):
            call = relay.image.resize2d(
                x, size, method="nearest_neighbor", coordinate_transformation_mode=mode, rounding_method=ours
            )
            want = _onnx_resize(
                IMAGE, size, mode="nearest", coordinate_transformation_mode=mode, nearest_mode=rounding[ours]
            )
            cases[f"{mode} {ours}"] = (call, want)
    check(cases, {"x": IMAGE})


def test_resize_other_forms() -> None:
    wave, volume = RNG.rand(1, 2, 7).astype("float32"), RNG.rand(1, 2, 3, 4, 5).astype("float32")
    bytes_ = RNG.randint(0, 255, (1, 3, 4, 5)).astype("uint8")
    arrays = {"x": IMAGE, "s": wave, "v": volume, "b": bytes_}
    x, s, v, b = variables(**arrays)
    t = _t(IMAGE)
    nhwc = relay.transpose(x, (0, 2, 3, 1))
    linear = F.interpolate(t, (8, 9), mode="bilinear", align_corners=False)
    blocked = relay.layout_transform(x, "NCHW", "NCHW2c")
    cases: dict[str, tuple[Any, Any]] = {
        "NHWC": (relay.image.resize2d(nhwc, (8, 9), layout="NHWC"), linear.permute(0, 2, 3, 1).numpy()),
        "blocked": (
            relay.layout_transform(relay.image.resize2d(blocked, (8, 9), layout="NCHW2c"), "NCHW2c", "NCHW"),
            linear.numpy(),
        ),
        "old name": (
            relay.op.build.call(
                "image.resize",
                [x],
                {"size": (8, 9), "method": "bilinear", "coordinate_transformation_mode": "half_pixel"},
            ),
            linear.numpy(),
        ),
        "size by argument": (
            relay.op.build.call(
                "dyn.image.resize2d", [x, relay.const([8, 9]), relay.const([0.0] * 4)], {"layout": "NCHW"}
            ),
            linear.numpy(),
        ),
        "to float64": (relay.image.resize2d(x, (8, 9), out_dtype="float64"), linear.numpy().astype("float64")),
        "bytes": (
            relay.image.resize2d(
                b,
                (8, 10),
                method="nearest_neighbor",
                coordinate_transformation_mode="asymmetric",
                rounding_method="floor",
            ),
            bytes_.repeat(2, 2).repeat(2, 3),
        ),
        "1d": (relay.image.resize1d(s, 11), F.interpolate(_t(wave), 11, mode="linear").numpy()),
        "1d nearest": (
            relay.image.resize1d(
                s, 14, method="nearest_neighbor", coordinate_transformation_mode="asymmetric", rounding_method="floor"
            ),
            wave.repeat(2, 2),
        ),
        "3d": (relay.image.resize3d(v, (5, 6, 7)), F.interpolate(_t(volume), (5, 6, 7), mode="trilinear").numpy()),
    }
    check(cases, arrays, atol=1e-5)


def test_upsampling() -> None:
    volume = RNG.rand(1, 2, 3, 4, 5).astype("float32")
    x, v = variables(x=IMAGE, v=volume)
    t, u = _t(IMAGE), _t(volume)
    asymmetric = _onnx_resize(IMAGE, (10, 12), mode="linear", coordinate_transformation_mode="asymmetric")
    nhwc = relay.transpose(x, (0, 2, 3, 1))
    cases: dict[str, tuple[Any, Any]] = {
        "nearest": (relay.nn.upsampling(x, 2, 2), F.interpolate(t, scale_factor=2)),
        "bilinear": (relay.nn.upsampling(x, 2, 2, method="bilinear"), torch.from_numpy(asymmetric)),
        "aligned": (
            relay.nn.upsampling(x, 2, 3, method="bilinear", align_corners=True),
            F.interpolate(t, (10, 18), mode="bilinear", align_corners=True),
        ),
        "NHWC": (relay.nn.upsampling(nhwc, 2, 2, layout="NHWC"), F.interpolate(t, scale_factor=2).permute(0, 2, 3, 1)),
        "by argument": (
            relay.op.build.call(
                "dyn.nn.upsampling", [x, relay.const(2.0), relay.const(2.0)], {"scale_h": 0, "scale_w": 0}
            ),
            F.interpolate(t, scale_factor=2),
        ),
        "3d": (
            relay.nn.upsampling3d(v, 2, 2, 2, method="trilinear"),
            F.interpolate(u, scale_factor=2, mode="trilinear"),
        ),
        "3d nearest": (
            relay.nn.upsampling3d(v, 2, 2, 2, coordinate_transformation_mode="asymmetric"),
            F.interpolate(u, scale_factor=2),
        ),
    }
    check({k: (e, w.numpy()) for k, (e, w) in cases.items()}, {"x": IMAGE, "v": volume}, atol=1e-5)


def test_grids() -> None:
    grid = RNG.uniform(-1.3, 1.3, (1, 4, 3, 2)).astype("float32")
    theta = RNG.randn(1, 2, 3).astype("float32")
    # Relay keeps the two coordinates in front of the grid, torch behind it.
    arrays = {"x": IMAGE, "g": grid.transpose(0, 3, 1, 2), "a": theta}
    x, g, a = variables(**arrays)
    t, u = _t(IMAGE), _t(grid)
    affine = F.affine_grid(_t(theta), [1, 2, 4, 5], align_corners=True).permute(0, 3, 1, 2)
    cases: dict[str, tuple[Any, Any]] = {"affine": (relay.image.affine_grid(a, (4, 5)), affine)}
    for method, mode in (("bilinear", "bilinear"), ("nearest", "nearest"), ("bicubic", "bicubic")):
        for padding in ("zeros", "border"):
            cases[f"{method} {padding}"] = (
                relay.image.grid_sample(x, g, method, padding_mode=padding),
                F.grid_sample(t, u, mode, padding, align_corners=True),
            )
    cases["unaligned"] = (relay.image.grid_sample(x, g, align_corners=False), F.grid_sample(t, u, align_corners=False))
    check({k: (e, w.numpy()) for k, (e, w) in cases.items()}, arrays, atol=1e-5)


def test_crop_and_resize() -> None:
    # Whole images and an exact quarter, whose corners fall on pixels.
    image = RNG.rand(2, 5, 5, 3).astype("float32")
    boxes = np.array([[0, 0, 1, 1], [0, 0, 0.5, 0.5], [1, 1, 0, 0]], "float32")
    indices = np.array([0, 1, 1], "int32")
    x, b, i = variables(x=image, b=boxes, i=indices)
    want = np.stack([image[0][::2, ::2], image[1][:3, :3], image[1][::-2, ::-2]])
    call = relay.image.crop_and_resize(x, b, i, (3, 3), "NHWC")
    check({"crop": (call, want)}, {"x": image, "b": boxes, "i": indices})


def test_dilation2d() -> None:
    kernel = RNG.rand(2, 2, 3).astype("float32")
    x, k = variables(x=IMAGE, k=kernel)
    windows = np.lib.stride_tricks.sliding_window_view(IMAGE, (2, 3), (2, 3))
    want = (windows + kernel[None, :, None, None]).max((-1, -2))
    check({"dilation": (relay.image.dilation2d(x, k), want)}, {"x": IMAGE, "k": kernel})


def test_regions_of_interest() -> None:
    image = np.arange(64, dtype="float32").reshape(1, 1, 8, 8)
    rois = np.array([[0, 0, 0, 7, 7], [0, 2, 2, 5, 5]], "float32")
    x, r = variables(x=image, r=rois)
    # A plane is averaged to its value at the middle of each bin: samples of a 2x2 grid over a region of size 7 (3).
    bins = np.array([[7 / 4, 21 / 4], [2 + 3 / 4, 2 + 9 / 4]])
    align = np.stack([[8 * y + x_ for y in row for x_ in row] for row in bins]).reshape(2, 1, 2, 2).astype("float32")
    pool = np.stack(
        [
            [
                [image[0, 0, :4, :4].max(), image[0, 0, :4, 4:].max()],
                [image[0, 0, 4:, :4].max(), image[0, 0, 4:, 4:].max()],
            ],
            [
                [image[0, 0, 2:4, 2:4].max(), image[0, 0, 2:4, 4:6].max()],
                [image[0, 0, 4:6, 2:4].max(), image[0, 0, 4:6, 4:6].max()],
            ],
        ]
    )[:, None]
    cases = {
        "roi_align": (relay.vision.roi_align(x, r, (2, 2), 1.0, sample_ratio=2), align),
        "roi_pool": (relay.vision.roi_pool(x, r, (2, 2), 1.0), pool),
    }
    check(cases, {"x": image, "r": rois})
