"""Tune the kernels of models with MetaSchedule; with --coverage, --prune or --merge, look after a database of records."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from ..errors import LogError, TenantError
from .models import add_model_arguments, add_target_arguments, read_models


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``gacer-tvm tune``."""
    add_model_arguments(parser, required=False)
    add_target_arguments(parser)
    parser.add_argument(
        "-w", "--work-dir", type=Path, default=Path("tuning_logs"), metavar="FOLDER", help="the database; made or continued"
    )
    parser.add_argument("--trials", type=int, default=64, help="trials of each kernel")
    parser.add_argument("--rounds", type=int, default=2, help="how often to search for a schedule and tune what it uses")
    parser.add_argument("--longest", type=int, default=None, metavar="N", help="only the N kernels that take most of the time")
    parser.add_argument("--cores", type=int, default=None, help="cores of every kernel; those of its stream by default")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=10.0, help="time budget of each search for a schedule")
    parser.add_argument("--tracker", default=None, metavar="HOST:PORT", help="measure on the servers of a TVM RPC tracker")
    parser.add_argument("--tracker-key", default="gacer", metavar="KEY", help="key of these servers")
    parser.add_argument(
        "--coverage", action="store_true", help="list what the database holds (with models: what makes each of their kernels)"
    )
    parser.add_argument("--prune", type=int, default=None, metavar="K", help="keep the best K records of each kernel")
    parser.add_argument(
        "--merge", type=Path, nargs="+", default=None, metavar="FOLDER", help="write these databases into a new one, the work dir"
    )


def run(arguments: argparse.Namespace) -> int:
    """Tune, or look after a database."""
    chores = [name for name in ("coverage", "prune", "merge") if getattr(arguments, name) not in (None, False)]
    if len(chores) > 1:
        raise LogError(f"--{' and --'.join(chores)}: give one of them at a time")
    if chores:
        return _chore(chores[0], arguments)
    if not arguments.models:
        raise TenantError("no model given, expected at least one (or --coverage, --prune, --merge)")
    from ..tune.tune import tune

    tenants = read_models(arguments.models, arguments.shape, arguments.params, arguments.missing_constants)
    result = tune(
        tenants,
        arguments.target,
        arguments.work_dir,
        arguments.trials,
        rounds=arguments.rounds,
        seed=arguments.seed,
        cores=arguments.cores,
        longest=arguments.longest,
        device=arguments.device,
        tracker=arguments.tracker,
        tracker_key=arguments.tracker_key,
        search_seconds=arguments.seconds,
        cache=not arguments.no_cache,
    )
    print(result.as_text())
    return 0


def _chore(name: str, arguments: argparse.Namespace) -> int:
    from ..tune import databases

    folder = arguments.work_dir
    if name == "prune":
        kept, dropped = databases.prune(folder, arguments.prune)
        print(f"{kept} records kept in {folder}, {dropped} dropped")
    elif name == "merge":
        written, repeated = databases.merge(arguments.merge, folder)
        print(f"{written} records written to {folder}, {repeated} repeated ones left out")
    elif arguments.models:
        from ..executable.build import lower_tenants

        tenants = read_models(arguments.models, arguments.shape, arguments.params, arguments.missing_constants)
        library = lower_tenants(
            tenants, arguments.target, device=arguments.device, tuning_logs=[folder], cache=not arguments.no_cache
        )[1]
        _table(databases.coverage_of(library, folder))
    else:
        _table(databases.coverage(folder))
    return 0


def _table(lines: Sequence[object]) -> None:
    for line in lines:
        print(line)
