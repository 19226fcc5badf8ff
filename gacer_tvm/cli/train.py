"""Train the cost model from measurements, judged on models and tenant sets held out whole."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..errors import LogError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``gacer-tvm train``."""
    parser.add_argument("data", nargs="+", type=Path, metavar="PATH", help="files of measurements, or folders of them")
    parser.add_argument(
        "-o", "--out", type=Path, default=None, metavar="FILE", help="the model; model.json beside the data by default"
    )
    parser.add_argument("--device", default=None, help="the device to learn, where the data is of several")
    parser.add_argument("--folds", type=int, default=10, help="parts held out one after the other")
    parser.add_argument("--rounds", type=int, default=600, help="trees")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--also-device",
        action="append",
        default=[],
        metavar="NAME",
        help="learn from another device's kernels too, at less weight (repeatable)",
    )
    parser.add_argument(
        "--update",
        action="store_true",
        help="train only if there is data that the model has not seen; exit code 1 where the old model stays, being better",
    )
    parser.add_argument("--force", action="store_true", help="with --update: take the new model even if it is worse")
    parser.add_argument("--evaluate", action="store_true", help="print the scores only, write nothing")


def run(arguments: argparse.Namespace) -> int:
    """Train, print the card, save."""
    from ..cost.train import train

    first = arguments.data[0]
    path = arguments.out or (first if first.is_dir() else first.parent) / "model.json"
    given = {
        "device": arguments.device,
        "also": arguments.also_device,
        "folds": arguments.folds,
        "rounds": arguments.rounds,
        "seed": arguments.seed,
    }
    if arguments.update:
        return _update(arguments, path, given)
    if arguments.force:
        raise LogError("--force goes with --update: without it the model is written in any case")
    model = train(arguments.data, **given)
    print(f"device {model.device.name}\n{model.card.as_text()}")
    if not arguments.evaluate:
        print(f"saved to {model.save(path)}")
    return 0


def _update(arguments: argparse.Namespace, path: Path, given: dict[str, Any]) -> int:
    from ..cost.update import update

    done = update(arguments.data, path, force=arguments.force, **given)
    print(done.as_text())
    if done.write:
        print(f"device {done.model.device.name}\n{done.model.card.as_text()}")
        if not arguments.evaluate:
            print(f"saved to {done.model.save(path)}")
    return 1 if done.outcome == "worse" else 0
