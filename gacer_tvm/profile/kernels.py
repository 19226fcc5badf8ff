"""The kernels of a tenant set as the data names them: keys, facts written once, and those that do not compile."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..cost.facts import ShareFacts
from ..cost.footprint import Distances, distances, mean_distance
from ..cost.rows import Data, Failure, Kernel, Writer, kernel_key
from ..errors import GacerError
from ..graph.model import MultiTenantGraph
from ..kernels.library import KernelLibrary

__all__ = ["Kernels"]

Chunk = tuple[int, int, int]
"""(operator index, items, cores)."""


class Kernels:
    """Kernels of one graph in a file of measurements.

    Parameters
    ----------
    graph, library
        Whose kernels.
    models
        What each tenant's model is called.
    writer, session
        Where new kernels are written, under which session.
    known
        What the file holds.
    """

    def __init__(
        self,
        graph: MultiTenantGraph,
        library: KernelLibrary,
        models: Sequence[str],
        writer: Writer,
        session: str,
        known: Data,
    ) -> None:
        self.graph, self.library, self.writer, self.session = graph, library, writer, session
        self._distances = distances(graph)
        self.failures = 0
        self._models, self._facts = models, ShareFacts(graph, library.counts)
        self._bad = {(r.k, r.i) for r in known.failures}
        self._written = {(k, m) for k, owners in known.owners.items() for m in owners}
        self._told = dict(known.kernels)

    def key(self, operator: int, cores: int) -> str:
        """The kernel's key at the whole batch; a model that has it, and facts that the file does not have, are written."""
        found = self.graph.operators[operator]
        key = kernel_key(self.library, operator, self.graph.tenants[found.tenant].batch, cores)
        model = self._models[found.tenant]
        facts = self._facts.on(cores)[operator]
        # The last facts of a file count: a file of an earlier version, which counted otherwise, learns the new ones.
        if (key, model) not in self._written or self._told.get(key, facts) != facts:
            self._written.add((key, model))
            self._told[key] = facts
            self.writer.write(Kernel(key, model, facts))
        return key

    def away(self, operators: Iterable[int]) -> Distances:
        """How far away weights, activations and last runs of these operators are on average."""
        return mean_distance(self._distances[o] for o in operators)

    def sizes(self, operator: int) -> range:
        """Legal chunk sizes, the whole batch among them."""
        found = self.graph.operators[operator]
        batch = self.graph.tenants[found.tenant].batch
        return range(1, batch + 1) if found.chunking.divisible else range(batch, batch + 1)

    def failed(self, operator: int, items: int, cores: int) -> bool:
        """Whether that chunk could not be compiled, now or in an earlier session."""
        return (self.key(operator, cores), items) in self._bad

    def compile(self, chunks: Iterable[Chunk]) -> frozenset[Chunk]:
        """Compile what is missing; the chunks that cannot be compiled, now or in an earlier session."""
        wanted = list(dict.fromkeys(chunks))
        bad = {c for c in wanted if self.failed(*c)}
        good = [c for c in wanted if c not in bad]
        try:
            self.library.ensure(good)
        except GacerError:
            for chunk in good:
                try:
                    self.library.ensure([chunk])
                except GacerError as error:
                    bad.add(chunk)
                    self._failed(chunk, str(error))
        return frozenset(bad)

    def _failed(self, chunk: Chunk, why: str) -> None:
        at = self.key(chunk[0], chunk[2]), chunk[1]
        if at not in self._bad:
            self._bad.add(at)
            self.failures += 1
            self.writer.write(Failure(self.session, *at, why[:300]))
