"""What an executable takes and gives, by tenant: read from the graph, so that a loaded bundle knows it too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..frontend import TensorSpec
from ..graph.model import MultiTenantGraph

__all__ = ["TenantSignature", "signatures"]


@dataclass(frozen=True)
class TenantSignature:
    """One tenant's ordered inputs and outputs."""

    name: str
    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]

    @property
    def label(self) -> str:
        """How messages call it."""
        return f"tenant {self.name!r}"


def signatures(graph: MultiTenantGraph) -> dict[str, TenantSignature]:
    """Signature of every tenant of a graph, in order."""

    def specs(names: Mapping[str, int]) -> dict[str, TensorSpec]:
        return {n: TensorSpec(graph.buffers[b].shape, graph.buffers[b].dtype) for n, b in names.items()}

    return {t.name: TenantSignature(t.name, specs(t.inputs), specs(t.outputs)) for t in graph.tenants}
