"""Small Relax models for tests, and what TVM itself computes with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from gacer_tvm._tvm import relax, tvm

__all__ = ["CPU", "branches", "build", "const", "convnet", "inputs_for", "run_alone", "run_main"]

CPU = tvm.target.Target({"kind": "llvm"})
op = relax.op


def const(*shape: int, seed: int = 0) -> Any:
    """A random float32 constant."""
    return relax.const((np.random.default_rng(seed).random(shape) - 0.5).astype("float32"))


def build(
    make: Callable[..., Any],
    *shapes: Sequence[int],
    names: Sequence[str] = (),
    dtype: str = "float32",
    entry: str = "main",
) -> Any:
    """A Relax module with one function; `make` gets its inputs and returns a tensor or a list of tensors."""
    builder = relax.BlockBuilder()
    labels = names or [f"x{n}" for n in range(len(shapes))]
    variables = [relax.Var(name, relax.TensorType(tuple(s), dtype)) for name, s in zip(labels, shapes)]
    with builder.function(entry, variables):
        with builder.dataflow():
            made = make(*variables)
            if isinstance(made, list):
                made = relax.Tuple([builder.emit(m) for m in made])
            output = builder.emit_output(builder.normalize(made))
        builder.emit_func_output(output)
    return builder.get()


def convnet(batch: int = 4, classes: int = 5, seed: int = 0, entry: str = "main") -> Any:
    """conv + bias + relu, pooling, flatten, dense, softmax."""

    def make(x: Any) -> Any:
        y = op.nn.conv2d(x, const(6, 3, 3, 3, seed=seed), padding=(1, 1))
        y = op.nn.relu(op.add(y, const(1, 6, 1, 1, seed=seed + 1)))
        y = op.nn.max_pool2d(y, pool_size=(2, 2), strides=(2, 2))
        y = op.reshape(y, (batch, 6 * 4 * 4))
        return op.nn.softmax(op.matmul(y, const(96, classes, seed=seed + 2)))

    return build(make, (batch, 3, 8, 8), names=["image"], entry=entry)


def branches(batch: int = 4, width: int = 8, seed: int = 0, entry: str = "main") -> Any:
    """Two branches that join, a statistic over the batch, two outputs of which one is a view."""

    def make(x: Any) -> Any:
        left = op.nn.relu(op.matmul(x, const(width, width, seed=seed)))
        right = op.tanh(op.matmul(x, const(width, 2 * width, seed=seed + 1)))
        both = op.concat([left, right], axis=1)
        centred = op.subtract(both, op.mean(both, axis=[0], keepdims=True))
        return [op.nn.softmax(centred, axis=1), op.reshape(left, (batch, width // 2, 2))]

    return build(make, (batch, width), names=["features"], entry=entry)


def inputs_for(graph: Any, seed: int = 0) -> dict[str, dict[str, np.ndarray]]:
    """Random inputs of every tenant of a graph."""
    rng = np.random.default_rng(seed)
    made: dict[str, dict[str, np.ndarray]] = {}
    for tenant in graph.tenants:
        made[tenant.name] = {}
        for name, index in tenant.inputs.items():
            buffer = graph.buffers[index]
            values = rng.random(buffer.shape) - 0.5
            made[tenant.name][name] = values.astype(buffer.dtype)
    return made


def run_alone(module: Any, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """What one model computes when `tvm.compile` builds it alone, in its own main."""
    vm = relax.VirtualMachine(tvm.compile(relax.get_pipeline("zero")(module), CPU), tvm.cpu())
    found = vm["main"](*(tvm.runtime.tensor(a) for a in inputs.values()))
    return [found.numpy()] if hasattr(found, "numpy") else [t.numpy() for t in found]


def run_main(module: Any, inputs: Mapping[str, Mapping[str, np.ndarray]], **options: Any) -> list[np.ndarray]:
    """What a merged module computes in TVM's own virtual machine: the outputs of all tenants, one after the other."""
    vm = relax.VirtualMachine(tvm.compile(module, CPU, **options), tvm.cpu())
    arrays = [a for of_tenant in inputs.values() for a in of_tenant.values()]
    return [t.numpy() for t in vm["main"](*(tvm.runtime.tensor(a) for a in arrays))]
