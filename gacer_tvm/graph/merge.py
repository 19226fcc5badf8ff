"""Lowered tenants merged into one multi-tenant graph and one IRModule whose names carry the tenant.

The module describes itself: its attribute ``gacer.tenants`` tells each tenant's name, batch, inputs and outputs,
and the part of a kernel's name before the first ``__`` is the tenant's symbol. `read_graph` needs nothing else to
find the graph again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .._tvm import tir, tvm_ffi
from ..errors import GraphError
from .alias import is_reshape
from .calls import StraightLine, Tensor, read_main
from .legality import prove_chunking
from .merged_module import make_module, symbols_of
from .model import Buffer, BufferKind, Chunking, MultiTenantGraph, Operator, TenantInfo, Work
from .work import count_work, nbytes

__all__ = ["Lowered", "Unmerged", "merge", "merge_lines"]

# Bytes at either end of a constant that tell it from others of its shape.
_END = 4096
# Attributes that say how a kernel was found, not what it computes.
_INCIDENTAL = ("global_symbol", "op_pattern")


@dataclass(frozen=True)
class Lowered:
    """One tenant after `lower.fuse`: its module and the names that its user knows."""

    name: str
    batch: int
    module: Any
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def merge(tenants: Sequence[Lowered]) -> MultiTenantGraph:
    """Merge lowered tenants into one graph.

    Returns
    -------
    MultiTenantGraph
        Its module holds every kernel once for each tenant (names ``<tenant>__<kernel>``) and a ``main`` over the
        inputs of all tenants (named ``<tenant>__<input>``) that returns a flat tuple of all outputs, tenant by tenant.
    """
    return merge_lines(
        [
            Unmerged(
                name=tenant.name,
                batch=tenant.batch,
                inputs=tenant.inputs,
                outputs=tenant.outputs,
                line=read_main(tenant.module, tenant.name),
                kernels={gv.name_hint: f for gv, f in tenant.module.functions.items() if isinstance(f, tir.PrimFunc)},
            )
            for tenant in tenants
        ]
    )


@dataclass(frozen=True)
class Unmerged:
    """One tenant as data: its main read, and its kernels by name."""

    name: str
    batch: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    line: StraightLine
    kernels: dict[str, Any]


def merge_lines(tenants: Sequence[Unmerged], module: Any = None) -> MultiTenantGraph:
    """Like `merge`, from tenants already read; with `module`, that is the merged module and none is made."""
    merger = _Merger()
    for tenant in tenants:
        merger.add(tenant)
    return merger.graph(module)


class _Merger:
    def __init__(self) -> None:
        self.buffers: list[Buffer] = []
        self.operators: list[Operator] = []
        self.infos: list[TenantInfo] = []
        self.constants: dict[int, Any] = {}
        self.functions: dict[str, Any] = {}
        self.by_content: dict[tuple[str, tuple[int, ...], bytes, bytes], list[int]] = {}
        self.by_shape: dict[tuple[int, tuple[int, ...]], int] = {}

    def add(self, tenant: Unmerged) -> None:
        number = len(self.infos)
        symbol = symbols_of([*(info.name for info in self.infos), tenant.name])[number]
        line = tenant.line
        used = {call.kernel for call in line.calls if call.kernel}
        missing = sorted(used - set(tenant.kernels))
        if missing:
            raise GraphError(
                f"tenant {tenant.name!r}: main calls {', '.join(missing)}, which the module does not hold; keep the "
                f"kernels of the whole batch (RemoveWholeKernels is for the end of a pipeline)"
            )
        facts = {name: _Facts(tenant.kernels[name]) for name in sorted(used)}
        tensors = _Tensors(self, tenant.name, number)
        for name, tensor in zip(tenant.inputs, line.inputs):
            tensors.define(tensor, f"{tenant.name}/{name}", "input")
        first = len(self.operators)
        writer: dict[int, int] = {}
        digest = hashlib.sha256()
        for tensor in line.inputs:
            digest.update(f"in {tensors.label(tensor)} {tensor.shape} {tensor.dtype};".encode())
        for call in line.calls:
            fact = facts.get(call.kernel)
            if fact is None or fact.reshape:
                tensors.view(call.writes[0], call.reads[0])
                continue
            reads = tuple(tensors.index(t) for t in call.reads)
            position = len(self.operators) - first
            name = f"{tenant.name}/{position}_{call.kernel}"
            writes = tuple(tensors.define(t, f"{name}.{k}", "intermediate") for k, t in enumerate(call.writes))
            wiring = [tensors.label(t) for t in (*call.reads, *call.writes)]
            shapes = [(t.shape, t.dtype) for t in call.writes]
            digest.update(f"{fact.hash} {wiring} {shapes};".encode())
            own = len(self.operators)
            roots = [self.buffers[b].root for b in reads]
            chunking, work = fact.at(len(writes), tenant.batch)
            self.operators.append(
                Operator(
                    index=own,
                    tenant=number,
                    position=position,
                    name=name,
                    kernel=f"{symbol}__{call.kernel}",
                    reads=reads,
                    writes=writes,
                    work=work,
                    chunking=chunking,
                    predecessors=tuple(sorted({writer[root] for root in roots if root in writer})),
                )
            )
            writer.update(dict.fromkeys(writes, own))
            self.functions[f"{symbol}__{call.kernel}"] = fact.func.with_attr("global_symbol", f"{symbol}__{call.kernel}")
        results = [tensors.index(tensor) for tensor in line.outputs]
        for tensor in line.outputs:
            digest.update(f"out {tensors.label(tensor)};".encode())
        self._mark_outputs(results)
        self.infos.append(
            TenantInfo(
                name=tenant.name,
                batch=tenant.batch,
                first=first,
                count=len(self.operators) - first,
                inputs={n: tensors.index(t) for n, t in zip(tenant.inputs, line.inputs)},
                outputs=dict(zip(tenant.outputs, results)),
                fingerprint=digest.hexdigest()[:16],
            )
        )

    def buffer(self, name: str, tenant: int, kind: BufferKind, shape: tuple[int, ...], dtype: str) -> int:
        own = len(self.buffers)
        self.buffers.append(Buffer(own, name, tenant, kind, shape, dtype, nbytes(shape, dtype), own))
        return own

    def view(self, tenant: int, shape: tuple[int, ...], source: Buffer) -> int:
        """A buffer of the same bytes with another shape; equal views are one buffer."""
        key = source.root, shape
        if shape == source.shape:
            return source.index
        if key not in self.by_shape:
            own = len(self.buffers)
            name = f"{source.name}.view{own}"
            self.buffers.append(
                Buffer(own, name, tenant, source.kind, shape, source.dtype, source.nbytes, source.root)
            )
            self.by_shape[key] = own
        return self.by_shape[key]

    def constant(self, owner: str, tenant: int, shape: tuple[int, ...], dtype: str, value: Any) -> int:
        """Equal constants are one buffer, across tenants too: two tenants of one model share their weights."""
        if value is None:
            return self.buffer(f"{owner}/const{len(self.buffers)}", tenant, "constant", shape, dtype)
        data = np.ascontiguousarray(value).reshape(shape)
        raw = data.reshape(-1).view(np.uint8)
        # Both ends tell constants apart; where they do not, all bytes are compared.
        alike = self.by_content.setdefault((dtype, shape, raw[:_END].tobytes(), raw[-_END:].tobytes()), [])
        for known in alike:
            if np.array_equal(self.constants[known].reshape(-1).view(np.uint8), raw):
                return known
        own = self.buffer(f"{owner}/const{len(self.constants)}", tenant, "constant", shape, dtype)
        self.constants[own] = data
        alike.append(own)
        return own

    def _mark_outputs(self, results: list[int]) -> None:
        roots = {self.buffers[b].root for b in results}
        for n, buffer in enumerate(self.buffers):
            if buffer.root in roots and buffer.kind == "intermediate":
                self.buffers[n] = replace(buffer, kind="output")

    def graph(self, module: Any = None) -> MultiTenantGraph:
        digest = hashlib.sha256()
        for info in self.infos:
            digest.update(f"{info.name}:{info.batch}:{info.fingerprint};".encode())
        graph = MultiTenantGraph(
            tenants=tuple(self.infos),
            operators=tuple(self.operators),
            buffers=tuple(self.buffers),
            fingerprint=digest.hexdigest()[:16],
            module=module,
            constants=self.constants,
        )
        return graph if module is not None else replace(graph, module=make_module(graph, self.functions))


class _Tensors:
    """The buffers of one tenant's tensors.

    Views get theirs when they are first used, so that it does not matter where a reshape stands: a module in which
    another pass has moved them still has the same graph and the same fingerprint.
    """

    def __init__(self, merger: _Merger, owner: str, tenant: int) -> None:
        self.merger = merger
        self.owner = owner
        self.tenant = tenant
        self._index: dict[Tensor, int] = {}
        self._base: dict[Tensor, Tensor] = {}
        self._number: dict[Tensor, int] = {}

    def define(self, tensor: Tensor, name: str, kind: BufferKind) -> int:
        """The buffer of an input, or of what an operator writes."""
        self._number[tensor] = len(self._number)
        self._index[tensor] = self.merger.buffer(name, self.tenant, kind, tensor.shape, tensor.dtype)
        return self._index[tensor]

    def view(self, tensor: Tensor, source: Tensor) -> None:
        """`tensor` is `source` under another shape."""
        self._base[tensor] = self._base.get(source, source)

    def index(self, tensor: Tensor) -> int:
        """Number of a tensor's buffer."""
        if tensor not in self._index:
            base = self._base.get(tensor, tensor)
            if base in self._number:
                source = self.merger.buffers[self._index[base]]
                self._index[tensor] = self.merger.view(self.tenant, tensor.shape, source)
            else:
                self._index[tensor] = self.merger.constant(
                    self.owner, self.tenant, tensor.shape, tensor.dtype, base.value
                )
        return self._index[tensor]

    def label(self, tensor: Tensor) -> str:
        """What the fingerprint says of a tensor; of a constant never which others it is equal to."""
        base = self._base.get(tensor, tensor)
        if base not in self._number:
            return f"const {tensor.shape} {tensor.dtype}"
        number = self._number[base]
        return str(number) if tensor.shape == base.shape else f"{number} as {tensor.shape}"


class _Facts:
    """What is known of one PrimFunc, worked out once however many calls use it."""

    def __init__(self, func: Any) -> None:
        bare = func
        for key in _INCIDENTAL:
            if key in (func.attrs or {}):
                bare = bare.without_attr(key)
        self.func = func
        self.hash = f"{tvm_ffi.structural_hash(bare) & (2**64 - 1):016x}"
        self.reshape = is_reshape(func)
        self._known: dict[tuple[int, int], tuple[Chunking, Work]] = {}

    def at(self, outputs: int, batch: int) -> tuple[Chunking, Work]:
        """Chunking and work for a batch."""
        key = (outputs, batch)
        if key not in self._known:
            chunking = prove_chunking(self.func, outputs, batch)
            self._known[key] = (chunking, count_work(self.func, chunking))
        return self._known[key]
