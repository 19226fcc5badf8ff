"""Reader of AutoTVM and TopHub records, formats 0.1 (``"i", "r", "v"``) and 0.2 (``"input", "config", "result"``).

Operator, shapes, dtype, strides and padding are in the clear. Their templates left TVM, so records are data, not schedules.
Early AutoTVM could also write pickles; such a line is refused, never opened.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence

from .record import AutoTvmConfig, LogRecord, Tensor
from .result import BadRecord, parse_result
from .target_text import parse_target

__all__ = ["is_autotvm", "read_autotvm"]

Shape = tuple[int, ...]

_PREFIXES = ("topi_nn_", "topi_x86_", "topi_intel_graphics_", "topi_", "nn.")
# The longest names first: conv2d_transpose is no conv2d.
_CLASSES = (
    "depthwise_conv2d",
    "group_conv2d",
    "conv2d_transpose",
    "conv1d_transpose",
    "conv3d_transpose",
    "deformable_conv2d",
    "bitserial_conv2d",
    "bitserial_dense",
    "sparse_dense",
    "batch_matmul",
    "conv1d",
    "conv2d",
    "conv3d",
    "dense",
    "matmul",
)


def is_autotvm(value: Mapping[str, object]) -> bool:
    """Whether a decoded line looks like a record of AutoTVM."""
    if "input" in value and "result" in value:
        return True
    task = value.get("i")
    return isinstance(task, list) and len(task) >= 3 and isinstance(task[0], str) and "r" in value


def read_autotvm(value: Mapping[str, object], file: str, line: int) -> LogRecord:
    """Type one decoded line.

    Raises
    ------
    BadRecord
        With the reason; the reader counts it.
    """
    if "input" in value:
        task, config, result, version = value["input"], value.get("config"), value["result"], value.get("version")
    else:
        task, result, version = value["i"], value["r"], value.get("v")
        config = task[5] if isinstance(task, list) and len(task) > 5 else None
    if not isinstance(task, list) or len(task) < 3 or not isinstance(task[0], str) or not isinstance(task[1], str):
        raise BadRecord("an AutoTVM task without target and name")
    args = task[2]
    if not isinstance(args, list):
        raise BadRecord("an AutoTVM task without arguments")
    template = task[1][:200]
    tensors, rest = _tensors(args)
    op_class = _op_class(template)
    output = _output(op_class, template, [tensor.shape for tensor in tensors], rest)
    dtype = tensors[0].dtype if tensors else ""
    if output is not None:
        out_dtype = next((str(item) for item in reversed(rest) if _is_dtype(item)), dtype)
        tensors = [*tensors, Tensor(output, out_dtype)]
    return LogRecord(
        source="autotvm",
        version=str(version)[:8] if isinstance(version, int | float | str) else "",
        file=file,
        line=line,
        target=parse_target(task[0]),
        workload=f"{template} {json.dumps(args)}"[:2000],
        op_class=op_class,
        tensors=tuple(tensors),
        outputs=0 if output is None else 1,
        **parse_result(result),
        flops=_flops(op_class, tensors) if output is not None else None,
        schedule=_config(template, config),
    )


def _tensors(args: Sequence[object]) -> tuple[list[Tensor], list[object]]:
    tensors: list[Tensor] = []
    rest: list[object] = []
    for arg in args:
        if isinstance(arg, list) and len(arg) == 3 and arg[0] == "TENSOR" and isinstance(arg[1], list):
            if len(arg[1]) > 8 or any(type(size) is not int or not 0 < size < 1 << 31 for size in arg[1]):
                raise BadRecord("an AutoTVM tensor with a shape that is no shape")
            tensors.append(Tensor(tuple(arg[1]), arg[2][:16] if isinstance(arg[2], str) else ""))
        else:
            rest.append(arg)
    return tensors, rest


def _op_class(template: str) -> str:
    name = template.split(".")[0]
    for prefix in _PREFIXES:
        name = name.removeprefix(prefix)
    return next((known for known in _CLASSES if known in name), "unknown")


def _is_dtype(item: object) -> bool:
    return isinstance(item, str) and item.rstrip("0123456789") in ("float", "int", "uint", "bfloat") and len(item) < 10


def _pair(value: object) -> tuple[int, int] | None:
    if type(value) is int and 0 <= value < 4096:
        return value, value
    if isinstance(value, list) and value and all(type(item) is int and 0 <= item < 4096 for item in value):
        if len(value) == 2:
            return value[0], value[1]
        if len(value) == 1:
            return value[0], value[0]
    return None


def _paddings(value: object) -> tuple[int, int] | None:
    """Padding of both sides together, for each spatial axis."""
    if isinstance(value, list) and len(value) == 4 and all(type(item) is int and 0 <= item < 4096 for item in value):
        return value[0] + value[2], value[1] + value[3]
    pair = _pair(value)
    return None if pair is None else (2 * pair[0], 2 * pair[1])


def _output(op_class: str, template: str, shapes: Sequence[Shape], rest: Sequence[object]) -> Shape | None:
    """The output's shape, which AutoTVM did not log, from the operator's arguments; None where they do not tell."""
    if len(shapes) < 2:
        return None
    data, weight = shapes[0], shapes[1]
    if op_class == "dense" and len(data) == len(weight) == 2 and data[1] == weight[1]:
        return data[0], weight[0]
    if op_class == "batch_matmul" and len(data) == len(weight) == 3:
        explicit = next((tuple(item) for item in rest if isinstance(item, list) and len(item) == 3), None)
        if explicit is not None and all(type(size) is int and size > 0 for size in explicit):
            return explicit
        return (data[0], data[1], weight[1]) if data[2] == weight[2] else None
    if op_class not in ("conv2d", "depthwise_conv2d", "group_conv2d", "conv2d_transpose") or len(data) != 4:
        return None
    if len(weight) != 4 or len(rest) < 2:
        return None
    strides, padding = _pair(rest[0]), _paddings(rest[1])
    if strides is None or padding is None or 0 in strides:
        return None
    dilation = (_pair(rest[2]) if len(rest) > 2 and not isinstance(rest[2], str) else None) or (1, 1)
    nhwc = "nhwc" in template.lower() or any(isinstance(item, str) and item.startswith("NHWC") for item in rest)
    sizes = data[1:3] if nhwc else data[2:]
    kernels = weight[:2] if nhwc else weight[2:]
    if op_class == "conv2d_transpose":
        out = [(s - 1) * t - p + k for s, t, p, k in zip(sizes, strides, padding, kernels, strict=True)]
        channels = weight[2] if nhwc else weight[1]
    else:
        reach = [(k - 1) * d + 1 for k, d in zip(kernels, dilation, strict=True)]
        out = [(s + p - r) // t + 1 for s, p, r, t in zip(sizes, padding, reach, strides, strict=True)]
        channels = weight[3] if nhwc else weight[0]
        if op_class == "depthwise_conv2d":
            channels = weight[2] * weight[3] if nhwc else weight[0] * weight[1]
    if min(out) <= 0:
        return None
    return (data[0], out[0], out[1], channels) if nhwc else (data[0], channels, out[0], out[1])


def _flops(op_class: str, tensors: Sequence[Tensor]) -> float | None:
    data, weight, out = tensors[0], tensors[1], tensors[-1]
    if op_class in ("dense", "batch_matmul"):
        return 2.0 * out.size * data.shape[-1]
    if op_class == "conv2d_transpose":
        return 2.0 * data.size * (weight.size // weight.shape[0])
    channels = out.shape[1] if out.shape[1] in weight.shape else out.shape[3]
    # Every output element reads one filter: the weight's size over the number of filters.
    return 2.0 * out.size * math.floor(weight.size / max(channels, 1))


def _config(template: str, config: object) -> AutoTvmConfig | None:
    if not isinstance(config, dict):
        return None
    entity = config.get("entity", config.get("e"))
    if not isinstance(entity, list) or len(entity) > 1000:
        return None
    knobs: list[tuple[str, str, object]] = []
    for item in entity:
        if not isinstance(item, list) or len(item) != 3 or not isinstance(item[0], str) or not isinstance(item[1], str):
            raise BadRecord("an AutoTVM knob that is not [name, kind, value]")
        value = tuple(item[2]) if isinstance(item[2], list) else item[2]
        knobs.append((item[0][:80], item[1][:8], value))
    return AutoTvmConfig(template, tuple(knobs))
