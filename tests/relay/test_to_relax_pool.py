"""Pooling against torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from gacer_tvm import relay
from tests.relay.running import check, variables

RNG = np.random.RandomState(5)


def _t(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))


def test_pool2d() -> None:
    data = RNG.randn(2, 3, 9, 8).astype("float32")
    (x,) = variables(x=data)
    t, nhwc = _t(data), relay.transpose(x, (0, 2, 3, 1))
    cases: dict[str, tuple[Any, Any]] = {
        "max": (relay.nn.max_pool2d(x, 2, 2), F.max_pool2d(t, 2)),
        "max padded": (relay.nn.max_pool2d(x, 3, 2, padding=1), F.max_pool2d(t, 3, 2, 1)),
        "max ceil": (relay.nn.max_pool2d(x, 3, 2, ceil_mode=True), F.max_pool2d(t, 3, 2, ceil_mode=True)),
        "max dilated": (relay.nn.max_pool2d(x, 2, 1, dilation=2), F.max_pool2d(t, 2, 1, dilation=2)),
        "avg": (relay.nn.avg_pool2d(x, (3, 2), (2, 1)), F.avg_pool2d(t, (3, 2), (2, 1))),
        "avg padded": (
            relay.nn.avg_pool2d(x, 3, 2, padding=1),
            F.avg_pool2d(t, 3, 2, 1, count_include_pad=False),
        ),
        "avg with padding": (
            relay.nn.avg_pool2d(x, 3, 2, padding=1, count_include_pad=True),
            F.avg_pool2d(t, 3, 2, 1, count_include_pad=True),
        ),
        "avg ceil": (
            relay.nn.avg_pool2d(x, 2, 2, ceil_mode=True),
            F.avg_pool2d(t, 2, 2, ceil_mode=True, count_include_pad=False),
        ),
        "NHWC": (
            relay.nn.max_pool2d(nhwc, 3, 2, padding=1, layout="NHWC"),
            F.max_pool2d(t, 3, 2, 1).permute(0, 2, 3, 1),
        ),
        "global avg": (relay.nn.global_avg_pool2d(x), t.mean((2, 3), keepdim=True)),
        "global max": (relay.nn.global_max_pool2d(x), t.amax((2, 3), keepdim=True)),
        "global NHWC": (
            relay.nn.global_avg_pool2d(nhwc, layout="NHWC"),
            t.mean((2, 3), keepdim=True).permute(0, 2, 3, 1),
        ),
        "adaptive avg": (relay.nn.adaptive_avg_pool2d(x, (4, 3)), F.adaptive_avg_pool2d(t, (4, 3))),
        "adaptive max": (relay.nn.adaptive_max_pool2d(x, (4, 3)), F.adaptive_max_pool2d(t, (4, 3))),
        "adaptive one": (relay.nn.adaptive_avg_pool2d(x, 1), F.adaptive_avg_pool2d(t, 1)),
        "adaptive same": (relay.nn.adaptive_max_pool2d(x), t),
        "adaptive NHWC": (
            relay.nn.adaptive_avg_pool2d(nhwc, (2, 5), layout="NHWC"),
            F.adaptive_avg_pool2d(t, (2, 5)).permute(0, 2, 3, 1),
        ),
    }
    check({label: (expr, want.numpy()) for label, (expr, want) in cases.items()}, {"x": data})


def test_pool1d_and_3d() -> None:
    wave, volume = RNG.randn(2, 3, 11).astype("float32"), RNG.randn(1, 2, 5, 6, 7).astype("float32")
    x, v = variables(x=wave, v=volume)
    t, u = _t(wave), _t(volume)
    cases: dict[str, tuple[Any, Any]] = {
        "max 1d": (relay.nn.max_pool1d(x, 3, 2, padding=1), F.max_pool1d(t, 3, 2, 1)),
        "avg 1d": (relay.nn.avg_pool1d(x, 3, 2, padding=(1, 1)), F.avg_pool1d(t, 3, 2, 1, count_include_pad=False)),
        "global 1d": (relay.nn.global_avg_pool1d(x), t.mean(2, keepdim=True)),
        "adaptive 1d": (relay.nn.adaptive_max_pool1d(x, 4), F.adaptive_max_pool1d(t, 4)),
        "adaptive avg 1d": (relay.nn.adaptive_avg_pool1d(x, [4]), F.adaptive_avg_pool1d(t, 4)),
        "max 3d": (relay.nn.max_pool3d(v, (2, 3, 2), 2), F.max_pool3d(u, (2, 3, 2), 2)),
        "avg 3d": (relay.nn.avg_pool3d(v, 3, 2, padding=1), F.avg_pool3d(u, 3, 2, 1, count_include_pad=False)),
        "global 3d": (relay.nn.global_max_pool3d(v), u.amax((2, 3, 4), keepdim=True)),
        "adaptive 3d": (relay.nn.adaptive_avg_pool3d(v, (2, 3, 4)), F.adaptive_avg_pool3d(u, (2, 3, 4))),
        "adaptive max 3d": (relay.nn.adaptive_max_pool3d(v, (2, 3, 4)), F.adaptive_max_pool3d(u, (2, 3, 4))),
    }
    check({label: (expr, want.numpy()) for label, (expr, want) in cases.items()}, {"x": wave, "v": volume})


def test_a_window_larger_than_the_data_is_refused() -> None:
    from gacer_tvm.errors import RelayError

    with pytest.raises(RelayError, match="does not fit"):
        relay.infer_type(relay.nn.max_pool2d(relay.var("x", shape=(1, 1, 3, 3)), 5))
