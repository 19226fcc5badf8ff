"""Find a schedule for models on a device and save it."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..errors import SearchError
from .models import add_model_arguments, add_record_argument, add_target_arguments, read_models


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``gacer-tvm search``."""
    add_model_arguments(parser)
    add_target_arguments(parser)
    parser.add_argument("--objective", choices=("makespan", "mean_latency"), default="makespan")
    parser.add_argument("--slo", action="append", default=[], metavar="TENANT=MS", help="latency limit of a tenant (repeatable)")
    parser.add_argument("--seconds", type=float, default=60.0, help="time budget")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-measure", action="store_true", help="choose by prediction only")
    add_record_argument(parser)
    parser.add_argument("-o", "--out", type=Path, default=None, metavar="FILE", help="where to save the schedule")


def run(arguments: argparse.Namespace) -> int:
    """Search, print, save."""
    from ..executable.build import assemble, lower_tenants

    objective: object = arguments.objective
    if arguments.slo:
        limits = {}
        for entry in arguments.slo:
            name, _, limit = entry.partition("=")
            try:
                limits[name] = float(limit)
            except ValueError:
                raise SearchError(f"--slo {entry!r}: expected TENANT=MILLISECONDS") from None
        objective = {"slo_ms": limits}
    tenants = read_models(arguments.models, arguments.shape, arguments.params, arguments.missing_constants)
    graph, library, device = lower_tenants(
        tenants, arguments.target, device=arguments.device, tuning_logs=arguments.tuning_logs, cache=not arguments.no_cache
    )
    with assemble(
        graph,
        library,
        device,
        "auto",
        objective=objective,
        seed=arguments.seed,
        search_seconds=arguments.seconds,
        measure=not arguments.no_measure,
        measure_seconds=arguments.seconds,
        record=arguments.record,
        tuning_logs=arguments.tuning_logs,
    ) as executable:
        print(executable.decision.as_text())
        if executable.recorder is not None:
            print(executable.recorder.as_text())
        if arguments.out is not None:
            executable.schedule.save(arguments.out)
            print(f"saved to {arguments.out}")
    return 0
