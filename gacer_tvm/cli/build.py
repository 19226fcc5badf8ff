"""Compile models into one bundle."""

from __future__ import annotations

import argparse
from pathlib import Path

from .models import add_model_arguments, add_record_argument, add_target_arguments, read_models


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``gacer-tvm build``."""
    add_model_arguments(parser)
    add_target_arguments(parser)
    parser.add_argument("--schedule", default="auto", help="auto, sequential, parallel, or a schedule file")
    parser.add_argument("--seconds", type=float, default=20.0, help="time budget of the search, and of measuring")
    parser.add_argument("--seed", type=int, default=0)
    add_record_argument(parser)
    parser.add_argument("-o", "--out", type=Path, default=None, metavar="FOLDER", help="where to save the bundle")


def run(arguments: argparse.Namespace) -> int:
    """Build, report, save."""
    from ..executable import build

    tenants = read_models(arguments.models, arguments.shape, arguments.params, arguments.missing_constants)
    with build(
        tenants,
        arguments.target,
        arguments.schedule,
        device=arguments.device,
        tuning_logs=arguments.tuning_logs,
        cache=not arguments.no_cache,
        seed=arguments.seed,
        search_seconds=arguments.seconds,
        measure_seconds=arguments.seconds,
        record=arguments.record,
    ) as executable:
        print(executable.report())
        if executable.recorder is not None:
            print(executable.recorder.as_text())
        if arguments.out is not None:
            print(f"saved to {executable.save(arguments.out)}")
    return 0
