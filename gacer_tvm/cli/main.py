"""Entry point: parses arguments, shows progress, and turns our errors into one line and exit code 2."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

from .. import progress
from ..errors import GacerError

__all__ = ["main"]

# Command → the module of this package that has `add_arguments(parser)` and `run(arguments)`.
COMMANDS = {
    "build": "compile models into a bundle",
    "run": "run a bundle on inputs from .npz files",
    "bench": "time schedules, or a suite of benchmarks",
    "search": "find a schedule and save it",
    "inspect": "show a bundle, a schedule or a model",
    "diff": "compare two schedules",
    "convert": "print a saved Relay module as Relax",
    "tune": "tune the kernels of models with MetaSchedule",
    "logs": "what tuning logs hold",
    "profile": "measure kernels for the cost model",
    "train": "train the cost model from measurements",
    "doctor": "what this machine has and what is missing for CUDA",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="gacer-tvm", description="Several deep-learning models, one device, one regulated executable."
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    modules = {}
    for name, summary in COMMANDS.items():
        try:
            module = importlib.import_module(f".{name}", __package__)
        except ModuleNotFoundError as error:
            if error.name == f"{__package__}.{name}":
                continue
            raise
        modules[name] = module
        module.add_arguments(commands.add_parser(name, help=summary, description=module.__doc__))
    given = parser.parse_args(arguments)
    try:
        if given.quiet or not sys.stderr.isatty():
            return int(modules[given.command].run(given) or 0)
        with progress.listen(progress.TqdmListener()):
            return int(modules[given.command].run(given) or 0)
    except GacerError as error:
        print(f"gacer-tvm {given.command}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"gacer-tvm {given.command}: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 0
