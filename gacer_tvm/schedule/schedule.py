"""The schedule: splits, pointers, streams and order of one set of tenants on one device, as a frozen value.

A schedule says *what* is regulated; it never says which events are needed. Those follow from the data dependences, the
pointers and the memory plan when it is lowered (`gacer_tvm.plan`), so that no schedule can be racy by omission.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

__all__ = ["Provenance", "Schedule", "Stream", "TenantSchedule", "Wait"]

FORMAT = 1


class Stream(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An in-order queue of launches.

    Attributes
    ----------
    cores
        CPU cores that its kernels may use: one number for the whole schedule, or one for each cluster. Empty: all cores
        (on a GPU: no limit on its SMs).
    priority
        Hint to the device; greater runs first.
    """

    cores: tuple[int, ...] = ()
    priority: int = 0

    def cores_in(self, cluster: int) -> int | None:
        """Cores granted in `cluster`, or None for all of them."""
        if not self.cores:
            return None
        return self.cores[cluster] if len(self.cores) > 1 else self.cores[0]


class TenantSchedule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One tenant's part.

    Attributes
    ----------
    name
        The tenant's name.
    stream
        The stream that runs its operators unless `placement` says otherwise.
    pointers
        Positions in the operator sequence, ascending, where it waits for the other tenants. All tenants have equally
        many; cluster ``c`` of the tenant is ``[pointers[c-1], pointers[c])``, with 0 and the operator count at the
        ends.
    splits
        Position to chunk sizes in batch items; positions not named run whole.
    placement
        Position to the stream of each chunk (as many as `splits` gives, one for a whole operator).
    """

    name: str
    stream: int = 0
    pointers: tuple[int, ...] = ()
    splits: dict[int, tuple[int, ...]] = {}
    placement: dict[int, tuple[int, ...]] = {}

    def chunks(self, position: int, batch: int) -> tuple[int, ...]:
        """Chunk sizes at `position`; ``(batch,)`` where it is not cut."""
        return self.splits.get(position, (batch,))

    def streams_at(self, position: int) -> tuple[int, ...]:
        """Stream of each chunk at `position`."""
        placed = self.placement.get(position)
        if placed is not None:
            return placed
        return (self.stream,) * len(self.splits.get(position, (0,)))

    def cluster_of(self, position: int) -> int:
        """Index of the cluster that `position` belongs to."""
        return sum(1 for pointer in self.pointers if pointer <= position)


class Wait(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An extra edge: operator `after` of one tenant starts only when operator `before` of another has finished.

    Both ends are ``(tenant index, position)``.
    """

    before: tuple[int, int]
    after: tuple[int, int]


class Provenance(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a schedule comes from; never used to run it.

    Attributes
    ----------
    strategy
        ``sequential``, ``parallel``, ``coordinate-descent``, ``random`` …
    cost_model
        What predicted it (``prior``, ``learned:<hash>``, ``measured``); empty where nothing did.
    predicted_seconds, bound_seconds
        Predicted makespan and the lower bound under the same cost model.
    measured_seconds
        Median makespan on the device, where it was measured.
    seed
        Seed of the search.
    """

    strategy: str = ""
    cost_model: str = ""
    predicted_seconds: float | None = None
    bound_seconds: float | None = None
    measured_seconds: float | None = None
    seed: int | None = None


class Schedule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Splits, pointers, streams and order for one set of tenants on one device.

    Attributes
    ----------
    graph
        Fingerprint of the multi-tenant graph that it was made for.
    device
        Name of the device that it was made for (`gacer_tvm.cost.Device.name`).
    tenants
        One entry a tenant, in the graph's order.
    streams
        The streams; indices elsewhere refer to it.
    order
        The order of issue, run-length encoded: ``(tenant index, how many of its next operators)``. Streams shared by
        several operators run them in this order; chunks of one operator are issued one after the other.
    waits
        Extra edges between tenants.
    provenance
        Where it comes from.
    """

    graph: str
    device: str
    tenants: tuple[TenantSchedule, ...]
    streams: tuple[Stream, ...]
    order: tuple[tuple[int, int], ...]
    waits: tuple[Wait, ...] = ()
    provenance: Provenance = Provenance()
    format: int = FORMAT

    @property
    def clusters(self) -> int:
        """How many clusters the pointers make."""
        return len(self.tenants[0].pointers) + 1 if self.tenants else 0

    def issue(self) -> Iterator[tuple[int, int]]:
        """Yield ``(tenant index, position)`` in the order of issue."""
        done = [0] * len(self.tenants)
        for tenant, count in self.order:
            for position in range(done[tenant], done[tenant] + count):
                yield tenant, position
            done[tenant] += count

    def replace(self, **changes: Any) -> Schedule:
        """A copy with some fields changed."""
        return msgspec.structs.replace(self, **changes)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write it as JSON; see `gacer_tvm.schedule.file.save`."""
        from . import file

        return file.save(self, path)

    @staticmethod
    def load(path: str | os.PathLike[str]) -> Schedule:
        """Read it from a JSON file; see `gacer_tvm.schedule.file.load`."""
        from . import file

        return file.load(path)
