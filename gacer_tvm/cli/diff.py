"""Compare two schedules: clusters, streams, pointers, cut operators."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``gacer-tvm diff``."""
    parser.add_argument("left", type=Path)
    parser.add_argument("right", type=Path)


def run(arguments: argparse.Namespace) -> int:
    """Print the differences; exit code 1 if there are any."""
    from ..schedule import Schedule
    from ..schedule.difference import difference

    lines = difference(Schedule.load(arguments.left), Schedule.load(arguments.right))
    for line in lines:
        print(line)
    if not lines:
        print("the two schedules are the same")
    return 1 if lines else 0
