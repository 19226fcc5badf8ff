"""Small real Relax models with known answers, for the tests of the whole flow."""

from __future__ import annotations

import numpy as np

from gacer_tvm._tvm import relax, tvm

__all__ = ["alone", "convolutional", "dense"]


def convolutional(seed: int, batch: int = 4, size: int = 12, classes: int = 7):
    """Convolution, bias, relu, reshape, matmul, softmax over float32 images ``x``."""
    rng = np.random.default_rng(seed)
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType((batch, 3, size, size), "float32"))
    weight = relax.const(rng.standard_normal((8, 3, 3, 3)).astype("float32"))
    bias = relax.const(rng.standard_normal((1, 8, 1, 1)).astype("float32"))
    head = relax.const((rng.standard_normal((8 * size * size, classes)) * 0.02).astype("float32"))
    with builder.function("main", [x]):
        with builder.dataflow():
            y = builder.emit(relax.op.nn.conv2d(x, weight, padding=(1, 1)))
            y = builder.emit(relax.op.nn.relu(relax.op.add(y, bias)))
            y = builder.emit(relax.op.reshape(y, (batch, 8 * size * size)))
            y = builder.emit(relax.op.matmul(y, head))
            out = builder.emit_output(relax.op.nn.softmax(y))
        builder.emit_func_output(out)
    return builder.get()


def dense(seed: int, batch: int = 4, width: int = 24):
    """Two matmuls with a tanh between them, over float32 ``data``; two outputs."""
    rng = np.random.default_rng(seed)
    builder = relax.BlockBuilder()
    data = relax.Var("data", relax.TensorType((batch, width), "float32"))
    first = relax.const(rng.standard_normal((width, width)).astype("float32"))
    second = relax.const(rng.standard_normal((width, 5)).astype("float32"))
    with builder.function("main", [data]):
        with builder.dataflow():
            hidden = builder.emit(relax.op.tanh(relax.op.matmul(data, first)))
            out = builder.emit(relax.op.matmul(hidden, second))
            both = builder.emit_output(relax.Tuple([out, hidden]))
        builder.emit_func_output(both)
    return builder.get()


def alone(module, *arrays):
    """The outputs of a module compiled by TVM alone, as a list of arrays."""
    machine = relax.VirtualMachine(tvm.compile(module, "llvm"), tvm.cpu())
    result = machine["main"](*[tvm.runtime.tensor(a) for a in arrays])
    return [result.numpy()] if hasattr(result, "numpy") else [r.numpy() for r in result]
