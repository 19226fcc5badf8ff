"""The ways to run a set of models on one GPU that a cell of the table compares.

    a  each tenant's own CUDA graph, back to back on one stream      d  GACER, spatial only
    b  each tenant's own CUDA graph on a stream of its own           e  GACER, temporal only
    c  one graph, parallel, unregulated                              f  GACER
    g  PyTorch eager, one stream                                     h  PyTorch eager, one stream a model
    i1 torch.compile max-autotune with CUDA graphs, in turn          i2 the same, one stream a model

Ways a to f run the same kernels.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np

from ..cost import RecordedCost
from ..executable.choose import choose
from ..executable.measure import interleave
from ..graph.model import MultiTenantGraph
from ..plan import LaunchPlan, check_plan, lower
from ..schedule import Schedule, make
from ..search import search
from .gpu_bench import Bench, Net
from .gpu_correct import largest_error
from .gpu_results import Results
from .gpu_summary import WAYS
from .gpu_torch import TorchWays

__all__ = ["Ways", "one_tenant"]

# Seconds below which a model's torch.compile is not begun.
_COMPILING = 40.0


def one_tenant(plan: LaunchPlan, graph: MultiTenantGraph, tenant: int) -> LaunchPlan:
    """The launches of one tenant of a checked sequential plan, in their order on its one stream: race-free as it was."""
    kept = [launch for launch in plan.launches if graph.operators[launch.operator].tenant == tenant]
    number = {launch.index: n for n, launch in enumerate(kept)}
    launches = tuple(
        replace(launch, index=n, waits=tuple(number[w] for w in launch.waits if w in number))
        for n, launch in enumerate(kept)
    )
    return replace(plan, launches=launches)


class Ways:
    """The ways of one cell: a callable each, and the sessions behind them."""

    def __init__(
        self, bench: Bench, results: Results, unit: str, graph: MultiTenantGraph, library: Any, nets: list[Net],
        without: Collection[str] = (), prepared: Mapping[str, Sequence[Schedule]] | None = None,
    ) -> None:  # fmt: skip
        self.bench, self.results, self.unit = bench, results, unit
        self.graph, self.library, self.nets = graph, library, nets
        self.without = frozenset(without)
        # Schedules of d, e and f that need no search.
        self.prepared = dict(prepared or {})
        self.rounds: dict[str, Callable[[], object]] = {}
        self.checked: dict[str, list[Any]] = {}
        self.profiled: dict[str, Any] = {}
        self._open: list[Any] = []
        self._ways: TorchWays | None = None
        # What there was no time for; "" if nothing.
        self.short = ""
        for way in WAYS:
            if way[0] in self.without:
                self._failed((way,), "left out, as it was told (--without)")

    @property
    def searches(self) -> bool:
        """Whether schedules of ways d to f are to be searched for here."""
        return bool({"d", "e", "f"} - self.without - {way for way, found in self.prepared.items() if found})

    def plain(self) -> None:
        """Ways a to c, and the kernels of the prepared schedules."""
        sequential = self._sequential()
        alone = [self._session(one_tenant(sequential, self.graph, n)) for n in range(len(self.graph.tenants))]
        main, finish = alone[0].issue.main, alone[0].driver.finish

        def back_to_back() -> None:
            for session in alone:
                session.enqueue(main)
            finish(main)

        def own_streams() -> None:
            for session in alone:
                session.enqueue(session.issue.main)
            for session in alone:
                finish(session.issue.main)

        self._try("a", lambda: self._add("a", back_to_back, *alone))
        self._try("b", lambda: self._add("b", own_streams, *alone))
        self._try("c", self._parallel)
        prepared = (lower(schedule, self.graph) for found in self.prepared.values() for schedule in found)
        self.library.ensure({at for plan in prepared for at in plan.kernels})

    def regulated(self, seconds: float) -> None:
        """Ways d to f."""
        cost = RecordedCost(self._alone(self._sequential())) if self.searches else None
        searching = min(self.bench.search_seconds, seconds / 15)
        measuring = min(self.bench.search_seconds, self.bench.turns.left(12 / 15 * seconds) / 12)
        self._try("d", lambda: self._ablated("d", "spatial", cost, searching, measuring))
        self._try("e", lambda: self._ablated("e", "temporal", cost, searching, measuring))
        self._try("f", lambda: self._gacer(cost, searching, measuring))

    def eager(self) -> None:
        """Ways g and h."""
        if self.bench.torch_timed:
            self._failed([way for way in ("g", "h", "i1", "i2") if way[0] not in self.without], self.bench.torch_timed)
            return
        self._try("g", lambda: self._torch_ways("g"))
        self._try("h", lambda: self._torch_ways("h"))

    @property
    def compiles(self) -> bool:
        """Whether ways i1 and i2 are to be made."""
        return not self.bench.torch_timed and self._ways is not None and "i" not in self.without

    def compiled(self, left: Callable[[], float]) -> None:
        """Ways i1 and i2, where their compilation does not take all the time that is left."""
        if not self.compiles or self._ways is None:
            return
        begun = {line["model"] for line in self.results.lines("compiling", self.unit)}
        hung = begun - {line["model"] for line in self.results.lines("compiled", self.unit)}
        if hung:
            self._failed(("i1", "i2"), f"torch.compile of {', '.join(sorted(hung))} did not end at the last attempt")
            return
        graphs = []
        for number, net in enumerate(self.nets):
            if left() < _COMPILING:
                self.short = f"no time left for torch.compile of {net.name}; what is written stands"
                return
            self.results.add(self.unit, "compiling", model=net.name)
            began = time.monotonic()
            try:
                graphs.append(self._ways.compile(number))
            except Exception as error:  # PyTorch's compiler raises many kinds
                self._failed(("i1", "i2"), f"torch.compile of {net.name}: {type(error).__name__}: {str(error)[:500]}")
                return
            finally:
                self.results.add(self.unit, "compiled", model=net.name, seconds=round(time.monotonic() - began, 1))
        if self.bench.turns.shared:
            note = "torch.compile measured its candidates while other units were at work"
            self.results.add(self.unit, "note", note=note)
        in_turn, on_streams = self._ways.compiled(graphs)
        self._try("i1", lambda: self._add("i1", in_turn))
        self._try("i2", lambda: self._add("i2", on_streams))

    def compare(self, expected: dict[str, list[np.ndarray]], tolerance: float) -> None:
        """Hold what our ways computed against PyTorch; one that is wrong is not timed."""
        for way, sessions in self.checked.items():
            pairs = [(sessions[0], self.nets)] if len(sessions) == 1 else [(s, [n]) for s, n in zip(sessions, self.nets)]
            error = max(largest_error(session, self.graph, some, expected) for session, some in pairs)
            self.results.add(self.unit, "error", way=way, error=error, ok=bool(error <= tolerance))
            if not error <= tolerance:
                self._failed((way,), f"WRONG: differs from PyTorch by {error:.2g}, relative to the largest value")
                self.rounds.pop(way)
                self.profiled.pop(way, None)

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
        if way[0] in self.without:
            return
        try:
            action()
        except Exception as error:  # PyTorch, TVM and the driver raise many kinds
            self._failed((way,), f"{type(error).__name__}: {str(error)[:500]}")

    def _failed(self, ways: Sequence[str], reason: str) -> None:
        for way in ways:
            self.results.add(self.unit, "failed", way=way, reason=reason)

    def _torch_ways(self, way: str) -> None:
        if self._ways is None:
            self._ways = TorchWays(self.nets, self.bench.torch_device)
        self._add(way, self._ways.eager() if way == "g" else self._ways.eager_streams())

    def _sequential(self) -> LaunchPlan:
        plan = lower(make.sequential(self.graph, self.bench.device.name), self.graph)
        check_plan(plan, self.graph)
        return plan

    def _parallel(self) -> None:
        device = self.bench.device
        together = lower(make.parallel(self.graph, device.name, device.cores), self.graph)
        check_plan(together, self.graph)
        session = self._session(together)
        self._add("c", session.round, session)

    def _session(self, plan: LaunchPlan) -> Any:
        session = self.bench.open(self.graph, plan, self.library)
        self._open.append(session)
        for note in session.notes:
            self.results.add(self.unit, "note", note=note)
        self.bench.feed(session, self.graph, self.nets)
        return session

    def _alone(self, plan: LaunchPlan) -> dict[tuple[int, int, int | None], float]:
        session = self._session(plan)
        with self.bench.turns.timed():
            times = np.median(np.array(session.timed_rounds(5)), axis=0)
        cores = self.bench.device.units
        return {
            (launch.operator, launch.items, cores): max(float(end - start), 1e-7)
            for launch, (start, end) in zip(plan.launches, times, strict=True)
        }

    def _ablated(self, way: str, ablation: str, cost: Any, searching: float, measuring: float) -> None:
        schedules = self.prepared.get(way, ())
        if not schedules:
            found = search(
                self.graph, self.bench.device, cost, ablation=ablation, time_budget_s=searching, evaluations=None, top=4
            )
            schedules = [ranked.schedule for ranked in found.ranked]
        plans = [lower(schedule, self.graph) for schedule in schedules]
        for plan in plans:
            check_plan(plan, self.graph)
        self.library.ensure({at for plan in plans for at in plan.kernels})
        sessions = {str(n): self._session(plan) for n, plan in enumerate(plans)}
        with self.bench.turns.timed():
            timed = interleave({n: s.round for n, s in sessions.items()}, repeats=20, budget_seconds=measuring)
        best = min(timed, key=lambda n: timed[n].median)
        self._schedule(way, plans[int(best)])
        self._add(way, sessions[best].round, sessions[best])

    def _gacer(self, cost: Any, searching: float, measuring: float) -> None:
        plan, session, decision = choose(
            self.graph,
            self.library,
            self.bench.device,
            here=True,
            search_seconds=2 * searching,
            measure_seconds=2 * measuring,
            candidates=6,
            cost=cost,
            feed=lambda s: self.bench.feed(s, self.graph, self.nets),
            timed_section=self.bench.turns.timed,
            found=self.prepared.get("f", ()),
        )
        self._open.append(session)
        self._schedule("f", plan, decision.as_text())
        self._add("f", session.round, session)

    def _schedule(self, way: str, plan: LaunchPlan, text: str = "") -> None:
        held = msgspec.to_builtins(plan.schedule)
        self.results.add(self.unit, "schedule", way=way, schedule=held, launches=len(plan.launches), decision=text)
