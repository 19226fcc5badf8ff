"""The multi-tenant graph found again in a merged module, whether or not a schedule has been applied to it since."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

from .._tvm import tir
from ..errors import GraphError
from .calls import WHOLE, Call, StraightLine, Tensor, read_main
from .merge import Unmerged, merge_lines
from .merged_module import TENANTS, symbols_of
from .model import MultiTenantGraph

__all__ = ["MergedMain", "read_graph", "read_merged"]


@dataclass(frozen=True)
class MergedMain:
    """A merged module's main function as data.

    Attributes
    ----------
    calls
        Its operators in the order in which they stand there, reshapes left out.
    tenant_of
        Index of the tenant of each of `calls`.
    tenants
        Each tenant on its own.
    """

    calls: tuple[Call, ...]
    tenant_of: tuple[int, ...]
    tenants: tuple[Unmerged, ...]

    def operators(self) -> dict[tuple[int, int], Call]:
        """(tenant, position) of each operator, in the order in which they stand in main."""
        done = [0] * len(self.tenants)
        found = {}
        for call, tenant in zip(self.calls, self.tenant_of, strict=True):
            found[tenant, done[tenant]] = call
            done[tenant] += 1
        return found


def read_graph(module: Any, values: bool = True) -> MultiTenantGraph:
    """The graph of a merged module: dependences, work and legal chunks are worked out anew from its kernels.

    Its fingerprint is that of the graph that `build_graph` returned, so schedules fit both.

    Parameters
    ----------
    module
        A merged module, before or after the passes of `gacer_tvm.transform`.
    values
        Whether the graph shall have the values of its constants. Without them equal constants are not found to be one,
        and reading takes no time for them.

    Raises
    ------
    GraphError
        If `module` was not made by `build_graph` (or `transform.MergeTenants`), or has been changed beyond recognition.
    """
    return merge_lines(read_merged(module, values).tenants, module)


def read_merged(module: Any, values: bool = False) -> MergedMain:
    """Read the main function of a merged module; parameters and errors are those of `read_graph`."""
    described = (module.attrs or {}).get(TENANTS)
    if described is None:
        raise GraphError(
            f"the module has no attribute {TENANTS!r}, expected one that holds merged tenants; "
            f"merge them with gacer_tvm.transform.MergeTenants or gacer_tvm.graph.build.build_graph"
        )
    line = read_main(module, "main", values)
    parts = [_Part(str(e["name"]), int(e["batch"]), _names(e["inputs"]), _names(e["outputs"])) for e in described]
    counts = sum(len(p.inputs) for p in parts), sum(len(p.outputs) for p in parts)
    if (len(line.inputs), len(line.outputs)) != counts:
        raise GraphError(
            f"main has {len(line.inputs)} inputs and {len(line.outputs)} outputs, expected {counts[0]} and "
            f"{counts[1]} as its attribute {TENANTS!r} says; merge the tenants anew"
        )
    symbols = {symbol: number for number, symbol in enumerate(symbols_of([p.name for p in parts]))}
    owner: dict[int, int] = {}
    inputs, outputs = iter(line.inputs), iter(line.outputs)
    for number, part in enumerate(parts):
        part.read = tuple(islice(inputs, len(part.inputs)))
        part.made = tuple(islice(outputs, len(part.outputs)))
        owner.update((id(t), number) for t in part.read)
    calls, tenant_of = [], []
    for call in line.calls:
        symbol, _, kernel = call.kernel.partition("__")
        tenant = symbols.get(symbol) if call.kernel else owner.get(id(call.reads[0]))
        if tenant is None:
            raise GraphError(
                f"main calls {call.kernel or 'reshape'}, which belongs to no tenant; expected kernels that are named "
                f"<tenant>__<kernel> with a tenant of {list(symbols)}; merge the tenants anew"
            )
        owner.update((id(t), tenant) for t in call.writes)
        parts[tenant].calls.append(replace(call, kernel=kernel))
        if call.kernel:
            calls.append(call)
            tenant_of.append(tenant)
    for gv, func in module.functions.items():
        symbol, _, kernel = gv.name_hint.partition("__")
        if isinstance(func, tir.PrimFunc) and symbol in symbols and WHOLE not in (func.attrs or {}):
            parts[symbols[symbol]].kernels[kernel] = func
    return MergedMain(tuple(calls), tuple(tenant_of), tuple(part.done() for part in parts))


@dataclass
class _Part:
    name: str
    batch: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    read: tuple[Tensor, ...] = ()
    made: tuple[Tensor, ...] = ()
    calls: list[Call] = field(default_factory=list)
    kernels: dict[str, Any] = field(default_factory=dict)

    def done(self) -> Unmerged:
        line = StraightLine(self.read, self.made, tuple(self.calls))
        return Unmerged(self.name, self.batch, self.inputs, self.outputs, line, self.kernels)


def _names(names: Any) -> tuple[str, ...]:
    return tuple(str(name) for name in names)
