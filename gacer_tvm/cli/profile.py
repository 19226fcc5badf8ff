"""Measure kernels alone and in groups, as data for the cost model; continues where it was stopped."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..errors import TenantError
from .models import add_model_arguments, add_target_arguments, read_models


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``gacer-tvm profile``."""
    add_model_arguments(parser, required=False)
    add_target_arguments(parser)
    parser.add_argument(
        "--suite",
        default=None,
        metavar="SETS",
        help="profile tenant sets that come with the package instead of models: all, or names such as a,c,f",
    )
    parser.add_argument(
        "-o", "--out", type=Path, default=None, metavar="FOLDER", help="where the data is; tuning_logs/<device> by default"
    )
    parser.add_argument("--seconds", type=float, default=None, help="time to measure, for all sets together")
    parser.add_argument(
        "--alone", type=int, default=1000, metavar="N", help="kernels alone to measure in each set at most, each twice"
    )
    parser.add_argument("--groups", type=int, default=400, metavar="N", help="groups to measure in each set at most")
    parser.add_argument("--repeats", type=int, default=12, help="rounds that each is timed in")
    parser.add_argument(
        "--patience", type=float, default=120.0, metavar="S",
        help="seconds to lose, in each set, to cores that a virtual machine's host has moved far from each other; 0: not looked",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--note", default="", help="conditions of the machine, to stand in the data")


def run(arguments: argparse.Namespace) -> int:
    """Measure, set by set."""
    from ..executable.build import lower_tenants
    from ..profile import SUITE, collect, suite_tenants

    if bool(arguments.models) == (arguments.suite is not None):
        raise TenantError("give models or --suite SETS, one of them")
    names = [""] if arguments.models else list(SUITE) if arguments.suite == "all" else arguments.suite.split(",")
    left = arguments.seconds
    for n, name in enumerate(names):
        if name:
            tenants, models = suite_tenants(name)
        else:
            tenants = read_models(arguments.models, arguments.shape, arguments.params, arguments.missing_constants)
            models = list(tenants)
        graph, library, device = lower_tenants(
            tenants,
            arguments.target,
            device=arguments.device,
            tuning_logs=arguments.tuning_logs,
            cache=not arguments.no_cache,
        )
        result = collect(
            graph,
            library,
            device,
            arguments.out or Path("tuning_logs") / device.name,
            models=models,
            name=name or None,
            seconds=None if left is None else left / (len(names) - n),
            most_alone=arguments.alone,
            most_groups=arguments.groups,
            repeats=arguments.repeats,
            seed=arguments.seed,
            patience=arguments.patience,
            note=arguments.note,
        )
        print(f"{name + ': ' if name else ''}{result.as_text()}", flush=True)
        if result.stopped_by == "interrupted":
            return 130
        if left is not None:
            left = max(0.0, left - result.seconds)
    return 0
