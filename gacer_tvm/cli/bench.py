"""Time the plain ways and a schedule beside each other on given models, or run a suite of benchmarks."""

from __future__ import annotations

import argparse

from .models import add_model_arguments, add_record_argument, add_target_arguments, read_models


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``gacer-tvm bench``."""
    add_model_arguments(parser)
    models = next(a for a in parser._actions if a.dest == "models")
    models.nargs = "*"
    add_target_arguments(parser)
    parser.add_argument("--suite", choices=("core",), default=None, help="run a suite instead of models")
    parser.add_argument(
        "--only", nargs="*", default=None, metavar="SECTION", help="sections of the suite (replay, checker, build, demo, sets)"
    )
    add_record_argument(parser)
    parser.add_argument("--schedule", default="auto", help="what to put beside sequential and parallel")
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--seconds", type=float, default=20.0, help="time budget of the search, and of measuring in it")


def run(arguments: argparse.Namespace) -> int:
    """Measure and print."""
    if arguments.suite is not None:
        from ..bench.core import main

        return main([] if arguments.only is None else ["--only", *arguments.only])
    from ..bench.compare import compare

    tenants = read_models(arguments.models, arguments.shape, arguments.params, arguments.missing_constants)
    result = compare(
        tenants,
        arguments.target,
        arguments.schedule,
        device=arguments.device,
        tuning_logs=arguments.tuning_logs,
        cache=not arguments.no_cache,
        repeats=arguments.repeats,
        search_seconds=arguments.seconds,
        record=arguments.record,
    )
    print(result.as_text())
    return 0
