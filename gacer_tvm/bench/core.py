"""``gacer-tvm bench --suite core``: what the machinery itself costs, and the plain ways beside GACER on real models.

Every figure is printed with its conditions; nothing is compared across runs.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..graph import synthetic
from ..plan import check_plan, lower
from ..runtime import NullRuntime
from ..schedule import make
from .conditions import conditions

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the suite; sections can be chosen."""
    parser = argparse.ArgumentParser(prog="gacer-tvm bench --suite core", description=__doc__)
    parser.add_argument("--only", nargs="*", choices=tuple(_SECTIONS), default=tuple(_SECTIONS))
    parser.add_argument("--size", type=int, default=64, help="image size of the model sets")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=30)
    given = parser.parse_args(arguments)
    print(conditions())
    for name in given.only:
        print(f"\n{name}")
        for line in _SECTIONS[name](given):
            print(f"  {line}", flush=True)
    return 0


def _replay(given: argparse.Namespace) -> list[str]:
    """Host time of the replay loop a launch, with kernels that do nothing."""
    graph = synthetic.random_graph(0, tenants=3, operators=100)
    lines = []
    for name, schedule in (
        ("one stream", make.sequential(graph, "null")),
        ("three streams, no waits", make.parallel(graph, "null")),
        ("random schedule", make.random(graph, "null", 3)),
    ):
        plan = lower(schedule, graph)
        runtime = NullRuntime(plan, record=False)
        try:
            taken = _median(runtime.round, 50) / len(plan.launches)
        finally:
            runtime.close()
        lines.append(f"{name}: {taken * 1e6:.2f} us a launch ({len(plan.launches)} launches, {plan.edges} waits)")
    return lines


def _checker(given: argparse.Namespace) -> list[str]:
    """Time of the race checker for about a thousand launches."""
    graph = synthetic.random_graph(1, tenants=4, operators=250)
    lines = []
    for name, schedule in (
        ("parallel", make.parallel(graph, "null")),
        ("random schedule", make.random(graph, "null", 1)),
    ):
        plan = lower(schedule, graph)
        taken = _median(lambda plan=plan: check_plan(plan, graph), 7)
        lines.append(
            f"{name}: {taken * 1e3:.1f} ms for {len(plan.launches)} launches = {taken * 1e6 / len(plan.launches):.1f} ms "
            f"a thousand; lowering {_median(lambda s=schedule: lower(s, graph), 3) * 1e3:.1f} ms"
        )
    return lines


def _build(given: argparse.Namespace) -> list[str]:
    """Build time of {ResNet-50, VGG-16, MobileNetV3}, without and with stored kernels."""
    from .. import models
    from ..executable import build

    tenants = {name: models.tenant(name, given.batch, given.size) for name in models.SETS["mixed"]}
    with tempfile.TemporaryDirectory() as folder:
        taken = []
        for _ in range(2):
            began = time.perf_counter()
            build(tenants, schedule="parallel", cache=folder).close()
            taken.append(time.perf_counter() - began)
    cold, warm = taken
    return [
        f"cold {cold:.1f} s, with the kernel cache warm {warm:.1f} s ({warm / cold:.0%}); batch {given.batch}, "
        f"{given.size} x {given.size}, tenants imported beforehand"
    ]


def _demo(given: argparse.Namespace) -> list[str]:
    """Sequential, parallel and GACER on the demo's three OCR networks (random inputs)."""
    from ..demo import pipeline, weights
    from ..demo.page import pages
    from ..errors import GacerError
    from ..frontend import Tenant
    from .compare import compare

    try:
        files = weights.model_files()
        shapes = pipeline.shapes(pages(1)[0])
    except GacerError as error:
        return [f"left out: {error}"]
    result = compare(
        {name: Tenant.from_onnx(file, {"x": shapes[name]}, name=name) for name, file in files.items()},
        repeats=given.repeats,
    )
    return result.as_text().splitlines()


def _sets(given: argparse.Namespace) -> list[str]:
    """Sequential, parallel and GACER on two model sets."""
    from .. import models
    from .compare import compare

    lines = []
    for which in ("light", "mixed"):
        tenants = {name: models.tenant(name, given.batch, given.size) for name in models.SETS[which]}
        result = compare(tenants, repeats=given.repeats)
        lines.append(f"{{{', '.join(models.SETS[which])}}}, batch {given.batch}, {given.size} x {given.size}")
        lines += [f"  {line}" for line in result.as_text().splitlines()]
    return lines


_SECTIONS: dict[str, Callable[[argparse.Namespace], list[str]]] = {
    "replay": _replay,
    "checker": _checker,
    "build": _build,
    "demo": _demo,
    "sets": _sets,
}


def _median(call: Callable[[], Any], repeats: int) -> float:
    call()
    taken = []
    for _ in range(repeats):
        began = time.perf_counter()
        call()
        taken.append(time.perf_counter() - began)
    return float(np.median(taken))
