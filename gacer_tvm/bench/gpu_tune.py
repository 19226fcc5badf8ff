"""Tuning on the GPU: MetaSchedule over the kernels of one set that take most of its time, until the time is up.

The database stands in ``DIR/tuning``; give it to the suite as ``--tuning-logs`` to measure with what was tuned. A candidate
that brings the device down takes this unit's process with it; what was measured before is kept, and the next run goes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from .._tvm import s_tir, tvm
from ..graph.model import MultiTenantGraph
from ..kernels.intrinsics import load_tensor_intrinsics
from ..kernels.library import KernelLibrary
from ..plan import check_plan, lower
from ..schedule import make
from ..tune.measure import BuiltModules, make_builder
from ..tune.tune import repair
from .gpu_bench import Bench, Net
from .gpu_results import OutOfTime, Results

__all__ = ["device_runner", "tune_set"]

_BATCH = 16


def tune_set(
    bench: Bench,
    results: Results,
    unit: str,
    which: str,
    dtype: str,
    batch: int,
    *,
    seconds: float,
    trials: int = 64,
    population: int = 64,
    kernels: int | None = None,
) -> None:
    """Tune the set's kernels, the one that takes most time first (`kernels`: only so many); one line a kernel.

    Beside other units it is alone from the first measurement to the last: every candidate is timed, and the units that tune
    write into one database.

    Raises
    ------
    OutOfTime
        If kernels are left.
    """
    began = time.monotonic()
    # TVM's tuner imports them in any case.
    load_tensor_intrinsics()
    nets = bench.models(which, batch, dtype)
    graph, library = bench.lowered(nets)
    library.ensure((operator.index, graph.tenants[operator.tenant].batch) for operator in graph.operators)
    with bench.turns.timed():
        if bench.turns.shared:
            began, seconds = time.monotonic(), bench.turns.left(seconds)
        _tune(bench, results, unit, graph, library, nets, began + seconds, trials, population, kernels)


def _tune(
    bench: Bench, results: Results, unit: str, graph: MultiTenantGraph, library: KernelLibrary, nets: list[Net], until: float,
    trials: int, population: int, kernels: int | None,
) -> None:  # fmt: skip
    plan = lower(make.sequential(graph, bench.device.name), graph)
    check_plan(plan, graph)
    session = bench.open(graph, plan, library)
    try:
        bench.feed(session, graph, nets)
        spans = np.median(np.array(session.timed_rounds(3)), axis=0)
    finally:
        session.close()
    share: dict[str, float] = {}
    functions: dict[str, Any] = {}
    for launch, (start, end) in zip(plan.launches, spans):
        request = library.request(launch.operator, launch.items)
        share[request.key] = share.get(request.key, 0.0) + float(end - start)
        functions[request.key] = request.func
    folder = results.folder / "tuning"
    folder.mkdir(exist_ok=True)
    repair(folder)
    ms = s_tir.meta_schedule
    files = [str(folder / name) for name in ("database_workload.json", "database_tuning_record.json")]
    database = ms.database.JSONDatabase(*files, module_equality="structural")
    built = BuiltModules()
    device = tvm.cuda(0) if bench.torch_device == "cuda" else tvm.cpu(0)
    builder, runner = make_builder(built), device_runner(built, device)
    for key in sorted(share, key=lambda k: -share[k])[:kernels]:
        module = tvm.IRModule({"main": functions[key].with_attr("global_symbol", "main")})
        held = _held(database, module)
        if held >= trials:
            continue
        if time.monotonic() > until:
            raise OutOfTime(f"out of time before kernel {key}")
        context = ms.TuneContext(
            module,
            target=bench.target,
            space_generator="post-order-apply",
            search_strategy=ms.search_strategy.EvolutionarySearch(population_size=population),
            task_name="main",
            rand_state=1,
            num_threads=2,
        )
        ms.tune.tune_tasks(
            tasks=[context],
            task_weights=[1.0],
            work_dir=str(folder),
            max_trials_global=trials - held,
            num_trials_per_iter=min(_BATCH, trials - held),
            builder=builder,
            runner=runner,
            database=database,
            cost_model="xgb",
            measure_callbacks=[ms.measure_callback.AddToDatabase(), ms.measure_callback.UpdateCostModel()],
        )
        best = database.get_top_k(database.commit_workload(module), 1) if database.has_workload(module) else []
        results.add(
            unit, "tuned", kernel=key, trials=_held(database, module), before=share[key],
            best=float(np.mean([float(s) for s in best[0].run_secs])) if len(best) else None,
        )  # fmt: skip


def device_runner(built: BuiltModules, device: Any, repeats: int = 3, least_seconds: float = 0.02) -> Any:
    """A MetaSchedule runner that times candidates on a device in this process."""
    ms = s_tir.meta_schedule

    @tvm.ir.utils.derived_object
    class Done(ms.runner.PyRunnerFuture):  # type: ignore[misc, name-defined]
        def __init__(self, result: Any) -> None:
            super().__init__()
            self._result = result

        def done(self) -> bool:
            return True

        def result(self) -> Any:
            return self._result

    @tvm.ir.utils.derived_object
    class DeviceRunner(ms.runner.PyRunner):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            # Making the largest weights takes seconds, far longer than to time a candidate.
            self._tensors: dict[tuple[tuple[int, ...], str, int], Any] = {}

        def run(self, runner_inputs: list[Any]) -> list[Any]:
            return [Done(self._one(item)) for item in runner_inputs]

        def _tensor(self, info: Any, place: int) -> Any:
            key = (tuple(int(d) for d in info.shape), str(info.dtype), place)
            if key not in self._tensors:
                if place == 0:
                    self._tensors.clear()
                self._tensors[key] = _random(info, device)
            return self._tensors[key]

        def _one(self, item: Any) -> Any:
            try:
                function = built.take(str(item.artifact_path))["main"]
                arguments = [self._tensor(info, place) for place, info in enumerate(item.args_info)]
                seconds = _time(lambda: function(*arguments), device.sync, repeats, least_seconds)
                return ms.runner.RunnerResult(seconds, None)
            except (RuntimeError, ValueError, TypeError, AttributeError, KeyError) as error:
                return ms.runner.RunnerResult(None, str(error)[-2000:])

    return DeviceRunner()


def _held(database: Any, module: Any) -> int:
    if not database.has_workload(module):
        return 0
    return len(database.get_top_k(database.commit_workload(module), 1 << 20))


def _time(call: Callable[[], Any], finish: Callable[[], Any], repeats: int, least_seconds: float) -> list[float]:
    """Seconds a call, each from many calls in a row; the device is asked to finish once a row."""
    call()
    finish()
    began = time.perf_counter()
    call()
    finish()
    count = max(1, min(2000, int(least_seconds / max(time.perf_counter() - began, 1e-6))))
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        for _ in range(count):
            call()
        finish()
        seconds.append((time.perf_counter() - began) / count)
    return seconds


def _random(info: Any, device: Any) -> Any:
    shape, dtype = tuple(int(d) for d in info.shape), np.dtype(str(info.dtype))
    if "float" in dtype.name:
        return tvm.runtime.tensor(np.random.default_rng(0).standard_normal(shape).astype(dtype), device)
    return tvm.runtime.tensor(np.zeros(shape, dtype), device)
