"""What a simulated run looked like, as a plain value."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Score", "Timeline"]


@dataclass(frozen=True, slots=True)
class Score:
    """The figures of a run.

    Attributes
    ----------
    makespan
        Seconds until everything is done.
    latencies
        Seconds until each tenant is done.
    work
        Unit-seconds that its kernels need.
    residue
        Unit-seconds left idle until the makespan: ``units x makespan - work`` (GACER's objective).
    """

    makespan: float
    latencies: tuple[float, ...]
    work: float
    residue: float


@dataclass(frozen=True)
class Timeline:
    """Every chunk of a run, in order of issue.

    Attributes
    ----------
    score
        The figures.
    operator, first_item, last_item, tenant, stream, cluster
        Of each chunk; int64 arrays of shape (chunks,); ``last_item`` is one past the last.
    start, end
        Seconds; float64.
    width, bandwidth
        Average units and bytes a second while it runs unhindered; float64.
    units
        The device's units.
    """

    score: Score
    operator: NDArray[np.int64]
    first_item: NDArray[np.int64]
    last_item: NDArray[np.int64]
    tenant: NDArray[np.int64]
    stream: NDArray[np.int64]
    cluster: NDArray[np.int64]
    start: NDArray[np.float64]
    end: NDArray[np.float64]
    width: NDArray[np.float64]
    bandwidth: NDArray[np.float64]
    units: float

    @property
    def makespan(self) -> float:
        """Seconds until everything is done."""
        return self.score.makespan

    @property
    def latencies(self) -> tuple[float, ...]:
        """Seconds until each tenant is done."""
        return self.score.latencies

    @property
    def residue(self) -> float:
        """Unit-seconds left idle."""
        return self.score.residue

    def usage(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Units wanted over time, as a step function.

        Returns
        -------
        edges
            Times in seconds, ascending, shape (n + 1,).
        units
            Units in use between neighbouring edges, at most `units`, shape (n,).
        """
        edges = np.unique(np.concatenate(([0.0, self.makespan], self.start, self.end)))
        steps = np.zeros(len(edges))
        np.add.at(steps, np.searchsorted(edges, self.start), self.width)
        np.add.at(steps, np.searchsorted(edges, self.end), -self.width)
        return edges, np.minimum(np.cumsum(steps)[:-1], self.units)

    def idle_during(self) -> NDArray[np.float64]:
        """For each chunk the unit-seconds that the device leaves idle while it runs, shared among those running."""
        edges, used = self.usage()
        present = np.zeros(len(edges))
        np.add.at(present, np.searchsorted(edges, self.start), 1.0)
        np.add.at(present, np.searchsorted(edges, self.end), -1.0)
        running = np.maximum(np.cumsum(present)[:-1], 1.0)
        idle = np.concatenate(([0.0], np.cumsum((self.units - used) * np.diff(edges) / running)))
        return idle[np.searchsorted(edges, self.end)] - idle[np.searchsorted(edges, self.start)]
