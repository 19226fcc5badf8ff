"""Tenants with known answers, and a kernel library whose CPU kernels look like those of a CUDA device."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np

from gacer_tvm._tvm import relax, tvm
from gacer_tvm.frontend import Tenant
from gacer_tvm.graph.build import build_graph
from gacer_tvm.graph.model import MultiTenantGraph
from gacer_tvm.kernels.chunk import with_offset
from gacer_tvm.kernels.library import Kernel, KernelLibrary
from gacer_tvm.kernels.target import make_target
from gacer_tvm.kernels.workspace import lift_workspaces

BATCH = 4


def image_model(seed: int) -> Any:
    """Convolution, bias, relu, mean, matmul, softmax; x is (4, 3, 6, 6)."""
    rng = np.random.default_rng(seed)
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType((BATCH, 3, 6, 6), "float32"))
    weight = relax.const(rng.standard_normal((8, 3, 3, 3)).astype("float32"))
    bias = relax.const(rng.standard_normal((1, 8, 1, 1)).astype("float32"))
    head = relax.const(rng.standard_normal((8, 5)).astype("float32"))
    with builder.function("main", [x]):
        with builder.dataflow():
            y = builder.emit(relax.op.nn.conv2d(x, weight, padding=(1, 1)))
            y = builder.emit(relax.op.nn.relu(relax.op.add(y, bias)))
            y = builder.emit(relax.op.mean(y, [2, 3]))
            y = builder.emit(relax.op.matmul(y, head))
            out = builder.emit_output(relax.op.nn.softmax(y))
        builder.emit_func_output(out)
    return builder.get()


def word_model(seed: int) -> Any:
    """Matmul, tanh, layer norm, and a branch: two outputs; data is (4, 16)."""
    rng = np.random.default_rng(seed)
    builder = relax.BlockBuilder()
    data = relax.Var("data", relax.TensorType((BATCH, 16), "float32"))
    first = relax.const(rng.standard_normal((16, 16)).astype("float32"))
    second = relax.const(rng.standard_normal((16, 6)).astype("float32"))
    gamma, beta = relax.const(np.ones(16, "float32")), relax.const(np.full(16, 0.25, "float32"))
    with builder.function("main", [data]):
        with builder.dataflow():
            hidden = builder.emit(relax.op.tanh(relax.op.matmul(data, first)))
            hidden = builder.emit(relax.op.nn.layer_norm(hidden, gamma, beta, axes=[-1]))
            left = builder.emit(relax.op.matmul(hidden, second))
            right = builder.emit(relax.op.nn.softmax(hidden))
            both = builder.emit_output(relax.Tuple([left, right]))
        builder.emit_func_output(both)
    return builder.get()


@lru_cache(maxsize=1)
def two_tenants() -> MultiTenantGraph:
    """The two models as one graph for this CPU."""
    tenants = [Tenant.of(image_model(1), "image"), Tenant.of(word_model(2), "words")]
    return build_graph(tenants, make_target("cpu"))


class LendingLibrary(KernelLibrary):
    """CPU kernels, unscheduled, that get their intermediates lent as CUDA kernels do."""

    def _finish(self, made: list[Any]) -> None:
        for wanted, _, _, failures in made:
            func = wanted.func if wanted.items == wanted.batch else with_offset(wanted.func, wanted.rows, wanted.batch)
            func, workspaces = lift_workspaces(func)
            module = tvm.compile(tvm.IRModule({wanted.symbol: func.with_attr("global_symbol", wanted.symbol)}), self.target)
            kernel = Kernel(wanted.key, module[wanted.symbol], "plain", None, failures)
            self._kernels[wanted.key] = replace(kernel, workspaces=workspaces)
            self.origins[wanted.key] = module


@lru_cache(maxsize=1)
def lending_library() -> LendingLibrary:
    """The kernels of `two_tenants`, one library for all tests."""
    return LendingLibrary(two_tenants(), make_target("cpu"))


def some_inputs(seed: int = 0) -> dict[int, np.ndarray]:
    """Random inputs by buffer index."""
    rng = np.random.default_rng(seed)
    graph = two_tenants()
    return {
        b: rng.standard_normal(graph.buffers[b].shape).astype(graph.buffers[b].dtype)
        for t in graph.tenants
        for b in t.inputs.values()
    }


def answers(inputs: dict[int, np.ndarray]) -> dict[int, np.ndarray]:
    """Outputs by buffer index, computed in NumPy from the models' definitions."""
    graph = two_tenants()
    image, words = graph.tenants
    x = inputs[image.inputs["x"]].astype(np.float64)
    rng = np.random.default_rng(1)
    weight = rng.standard_normal((8, 3, 3, 3)).astype("float32").astype(np.float64)
    bias, head = rng.standard_normal((1, 8, 1, 1)).astype("float32"), rng.standard_normal((8, 5)).astype("float32")
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    patches = np.stack([padded[:, :, i : i + 6, j : j + 6] for i in range(3) for j in range(3)], axis=2)
    y = np.einsum("ncphw,ocp->nohw", patches, weight.reshape(8, 3, 9))
    y = np.maximum(y + bias, 0).mean((2, 3)) @ head
    rng = np.random.default_rng(2)
    first, second = rng.standard_normal((16, 16)).astype("float32"), rng.standard_normal((16, 6)).astype("float32")
    hidden = np.tanh(inputs[words.inputs["data"]].astype(np.float64) @ first)
    hidden = (hidden - hidden.mean(1, keepdims=True)) / np.sqrt(hidden.var(1, keepdims=True) + 1e-5) + 0.25
    outputs = [*image.outputs.values(), *words.outputs.values()]
    return dict(zip(outputs, [_softmax(y), hidden @ second, _softmax(hidden)], strict=True))


def _softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(-1, keepdims=True))
    found: np.ndarray = e / e.sum(-1, keepdims=True)
    return found
