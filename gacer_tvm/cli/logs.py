"""What tuning logs hold (Ansor, AutoTVM, MetaSchedule before 0.20).

``logs convert`` writes what replays as a database, ``logs rows`` adds kernel times to the cost model's data, and
``logs --drift`` says of such data where the model has become wrong.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ..errors import LogError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``gacer-tvm logs``."""
    parser.add_argument(
        "paths",
        nargs="+",
        metavar="[convert|rows] FILE",
        help="log files or folders; `convert` first writes a database of them, `rows` first adds their kernel times to the "
        "cost model's data",
    )
    parser.add_argument(
        "--drift",
        action="store_true",
        help="of measurements for the cost model: where the model has become wrong since it was trained (exit code 1 if so)",
    )
    parser.add_argument(
        "--model", type=Path, default=None, metavar="FILE", help="--drift: the model; model.json beside the data by default"
    )
    parser.add_argument(
        "--device",
        default=None,
        metavar="NAME",
        help="--drift: the device, where there are several; rows: what the logs were measured on (cpu: this machine), where "
        "their targets do not tell",
    )
    parser.add_argument(
        "--weight", type=float, default=None, help="rows: what a row counts beside an own measurement; 0.2 by default"
    )
    parser.add_argument(
        "--replay", action="store_true", help="replay every workload's best record, and say what stopped it"
    )
    parser.add_argument("--verify", action="store_true", help="with --replay: also check each replay numerically")
    parser.add_argument("--target", default="cpu", help="target to replay for: cpu, cuda, sm_90, a tag ...")
    parser.add_argument(
        "--dictionary",
        default=None,
        metavar="FILE",
        help='JSON of your own: {workload key: {"dag": printed ComputeDAG}}',
    )
    parser.add_argument("-o", "--output", default=None, metavar="FOLDER", help="convert, rows: the folder to write to")
    parser.add_argument("--best", type=int, default=1, help="convert: how many records of each workload")


def run(arguments: argparse.Namespace) -> int:
    """Summarize, or convert."""
    from ..logs import load_dictionary, summarize

    if arguments.drift:
        return _drift(arguments)
    if arguments.paths[0] == "convert" and not Path("convert").exists():
        return _convert(arguments)
    if arguments.paths[0] == "rows" and not Path("rows").exists():
        return _rows(arguments)
    dictionary = load_dictionary(arguments.dictionary) if arguments.dictionary else None
    target = None
    if arguments.replay or arguments.verify:
        from ..kernels.target import make_target

        target = make_target(arguments.target)
    summary = summarize(arguments.paths, dictionary=dictionary, target=target, verify=arguments.verify)
    print(summary.as_text())
    return 0


def _drift(arguments: argparse.Namespace) -> int:
    from ..profile.drift import drift

    found = drift(arguments.paths, model=arguments.model, device=arguments.device)
    print(found.as_text())
    return 1 if found.fine is False else 0


def _rows(arguments: argparse.Namespace) -> int:
    from ..cost.device import Device
    from ..logs import load_dictionary, read_logs, write_rows
    from ..logs.cost_rows import LOG_WEIGHT

    if len(arguments.paths) < 2 or arguments.output is None:
        raise LogError("give logs and a folder of measurements: gacer-tvm logs rows FILE... -o FOLDER")
    name = arguments.device
    device = None if name is None else Device.host_cpu() if name == "cpu" else Device.named(name)
    logs = read_logs(arguments.paths[1:])
    done = write_rows(
        logs.records,
        arguments.output,
        device=device,
        weight=LOG_WEIGHT if arguments.weight is None else arguments.weight,
        dictionary=load_dictionary(arguments.dictionary) if arguments.dictionary else None,
    )
    print(done.as_text())
    for file in logs.files:
        for bad in file.bad:
            print(f"not read: {bad.count} x {bad.reason} (first {file.path}:{bad.first_line})")
    if device is None and done.by_device:
        print("to learn from them: gacer-tvm train DATA " + " ".join(f"--also-device {name}" for name in done.by_device))
    return 0


def _convert(arguments: argparse.Namespace) -> int:
    from ..kernels.target import make_target
    from ..logs import convert, load_dictionary, read_logs

    if len(arguments.paths) < 2 or arguments.output is None:
        raise LogError("give logs and an output folder: gacer-tvm logs convert FILE... -o FOLDER")
    dictionary = load_dictionary(arguments.dictionary) if arguments.dictionary else None
    records = read_logs(arguments.paths[1:]).records
    done = convert(
        records, arguments.output, make_target(arguments.target), dictionary=dictionary, best=max(arguments.best, 1)
    )
    for item in done.refused:
        print(item)
    print(f"{len(done.written)} schedules written to {done.work_dir}, {len(done.refused)} refused")
    return 0
