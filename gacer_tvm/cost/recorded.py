"""Costs that were measured, with the gaps filled in the shape of the prior."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from ..errors import SearchError
from ..graph.model import MultiTenantGraph
from .device import Device
from .model import Cost, Estimates, Row
from .prior import AnalyticPrior

__all__ = ["RecordedCost"]


class RecordedCost:
    """Measured solo seconds, by operator or by kernel.

    A row that was not measured takes the prior's seconds times the ratio measured / prior of its neighbours:
    interpolated over log(items) between measurements of the same operator at the nearest core count, else of any
    operator with the same kernel, else the median ratio of everything measured. How often each happened is counted
    in `sources`.

    Parameters
    ----------
    by_operator
        ``(operator index, items, cores)`` to seconds; cores None stands for all cores.
    by_kernel
        ``(kernel name, items, cores)`` to seconds.
    prior
        What fills the gaps and gives width and bandwidth.
    name
        For reports.
    """

    def __init__(
        self,
        by_operator: Mapping[Row, float] | None = None,
        *,
        by_kernel: Mapping[tuple[str, int, int | None], float] | None = None,
        prior: Cost | None = None,
        name: str = "measured",
    ) -> None:
        self.name = name
        self._by_operator = dict(by_operator or {})
        self._by_kernel = dict(by_kernel or {})
        self._prior: Cost = prior or AnalyticPrior()
        self.sources: Counter[str] = Counter()
        for key, seconds in [*self._by_operator.items(), *self._by_kernel.items()]:
            if not (math.isfinite(seconds) and seconds > 0):
                raise SearchError(f"measured time of {key} is {seconds}, expected positive finite seconds")

    def estimate(self, graph: MultiTenantGraph, device: Device, rows: Sequence[Row]) -> Estimates:
        """Estimate every row; see `gacer_tvm.cost.model.Cost`."""
        alone = self._prior.estimate(graph, device, rows)
        by_operator, by_kernel, typical = self._ratios(graph, device)
        seconds = np.empty(len(rows))
        for n, (index, items, cores) in enumerate(rows):
            full = cores if cores is not None else device.units
            points, source = by_operator.get(index), "operator"
            if points is None:
                points, source = by_kernel.get(graph.operators[index].kernel), "kernel"
            if points is None:
                seconds[n] = alone.seconds[n] * typical
                self.sources["prior"] += 1
                continue
            exact = points.get((items, full))
            if exact is not None:
                seconds[n] = exact[0]
                self.sources[f"{source} measured"] += 1
                continue
            seconds[n] = alone.seconds[n] * _interpolate(points, items, full)
            self.sources[f"{source} interpolated"] += 1
        # The same bytes in another time: the demand follows the measurement.
        bandwidth = np.minimum(alone.bandwidth * alone.seconds / seconds, device.bandwidth)
        return Estimates(seconds, alone.width, bandwidth)

    def _ratios(self, graph: MultiTenantGraph, device: Device) -> tuple[dict[int, _Points], dict[str, _Points], float]:
        """For each operator and kernel: (items, cores) -> (seconds, measured / prior); and the median ratio."""
        example: dict[str, int] = {}
        for operator in graph.operators:
            example.setdefault(operator.kernel, operator.index)
        keyed: list[tuple[int, str, Row, float]] = []
        for (index, items, cores), seconds in self._by_operator.items():
            if 0 <= index < len(graph.operators):
                keyed.append((index, graph.operators[index].kernel, (index, items, cores), seconds))
        for (kernel, items, cores), seconds in self._by_kernel.items():
            if kernel in example:
                keyed.append((-1, kernel, (example[kernel], items, cores), seconds))
        if not keyed:
            return {}, {}, 1.0
        priors = self._prior.estimate(graph, device, [row for _, _, row, _ in keyed]).seconds
        by_operator: dict[int, _Points] = {}
        by_kernel: dict[str, _Points] = {}
        ratios = []
        for (index, kernel, row, seconds), prior in zip(keyed, priors, strict=True):
            point = (seconds, seconds / float(prior))
            at = (row[1], row[2] if row[2] is not None else device.units)
            ratios.append(point[1])
            if index >= 0:
                by_operator.setdefault(index, {})[at] = point
            by_kernel.setdefault(kernel, {})[at] = point
        return by_operator, by_kernel, float(np.median(ratios))


_Points = dict[tuple[int, int], tuple[float, float]]


def _interpolate(points: _Points, items: int, cores: int) -> float:
    """The ratio measured / prior at (items, cores), from the measurements at the nearest core count."""
    nearest = min({c for _, c in points}, key=lambda c: (abs(math.log(c / cores)), c))
    known = sorted((i, ratio) for (i, c), (_, ratio) in points.items() if c == nearest)
    logs = np.log([i for i, _ in known])
    return float(np.exp(np.interp(math.log(items), logs, np.log([ratio for _, ratio in known]))))
