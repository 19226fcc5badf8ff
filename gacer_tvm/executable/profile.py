"""What a round looked like, launch by launch, as a value; as a Chrome trace for Perfetto; as a picture."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import GacerError
from ..graph.model import MultiTenantGraph
from ..kernels.store import write_beside
from ..plan import LaunchPlan

__all__ = ["Profile", "Span"]


@dataclass(frozen=True, slots=True)
class Span:
    """One launch in a measured round.

    Attributes
    ----------
    tenant, operator
        Names.
    items
        ``(first, last + 1)`` batch items.
    stream, cluster
        Where the schedule put it.
    start, end
        Seconds since the round began.
    rule
        What made its kernel.
    flops, bytes
        Its work.
    """

    tenant: str
    operator: str
    items: tuple[int, int]
    stream: int
    cluster: int
    start: float
    end: float
    rule: str
    flops: float
    bytes: float

    @property
    def seconds(self) -> float:
        """How long it ran."""
        return self.end - self.start


@dataclass(frozen=True)
class Profile:
    """A measured round.

    Attributes
    ----------
    spans
        Every launch, in order of issue.
    streams
        How many streams.
    """

    spans: tuple[Span, ...]
    streams: int

    @staticmethod
    def of(
        graph: MultiTenantGraph, plan: LaunchPlan, times: Sequence[tuple[float, float]], rules: dict[int, str]
    ) -> Profile:
        """Put names to the measured times of a plan's launches."""
        spans = []
        for launch, (start, end) in zip(plan.launches, times, strict=True):
            operator = graph.operators[launch.operator]
            info = graph.tenants[operator.tenant]
            flops, size = operator.work.at(launch.items, info.batch)
            spans.append(
                Span(
                    tenant=info.name,
                    operator=operator.name,
                    items=(launch.first, launch.first + launch.items),
                    stream=launch.stream,
                    cluster=plan.schedule.tenants[operator.tenant].cluster_of(operator.position),
                    start=start,
                    end=end,
                    rule=rules.get(launch.index, ""),
                    flops=flops,
                    bytes=size,
                )
            )
        return Profile(tuple(spans), plan.streams)

    @property
    def makespan(self) -> float:
        """Seconds from the first start to the last end."""
        return max(s.end for s in self.spans) - min(s.start for s in self.spans) if self.spans else 0.0

    def residue(self, capacity: int) -> float:
        """Stream-seconds left idle on `capacity` streams: capacity × makespan − busy time."""
        return capacity * self.makespan - sum(s.seconds for s in self.spans)

    def top(self, count: int = 10) -> tuple[Span, ...]:
        """The longest launches."""
        return tuple(sorted(self.spans, key=lambda s: -s.seconds)[:count])

    def as_text(self, count: int = 15) -> str:
        """A table of the longest launches."""
        lines = [f"{'ms':>9}  {'GFLOP/s':>8}  {'GB/s':>6}  stream  operator (items) · rule"]
        for span in self.top(count):
            seconds = max(span.seconds, 1e-9)
            lines.append(
                f"{seconds * 1e3:9.3f}  {span.flops / seconds * 1e-9:8.1f}  {span.bytes / seconds * 1e-9:6.1f}  "
                f"{span.stream:6d}  {span.operator} ({span.items[0]}..{span.items[1]}) · {span.rule}"
            )
        return "\n".join(lines)

    def trace(self, path: str | Path) -> Path:
        """Write Chrome trace JSON (opens in Perfetto): one process a tenant, one thread a stream."""
        path = Path(path)
        tenants = list(dict.fromkeys(s.tenant for s in self.spans))
        events: list[dict[str, Any]] = [
            {"ph": "M", "name": "process_name", "pid": n, "args": {"name": name}} for n, name in enumerate(tenants)
        ]
        for n in range(len(tenants)):
            events += [
                {"ph": "M", "name": "thread_name", "pid": n, "tid": s, "args": {"name": f"stream {s}"}}
                for s in range(self.streams)
            ]
        for span in self.spans:
            events.append(
                {
                    "ph": "X",
                    "name": span.operator,
                    "cat": f"cluster {span.cluster}",
                    "pid": tenants.index(span.tenant),
                    "tid": span.stream,
                    "ts": span.start * 1e6,
                    "dur": span.seconds * 1e6,
                    "args": {"items": list(span.items), "rule": span.rule, "flops": span.flops, "bytes": span.bytes},
                }
            )
        text = json.dumps({"traceEvents": events, "displayTimeUnit": "ms"})
        write_beside(path, lambda p: p.write_text(text))
        return path

    def draw(self, path: str | Path | None = None, title: str = "") -> Any:
        """Draw the time line: one row a stream, one colour a tenant, dashed lines where the clusters begin.

        Parameters
        ----------
        path
            Where to write the picture; None only returns the figure.

        Raises
        ------
        GacerError
            Without matplotlib (the extra ``viz``).
        """
        try:
            from matplotlib.figure import Figure
        except ImportError as error:
            raise GacerError("drawing needs matplotlib: pip install 'gacer-tvm[viz]'") from error
        tenants = list(dict.fromkeys(s.tenant for s in self.spans))
        figure = Figure(figsize=(11, 1.2 + 0.6 * self.streams), layout="constrained")
        axes = figure.add_subplot()
        for n, tenant in enumerate(tenants):
            for stream in range(self.streams):
                bars = [
                    (s.start * 1e3, s.seconds * 1e3)
                    for s in self.spans
                    if s.tenant == tenant and s.stream == stream
                ]
                axes.broken_barh(
                    bars,
                    (stream - 0.4, 0.8),
                    facecolors=f"C{n}",
                    edgecolor="white",
                    linewidth=0.3,
                    label=tenant if bars and not any(s.tenant == tenant and s.stream < stream for s in self.spans) else None,
                )
        for cluster in range(1, max((s.cluster for s in self.spans), default=0) + 1):
            starts = [s.start for s in self.spans if s.cluster == cluster]
            if starts:
                axes.axvline(min(starts) * 1e3, color="black", linestyle="--", linewidth=0.8)
        axes.set_yticks(range(self.streams), [f"stream {s}" for s in range(self.streams)])
        axes.invert_yaxis()
        axes.set_xlabel("ms")
        axes.set_title(title)
        if tenants:
            axes.legend(loc="upper right", fontsize="small")
        if path is not None:
            target = Path(path)
            write_beside(target, lambda p: figure.savefig(p, dpi=130, format=target.suffix.lstrip(".") or "png"))
        return figure
