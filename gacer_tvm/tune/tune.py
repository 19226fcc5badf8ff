"""`gacer_tvm.tune`: MetaSchedule over the kernels of several models, into one database that `build` reads."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import progress
from .._tvm import s_tir, tvm
from ..errors import DeviceError, LogError
from ..executable.build import lower_tenants
from ..executable.choose import measure_alone
from ..executable.device import is_here
from ..kernels.store import write_beside
from .measure import BuiltModules, make_builder, make_runner

__all__ = ["TuneResult", "repair", "tune"]

_FILES = ("database_workload.json", "database_tuning_record.json")


@dataclass(frozen=True)
class TuneResult:
    """What a tuning run did.

    Attributes
    ----------
    work_dir
        The database's folder; give it to ``build(..., tuning_logs=...)``.
    tasks
        Kernel → trials recorded for it, all runs together.
    trials
        Trials measured in this run.
    notes
        What else there is to say (nothing left to do, a repaired database, an interruption).
    """

    work_dir: Path
    tasks: dict[str, int]
    trials: int
    notes: tuple[str, ...]

    def as_text(self) -> str:
        """A few lines for people."""
        lines = [f"{self.trials} trials in this run, {len(self.tasks)} kernels, records in {self.work_dir}", *self.notes]
        return "\n".join(lines)


def tune(
    tenants: Mapping[str, Any] | Sequence[Any],
    target: Any = "cpu",
    work_dir: str | Path = "tuning_logs",
    *,
    trials: int = 64,
    seed: int = 0,
    cores: int | None = None,
    longest: int | None = None,
    cache: Any = True,
) -> TuneResult:
    """Tune the kernels that take most of the tenants' time.

    Parameters
    ----------
    tenants, target, cache
        As for `gacer_tvm.build`.
    work_dir
        Folder of the MetaSchedule database; made or continued.
    trials
        Trials a kernel that the database should hold; kernels that have them already are left alone.
    seed
        Seed of MetaSchedule's search.
    cores
        Cores that a kernel may use while it is timed (its share of the machine); all by default.
    longest
        Tune only so many kernels, those with the largest share of the time.

    Raises
    ------
    DeviceError
        For a device that is not here.
    """
    graph, library, device = lower_tenants(tenants, target, cache=cache)
    if device.kind != "cpu" or not is_here(device):
        raise DeviceError(f"tuning measures on the device itself; {device.name} is not supported here yet, only this CPU")
    folder = Path(work_dir)
    folder.mkdir(parents=True, exist_ok=True)
    notes = repair(folder)
    alone = measure_alone(graph, library, device)
    weights: dict[str, float] = {}
    functions: dict[str, Any] = {}
    names: dict[str, str] = {}
    for operator in graph.operators:
        batch = graph.tenants[operator.tenant].batch
        wanted = library._request(operator.index, batch)
        weights[wanted.key] = weights.get(wanted.key, 0.0) + alone[operator.index, batch, device.units]
        functions[wanted.key] = wanted.func
        names.setdefault(wanted.key, operator.name)
    ranked = sorted(weights, key=lambda k: -weights[k])[:longest]
    ms = s_tir.meta_schedule
    database = ms.database.JSONDatabase(str(folder / _FILES[0]), str(folder / _FILES[1]), module_equality="structural")
    modules = {k: tvm.IRModule({"main": functions[k].with_attr("global_symbol", "main")}) for k in ranked}
    held = {k: _recorded(database, modules[k]) for k in ranked}
    # A small space may be exhausted below the asked number: remembered, so that the next call does nothing.
    done = _state(folder)
    open_ = [k for k in ranked if max(held[k], done.get(k, 0)) < trials]
    if not open_:
        notes.append(f"nothing to do: every kernel has its {trials} trials")
        return TuneResult(folder, {names[k]: held[k] for k in ranked}, 0, tuple(notes))
    built = BuiltModules()
    builder, runner = make_builder(built), make_runner(built, cores=cores or device.units)
    before = len(database)
    with progress.update("tuning", len(open_)) as task:
        for key in open_:
            try:
                _tune_one(ms, modules[key], library.target, database, builder, runner, trials - held[key], seed, device.units)
            except KeyboardInterrupt:
                notes.append("interrupted; what was measured is kept")
                break
            done[key] = trials
            write_beside(folder / "state.json", lambda p: p.write_text(json.dumps(done, indent=1, sort_keys=True)))
            task.advance(note=names[key])
    found = {names[k]: _recorded(database, modules[k]) for k in ranked}
    return TuneResult(folder, found, len(database) - before, tuple(notes))


def _tune_one(
    ms: Any, module: Any, target: Any, database: Any, builder: Any, runner: Any, trials: int, seed: int, cores: int
) -> None:
    if "num-cores" not in target.attrs:
        target = tvm.target.Target({**json.loads(str(target)), "num-cores": cores})
    context = ms.TuneContext(
        module,
        target=target,
        space_generator="post-order-apply",
        search_strategy=ms.search_strategy.EvolutionarySearch(population_size=64),
        task_name="main",
        rand_state=seed + 1,
        num_threads=cores,
    )
    ms.tune.tune_tasks(
        tasks=[context],
        task_weights=[1.0],
        work_dir=str(Path(database.path_tuning_record).parent),
        max_trials_global=trials,
        num_trials_per_iter=min(16, trials),
        builder=builder,
        runner=runner,
        database=database,
        cost_model="xgb",
        measure_callbacks=[ms.measure_callback.AddToDatabase(), ms.measure_callback.UpdateCostModel()],
    )


def _recorded(database: Any, module: Any) -> int:
    if not database.has_workload(module):
        return 0
    return len(database.get_top_k(database.commit_workload(module), 1 << 20))


def _state(folder: Path) -> dict[str, int]:
    try:
        held = json.loads((folder / "state.json").read_text())
        return {str(k): int(v) for k, v in held.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def repair(folder: Path) -> list[str]:
    """Cut a truncated last line off a database's files, as a killed process leaves it.

    Returns
    -------
    notes
        One for each file that was cut.

    Raises
    ------
    LogError
        Where a line before the last is damaged: that is no interruption.
    """
    notes = []
    for name in _FILES:
        path = folder / name
        if not path.is_file():
            continue
        lines = path.read_bytes().splitlines(keepends=True)
        for number, line in enumerate(lines, 1):
            try:
                json.loads(line)
            except ValueError as error:
                if number < len(lines):
                    raise LogError(f"{path}, line {number}: not JSON ({error}); restore the file") from error
                write_beside(path, lambda p, kept=lines[:-1]: p.write_bytes(b"".join(kept)))
                notes.append(f"{path}: the last line was truncated and has been cut off")
    return notes
