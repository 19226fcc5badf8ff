"""The collection: kernels alone and in company, timed in whole rounds, into a file that can be added to at any time."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

import numpy as np

from .. import __version__, progress
from .._tvm import tvm
from ..cost.device import Device
from ..cost.host import processor
from ..cost.near import near_only, rates_of
from ..cost.rows import Data, Noise, Session, Writer, read_rows, spread_of
from ..errors import DeviceError
from ..graph.model import MultiTenantGraph
from ..kernels.library import KernelLibrary
from .alone import AloneTurns
from .exchange import probe
from .groups import GroupTurns
from .kernels import Kernels
from .reference import Reference
from .rounds import Rounds
from .setting import Setting
from .steady import Steady

__all__ = ["Collected", "collect", "data_file"]


@dataclass
class Collected:
    """What a call of `collect` added, and what was there: `alone` and `groups` are new, `known` was measured before.

    `again` are kernels that were timed a second time. `reference` are medians of the reference kernel, microseconds; `lost` are
    seconds in which cores lay far from each other and nothing was kept.
    """

    path: Path
    alone: int = 0
    groups: int = 0
    known: int = 0
    again: int = 0
    failures: int = 0
    seconds: float = 0.0
    reference: list[float] = field(default_factory=list)
    lost: float = 0.0
    stopped_by: str = "finished"

    def as_text(self) -> str:
        """A few lines for people."""
        noise = ""
        if self.reference:
            low, middle, high = np.quantile(self.reference, (0.1, 0.5, 0.9))
            noise = f"; reference kernel {middle:.1f} µs, p10 {low:.1f}, p90 {high:.1f}"
        if self.lost >= 1.0:
            noise += f"; {self.lost:.0f} s of it lost to cores that lay far from each other"
        return (
            f"{self.alone} kernel and {self.groups} group measurements added to {self.path} in {self.seconds:.0f} s, "
            f"{self.again} kernels timed a second time, {self.known} were known, {self.failures} failed; {self.stopped_by}{noise}"
        )


def data_file(folder: str | Path) -> Path:
    """The file of measurements in a device's folder; a path that ends in ``.jsonl`` is taken as it is."""
    folder = Path(folder)
    return folder if folder.suffix == ".jsonl" else folder / "profile.jsonl"


def collect(
    graph: MultiTenantGraph,
    library: KernelLibrary,
    device: Device,
    out: str | Path,
    *,
    models: Sequence[str] | None = None,
    name: str | None = None,
    seconds: float | None = None,
    most_alone: int = 1000,
    most_groups: int = 400,
    repeats: int = 12,
    seed: int = 0,
    patience: float = 120.0,
    note: str = "",
) -> Collected:
    """Measure kernels of a tenant set alone and in groups; what `out` has already is not measured again.

    Parameters
    ----------
    graph, library, device
        The tenants, lowered; their kernels are compiled as they are needed.
    out
        A folder (made if need be) or a ``.jsonl`` file.
    models
        What each tenant's model is called in the data, by which splits are made; the tenants' names by default.
    name
        Of the tenant set; the models' names by default.
    seconds
        Time to measure; half of it is for kernels alone. None: until everything is measured.
    most_alone, most_groups
        How many measurements to have of this set at most, known ones included; so many kernels are timed a second time too.
    repeats
        Rounds that each is timed in.
    seed
        Of the groups that are drawn. The same seed continues the same draw.
    patience
        Seconds that may be lost, in all, by waiting until cores lie near each other again (`gacer_tvm.cost.near`); a quarter
        of `seconds` at most. What is measured after that is marked, and not learned from. 0: nobody looks where cores lie.
    note
        Stands in the session's line: conditions of the machine that no program can see.

    Raises
    ------
    DeviceError
        Where the device is no CPU of this machine.
    """
    if device.kind != "cpu":
        raise DeviceError(f"device {device.name!r}: profiling drives CPU kernels so far; measure a GPU's with `bench`")
    path = data_file(out)
    # What was measured while cores lay far from each other is measured once more.
    known, _ = near_only(read_rows(path) if path.exists() else Data())
    result = Collected(path)
    began = time.perf_counter()
    labels = list(models or [t.name for t in graph.tenants])
    label = name or "+".join(sorted(labels))
    with Writer(path) as writer:
        session = uuid.uuid4().hex[:8]
        writer.write(
            Session(
                session,
                device,
                processor(),
                {"gacer_tvm": __version__, "tvm": str(tvm.__version__), "numpy": np.__version__},
                datetime.now(timezone.utc).isoformat(timespec="seconds"),
                note=note,
            )
        )
        reference = Reference(library.target)
        rate = probe(library.target, device.units if patience > 0 else 1)

        def noise() -> float:
            spread = spread_of(reference.seconds())
            load = os.getloadavg()[0] if hasattr(os, "getloadavg") else -1.0
            at = round(time.perf_counter() - began, 1)
            writer.write(Noise(session, spread, round(load, 2), at, round(rate(), 1)))
            result.reference.append(spread[2])
            return spread[2]

        kernels = Kernels(graph, library, labels, writer, session, known)
        steady = Steady(rate, rates_of(known), patience if seconds is None else min(patience, 0.25 * seconds))
        setting = Setting(kernels, Rounds(graph, library, device), device, label, known, repeats, noise, steady)
        alone, groups = AloneTurns(setting), GroupTurns(setting, seed)
        try:
            with progress.update(f"kernels alone, {label}", alone.total(most_alone)) as task:
                limit = None if seconds is None else began + 0.5 * seconds
                if not alone.run(most_alone, limit, lambda n: task.advance(n)):
                    result.stopped_by = "the time for kernels alone was up"
            if len(graph.tenants) > 1 and alone.measured:
                with progress.update(f"groups, {label}", max(0, most_groups - groups.known)) as task:
                    limit = None if seconds is None else began + seconds
                    if not groups.run(most_groups, alone.measured, limit, lambda n: task.advance(n)):
                        result.stopped_by = "the time was up"
        except KeyboardInterrupt:
            result.stopped_by = "interrupted"
        result.alone, result.groups, result.again = alone.added, groups.added, alone.again
        result.known, result.failures = alone.known + groups.known, kernels.failures
        result.lost = steady.lost
    result.seconds = time.perf_counter() - began
    return result
