"""Show what a bundle, a schedule file or a model holds."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..errors import TenantError
from .models import add_target_arguments, read_models


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``gacer-tvm inspect``."""
    parser.add_argument("path", help="a bundle's folder, a schedule (.json), or a model ([NAME=]FILE)")
    parser.add_argument("--shape", action="append", default=[], metavar="INPUT=1,3,224,224")
    parser.add_argument("--params", action="append", default=[], metavar="FILE")
    parser.add_argument("--operators", action="store_true", help="list the operators with work and legal chunks")
    parser.add_argument("--plan", action="store_true", help="list a bundle's launches with streams and waits")
    add_target_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Find out what it is and print it."""
    path = Path(arguments.path.rpartition("=")[2])
    if path.is_dir():
        return _bundle(path, arguments)
    if not path.is_file():
        raise TenantError(f"no file or folder {str(path)!r}")
    if path.suffix == ".json" and '"tenants"' in path.read_text(errors="replace")[:200_000]:
        return _schedule(path)
    return _model(arguments)


def _bundle(path: Path, arguments: argparse.Namespace) -> int:
    from ..executable.bundle import load

    with load(path) as executable:
        print(executable.report())
        if arguments.plan:
            for launch in executable.plan.launches:
                operator = executable.graph.operators[launch.operator]
                waits = f" after {list(launch.waits)}" if launch.waits else ""
                part = "" if launch.whole else f" items {launch.first}..{launch.first + launch.items}"
                print(f"{launch.index:5d}  stream {launch.stream}  {operator.name}{part}{waits}")
        if arguments.operators:
            _operators(executable.graph)
    return 0


def _schedule(path: Path) -> int:
    from ..schedule import Schedule

    schedule = Schedule.load(path)
    found = schedule.provenance
    print(f"schedule for graph {schedule.graph} on {schedule.device}: {schedule.clusters} clusters, "
          f"{len(schedule.streams)} streams")
    for tenant in schedule.tenants:
        cut = sum(1 for sizes in tenant.splits.values() if len(sizes) > 1)
        print(f"  {tenant.name}: stream {tenant.stream}, pointers {list(tenant.pointers)}, {cut} operators cut")
    if found.strategy:
        print(f"found by {found.strategy}, cost model {found.cost_model or 'none'}, seed {found.seed}")
    if found.predicted_seconds is not None:
        print(f"predicted {found.predicted_seconds * 1e3:.3f} ms")
    if found.measured_seconds is not None:
        print(f"measured {found.measured_seconds * 1e3:.3f} ms")
    return 0


def _model(arguments: argparse.Namespace) -> int:
    from ..executable import lower_tenants

    tenants = read_models([arguments.path], arguments.shape, arguments.params, "params")
    for tenant in tenants.values():
        print(tenant)
    graph, _, device = lower_tenants(tenants, arguments.target, device=arguments.device, cache=not arguments.no_cache)
    flops = sum(o.work.flops for o in graph.operators)
    divisible = sum(o.chunking.divisible for o in graph.operators)
    print(f"{len(graph.operators)} operators on {device.name}, {flops * 1e-9:.3f} GFLOP, {divisible} divisible along the batch")
    if arguments.operators:
        _operators(graph)
    return 0


def _operators(graph: object) -> None:
    from ..graph.model import MultiTenantGraph

    assert isinstance(graph, MultiTenantGraph)
    for operator in graph.operators:
        chunking = operator.chunking
        legal = f"{chunking.items} items" if chunking.divisible else f"indivisible: {chunking.refusal}"
        moved = operator.work.batched_bytes + operator.work.fixed_bytes
        print(f"  {operator.name}: {operator.work.flops * 1e-6:.2f} MFLOP, {moved / 2**10:.0f} KiB, {legal}")
