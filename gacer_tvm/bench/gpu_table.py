"""One cell of the table: a set at one dtype and batch, every way to run it in one process, taken in turn.

    a  each tenant's own CUDA graph, back to back on one stream      d  GACER, spatial only
    b  each tenant's own CUDA graph on a stream of its own           e  GACER, temporal only
    c  one graph, parallel, unregulated                              f  GACER
    g  PyTorch eager, one stream                                     h  PyTorch eager, one stream a model
    i1 torch.compile max-autotune with CUDA graphs, in turn          i2 the same, one stream a model

Ways a to f run the same kernels.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np

from ..cost import RecordedCost
from ..errors import GacerError
from ..executable.choose import choose
from ..executable.measure import interleave
from ..graph.model import MultiTenantGraph
from ..plan import LaunchPlan, check_plan, lower
from ..schedule import make
from ..search import search
from .gpu_bench import Bench, Net
from .gpu_correct import TOLERANCE, largest_error
from .gpu_results import Results
from .gpu_state import gpu_state
from .gpu_torch import TorchWays, references, settings

__all__ = ["WAYS", "cell", "one_tenant"]

WAYS = {
    "a": "own graphs, back to back",
    "b": "own graphs, a stream each",
    "c": "one graph, parallel",
    "d": "GACER, spatial only",
    "e": "GACER, temporal only",
    "f": "GACER",
    "g": "PyTorch eager",
    "h": "PyTorch eager, a stream each",
    "i1": "torch.compile, graphs in turn",
    "i2": "torch.compile, a stream each",
}


def cell(
    bench: Bench, results: Results, unit: str, which: str, dtype: str, batch: int, *, seconds: float, passes: int = 3
) -> None:
    """Measure one cell and write every timing; a way that cannot run is a line that says why."""
    began = time.monotonic()
    nets = bench.models(which, batch, dtype)
    expected = references(nets, bench.torch_device)
    graph, library = bench.lowered(nets)
    results.add(unit, "conditions", **gpu_state(), **settings(), set=which, dtype=dtype, batch=batch)
    side = _Sides(bench, results, unit, graph, library, nets)
    side.ours(seconds)
    side.theirs()
    for name, sessions in side.checked.items():
        pairs = [(sessions[0], nets)] if len(sessions) == 1 else [(s, [net]) for s, net in zip(sessions, nets)]
        error = max(largest_error(session, graph, some, expected) for session, some in pairs)
        results.add(unit, "error", way=name, error=error, ok=error <= TOLERANCE[dtype])
        if error > TOLERANCE[dtype]:
            raise GacerError(f"{which} in {dtype} at batch {batch}: way {name} differs from PyTorch by {error:.2g}")
    for turn in range(passes):
        left = seconds - (time.monotonic() - began)
        if turn and left < 5:
            break
        timed = interleave(side.rounds, repeats=30, warmup=5, budget_seconds=max(5.0, left / (passes - turn)))
        for name, quantiles in timed.items():
            results.add(unit, "timing", way=name, turn=turn, seconds=[round(s, 9) for s in quantiles.seconds])
    for name, session in side.profiled.items():
        spans = np.median(np.array(session.timed_rounds(3)), axis=0)
        results.add(unit, "spans", way=name, spans=[[round(float(a), 9), round(float(b), 9)] for a, b in spans])
    results.add(unit, "after", **gpu_state())
    side.close()


def one_tenant(plan: LaunchPlan, graph: MultiTenantGraph, tenant: int) -> LaunchPlan:
    """The launches of one tenant of a checked sequential plan, in their order on its one stream: race-free as it was."""
    kept = [launch for launch in plan.launches if graph.operators[launch.operator].tenant == tenant]
    number = {launch.index: n for n, launch in enumerate(kept)}
    launches = tuple(
        replace(launch, index=n, waits=tuple(number[w] for w in launch.waits if w in number))
        for n, launch in enumerate(kept)
    )
    return replace(plan, launches=launches)


class _Sides:
    """The ways of one cell: a callable each, and the sessions behind them."""

    def __init__(
        self, bench: Bench, results: Results, unit: str, graph: MultiTenantGraph, library: Any, nets: list[Net]
    ) -> None:
        self.bench, self.results, self.unit = bench, results, unit
        self.graph, self.library, self.nets = graph, library, nets
        self.rounds: dict[str, Callable[[], object]] = {}
        self.checked: dict[str, list[Any]] = {}
        self.profiled: dict[str, Any] = {}
        self._open: list[Any] = []

    def ours(self, seconds: float) -> None:
        """Ways a to f."""
        device = self.bench.device
        sequential = lower(make.sequential(self.graph, device.name), self.graph)
        check_plan(sequential, self.graph)
        alone = [self._session(one_tenant(sequential, self.graph, n)) for n in range(len(self.graph.tenants))]
        main = alone[0].issue.main

        def back_to_back() -> None:
            for session in alone:
                last = session.launch(stream=main)
            last.wait()

        def own_streams() -> None:
            under_way = [session.launch() for session in alone]
            for one in under_way:
                one.wait()

        self._add("a", back_to_back, *alone)
        self._add("b", own_streams, *alone)
        together = lower(make.parallel(self.graph, device.name, device.cores), self.graph)
        check_plan(together, self.graph)
        parallel = self._session(together)
        self._add("c", parallel.round, parallel)
        cost = RecordedCost(self._alone(sequential))
        budget = min(self.bench.search_seconds, seconds / 10)
        self._try("d", lambda: self._ablated("d", "spatial", cost, budget))
        self._try("e", lambda: self._ablated("e", "temporal", cost, budget))
        self._try("f", lambda: self._gacer(cost, budget))

    def theirs(self) -> None:
        """Ways g to i2."""
        ways = TorchWays(self.nets, self.bench.torch_device)
        self._try("g", lambda: self._add("g", ways.eager()))
        self._try("h", lambda: self._add("h", ways.eager_streams()))

        def compiled() -> None:
            in_turn, on_streams = ways.compiled()
            self._add("i1", in_turn)
            self._add("i2", on_streams)

        if self.bench.torch_device == "cuda":
            self._try("i1", compiled)

    def close(self) -> None:
        """Free the sessions."""
        for session in self._open:
            session.close()

    def _add(self, way: str, round_: Callable[[], object], *sessions: Any) -> None:
        round_()
        self.rounds[way] = round_
        if sessions:
            self.checked[way] = list(sessions)
        if len(sessions) == 1:
            self.profiled[way] = sessions[0]

    def _try(self, way: str, action: Callable[[], None]) -> None:
        """A way that cannot run must not take the others with it; what failed is kept as a line."""
        try:
            action()
        except Exception as error:  # PyTorch's compiler raises many kinds
            self.results.add(self.unit, "failed", way=way, reason=f"{type(error).__name__}: {str(error)[:500]}")

    def _session(self, plan: LaunchPlan) -> Any:
        session = self.bench.open(self.graph, plan, self.library)
        self.bench.feed(session, self.graph, self.nets)
        self._open.append(session)
        return session

    def _alone(self, plan: LaunchPlan) -> dict[tuple[int, int, int | None], float]:
        session = self._session(plan)
        times = np.median(np.array(session.timed_rounds(5)), axis=0)
        cores = self.bench.device.units
        return {
            (launch.operator, launch.items, cores): max(float(end - start), 1e-7)
            for launch, (start, end) in zip(plan.launches, times, strict=True)
        }

    def _ablated(self, way: str, ablation: str, cost: Any, budget: float) -> None:
        found = search(
            self.graph, self.bench.device, cost, ablation=ablation, time_budget_s=budget, evaluations=None, top=4
        )
        plans = [lower(ranked.schedule, self.graph) for ranked in found.ranked]
        for plan in plans:
            check_plan(plan, self.graph)
        self.library.ensure({(launch.operator, launch.items) for plan in plans for launch in plan.launches})
        sessions = {str(n): self._session(plan) for n, plan in enumerate(plans)}
        timed = interleave({n: s.round for n, s in sessions.items()}, repeats=20, budget_seconds=budget)
        best = min(timed, key=lambda n: timed[n].median)
        self._schedule(way, plans[int(best)])
        self._add(way, sessions[best].round, sessions[best])

    def _gacer(self, cost: Any, budget: float) -> None:
        plan, session, decision = choose(
            self.graph,
            self.library,
            self.bench.device,
            here=True,
            search_seconds=2 * budget,
            measure_seconds=2 * budget,
            candidates=6,
            cost=cost,
            feed=lambda s: self.bench.feed(s, self.graph, self.nets),
        )
        self._open.append(session)
        self._schedule("f", plan, decision.as_text())
        self._add("f", session.round, session)

    def _schedule(self, way: str, plan: LaunchPlan, text: str = "") -> None:
        held = msgspec.to_builtins(plan.schedule)
        self.results.add(self.unit, "schedule", way=way, schedule=held, launches=len(plan.launches), decision=text)
