"""Report what this machine has for running models, and what is missing for CUDA and why."""

from __future__ import annotations

import argparse

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("--fast", action="store_true", help="do not try the CUDA compilers")
    parser.add_argument("--need-cuda", action="store_true", help="exit with 1 where CUDA cannot be used")


def run(given: argparse.Namespace) -> int:
    """Print the report."""
    from ..runtime.doctor import doctor

    health = doctor(trial=not given.fast)
    print(health.as_text())
    return int(given.need_cuda and not health.cuda)
