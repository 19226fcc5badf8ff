"""Kernels as models have them: made by Relax, legalized and fused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gacer_tvm._tvm import relax, tvm


def lowered(build: Callable[..., Any], *shapes: tuple[int, ...], dtype: str = "float32") -> Any:
    """The one fused PrimFunc of a Relax expression over inputs of these shapes."""
    inputs = [relax.Var(f"x{i}", relax.TensorType(shape, dtype)) for i, shape in enumerate(shapes)]
    builder = relax.BlockBuilder()
    with builder.function("main", inputs):
        with builder.dataflow():
            result = builder.emit_output(build(builder, *inputs))
        builder.emit_func_output(result)
    with cpu_target():
        module = relax.get_pipeline("zero")(builder.get())
    (function,) = [f for f in module.functions.values() if isinstance(f, tvm.tirx.PrimFunc)]
    return function


def cpu_target() -> Any:
    """Lowering depends on a target being there, not on which."""
    return tvm.target.Target("llvm")


def conv2d(
    data: tuple[int, ...] = (1, 8, 8, 16),
    weight: tuple[int, ...] = (3, 3, 16, 32),
    stride: int = 1,
    padding: int = 1,
    layout: str = "NHWC",
    tail: tuple[str, ...] = ("bias", "relu"),
) -> Any:
    """A convolution and what is fused behind: ``bias``, ``residual``, ``scale``, ``relu``, ``sigmoid``, in order."""
    nhwc = layout == "NHWC"
    channels = weight[3] if nhwc else weight[0]
    sizes = data[1:3] if nhwc else data[2:]
    kernel = weight[:2] if nhwc else weight[2:]
    out = [(size + 2 * padding - k) // stride + 1 for size, k in zip(sizes, kernel, strict=True)]
    output = (data[0], *out, channels) if nhwc else (data[0], channels, *out)
    vector = (1, 1, 1, channels) if nhwc else (1, channels, 1, 1)
    extra = {"bias": vector, "scale": vector, "residual": output}
    shapes = [data, weight, *[extra[name] for name in tail if name in extra]]

    def build(builder: Any, x: Any, w: Any, *others: Any) -> Any:
        rest = list(others)
        kernel_layout = "HWIO" if nhwc else "OIHW"
        value = relax.op.nn.conv2d(
            x, w, strides=stride, padding=padding, data_layout=layout, kernel_layout=kernel_layout
        )
        for name in tail:
            value = builder.emit(value)
            if name == "scale":
                value = relax.op.multiply(value, rest.pop(0))
            elif name in extra:
                value = relax.op.add(value, rest.pop(0))
            elif name == "relu":
                value = relax.op.nn.relu(value)
            else:
                value = relax.op.sigmoid(value)
        return value

    return lowered(build, *shapes)


def dense_relu() -> Any:
    """``relu(x @ y)`` of (8, 32) and (32, 16)."""
    return lowered(lambda b, x, y: relax.op.nn.relu(b.emit(relax.op.matmul(x, y))), (8, 32), (32, 16))


def softmax() -> Any:
    """Softmax over the rows of (4, 10)."""
    return lowered(lambda b, x: relax.op.nn.softmax(x, axis=-1), (4, 10))
