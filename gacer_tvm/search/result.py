"""What a search hands back."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import SearchError
from ..schedule import Schedule
from ..sim import Score
from .bound import Bounds
from .evaluate import Improvement

__all__ = ["InfeasibleError", "Ranked", "SearchResult"]


@dataclass(frozen=True, slots=True)
class Ranked:
    """A schedule with its predicted figures."""

    schedule: Schedule
    score: Score


@dataclass(frozen=True)
class SearchResult:
    """The outcome of a search; all figures are predictions of the simulator under `cost_model`.

    Attributes
    ----------
    best
        The best schedule; its provenance carries strategy, cost model, predicted and bound seconds and seed.
    ranked
        The best schedule (``ranked[0].schedule == best``), then the best of other families, best first.
    baselines
        Score of each plain way by name (``sequential``, ``parallel``).
    objective
        ``makespan``, ``mean_latency`` or ``slo``.
    seconds
        The objective of the best (its makespan under ``slo``).
    bounds
        Lower bounds.
    bound_seconds, gap
        The bound on the objective, and ``seconds / bound - 1``.
    evaluations, elapsed
        Simulated schedules, and wall seconds.
    trace
        Every improvement; the last may be up to 0.1 % better than `best`, which was made simpler.
    stopped_by
        ``converged``, ``time``, ``evaluations`` or ``interrupt``.
    cost_model, strategy, ablation, seed
        How it was found.
    resolution
        Relative difference of makespans that the cost model cannot tell; 0 where it does not know. Where a plain way is
        within it, that is the best, and what is predicted to be better is the next in `ranked`.
    """

    best: Schedule
    ranked: tuple[Ranked, ...]
    baselines: dict[str, Score]
    objective: str
    seconds: float
    bounds: Bounds
    bound_seconds: float
    gap: float
    evaluations: int
    elapsed: float
    trace: tuple[Improvement, ...]
    stopped_by: str
    cost_model: str
    strategy: str
    ablation: str
    seed: int
    resolution: float = 0.0

    @property
    def score(self) -> Score:
        """Predicted figures of the best."""
        return self.ranked[0].score

    def as_text(self) -> str:
        """A few lines for people."""
        names = [t.name for t in self.best.tenants]
        lines = [
            f"{self.strategy} ({self.ablation}): {self.seconds * 1e3:.3f} ms predicted {self.objective} under cost "
            f"model {self.cost_model}, lower bound {self.bound_seconds * 1e3:.3f} ms, gap {self.gap:.1%}",
            "latency: " + ", ".join(f"{n} {s * 1e3:.3f} ms" for n, s in zip(names, self.score.latencies, strict=True)),
            f"{self.best.clusters - 1} pointers, {len(self.best.streams)} streams, "
            f"{sum(len(t.splits) for t in self.best.tenants)} operators cut",
        ]
        lines += [f"{name}: {score.makespan * 1e3:.3f} ms" for name, score in self.baselines.items()]
        least = min(entry.score.makespan for entry in self.ranked)
        if self.resolution and least < self.score.makespan:
            lines.append(
                f"a plain way was preferred to a schedule predicted at {least * 1e3:.3f} ms: the cost model cannot tell "
                f"differences below {self.resolution:.1%}"
            )
        lines.append(f"{self.evaluations} schedules simulated in {self.elapsed:.1f} s, stopped by {self.stopped_by}")
        return "\n".join(lines)


class InfeasibleError(SearchError):
    """No schedule found meets the latency limits; `result` holds the closest."""

    def __init__(self, message: str, result: SearchResult) -> None:
        super().__init__(message)
        self.result = result
