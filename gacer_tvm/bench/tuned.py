"""What tuning is worth for an executable: ``python -m gacer_tvm.bench.tuned --trials 64``.

Two small tenants (MobileNetV3 and PP-OCRv4's detector) are built untuned, tuned from nothing with each seed, and built again:
run in turn, beside each other, and under GACER's schedule. All of these executables take turns. Tuning once more
with the same budget must do nothing.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..executable.build import assemble, lower_tenants
from ..executable.measure import interleave
from ..frontend import Tenant
from ..profile.exchange import Exchange
from ..tune.tune import tune
from .conditions import conditions
from .kernel_models import load

__all__ = ["main", "small_tenants"]

WAYS = ("sequential", "parallel", "auto")


def small_tenants(batch: int = 1) -> dict[str, Tenant]:
    """The two tenants."""
    return {name: load(name, batch)[0] for name in ("mobilenet_v3", "ppocr_det")}


def main(argv: Sequence[str] | None = None) -> int:
    """Tune and measure; print what was gained."""
    parser = argparse.ArgumentParser(prog="python -m gacer_tvm.bench.tuned", description=__doc__)
    parser.add_argument("--trials", type=int, default=64)
    parser.add_argument("--longest", type=int, default=None, metavar="N", help="tune only the N longest kernels")
    parser.add_argument("--cores", type=int, default=None, help="cores that kernels are tuned for; their streams' by default")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1])
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--repeats", type=int, default=2, help="comparisons, one after the other")
    parser.add_argument("--out", type=Path, default=None, metavar="FOLDER", help="where the databases stay")
    given = parser.parse_args(argv)
    tenants = small_tenants()
    print(conditions())
    with tempfile.TemporaryDirectory() as scratch:
        home = given.out or Path(scratch)
        folders: dict[str, list[Path]] = {"untuned": []}
        for seed in given.seeds:
            folder = home / f"seed-{seed}"
            options: dict[str, Any] = {
                "trials": given.trials, "longest": given.longest, "seed": seed, "rounds": 1, "cores": given.cores
            }  # fmt: skip
            done = tune(tenants, "cpu", folder, **options)
            again = tune(tenants, "cpu", folder, **options)
            said = "; ".join(again.notes)
            print(f"seed {seed}: {done.trials} trials; the second call: {again.trials} trials, {said}", flush=True)
            folders[f"tuned, seed {seed}"] = [folder]
        _compare(tenants, folders, given.rounds, given.repeats)
    return 0


def _compare(tenants: Any, folders: dict[str, list[Path]], rounds: int, repeats: int) -> None:
    sides: dict[tuple[str, str], Any] = {}
    for name, logs in folders.items():
        graph, library, device = lower_tenants(tenants, "cpu", tuning_logs=logs or None)
        for way in WAYS:
            sides[way, name] = assemble(graph, library, device, way, search_seconds=10.0, measure_seconds=10.0)
        made = sides["auto", name]
        print(f"{name}: GACER's schedule is {made.decision.chosen}, {len(made.schedule.streams)} streams, {_shares(made)}")
    exchange = Exchange(library.target, device.units) if device.units > 1 else None
    try:
        for _ in range(repeats):
            if exchange is not None:
                print(f"exchange between the cores: {exchange.rate() / 1e9:.0f} GB/s")
            timed = interleave({at: exe._ready(None).round for at, exe in sides.items()}, repeats=rounds, warmup=5)
            for (way, name), q in timed.items():
                print(f"{way}, {name}: {q} ({q.median / timed[way, 'untuned'].median - 1:+.1%})", flush=True)
    finally:
        for exe in sides.values():
            exe.close()


def _shares(exe: Any) -> str:
    """How many launches run on how many cores, and how many of them are tuned."""
    found: Counter[tuple[int | None, bool]] = Counter()
    for launch in exe.plan.launches:
        found[launch.cores, exe.library.get(*launch.kernel).rule.startswith("tuned")] += 1
    return ", ".join(
        f"{count} launches on {cores or 'all'} cores{' tuned' if tuned else ''}"
        for (cores, tuned), count in sorted(found.items(), key=str)
    )


if __name__ == "__main__":
    raise SystemExit(main())
