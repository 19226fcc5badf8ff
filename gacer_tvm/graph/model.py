"""The multi-tenant graph as plain immutable data: buffers, operators, tenants.

Everything right of the graph stage (cost, sim, search, plan) reads these values only; none of them touches TVM.

Indices are global: `graph.operators[i].index == i`, and operators stand tenant by tenant, in a topological order inside
each tenant. A *position* counts inside one tenant. A *chunk* is a range of *items* of the batch; an item of the batch
may be several rows of a buffer (after a ``(B, S, D) -> (B*S, D)`` reshape an item is S rows).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

__all__ = ["Buffer", "Chunking", "LaunchShape", "MultiTenantGraph", "Operator", "TenantInfo", "Work"]

BufferKind = Literal["input", "constant", "intermediate", "output"]


@dataclass(frozen=True, slots=True)
class Buffer:
    """One tensor of the graph.

    Attributes
    ----------
    index
        Position in `MultiTenantGraph.buffers`.
    name
        Unique, carries the tenant: ``"detector/x"``.
    tenant
        Index of the tenant it belongs to.
    kind
        ``input`` (bound by the caller), ``constant`` (parameters), ``intermediate``, ``output`` (read by the caller).
    shape, dtype
        Static shape and TVM dtype string.
    nbytes
        Size in bytes, without padding.
    root
        Index of the buffer whose bytes this one shares; its own index unless it is a reshape of another buffer.
    """

    index: int
    name: str
    tenant: int
    kind: BufferKind
    shape: tuple[int, ...]
    dtype: str
    nbytes: int
    root: int


@dataclass(frozen=True, slots=True)
class Work:
    """What a kernel does, split by what shrinks with the batch: FLOPs and bytes of the whole batch.

    Attributes
    ----------
    flops
        Floating-point (or integer) arithmetic operations of the whole operator; proportional to the items run.
    batched_bytes
        Bytes read and written in tensors that have the batch; proportional to the items run.
    fixed_bytes
        Bytes of everything else (weights, broadcast tensors); read in full by every chunk.
    """

    flops: float
    batched_bytes: int
    fixed_bytes: int

    def at(self, items: int, batch: int) -> tuple[float, float]:
        """FLOPs and bytes moved by a chunk of `items` out of `batch`."""
        share = items / batch
        return self.flops * share, self.batched_bytes * share + self.fixed_bytes


@dataclass(frozen=True, slots=True)
class LaunchShape:
    """How a kernel occupies a GPU: blocks in the grid, threads a block, registers a thread, shared bytes a block.

    On a CPU `grid` is the extent of the outermost parallel loop, and `block` is 1.
    Registers and shared memory are None where no compiler has reported them.
    """

    grid: int
    block: int
    registers: int | None = None
    shared_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Chunking:
    """The proof that an operator can be cut along the batch, or why it cannot.

    Attributes
    ----------
    items
        Batch items that may be divided among chunks; 1 where the operator is not divisible.
    rows
        For each kernel argument, rows of its axis 0 that one item stands for; 0 where the argument has no batch (every
        chunk reads all of it).
    refusal
        Why the operator is indivisible, in words; empty where it is divisible.
    """

    items: int
    rows: tuple[int, ...]
    refusal: str = ""

    @property
    def divisible(self) -> bool:
        """Whether a legal cut exists."""
        return self.items > 1


@dataclass(frozen=True, slots=True)
class Operator:
    """One fused kernel call of one tenant.

    Attributes
    ----------
    index, tenant, position
        Global index; index of the tenant; position in the tenant's sequence.
    name
        Unique readable name, ``"detector/12_conv2d_add_relu"``.
    kernel
        Name of the PrimFunc in the merged module that it calls (shared by operators of equal structure).
    reads, writes
        Buffer indices in argument order; the kernel's arguments are ``reads + writes``.
    work
        FLOPs and bytes.
    chunking
        The legal chunks.
    predecessors
        Operators of the same tenant whose results it reads, by global index, ascending.
    launch
        Launch shape of the whole-batch kernel where known.
    """

    index: int
    tenant: int
    position: int
    name: str
    kernel: str
    reads: tuple[int, ...]
    writes: tuple[int, ...]
    work: Work
    chunking: Chunking
    predecessors: tuple[int, ...]
    launch: LaunchShape | None = None


@dataclass(frozen=True, slots=True)
class TenantInfo:
    """One tenant's place in the graph.

    Attributes
    ----------
    name
        The user's name for it.
    batch
        Batch size; 1 where it has none.
    first, count
        Its operators are ``graph.operators[first : first + count]``.
    inputs, outputs
        Buffer index by name, in the model's order.
    fingerprint
        Hash of its lowered graph (structure, shapes, dtypes; not the weights' values).
    """

    name: str
    batch: int
    first: int
    count: int
    inputs: dict[str, int]
    outputs: dict[str, int]
    fingerprint: str


@dataclass(frozen=True)
class MultiTenantGraph:
    """Several tenants lowered and merged.

    Attributes
    ----------
    tenants, operators, buffers
        See their classes.
    fingerprint
        Hash over the tenants' names, batches and fingerprints: what a schedule is bound to.
    module
        The merged TVM IRModule (None in synthetic graphs for tests of the stages that need no TVM).
    constants
        Values of the constant buffers by buffer index (NumPy arrays).
    """

    tenants: tuple[TenantInfo, ...]
    operators: tuple[Operator, ...]
    buffers: tuple[Buffer, ...]
    fingerprint: str
    module: Any = None
    constants: dict[int, Any] = field(default_factory=dict, repr=False)

    def tenant_operators(self, tenant: int) -> tuple[Operator, ...]:
        """The operators of one tenant in order."""
        info = self.tenants[tenant]
        return self.operators[info.first : info.first + info.count]

    @cached_property
    def successors(self) -> tuple[tuple[int, ...], ...]:
        """For each operator the operators that read its results, ascending."""
        found: list[list[int]] = [[] for _ in self.operators]
        for operator in self.operators:
            for before in operator.predecessors:
                found[before].append(operator.index)
        return tuple(tuple(items) for items in found)
