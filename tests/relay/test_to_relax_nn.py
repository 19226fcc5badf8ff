"""Normalizations, padding, losses and rearrangements against torch and numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from gacer_tvm import relay
from tests.relay.running import check, variables

RNG = np.random.RandomState(6)


def _t(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))


def _run(cases: dict[str, tuple[Any, Any]], inputs: dict[str, np.ndarray], **options: float) -> None:
    check({k: (e, w.numpy() if isinstance(w, torch.Tensor) else w) for k, (e, w) in cases.items()}, inputs, **options)


def test_normalizations() -> None:
    data = RNG.randn(2, 4, 3, 5).astype("float32")
    gamma, beta, mean = (RNG.randn(4).astype("float32") for _ in range(3))
    var = RNG.uniform(0.5, 2, 4).astype("float32")
    last_gamma, last_beta = RNG.randn(5).astype("float32"), RNG.randn(5).astype("float32")
    arrays = {"x": data, "g": gamma, "b": beta, "m": mean, "v": var, "lg": last_gamma, "lb": last_beta}
    x, g, b, m, v, lg, lb = variables(**arrays)
    t, tg, tb, tm, tv = _t(data), _t(gamma), _t(beta), _t(mean), _t(var)
    ones, zeros = torch.ones(4), torch.zeros(4)
    normed = F.batch_norm(t, tm, tv, tg, tb, eps=1e-3)
    nhwc = relay.transpose(x, (0, 2, 3, 1))
    cases = {
        "batch_norm": (relay.nn.batch_norm(x, g, b, m, v, epsilon=1e-3)[0], normed),
        "batch_norm fields": (relay.nn.batch_norm(x, g, b, m, v, epsilon=1e-3).astuple(), [normed.numpy(), mean, var]),
        "no scale": (relay.nn.batch_norm(x, g, b, m, v, scale=False)[0], F.batch_norm(t, tm, tv, ones, tb)),
        "no center": (relay.nn.batch_norm(x, g, b, m, v, center=False)[0], F.batch_norm(t, tm, tv, tg, zeros)),
        "last axis": (
            relay.nn.batch_norm(nhwc, g, b, m, v, axis=-1)[0],
            F.batch_norm(t, tm, tv, tg, tb).permute(0, 2, 3, 1).contiguous(),
        ),
        "layer_norm": (
            relay.nn.layer_norm(x, lg, lb, epsilon=1e-4),
            F.layer_norm(t, (5,), _t(last_gamma), _t(last_beta), 1e-4),
        ),
        "layer_norm plain": (relay.nn.layer_norm(x, lg, lb, scale=False, center=False), F.layer_norm(t, (5,))),
        "layer_norm axis": (
            relay.nn.layer_norm(x, g, b, axis=1),
            F.layer_norm(t.permute(0, 2, 3, 1), (4,), tg, tb).permute(0, 3, 1, 2).contiguous(),
        ),
        "group_norm": (relay.nn.group_norm(x, g, b, 2, epsilon=1e-4), F.group_norm(t, 2, tg, tb, 1e-4)),
        "instance_norm": (relay.nn.instance_norm(x, g, b), F.instance_norm(t, weight=tg, bias=tb)),
        "l2_normalize": (relay.nn.l2_normalize(x, 1e-6, axis=[1]), F.normalize(t, dim=1)),
        "lrn": (
            relay.nn.lrn(x, size=3, bias=2, alpha=0.3, beta=0.75),
            F.local_response_norm(t, 3, alpha=0.3, beta=0.75, k=2),
        ),
    }
    _run(cases, arrays, rtol=2e-5, atol=2e-5)


def test_softmax_family() -> None:
    data = RNG.randn(3, 4, 5).astype("float32") * 4
    (x,) = variables(x=data)
    t = _t(data)
    cases = {
        "softmax": (relay.nn.softmax(x), F.softmax(t, -1)),
        "softmax axis": (relay.nn.softmax(x, axis=1), F.softmax(t, 1)),
        "fast_softmax": (relay.nn.fast_softmax(x), F.softmax(t, -1)),
        "log_softmax": (relay.nn.log_softmax(x), F.log_softmax(t, -1)),
    }
    _run(cases, {"x": data})


def test_padding() -> None:
    data = RNG.randn(2, 3, 4, 5).astype("float32")
    whole = RNG.randint(-9, 9, (3, 4)).astype("int32")
    x, n = variables(x=data, n=whole)
    widths = ((0, 0), (1, 0), (2, 1), (1, 3))
    cases = {
        "constant": (relay.nn.pad(x, widths), np.pad(data, widths)),
        "value": (relay.nn.pad(x, widths, 1.5), np.pad(data, widths, constant_values=1.5)),
        "integers": (relay.nn.pad(n, ((1, 1), (0, 2)), -7), np.pad(whole, ((1, 1), (0, 2)), constant_values=-7)),
        "edge": (relay.nn.pad(x, widths, pad_mode="edge"), np.pad(data, widths, "edge")),
        "reflect": (relay.nn.pad(x, widths, pad_mode="reflect"), np.pad(data, widths, "reflect")),
        "none": (relay.nn.pad(x, ((0, 0),) * 4), data),
        "cut": (
            relay.nn.pad(x, ((0, 0), (0, 0), (-1, 0), (1, -2))),
            np.pad(data, ((0, 0),) * 3 + ((1, 0),))[:, :, 1:, :-2],
        ),
        "by argument": (
            relay.op.build.call("dyn.nn.pad", [n, relay.const([[1, 0], [0, 1]]), relay.const(3)], {"pad_width": ()}),
            np.pad(whole, ((1, 0), (0, 1)), constant_values=3),
        ),
        "mirror reflect": (
            relay.nn.mirror_pad(x, ((0, 0), (1, 1), (2, 1), (1, 3)), "REFLECT"),
            np.pad(data, ((0, 0), (1, 1), (2, 1), (1, 3)), "reflect"),
        ),
        "mirror symmetric": (relay.nn.mirror_pad(x, widths), np.pad(data, widths, "symmetric")),
        "dilate": (relay.nn.dilate(n, (2, 3), -1), _dilated(whole, (2, 3), -1)),
    }
    check(cases, {"x": data, "n": whole})


def _dilated(data: np.ndarray, steps: tuple[int, int], value: int) -> np.ndarray:
    out = np.full([(size - 1) * step + 1 for size, step in zip(data.shape, steps)], value, data.dtype)
    out[:: steps[0], :: steps[1]] = data
    return out


def test_blocks_of_pixels() -> None:
    data = RNG.randn(1, 8, 2, 3).astype("float32")
    wide = RNG.randn(1, 2, 4, 6).astype("float32")
    x, y = variables(x=data, y=wide)
    crd = F.pixel_shuffle(_t(data), 2)
    dcr = data.reshape(1, 2, 2, 2, 2, 3).transpose(0, 3, 4, 1, 5, 2).reshape(1, 2, 4, 6)
    depth = wide.reshape(1, 2, 2, 2, 3, 2).transpose(0, 3, 5, 1, 2, 4).reshape(1, 8, 2, 3)
    batches = wide.reshape(1, 2, 2, 2, 3, 2).transpose(3, 5, 0, 1, 2, 4).reshape(4, 2, 2, 3)
    nhwc = relay.transpose(y, (0, 2, 3, 1))
    blocks = relay.nn.space_to_batch_nd(nhwc, (2, 2), ((0, 0), (0, 0)))
    padded = relay.nn.space_to_batch_nd(nhwc, (2, 2), ((1, 1), (0, 2)), pad_value=1.0)
    cases = {
        "depth_to_space": (relay.nn.depth_to_space(x, 2), dcr),
        "depth_to_space CRD": (relay.nn.depth_to_space(x, 2, mode="CRD"), crd),
        "depth_to_space NHWC": (
            relay.nn.depth_to_space(relay.transpose(x, (0, 2, 3, 1)), 2, layout="NHWC"),
            dcr.transpose(0, 2, 3, 1),
        ),
        "space_to_depth": (relay.nn.space_to_depth(y, 2), depth),
        "space_to_batch_nd": (blocks, batches.transpose(0, 2, 3, 1)),
        "batch_to_space_nd": (relay.nn.batch_to_space_nd(blocks, (2, 2), ((0, 0), (0, 0))), wide.transpose(0, 2, 3, 1)),
        "padded and cropped": (
            relay.nn.batch_to_space_nd(padded, (2, 2), ((1, 1), (0, 2))),
            wide.transpose(0, 2, 3, 1),
        ),
    }
    _run(cases, {"x": data, "y": wide})


def test_losses() -> None:
    logits = RNG.randn(4, 5).astype("float32")
    labels = np.array([1, 0, 4, 2], "int64")
    chances = F.softmax(_t(logits), -1)
    targets = np.eye(5, dtype="float32")[labels]
    weights = RNG.uniform(0.5, 2, 5).astype("float32")
    arrays = {"p": chances.numpy(), "t": targets, "l": labels, "w": weights}
    p, t, label, w = variables(**arrays)
    log = relay.log(p)
    cases = {
        "cross_entropy": (relay.nn.cross_entropy(p, t), F.nll_loss(chances.log(), _t(labels))),
        "with logits": (relay.nn.cross_entropy_with_logits(log, t), F.nll_loss(chances.log(), _t(labels))),
        "nll mean": (relay.nn.nll_loss(log, label, w), F.nll_loss(chances.log(), _t(labels), _t(weights))),
        "nll none": (
            relay.nn.nll_loss(log, label, w, reduction="none"),
            F.nll_loss(chances.log(), _t(labels), _t(weights), reduction="none"),
        ),
        "nll ignored": (
            relay.nn.nll_loss(log, label, w, reduction="sum", ignore_index=4),
            F.nll_loss(chances.log(), _t(labels), _t(weights), reduction="sum", ignore_index=4),
        ),
    }
    _run(cases, arrays)
