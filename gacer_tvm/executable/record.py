"""What a build measures anyway, kept as data: makespans beside every model's prediction, and the kernels alone.

Nothing is written unless the user names a place. Rows go to a file of their own beside those of `gacer-tvm profile`, so that
`gacer-tvm train --update` learns from them and `gacer-tvm logs --drift` tells where predictions went wrong.
"""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__
from .._tvm import tvm
from ..cost import AnalyticPrior, Device
from ..cost.facts import ShareFacts
from ..cost.footprint import distances, mean_distance
from ..cost.host import processor
from ..cost.learned import find_model
from ..cost.predicted import LearnedCost, MeasuredAndLearned
from ..cost.rows import Alone, Data, Kernel, Planned, Row, Session, Writer, kernel_key, read_rows, spread_of
from ..cost.sources import BUILD, devices_measured
from ..errors import LogError
from ..graph.model import MultiTenantGraph
from ..schedule import Provenance, Schedule
from ..schedule.file import to_json
from ..sim import Simulator
from .measure import Quantiles

__all__ = ["FILE", "Recorder", "cost_name", "schedule_hash"]

FILE = "builds.jsonl"
"""The file in a device's folder of measurements."""


def schedule_hash(schedule: Schedule) -> str:
    """Tells schedules apart by what they do, not by where they come from: 12 hexadecimal digits."""
    return hashlib.sha256(to_json(schedule.replace(provenance=Provenance())).encode()).hexdigest()[:12]


def cost_name(cost: Any) -> str:
    """A cost model's name without its error, the same in every process: ``prior``, ``measured``, ``learned:<hash>`` …"""
    if isinstance(cost, MeasuredAndLearned):
        return f"measured+{cost_name(cost.learned)}"
    if isinstance(cost, LearnedCost):
        return f"learned:{cost.model.hash}"
    return str(cost.name)


class Recorder:
    """Appends what is measured of one graph on one device.

    Every makespan is recorded with the prediction of each cost model at hand: the one that a search used (mostly kernels
    measured on the spot: what is wrong then is company or simulator), the device's learned model by itself (what drifts),
    and the prior (what the learned model has to beat).

    Parameters
    ----------
    place
        A device's folder of measurements (made if need be), or a ``.jsonl`` file.
    graph, library, device
        What is measured where.
    models
        Folders where the device's learned model is looked for, beside `place`.

    Raises
    ------
    LogError
        Where `place` holds measurements of another device or processor, or cannot be written.
    """

    def __init__(
        self,
        place: str | Path,
        graph: MultiTenantGraph,
        library: Any,
        device: Device,
        models: Sequence[str | Path] = (),
    ) -> None:
        place = Path(place)
        self.path = place if place.suffix == ".jsonl" else place / FILE
        folder = self.path.parent
        self.graph, self.library, self.device = graph, library, device
        self.session = uuid.uuid4().hex[:8]
        self.set = "+".join(sorted(t.name for t in graph.tenants))
        self._distances = distances(graph)
        known = read_rows(place) if place.exists() else Data()
        others = sorted(set(devices_measured(known)) - {device.name})
        if others:
            raise LogError(
                f"{place} holds measurements of {', '.join(others)}, this is {device.name}; give every device a folder of its "
                f"own, for example {folder.parent / device.name}"
            )
        # Equal extensions and core counts do not make equal cores.
        where = {s.processor for s in known.sessions.values() if s.device.name == device.name}
        if device.kind == "cpu" and where and processor() not in where:
            raise LogError(
                f"{place} holds measurements of {', '.join(sorted(where))}, this is {processor()}; give every machine a "
                f"folder of its own"
            )
        self._written = {(k, m) for k, owners in known.owners.items() for m in owners}
        self._counts = {"kernel measurements": 0, "predictions with their makespans": 0}
        self._simulators: dict[str, tuple[Simulator, float]] = {}
        self.add_cost(AnalyticPrior())
        learned, _ = find_model(device, (folder, *models))
        if learned is not None:
            self.add_cost(LearnedCost(learned, counts=library.counts))
        versions = {"gacer_tvm": __version__, "tvm": str(tvm.__version__), "numpy": np.__version__}
        began = datetime.now(timezone.utc).isoformat(timespec="seconds")
        self._append([Session(self.session, device, processor(), versions, began)])

    def add_cost(self, cost: Any) -> None:
        """Record the predictions of this model too."""
        learned = cost.learned if isinstance(cost, MeasuredAndLearned) else cost
        error = learned.model.error if isinstance(learned, LearnedCost) else 0.0
        self._simulators[cost_name(cost)] = Simulator(self.graph, self.device, cost), error

    def as_text(self) -> str:
        """What was added, in a line."""
        if not any(self._counts.values()):
            return f"nothing was measured, nothing added to {self.path}"
        return f"{' and '.join(f'{count} {what}' for what, count in self._counts.items())} added to {self.path}"

    def alone(self, seconds: Mapping[tuple[int, int, int | None], Sequence[float]]) -> None:
        """Kernels alone: (operator, items, cores) to its seconds in several rounds of the whole graph, as many for each.

        Operators that share a kernel make one row: the mean of its calls in each round.
        """
        facts = ShareFacts(self.graph, self.library.counts)
        rows: list[Row] = []
        calls: dict[tuple[str, int, int], list[tuple[int, Sequence[float]]]] = {}
        for (operator, items, cores), found in seconds.items():
            tenant = self.graph.tenants[self.graph.operators[operator].tenant]
            key = kernel_key(self.library, operator, tenant.batch, cores)
            if (key, tenant.name) not in self._written:
                self._written.add((key, tenant.name))
                rows.append(Kernel(key, tenant.name, facts.on(cores)[operator]))
            # Rows of devices without core budgets say 0.
            calls.setdefault((key, items, (cores or 0) if self.device.kind == "cpu" else 0), []).append((operator, found))
        for at, several in calls.items():
            values = np.mean([found for _, found in several], axis=0)
            away = mean_distance(self._distances[operator] for operator, _ in several)
            rows.append(
                Alone(self.session, *at, spread_of(values), len(values), 0.0, self.set, *away, source=BUILD)
            )
        self._append(rows)

    def makespans(self, schedules: Mapping[str, Schedule], timed: Mapping[str, Quantiles]) -> None:
        """Ways of running the graph: each schedule by name, and its timings."""
        load = round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else -1.0
        rows: list[Row] = []
        for way, schedule in schedules.items():
            q, plan = timed[way], schedule_hash(schedule)
            low, middle, high = (round(v * 1e6, 2) for v in (q.at(0.1), q.median, q.at(0.9)))
            for model, (simulator, error) in self._simulators.items():
                predicted = round(simulator.score(schedule).makespan * 1e6, 2)
                rows.append(
                    Planned(
                        self.session, self.set, model, predicted, middle, round(error, 4), way, plan, low, high,
                        len(q.seconds), load,
                    )
                )  # fmt: skip
        self._append(rows)

    def _append(self, rows: Sequence[Row]) -> None:
        with Writer(self.path) as writer:
            for row in rows:
                writer.write(row)
                if isinstance(row, Alone):
                    self._counts["kernel measurements"] += 1
                elif isinstance(row, Planned):
                    self._counts["predictions with their makespans"] += 1
