"""`build`: models in, one regulated executable out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..cost import Device
from ..errors import DeviceError, GraphError, ScheduleError, UnsupportedOperatorError
from ..frontend import Tenant
from ..graph.build import build_graph
from ..graph.model import MultiTenantGraph
from ..kernels.layout import prepare
from ..kernels.library import KernelLibrary, Provider
from ..kernels.store import KernelStore
from ..kernels.target import make_target
from ..plan import check_plan, lower
from ..schedule import Schedule, make
from .choose import choose
from .device import is_here, target_device
from .executable import Executable
from .record import Recorder

__all__ = ["as_tenants", "build", "lower_tenants", "resolve_device"]


def build(
    tenants: Mapping[str, Any] | Sequence[Any],
    target: Any = "cpu",
    schedule: Any = "auto",
    *,
    device: Device | str | None = None,
    tuning_logs: Any = None,
    objective: Any = "makespan",
    seed: int = 0,
    search_seconds: float = 20.0,
    measure: bool = True,
    measure_seconds: float = 20.0,
    cache: str | Path | bool = True,
    inputs: Mapping[str, Mapping[str, Any]] | None = None,
    record: str | Path | None = None,
) -> Executable:
    """Compile several models into one executable for one device.

    Parameters
    ----------
    tenants
        Name → model, or a list of models (named ``model0``, … unless they carry names). A model is a `Tenant`, a Relax or
        Relay module, a ``(module, params)`` pair, a ``torch.export.ExportedProgram``, an ONNX model or a path of one.
    target
        ``"cpu"``, ``"cuda"``, a tvm Target, or its dict.
    schedule
        ``"auto"`` (search, then measure the best beside the plain ways), ``"sequential"``, ``"parallel"``, a `Schedule`, or
        the path of one.
    device
        The device model to search for; by default that of the target.
    tuning_logs
        A folder or file of tuning records, or a list of them; their schedules are preferred to the default rules.
    objective, seed, search_seconds
        For ``"auto"``; see `gacer_tvm.search.search`.
    measure, measure_seconds
        For ``"auto"``: whether and for how long candidates are measured on the device, where it is here.
    cache
        Keep compiled kernels between processes: True (the user's cache folder), a folder, or False.
    inputs
        Inputs to measure with; random values by default.
    record
        A device's folder of measurements (``"tuning_logs/cpu-2x-avx512f"``): what is measured for ``"auto"`` and by
        `Executable.benchmark` is appended there, predictions beside it, for `gacer-tvm train` and `gacer-tvm logs --drift`.
        By default nothing is kept.

    Raises
    ------
    GacerError
        One of its kinds, naming the tenant, what was expected, what was found and what to do.
    """
    graph, library, found = lower_tenants(
        tenants, target, device=device, tuning_logs=tuning_logs, cache=cache, schedule=schedule
    )
    return assemble(
        graph,
        library,
        found,
        schedule,
        objective=objective,
        seed=seed,
        search_seconds=search_seconds,
        measure=measure,
        measure_seconds=measure_seconds,
        inputs=inputs,
        tuning_logs=tuning_logs,
        record=record,
    )


def lower_tenants(
    tenants: Mapping[str, Any] | Sequence[Any],
    target: Any = "cpu",
    *,
    device: Device | str | None = None,
    tuning_logs: Any = None,
    cache: str | Path | bool = True,
    schedule: Any = "auto",
) -> tuple[MultiTenantGraph, KernelLibrary, Device]:
    """The stages up to the graph: what `build`, `search` and `tune` share."""
    if isinstance(schedule, str) and schedule not in ("auto", "sequential", "parallel") and not Path(schedule).exists():
        raise ScheduleError(
            f"schedule {schedule!r}: expected 'auto', 'sequential', 'parallel', a Schedule, or the path of one"
        )
    named = as_tenants(tenants)
    resolved = make_target(target)
    found = resolve_device(device, resolved, target)
    graph = build_graph(named, resolved, prepare)
    store = None if cache is False else KernelStore(None if cache is True else cache)
    library = KernelLibrary(
        graph, resolved, cores=found.units if found.kind == "cpu" else 1, providers=_providers(tuning_logs), store=store
    )
    return graph, library, found


def assemble(
    graph: MultiTenantGraph,
    library: KernelLibrary,
    device: Device,
    schedule: Any = "auto",
    *,
    objective: Any = "makespan",
    seed: int = 0,
    search_seconds: float = 20.0,
    measure: bool = True,
    measure_seconds: float = 20.0,
    inputs: Mapping[str, Mapping[str, Any]] | None = None,
    tuning_logs: Any = None,
    record: str | Path | None = None,
) -> Executable:
    """An executable for a lowered graph under a schedule (as `build` takes them)."""
    folders = _folders(tuning_logs)
    recorder = None if record is None else Recorder(record, graph, library, device, folders)
    if isinstance(schedule, str) and schedule == "auto":

        def feed(session: Any) -> None:
            session.feed_random(seed)
            for tenant in graph.tenants:
                for name, array in (inputs or {}).get(tenant.name, {}).items():
                    session.feed(tenant.inputs[name], array)

        if inputs is not None:
            Executable(graph, library, lower(make.sequential(graph, device.name), graph), device)._checked(inputs)
        plan, session, decision = choose(
            graph,
            library,
            device,
            here=measure and is_here(device),
            objective=objective,
            seed=seed,
            search_seconds=search_seconds,
            measure_seconds=measure_seconds,
            feed=feed,
            models=folders if record is None else (Path(record), *folders),
            record=recorder,
        )
        library.ensure(plan.kernels)
        return Executable(graph, library, plan, device, session, decision, recorder)
    plan = lower(_schedule(schedule, graph, device), graph, device=device.name)
    check_plan(plan, graph)
    library.ensure(plan.kernels)
    return Executable(graph, library, plan, device, recorder=recorder)


def _all_tenants(models: Sequence[tuple[str, Any]]) -> list[Tenant]:
    """A tenant of each model; operators that cannot be converted are found in all of them before any is refused."""
    made, unknown = [], []
    for number, (name, model) in enumerate(models):
        try:
            made.append(Tenant.of(model, name))
        except UnsupportedOperatorError as error:
            who = f"tenant {name!r}" if name else f"model {number}"
            unknown.append(str(error) if who in str(error) else f"{who}: {error}")
    if unknown:
        raise UnsupportedOperatorError("\n".join(unknown))
    return made


def as_tenants(tenants: Mapping[str, Any] | Sequence[Any]) -> list[Tenant]:
    """Named tenants from what a user passes.

    Raises
    ------
    GraphError
        For an empty set or a repeated name.
    """
    if isinstance(tenants, Mapping):
        named = _all_tenants([(str(name), model) for name, model in tenants.items()])
    elif isinstance(tenants, Iterable) and not isinstance(tenants, str | bytes):
        named = _all_tenants([("", model) for model in tenants])
        named = [tenant if tenant.name else tenant.named(f"model{n}") for n, tenant in enumerate(named)]
    else:
        raise GraphError(
            f"tenants: expected a mapping of name to model or a list of models, found {type(tenants).__name__}"
        )
    if not named:
        raise GraphError("no tenant given, expected at least one model")
    names = [t.name for t in named]
    for name in names:
        if names.count(name) > 1:
            raise GraphError(f"two tenants are named {name!r}; give every tenant a name of its own")
    return named


def resolve_device(device: Device | str | None, target: Any, spec: Any = None) -> Device:
    """The device model that a build is for."""
    if isinstance(device, Device):
        found = device
    elif isinstance(device, str):
        found = Device.host_cpu() if device == "cpu" else Device.named(device)
    else:
        found = target_device(target, spec)
    kind = "cpu" if target.kind.name == "llvm" else target.kind.name
    if found.kind != kind:
        raise DeviceError(f"device {found.name!r} is a {found.kind} device, but the target is {target}")
    return found


def _schedule(schedule: Any, graph: MultiTenantGraph, device: Device) -> Schedule:
    if isinstance(schedule, Schedule):
        return schedule
    if isinstance(schedule, str) and schedule == "sequential":
        return make.sequential(graph, device.name)
    if isinstance(schedule, str) and schedule == "parallel":
        return make.parallel(graph, device.name, device.cores)
    if isinstance(schedule, str | Path):
        return Schedule.load(schedule)
    raise ScheduleError(
        f"schedule: expected 'auto', 'sequential', 'parallel', a Schedule, or the path of one, found "
        f"{type(schedule).__name__}"
    )


def _folders(tuning_logs: Any) -> tuple[Path, ...]:
    """Where a learned cost model may lie: the folders of tuning records, and ``tuning_logs`` where the process runs."""
    given = [tuning_logs] if isinstance(tuning_logs, str | Path) else list(tuning_logs or ())
    folders = [Path(p) for p in given if isinstance(p, str | Path)]
    return (*(p if p.is_dir() else p.parent for p in folders), Path("tuning_logs"))


def _providers(tuning_logs: Any) -> tuple[Provider, ...]:
    """Schedules from tuning records, in the order given."""
    if tuning_logs is None:
        return ()
    from ..tune.provider import providers

    return providers(tuning_logs)
