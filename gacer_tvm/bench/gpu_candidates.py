"""Which tilings the kernels of a graph may have, and the compiled kernel of each: what `gpu_tilings` times."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .. import progress
from ..graph.model import MultiTenantGraph
from ..kernels import rules
from ..kernels.library import Kernel, KernelLibrary
from ..kernels.rules.base import NotApplicable
from ..kernels.store import KernelStore, write_beside
from ..tune.records import workload_key
from .gpu_bench import Bench

__all__ = ["MOST", "Candidate", "candidates", "prepared"]

#: Kernels of a set whose tilings are timed, those with most arithmetic first.
MOST = 16

_INDEX = "tilings-index"


@dataclass(frozen=True)
class Candidate:
    """A kernel of a graph and the tilings it may have.

    Attributes
    ----------
    operator
        One that the kernel belongs to.
    request
        The kernel's key in the library, untuned.
    key
        Its workload key, as tuning databases have it.
    tilings
        As text, the default first.
    """

    operator: int
    request: str
    key: str
    tilings: tuple[str, ...]


class _Tiled:
    """A provider that gives every kernel one tiling, where that fits."""

    def __init__(self, tiling: str) -> None:
        self.tiling = tiling

    def __call__(self, func: Any, target: Any, cores: int | None = None) -> tuple[Any, str] | None:
        try:
            return rules.retiled(func, target, 1, self.tiling), f"tiling {self.tiling}"
        except NotApplicable:
            return None


class _Index:
    """Which tilings each kernel has and which stored kernel each of them is: working that out takes longer than to time them."""

    def __init__(self, store: KernelStore | None) -> None:
        self._path = None if store is None else store.folder / _INDEX
        self.tilings: dict[str, list[str]] = {}
        self.kernels: dict[str, str] = {}
        self._read()

    def _read(self) -> None:
        if self._path is not None and self._path.is_file():
            held = json.loads(self._path.read_text())
            self.tilings = {**held["tilings"], **self.tilings}
            self.kernels = {**held["kernels"], **self.kernels}

    def save(self) -> None:
        """Write it, with what others have written since."""
        if self._path is not None:
            self._read()
            text = json.dumps({"tilings": self.tilings, "kernels": self.kernels}, indent=0, sort_keys=True)
            write_beside(self._path, lambda beside: beside.write_text(text))


def candidates(graph: MultiTenantGraph, library: KernelLibrary, most: int | None = None) -> list[Candidate]:
    """The kernels of whole operators that our own rules make, the one with most arithmetic first (`most`: so many)."""
    index = _Index(library.store)
    weights: dict[str, float] = {}
    first: dict[str, int] = {}
    functions: dict[str, Any] = {}
    for operator in graph.operators:
        batch = graph.tenants[operator.tenant].batch
        request = library.request(operator.index, batch)
        flops, moved = operator.work.at(batch, batch)
        # What moves much takes long too: some ten operations a byte are what GPUs do.
        weights[request.key] = weights.get(request.key, 0.0) + flops + 10 * moved
        first.setdefault(request.key, operator.index)
        functions.setdefault(request.key, request.func)
    found: list[Candidate] = []
    for key in sorted(weights, key=lambda k: -weights[k]):
        if most is not None and len(found) >= most:
            break
        if key not in index.tilings:
            with library.target:
                index.tilings[key] = rules.tilings(functions[key], library.target)
        if len(index.tilings[key]) > 1:
            found.append(Candidate(first[key], key, workload_key(functions[key]), tuple(index.tilings[key])))
    index.save()
    return found


def prepared(
    bench: Bench, graph: MultiTenantGraph, chosen: Sequence[Candidate]
) -> dict[tuple[Candidate, str], Kernel]:
    """Compile every candidate, or take it from the store; those that do not compile as they are, are left out."""
    index = _Index(bench.store)
    names = {(one, text): f"{one.request} {text}" for one in chosen for text in one.tilings}
    stored = {index.kernels.get(name, "") for name in names.values()} - {""}
    loaded = {} if bench.store is None else bench.store.load(stored, bench.target)
    found: dict[tuple[Candidate, str], Kernel] = {}
    missing: dict[str, list[Candidate]] = {}
    for (one, text), name in names.items():
        key = index.kernels.get(name)
        if key is None or (key and key not in loaded):
            missing.setdefault(text, []).append(one)
        elif key:
            found[one, text] = loaded[key][0]
    with progress.update("compiling tilings", len(missing)) as task:
        for text, having in missing.items():
            library = KernelLibrary(graph, bench.target, providers=(_Tiled(text),), store=bench.store)
            at = {one: graph.tenants[graph.operators[one.operator].tenant].batch for one in having}
            library.ensure((one.operator, batch) for one, batch in at.items())
            for one, batch in at.items():
                kernel = library.get(one.operator, batch)
                good = kernel.rule == f"tiling {text}" and not kernel.workspaces
                index.kernels[names[one, text]] = kernel.key if good else ""
                if good:
                    found[one, text] = kernel
            task.advance(1)
    index.save()
    return found
