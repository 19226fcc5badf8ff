"""The main job on real weights and real input: three OCR models in, one regulated executable out, pages read."""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .. import progress
from ..errors import GacerError

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; returns 1 where a line was read wrong or a number is off."""
    parser = argparse.ArgumentParser(prog="python -m gacer_tvm.demo", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(".demo"), help="where schedule, trace and pictures go")
    parser.add_argument("--pages", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=30, help="measured rounds of each side")
    parser.add_argument("--seconds", type=float, default=20.0, help="time budget of the search, and of measuring in it")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    try:
        with progress.listen(progress.TqdmListener()) if sys.stderr.isatty() else contextlib.nullcontext():
            return _run(given)
    except GacerError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 2


def _run(given: argparse.Namespace) -> int:
    import gacer_tvm

    from ..bench.conditions import conditions
    from ..executable.build import assemble, lower_tenants
    from . import pipeline, weights
    from .measure import measure
    from .page import pages
    from .reference import OnnxRuntime

    files = weights.model_files()
    characters = weights.alphabet(files["rec"])
    drawn = pages(given.pages, lines=pipeline.BATCH)
    shapes = pipeline.shapes(drawn[0])
    began = time.perf_counter()
    tenants = {n: gacer_tvm.Tenant.from_onnx(f, {"x": shapes[n]}, name=n) for n, f in files.items()}
    for tenant in tenants.values():
        print(tenant)
    graph, library, device = lower_tenants(tenants)
    about = conditions(device)
    plain = {way: assemble(graph, library, device, way) for way in ("sequential", "parallel")}
    print(
        f"{len(graph.operators)} operators, {library.compiled} kernels compiled, ready after "
        f"{time.perf_counter() - began:.1f} s"
    )

    # Read the pages once the plain way; the inputs of the fullest round are what everything is measured on.
    _, fed = pipeline.read_pages(drawn, characters, plain["sequential"].run)
    real = {name: fed[turn][name] for name, turn in (("det", 0), ("cls", 1), ("rec", 2))}
    gacer = assemble(
        graph,
        library,
        device,
        "auto",
        seed=given.seed,
        search_seconds=given.seconds,
        measure_seconds=given.seconds,
        inputs=real,
    )
    print(gacer.decision.as_text())
    texts, _ = pipeline.read_pages(drawn, characters, gacer.run)
    wrong = 0
    for number, (page, read) in enumerate(zip(drawn, texts, strict=True)):
        print(f"\npage {number}: drawn | read")
        for line in range(max(len(page.lines), len(read))):
            left = page.lines[line] if line < len(page.lines) else "(nothing)"
            right = read[line] if line < len(read) else "(nothing)"
            wrong += left != right
            turned = " (upside down)" if line < len(page.lines) and page.upside_down[line] else ""
            print(f"  {'  ' if left == right else '! '}{left:34s} | {right}{turned}")
    alone = {}
    for name, tenant in tenants.items():
        own_graph, own_library, _ = lower_tenants({name: tenant})
        alone[name] = assemble(own_graph, own_library, device, "sequential")
    table = measure(
        {**plain, "gacer": gacer}, alone, real, OnnxRuntime(files, device.units), repeats=given.repeats
    )
    print(f"\n{about}; {given.repeats} rounds of each side, interleaved; per tenant: until its last kernel is done\n")
    print(table.as_text())

    given.out.mkdir(parents=True, exist_ok=True)
    gacer.schedule.save(given.out / "schedule.json")
    profile = gacer.profile()
    profile.trace(given.out / "trace.json")
    profile.draw(given.out / "timeline.png", title="one measured round under the GACER schedule")
    _picture(drawn[0].image, given.out / "page.png")
    print(f"\nleft in {given.out}: schedule.json, trace.json (opens in Perfetto), timeline.png, page.png")
    error = table.rows[-1].error
    for executable in (*plain.values(), *alone.values(), gacer):
        executable.close()
    if wrong or not error < 1e-3:
        print(f"FAILED: {wrong} lines read wrong, largest relative error {error:.1e} (expected below 1e-3)", file=sys.stderr)
        return 1
    return 0


def _picture(image: Any, path: Path) -> None:
    from PIL import Image

    from ..kernels.store import write_beside

    write_beside(path, lambda p: Image.fromarray(image).save(p))


