"""Facts about an executable, as a value that prints itself."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from ..cost import Device
from ..graph.model import MultiTenantGraph
from ..kernels.library import KernelLibrary
from ..plan import LaunchPlan, sum_alone

__all__ = ["KernelOrigin", "Report", "make_report"]


@dataclass(frozen=True)
class KernelOrigin:
    """Where one kernel of the plan comes from: `rule` is a rule's name, or names the tuning record."""

    operator: str
    items: int
    rule: str
    failures: tuple[tuple[str, str], ...]
    refused: tuple[tuple[str, str], ...] = ()
    """Tuning records of what the kernel computes that were not used, with the reason."""

    @property
    def recorded(self) -> bool:
        """Whether a tuning record made it."""
        return self.rule.startswith(("tuned: ", "tuned tiling: ")) or " log " in self.rule


@dataclass(frozen=True)
class Report:
    """What an executable consists of.

    Attributes
    ----------
    device, target
        Names.
    tenants
        Tenant to number of operators.
    launches, streams, events, edges, clusters, cut
        Figures of the plan; `cut` is how many operators run in chunks.
    arena_bytes
        Peak of intermediate memory under the plan.
    alone_bytes
        The same for each tenant run alone.
    constant_bytes
        Parameters.
    kernels
        Origin of every kernel.
    decision
        How the schedule was chosen, in words.
    """

    device: str
    target: str
    tenants: dict[str, int]
    launches: int
    streams: int
    events: int
    edges: int
    clusters: int
    cut: int
    arena_bytes: int
    alone_bytes: dict[str, int]
    constant_bytes: int
    kernels: tuple[KernelOrigin, ...]
    decision: str

    @property
    def rules(self) -> dict[str, int]:
        """Rule to how many kernels it made."""
        return dict(Counter(k.rule for k in self.kernels).most_common())

    def as_text(self) -> str:
        """A page for people."""
        alone = sum(self.alone_bytes.values())
        lines = [
            f"device {self.device}, target {self.target}",
            "tenants: " + ", ".join(f"{n} ({c} operators)" for n, c in self.tenants.items()),
            f"plan: {self.launches} launches on {self.streams} streams, {self.clusters} clusters, {self.cut} operators cut, "
            f"{self.edges} waits on {self.events} events",
            f"intermediates: {_mib(self.arena_bytes)} peak; the tenants alone need {_mib(alone)} together "
            f"({', '.join(f'{n} {_mib(b)}' for n, b in self.alone_bytes.items())})",
            f"parameters: {_mib(self.constant_bytes)}",
            "kernels by origin: " + ", ".join(f"{rule} {count}" for rule, count in self.rules.items()),
        ]
        recorded = [k for k in self.kernels if k.recorded]
        if recorded:
            lines.append(f"kernels from tuning records: {len(recorded)} of {len(self.kernels)}")
            lines += [f"  {k.operator}, {k.items} items: {k.rule}" for k in recorded]
        refused = [(k.operator, r) for k in self.kernels for r in k.refused]
        if refused:
            lines.append(f"tuning records that were not used: {len(refused)}")
            lines += [f"  {operator}: {record}: {reason}" for operator, (record, reason) in refused]
        failed = [(k.operator, f) for k in self.kernels for f in k.failures]
        if failed:
            lines.append(f"rules that failed and were passed over: {len(failed)}")
            lines += [f"  {operator}: {rule}: {reason}" for operator, (rule, reason) in failed[:10]]
        if self.decision:
            lines.append(self.decision)
        return "\n".join(lines)

    __str__ = as_text


def make_report(
    graph: MultiTenantGraph, library: KernelLibrary, plan: LaunchPlan, device: Device, decision: Any
) -> Report:
    """Collect the facts."""
    seen: dict[tuple[int, int, str], KernelOrigin] = {}
    for launch in plan.launches:
        kernel = library.get(*launch.kernel)
        # An operator may have a kernel for each share of the cores.
        at = (launch.operator, launch.items, kernel.key)
        if at not in seen:
            # A saved library has kernels, but no longer the records that it was built with.
            refused = library.refused(*launch.kernel) if hasattr(library, "refused") else ()
            name = graph.operators[launch.operator].name
            seen[at] = KernelOrigin(name, launch.items, kernel.rule, kernel.failures, refused)
    return Report(
        device=device.name,
        target=str(library.target),
        tenants={t.name: t.count for t in graph.tenants},
        launches=len(plan.launches),
        streams=len({launch.stream for launch in plan.launches}),
        events=plan.events,
        edges=plan.edges,
        clusters=plan.schedule.clusters,
        cut=sum(1 for t in plan.schedule.tenants for sizes in t.splits.values() if len(sizes) > 1),
        arena_bytes=plan.placement.arena_bytes,
        alone_bytes=sum_alone(graph),
        constant_bytes=sum(b.nbytes for b in graph.buffers if b.kind == "constant" and b.root == b.index),
        kernels=tuple(seen.values()),
        decision=decision.as_text() if decision is not None else "",
    )


def _mib(size: int) -> str:
    return f"{size / 2**20:.1f} MiB"
