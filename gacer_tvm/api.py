"""The functions at the top of the package whose stages bear the same names; TVM is imported when they are called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .cost import Device
    from .schedule import Schedule

__all__ = ["search", "tune"]


def search(
    tenants: Mapping[str, Any] | Sequence[Any],
    target: Any = "cpu",
    *,
    objective: Any = "makespan",
    device: Device | str | None = None,
    tuning_logs: Any = None,
    measure: bool = True,
    seed: int = 0,
    seconds: float = 60.0,
    cache: str | Path | bool = True,
    record: str | Path | None = None,
) -> Schedule:
    """The best schedule found for several models on one device, to be saved and given to `build`.

    Parameters
    ----------
    tenants, target, device, tuning_logs, cache, record
        As for `gacer_tvm.build`.
    objective
        ``"makespan"``, ``"mean_latency"``, or ``{"slo_ms": {tenant: milliseconds}}``.
    measure
        Measure the best few on the device, where it is here, and return the winner; else the best by prediction.
    seed, seconds
        Seed, and time budget of the search (measuring takes as long again at most).

    Returns
    -------
    schedule
        Its `provenance` says how it was found, what was predicted and what was measured.
    """
    from .executable.build import assemble, lower_tenants

    graph, library, found = lower_tenants(tenants, target, device=device, tuning_logs=tuning_logs, cache=cache)
    with assemble(
        graph,
        library,
        found,
        "auto",
        objective=objective,
        seed=seed,
        search_seconds=seconds,
        measure=measure,
        measure_seconds=seconds,
        tuning_logs=tuning_logs,
        record=record,
    ) as executable:
        return executable.schedule


def tune(
    tenants: Mapping[str, Any] | Sequence[Any],
    target: Any = "cpu",
    work_dir: str | Path = "tuning_logs",
    trials: int = 64,
    **given: Any,
) -> Any:
    """Tune the kernels of several models with MetaSchedule; see `gacer_tvm.tune.tune.tune`."""
    from .tune.tune import tune as run

    return run(tenants, target, work_dir, trials, **given)
