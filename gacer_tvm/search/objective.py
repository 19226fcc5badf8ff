"""What a search makes small."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..errors import SearchError
from ..graph.model import MultiTenantGraph
from ..sim import Score

__all__ = ["Objective", "ObjectiveSpec", "improves", "parse"]

ObjectiveSpec = "str | Mapping[str, Mapping[str, float]]"


# Gains below this share of the objective are noise of the arithmetic; descending for them only costs time.
_LEAST_GAIN = 1e-5


def improves(new: tuple[float, float], old: tuple[float, float]) -> bool:
    """Whether key `new` is better than `old` by enough to go on from there."""
    if new[0] == old[0]:
        return new[1] < old[1] * (1 - _LEAST_GAIN)
    return new[0] < old[0] * (1 - _LEAST_GAIN)


@dataclass(frozen=True, slots=True)
class Objective:
    """A total order of scores.

    Attributes
    ----------
    kind
        ``makespan``, ``mean_latency`` or ``slo``.
    limits
        Latency limit of each tenant in seconds, None where it has none; only for ``slo``.
    """

    kind: str
    limits: tuple[float | None, ...] = ()

    def key(self, score: Score) -> tuple[float, float]:
        """Smaller is better. Under limits the first number is the summed relative excess, 0 where all are met."""
        if self.kind == "makespan":
            return score.makespan, sum(score.latencies)
        if self.kind == "mean_latency":
            return sum(score.latencies) / max(1, len(score.latencies)), score.makespan
        return self.excess(score), score.makespan

    def excess(self, score: Score) -> float:
        """By how much the limits are missed, as a sum of fractions of each limit."""
        return sum(
            max(0.0, latency / limit - 1.0)
            for latency, limit in zip(score.latencies, self.limits, strict=False)
            if limit is not None
        )

    def seconds(self, score: Score) -> float:
        """The objective in seconds (the makespan under limits)."""
        return self.key(score)[1] if self.kind == "slo" else self.key(score)[0]


def parse(spec: str | Mapping[str, Mapping[str, float]], graph: MultiTenantGraph) -> Objective:
    """Read ``"makespan"``, ``"mean_latency"`` (or ``"latency"``), or ``{"slo_ms": {tenant: milliseconds}}``.

    Raises
    ------
    SearchError
        For anything else, an unknown tenant, or a limit that is not positive.
    """
    if spec == "makespan":
        return Objective("makespan")
    if spec in ("mean_latency", "latency"):
        return Objective("mean_latency")
    if isinstance(spec, Mapping) and set(spec) == {"slo_ms"} and isinstance(spec["slo_ms"], Mapping):
        limits = dict(spec["slo_ms"])
        names = [tenant.name for tenant in graph.tenants]
        unknown = sorted(set(limits) - set(names))
        if unknown:
            raise SearchError(f"slo_ms names tenants {unknown}; expected some of {names}")
        if not limits:
            raise SearchError("slo_ms is empty; expected at least one tenant with its limit in milliseconds")
        for name, limit in limits.items():
            if isinstance(limit, bool) or not isinstance(limit, (int, float)) or not limit > 0:
                raise SearchError(f"slo_ms of tenant {name!r} is {limit!r}; expected positive milliseconds")
        return Objective("slo", tuple(limits[n] / 1e3 if n in limits else None for n in names))
    raise SearchError(
        f"objective {spec!r}; expected 'makespan', 'mean_latency' or {{'slo_ms': {{tenant: milliseconds}}}}"
    )
