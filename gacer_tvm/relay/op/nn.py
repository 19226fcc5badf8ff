"""Operators of neural networks: `relay.nn`."""

from __future__ import annotations

import typing

from gacer_tvm.relay.ast import Call, Constant, Expr, TupleGetItem
from gacer_tvm.relay.op.build import as_expr, call, const, operator, padding, pairs_of, spread

__all__ = [
    "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "adaptive_max_pool1d", "adaptive_max_pool2d",
    "adaptive_max_pool3d", "avg_pool1d", "avg_pool2d", "avg_pool3d", "batch_flatten", "batch_matmul", "batch_norm",
    "batch_to_space_nd", "bias_add", "contrib_conv2d_nchwc", "contrib_dense_pack", "contrib_depthwise_conv2d_nchwc",
    "conv1d", "conv1d_transpose", "conv2d", "conv2d_transpose", "conv3d", "conv3d_transpose", "cross_entropy",
    "cross_entropy_with_logits", "deformable_conv2d", "dense", "depth_to_space", "dilate", "dropout", "dropout_raw",
    "fast_softmax", "global_avg_pool1d", "global_avg_pool2d", "global_avg_pool3d", "global_max_pool1d",
    "global_max_pool2d", "global_max_pool3d", "group_norm", "instance_norm", "l2_normalize", "layer_norm", "leaky_relu",
    "log_softmax", "lrn", "matmul", "max_pool1d", "max_pool2d", "max_pool3d", "mirror_pad", "nll_loss", "pad", "prelu",
    "relu", "softmax", "space_to_batch_nd", "space_to_depth", "upsampling", "upsampling3d",
]  # fmt: skip


def _conv(
    name: str, rank: int, layouts: tuple[str, str], transposed: bool = False, tensors: str = "data, weight"
) -> typing.Any:
    one, none = (1,) * rank, (0,) * rank
    attrs = f"strides={one}, padding={none}, dilation={one}, groups=1, channels=None, kernel_size=None, "
    attrs += f"data_layout={layouts[0]!r}, kernel_layout={layouts[1]!r}, out_layout='', "
    attrs += f"output_padding={none}, out_dtype=''" if transposed else "out_dtype=''"
    if "offset" in tensors:
        attrs = attrs.replace("groups=1", "deformable_groups=1, groups=1")
    numbers = {"strides": spread(rank), "dilation": spread(rank), "kernel_size": spread(rank), "padding": padding(rank)}
    if transposed:
        numbers["output_padding"] = spread(rank)
    return operator(name, tensors, attrs, convert=numbers)


conv1d = _conv("nn.conv1d", 1, ("NCW", "OIW"))
conv2d = _conv("nn.conv2d", 2, ("NCHW", "OIHW"))
conv3d = _conv("nn.conv3d", 3, ("NCDHW", "OIDHW"))
conv1d_transpose = _conv("nn.conv1d_transpose", 1, ("NCW", "IOW"), True)
conv2d_transpose = _conv("nn.conv2d_transpose", 2, ("NCHW", "IOHW"), True)
conv3d_transpose = _conv("nn.conv3d_transpose", 3, ("NCDHW", "IODHW"), True)
deformable_conv2d = _conv("nn.deformable_conv2d", 2, ("NCHW", "OIHW"), tensors="data, offset, weight")
contrib_conv2d_nchwc = _conv("nn.contrib_conv2d_NCHWc", 2, ("NCHW8c", "OIHW"), tensors="data, kernel")
contrib_depthwise_conv2d_nchwc = _conv(
    "nn.contrib_depthwise_conv2d_NCHWc", 2, ("NCHW8c", "OIHW"), tensors="data, kernel"
)


def _pool(name: str, rank: int, layout: str, average: bool) -> typing.Any:
    one, none = (1,) * rank, (0,) * rank
    attrs = f"pool_size={one}, strides={one}, dilation={one}, padding={none}, layout={layout!r}, out_layout='', "
    attrs += "ceil_mode=False" + (", count_include_pad=False" if average else "")
    size = spread(rank)
    numbers = {"pool_size": size, "strides": size, "dilation": size, "padding": padding(rank)}
    return operator(name, "data", attrs, convert=numbers)


max_pool1d = _pool("nn.max_pool1d", 1, "NCW", False)
max_pool2d = _pool("nn.max_pool2d", 2, "NCHW", False)
max_pool3d = _pool("nn.max_pool3d", 3, "NCDHW", False)
avg_pool1d = _pool("nn.avg_pool1d", 1, "NCW", True)
avg_pool2d = _pool("nn.avg_pool2d", 2, "NCHW", True)
avg_pool3d = _pool("nn.avg_pool3d", 3, "NCDHW", True)
global_max_pool2d = operator("nn.global_max_pool2d", "data", "layout='NCHW', out_layout=''")
global_avg_pool2d = operator("nn.global_avg_pool2d", "data", "layout='NCHW', out_layout=''")


def _adaptive(name: str, rank: int, layout: str) -> typing.Any:
    def size(value: typing.Any) -> list[int]:
        return [] if value is None else [int(value)] * rank if isinstance(value, int) else [int(n) for n in value]

    return operator(name, "data", f"output_size=None, layout={layout!r}, out_layout=''", convert={"output_size": size})


adaptive_max_pool1d = _adaptive("nn.adaptive_max_pool1d", 1, "NCW")
adaptive_avg_pool1d = _adaptive("nn.adaptive_avg_pool1d", 1, "NCW")
adaptive_max_pool2d = _adaptive("nn.adaptive_max_pool2d", 2, "NCHW")
adaptive_avg_pool2d = _adaptive("nn.adaptive_avg_pool2d", 2, "NCHW")
adaptive_max_pool3d = _adaptive("nn.adaptive_max_pool3d", 3, "NCDHW")
adaptive_avg_pool3d = _adaptive("nn.adaptive_avg_pool3d", 3, "NCDHW")


def global_max_pool1d(data: typing.Any, layout: str = "NCW", out_layout: str = "") -> Call:
    """The maximum over the width."""
    return typing.cast(Call, adaptive_max_pool1d(data, [1], layout, out_layout))


def global_avg_pool1d(data: typing.Any, layout: str = "NCW", out_layout: str = "") -> Call:
    """The mean over the width."""
    return typing.cast(Call, adaptive_avg_pool1d(data, [1], layout, out_layout))


def global_max_pool3d(data: typing.Any, layout: str = "NCDHW", out_layout: str = "") -> Call:
    """The maximum over all three spatial dimensions."""
    return typing.cast(Call, adaptive_max_pool3d(data, [1, 1, 1], layout, out_layout))


def global_avg_pool3d(data: typing.Any, layout: str = "NCDHW", out_layout: str = "") -> Call:
    """The mean over all three spatial dimensions."""
    return typing.cast(Call, adaptive_avg_pool3d(data, [1, 1, 1], layout, out_layout))


softmax = operator("nn.softmax", "data", "axis=-1")
fast_softmax = operator("nn.fast_softmax", "data", "axis=-1")
log_softmax = operator("nn.log_softmax", "data", "axis=-1")
batch_flatten = operator("nn.batch_flatten", "data")
bias_add = operator("nn.bias_add", "data, bias", "axis=1")
dense = operator("nn.dense", "data, weight", "units=None, out_dtype=''")
matmul = operator(
    "nn.matmul", "tensor_a, tensor_b", "units=None, out_dtype='', transpose_a=False, transpose_b=False"
)  # fmt: skip
batch_matmul = operator("nn.batch_matmul", "tensor_a, tensor_b", "out_dtype='', transpose_a=False, transpose_b=True")
contrib_dense_pack = operator(
    "nn.contrib_dense_pack", "data, weight", "weight_layout='NC', units=None, out_dtype=''"
)  # fmt: skip
relu = operator("nn.relu", "data")
leaky_relu = operator("nn.leaky_relu", "data", "alpha=0.01")
prelu = operator("nn.prelu", "data, alpha", "axis=1")
dilate = operator("nn.dilate", "data", "strides, dilation_value=0.0")
mirror_pad = operator("nn.mirror_pad", "data", "pad_width, mode='SYMMETRIC'", convert={"pad_width": pairs_of})
lrn = operator("nn.lrn", "data", "size=5, axis=1, bias=2, alpha=1e-05, beta=0.75")
l2_normalize = operator("nn.l2_normalize", "data", "eps, axis=None")
_NORM = "epsilon=1e-05, center=True, scale=True"
batch_norm = operator("nn.batch_norm", "data, gamma, beta, moving_mean, moving_var", "axis=1, " + _NORM, fields=3)
instance_norm = operator("nn.instance_norm", "data, gamma, beta", "axis=1, " + _NORM)
layer_norm = operator("nn.layer_norm", "data, gamma, beta", "axis=-1, " + _NORM)
group_norm = operator("nn.group_norm", "data, gamma, beta", "num_groups, axis=1, " + _NORM)
dropout_raw = operator("nn.dropout", "data", "rate=0.5")
cross_entropy = operator("nn.cross_entropy", "predictions, targets")
cross_entropy_with_logits = operator("nn.cross_entropy_with_logits", "predictions, targets")
nll_loss = operator("nn.nll_loss", "predictions, targets, weights", "reduction='mean', ignore_index=-100")
depth_to_space = operator("nn.depth_to_space", "data", "block_size, layout='NCHW', mode='DCR'")
space_to_depth = operator("nn.space_to_depth", "data", "block_size, layout='NCHW'")
space_to_batch_nd = operator(
    "nn.space_to_batch_nd", "data", "block_shape, paddings, pad_value=0", convert={"paddings": pairs_of}
)  # fmt: skip
batch_to_space_nd = operator("nn.batch_to_space_nd", "data", "block_shape, crops", convert={"crops": pairs_of})
_UPSAMPLING = "layout='NCHW', method='nearest_neighbor', align_corners=False"
_static_upsampling = operator("nn.upsampling", "data", "scale_h=1, scale_w=1, " + _UPSAMPLING)
_dyn_upsampling = operator("dyn.nn.upsampling", "data, scale_h, scale_w", _UPSAMPLING)
upsampling3d = operator(
    "nn.upsampling3d",
    "data",
    "scale_d=1, scale_h=1, scale_w=1, layout='NCDHW', method='nearest_neighbor', "
    "coordinate_transformation_mode='half_pixel'",
)


def upsampling(
    data: typing.Any,
    scale_h: typing.Any = 1,
    scale_w: typing.Any = 1,
    layout: str = "NCHW",
    method: str = "nearest_neighbor",
    align_corners: bool = False,
) -> Call:
    """An image enlarged by factors."""
    scales = [s.data.item() if isinstance(s, Constant) else s for s in (scale_h, scale_w)]
    if any(isinstance(scale, Expr) for scale in scales):
        return typing.cast(Call, _dyn_upsampling(data, *scales, layout, method, align_corners))
    return typing.cast(Call, _static_upsampling(data, *scales, layout, method, align_corners))


def dropout(data: typing.Any, rate: float = 0.5) -> TupleGetItem:
    """The identity at inference."""
    return TupleGetItem(dropout_raw(data, rate), 0)


def pad(data: typing.Any, pad_width: typing.Any, pad_value: typing.Any = 0, pad_mode: str = "constant") -> Call:
    """A tensor with a border; `pad_width` holds the widths before and after each dimension."""
    if isinstance(pad_width, Constant):
        pad_width = pad_width.data.tolist()
    value = pad_value if isinstance(pad_value, Expr) else const(pad_value)
    if isinstance(pad_width, Expr):
        return call("dyn.nn.pad", [data, pad_width, value], {"pad_mode": pad_mode, "pad_width": ()})
    return call("nn.pad", [as_expr(data), value], {"pad_width": pairs_of(pad_width), "pad_mode": pad_mode})
