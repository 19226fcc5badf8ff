"""Train the cost model from measurements, judged on models and tenant sets held out whole."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``gacer-tvm train``."""
    parser.add_argument("data", nargs="+", type=Path, metavar="PATH", help="files of measurements, or folders of them")
    parser.add_argument(
        "-o", "--out", type=Path, default=None, metavar="FILE", help="the model; model.json beside the data by default"
    )
    parser.add_argument("--device", default=None, help="the device to learn, where the data is of several")
    parser.add_argument("--folds", type=int, default=5, help="parts held out one after the other")
    parser.add_argument("--rounds", type=int, default=300, help="trees")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--evaluate", action="store_true", help="print the scores only, write nothing")


def run(arguments: argparse.Namespace) -> int:
    """Train, print the card, save."""
    from ..cost.train import train

    model = train(
        arguments.data, device=arguments.device, folds=arguments.folds, rounds=arguments.rounds, seed=arguments.seed
    )
    print(f"device {model.device.name}\n{model.card.as_text()}")
    if not arguments.evaluate:
        first = arguments.data[0]
        path = arguments.out or (first if first.is_dir() else first.parent) / "model.json"
        print(f"saved to {model.save(path)}")
    return 0
