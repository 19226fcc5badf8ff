"""The generator of DCGAN (arXiv 1511.06434)."""

from __future__ import annotations

from gacer_tvm.errors import RelayError
from gacer_tvm.relay import op
from gacer_tvm.relay.ast import Expr, Function
from gacer_tvm.relay.op import nn
from gacer_tvm.relay.op.build import var
from gacer_tvm.relay.testing import layers
from gacer_tvm.relay.testing.init import Workload, create_workload

__all__ = ["get_net", "get_workload"]


def _deconv(data: Expr, name: str, channels: int, size: int, layout: str) -> Expr:
    """A transposed convolution that doubles to `size`."""
    kernel, stride = 4, 2
    pad = (kernel - 1) // 2
    extra = (size + 2 * pad - kernel) % stride
    return layers.conv2d_transpose(
        data,
        name,
        kernel_size=(kernel, kernel),
        strides=(stride, stride),
        channels=channels,
        padding=(pad, pad),
        output_padding=(extra, extra),
        data_layout=layout,
        kernel_layout="IOHW" if layout == "NCHW" else "HWOI",
    )


def get_net(
    batch_size: int,
    random_len: int = 100,
    oshape: tuple[int, ...] = (3, 64, 64),
    ngf: int = 128,
    layout: str = "NCHW",
    dtype: str = "float32",
) -> Function:
    """The network as a function of its input and weights."""
    if layout not in ("NCHW", "NHWC"):
        raise RelayError(f"layout must be NCHW or NHWC, found {layout!r}.")
    if tuple(oshape[-2:]) != (64, 64):
        raise RelayError(f"oshape must end in 64, 64, found {oshape}.")
    body: Expr = var("data", shape=(batch_size, random_len), dtype=dtype)
    body = nn.relu(nn.dense(body, var("dense_weight"), units=4 * 4 * ngf * 8))
    body = op.reshape(body, (-1, ngf * 8, 4, 4) if layout == "NCHW" else (-1, 4, 4, ngf * 8))
    for name, channels, size in (("g2", ngf * 4, 8), ("g3", ngf * 2, 16), ("g4", ngf, 32)):
        body = _deconv(body, f"{name}_deconv", channels, size, layout)
        axis = layout.index("C")
        body = layers.batch_norm_infer(body, f"{name}_batch_norm", epsilon=1e-5 + 1e-12, scale=False, axis=axis)
        body = nn.relu(body)
    body = _deconv(body, "g5_deconv", oshape[-3], 64, layout)
    return layers.function_of(op.tanh(body))


def get_workload(
    batch_size: int,
    oshape: tuple[int, ...] = (3, 64, 64),
    ngf: int = 128,
    random_len: int = 100,
    layout: str = "NCHW",
    dtype: str = "float32",
) -> Workload:
    """The module and random weights."""
    return create_workload(get_net(batch_size, random_len, oshape, ngf, layout, dtype))
