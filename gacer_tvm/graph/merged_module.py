"""A graph as one IRModule: the kernels of all tenants, and a main that calls them tenant by tenant."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from .._tvm import relax
from ..frontend.constants import shared_constant
from .model import Buffer, MultiTenantGraph, TenantInfo

__all__ = ["TENANTS", "make_module", "symbols_of"]

# Attribute of a merged module: what its tenants are called, their batches, inputs and outputs.
TENANTS = "gacer.tenants"


def make_module(graph: MultiTenantGraph, kernels: Mapping[str, Any]) -> Any:
    """The merged module of a graph whose constants have values.

    Parameters
    ----------
    graph
        Its operators become calls in their order; a view becomes a reshape before its first use.
    kernels
        PrimFunc of every kernel by name.
    """
    return _Builder(graph, kernels).build()


class _Builder:
    def __init__(self, graph: MultiTenantGraph, kernels: Mapping[str, Any]) -> None:
        self.graph = graph
        self.builder = relax.BlockBuilder()
        self.kernels = {name: self.builder.add_func(func, name) for name, func in kernels.items()}
        self.values: dict[int, Any] = {}

    def build(self) -> Any:
        params: list[Any] = []
        symbols = symbols_of([info.name for info in self.graph.tenants])
        for symbol, info in zip(symbols, self.graph.tenants, strict=True):
            for name, buffer in info.inputs.items():
                label = _unique(_identifier(f"{symbol}__{name}"), [p.name for p in params])
                self.values[buffer] = relax.Var(label, _type(self.graph.buffers[buffer]))
                params.append(self.values[buffer])
        with self.builder.function("main", params, {"num_input": len(params)}):
            with self.builder.dataflow():
                for operator in self.graph.operators:
                    self._call(operator.kernel, operator.reads, operator.writes)
                results = [self._value(b) for info in self.graph.tenants for b in info.outputs.values()]
                output = self.builder.emit_output(relax.Tuple(results))
            self.builder.emit_func_output(output)
        return self.builder.get().with_attr(TENANTS, [_describe(info) for info in self.graph.tenants])

    def _call(self, kernel: str, reads: Sequence[int], writes: Sequence[int]) -> None:
        arguments = [self._value(b) for b in reads]
        types = [_type(self.graph.buffers[b]) for b in writes]
        call = relax.call_tir(self.kernels[kernel], arguments, types if len(types) > 1 else types[0])
        result = self.builder.emit(call)
        if len(writes) == 1:
            self.values[writes[0]] = result
            return
        for k, buffer in enumerate(writes):
            self.values[buffer] = self.builder.emit(relax.TupleGetItem(result, k))

    def _value(self, index: int) -> Any:
        if index not in self.values:
            buffer = self.graph.buffers[index]
            if buffer.root != index:
                self.values[index] = self.builder.emit(relax.op.reshape(self._value(buffer.root), buffer.shape))
            else:
                self.values[index] = shared_constant(self.graph.constants[index])
        return self.values[index]


def _describe(info: TenantInfo) -> dict[str, Any]:
    return {"name": info.name, "batch": info.batch, "inputs": list(info.inputs), "outputs": list(info.outputs)}


def _type(buffer: Buffer) -> Any:
    return relax.TensorType(buffer.shape, buffer.dtype)


def _identifier(name: str) -> str:
    symbol = re.sub(r"\W", "_", name)
    return symbol if symbol and not symbol[0].isdigit() else f"t_{symbol}"


def _unique(name: str, taken: Sequence[str]) -> str:
    symbol, n = name, 2
    while symbol in taken:
        symbol, n = f"{name}_{n}", n + 1
    return symbol


def symbols_of(names: Sequence[str]) -> list[str]:
    """Tenants' names as identifiers without ``__``, which ends them in the names of their kernels."""
    symbols: list[str] = []
    for name in names:
        symbols.append(_unique(re.sub(r"__+", "_", _identifier(name)).rstrip("_") or "t", symbols))
    return symbols
