"""`gacer_tvm.tune`: trials over the kernels of several models, into one database that `build` reads.

Tuning and the search for a schedule take turns. Each round asks which kernels matter now: the whole operators, and the chunk
sizes that the best schedule uses under the present kernels. These are tuned, the ones that take most of a round first.
"""

from __future__ import annotations

import hashlib
import json
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .. import progress
from .._tvm import tvm
from ..cost import AnalyticPrior, Cost, Device, RecordedCost
from ..errors import DeviceError, GraphError
from ..executable.build import lower_tenants
from ..executable.choose import measure_alone
from ..executable.device import is_here
from ..graph.model import MultiTenantGraph
from ..kernels.library import KernelLibrary
from ..plan import lower
from ..search import search
from .kernel import KernelRun, Task
from .measure import Here, Measurer, Remote
from .provider import DatabaseProvider
from .records import KernelNote, repair, workload_key
from .shares import ShareRecords

__all__ = ["TuneResult", "repair", "tune"]


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
    kernels
        Kernel → what is known of it: seconds of the default and of the best record.
    notes
        What else there is to say (nothing left to do, a repaired database, an interruption).
    """

    work_dir: Path
    tasks: dict[str, int]
    trials: int
    kernels: dict[str, KernelNote] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def as_text(self) -> str:
        """A few lines for people."""
        lines = [
            f"{self.trials} trials in this run, {len(self.tasks)} kernels, records in {self.work_dir}",
            *self.notes,
        ]
        for name, note in self.kernels.items():
            if note.default is not None and note.tuned is not None:
                kept = ", default kept" if not note.pays else ", another tiling" if note.tiling else ""
                lines.append(
                    f"{name}: {note.default * 1e6:.1f} us by default, {note.tuned * 1e6:.1f} us tuned"
                    f" ({self.tasks[name]} trials{kept})"
                )
        return "\n".join(lines)


def tune(
    tenants: Mapping[str, Any] | Sequence[Any],
    target: Any = "cpu",
    work_dir: str | Path = "tuning_logs",
    trials: int = 64,
    *,
    rounds: int = 2,
    seed: int = 0,
    cores: int | None = None,
    longest: int | None = None,
    device: Device | str | None = None,
    tracker: str | None = None,
    tracker_key: str = "gacer",
    search_seconds: float = 10.0,
    cache: str | Path | bool = True,
    measurer: Measurer | None = None,
) -> TuneResult:
    """Tune the kernels that take most of the tenants' time.

    Every trial is in the database before the next one begins. An interruption (Ctrl-C) ends the run after the trial in
    flight; a run that was interrupted or killed goes on where it stopped. Trials are tilings of our own rule first, where it
    makes the kernel, then schedules of MetaSchedule's, then those of the kind that found the faster kernel. A kernel whose best
    trial is not faster than what the default rules make, timed in turns on the same cores, keeps the default.

    Parameters
    ----------
    tenants, target, device, cache
        As for `gacer_tvm.build`.
    work_dir
        Folder of the MetaSchedule database; made or continued.
    trials
        Trials that the database should hold of each kernel; kernels that have them already are left alone, as are those
        that after half of them have nothing within twice the default's time, or no further schedule.
    rounds
        How often to search for a schedule and tune what it uses.
    seed
        Of the sampling and of the search. The same seed proposes the same trials as long as the timings of the
        earlier ones are the same; the first generation depends on no timing.
    cores
        Cores that every kernel may use while it is timed. By default those that the schedule found grants its stream: what
        runs beside others is tuned for its share of the machine, and `build` uses it where a stream has that share. The
        records of a share lie in a folder of their own (`gacer_tvm.tune.shares`).
    longest
        Tune only so many kernels in each round, those with the largest share of the time.
    tracker, tracker_key
        ``"host:port"`` of a TVM RPC tracker and the key of its servers: trials run there, several at once, and kernels are
        built here. The shares of the time are then predicted, and every kernel has a server to itself.
    search_seconds
        For each search of a schedule.
    measurer
        Builds and times candidates in another way.

    Raises
    ------
    DeviceError
        For a device that is not here, without a tracker.
    LogError
        For a `work_dir` that holds something else, or a damaged database.
    """
    if trials < 1 or rounds < 1:
        raise GraphError(f"tune: expected at least one trial and one round, found trials={trials}, rounds={rounds}")
    graph, library, found = lower_tenants(tenants, target, device=device, cache=cache)
    if tracker is None and measurer is None and not is_here(found):
        raise DeviceError(
            f"tuning measures on the device itself, and {found.name} is not here; name a tracker whose servers have one"
        )
    records = ShareRecords(work_dir, found.units)
    asked = {
        "kernels": _signature(graph, library), "trials": trials, "rounds": rounds, "cores": cores, "longest": longest
    }  # fmt: skip
    runs = records.whole.runs
    earlier = next((r for r in runs if _covers(r, asked) and _complete(r, records, trials)), None)
    notes = records.notices
    if earlier is not None:
        notes.append(f"nothing to do: every kernel has its {trials} trials, or no more of them would help")
        return _result(records, earlier["asked"], 0, notes)
    here = tracker is None and measurer is None
    own = measurer or (Remote(tracker, tracker_key) if tracker else None)
    measurers = _Measurers(own, _tvm_device(found))
    tuner = _Tuner(records, measurers, library, trials, seed)
    granted = cores or (None if here and found.kind == "cpu" else found.units)
    touched: dict[str, None] = {}
    finished = False
    with _interruption() as stop:
        try:
            for turn in range(rounds):
                if turn:
                    library = KernelLibrary(
                        graph,
                        library.target,
                        cores=library.cores,
                        providers=(DatabaseProvider(records.whole.folder),),
                        store=library.store,
                    )
                tasks = _tasks(graph, library, found, here, seed, search_seconds, granted)
                if longest is not None:
                    tasks = tasks[:longest]
                touched.update(dict.fromkeys(records.place(t.key, t.cores) for t in tasks))
                tuner.run(tasks, stop)
                if stop.is_set():
                    notes.append("interrupted; what was measured is kept, the next call goes on")
                    break
            else:
                finished = True
        finally:
            measurers.close()
            if finished:
                records.whole.runs = [r for r in runs if not _covers(asked, r)] + [{**asked, "asked": list(touched)}]
            records.save_notes()
    return _result(records, touched, tuner.measured, notes)


class _Tuner:
    """Tunes one set of tasks after another."""

    def __init__(
        self, records: ShareRecords, measurers: _Measurers, library: KernelLibrary, trials: int, seed: int
    ) -> None:
        self.records, self.measurers, self.trials, self.seed = records, measurers, trials, seed
        self.target, self.default_cores = library.target, library.cores
        self.measured = 0

    def run(self, tasks: list[Task], stop: threading.Event) -> None:
        """Trials for each of `tasks`, a generation at a time, where a generation is spent on most seconds a round."""
        runs = [self._of(task, stop) for task in tasks]
        open_ = [r for r in runs if not r.done(self.trials)]
        begun = [r for r in runs if r in open_ or r.note.tuned is None]
        left = sum(self.trials - self.records.of(r.task.cores).count(r.task.key) for r in open_)
        with progress.update("tuning", left) as task:

            def measured(steps: int, note: str) -> None:
                self.measured += steps
                task.advance(steps, note)

            try:
                while open_ and not stop.is_set():
                    run = max(open_, key=lambda r: r.worth)
                    run.generation(self.trials, measured)
                    open_ = [r for r in open_ if not r.done(self.trials)]
                for run in begun:
                    if not stop.is_set() and run.done(self.trials):
                        run.settle()
            finally:
                for run in runs:
                    run.close()
                self.records.save_notes()

    def _of(self, task: Task, stop: threading.Event) -> KernelRun:
        return KernelRun(
            task,
            self.records.of(task.cores),
            self.measurers.of(task.cores),
            with_cores(self.target, task.cores),
            self.default_cores,
            self.seed,
            stop.is_set,
        )


class _Measurers:
    """One for each share of the machine, or one for all."""

    def __init__(self, own: Measurer | None, device: Any) -> None:
        self._own, self._device = own, device
        self._of: dict[int, Measurer] = {}

    def of(self, cores: int) -> Measurer:
        if self._own is not None:
            return self._own
        if cores not in self._of:
            self._of[cores] = Here(cores, self._device)
        return self._of[cores]

    def close(self) -> None:
        for measurer in filter(None, (self._own, *self._of.values())):
            measurer.close()


def _tasks(
    graph: MultiTenantGraph,
    library: KernelLibrary,
    device: Device,
    here: bool,
    seed: int,
    seconds: float,
    granted: int | None,
) -> list[Task]:
    """The kernels that matter now, the one that takes most of a round first: whole operators and the search's chunks.

    Each on the cores `granted`, or those that the schedule grants the stream that runs it.
    """
    cost: Cost = RecordedCost(measure_alone(graph, library, device)) if here else AnalyticPrior()
    best = search(graph, device, cost, seed=seed, time_budget_s=seconds, top=1).best
    wanted: dict[tuple[int, int, int], float] = {}
    for launch in lower(best, graph).launches:
        batch = graph.tenants[graph.operators[launch.operator].tenant].batch
        share = granted or min(launch.cores or device.units, device.units)
        # A whole operator counts once, however many chunks the schedule has it in.
        wanted[launch.operator, batch, share] = 1.0
        if launch.items != batch:
            wanted[launch.operator, launch.items, share] = wanted.get((launch.operator, launch.items, share), 0.0) + 1.0
    taken = cost.estimate(graph, device, list(wanted)).seconds.tolist()
    found: dict[tuple[str, int], Task] = {}
    for ((index, items, share), times), once in zip(wanted.items(), taken, strict=True):
        operator = graph.operators[index]
        tenant = graph.tenants[operator.tenant]
        func = library.request(index, items).func
        key = workload_key(func)
        name = operator.name + (f" [{items} of {tenant.batch}]" if items != tenant.batch else "")
        if device.kind == "cpu" and share != device.units:
            name += f" on {share} of {device.units} cores"
        held = found.get((key, share))
        seconds = times * once + (held.seconds if held else 0.0)
        found[key, share] = Task(key, held.name if held else name, func, seconds, share)
    return sorted(found.values(), key=lambda t: (-t.seconds, t.key, t.cores))


def _result(records: ShareRecords, places: Any, trials: int, notes: list[str]) -> TuneResult:
    known = records.known(places)
    return TuneResult(
        records.whole.folder,
        {note.name: count for note, count in known},
        trials,
        {note.name: note for note, _ in known},
        tuple(notes),
    )


def _signature(graph: MultiTenantGraph, library: KernelLibrary) -> str:
    """What the kernels of a set of tenants are, in the order of their operators."""
    keys = [workload_key(library.request(op.index, graph.tenants[op.tenant].batch).func) for op in graph.operators]
    return hashlib.sha256(" ".join([str(library.target), *keys]).encode()).hexdigest()[:16]


def _covers(run: Mapping[str, Any], asked: Mapping[str, Any]) -> bool:
    """Whether a finished run did all that is asked for."""
    most = 1 << 30
    return (
        all(run[k] == asked[k] for k in ("kernels", "cores"))
        and all(run[k] >= asked[k] for k in ("trials", "rounds"))
        and (run["longest"] or most) >= (asked["longest"] or most)
    )


def _complete(run: Mapping[str, Any], records: ShareRecords, trials: int) -> bool:
    """Whether the records that a finished run made are still there."""
    return all(records.enough(place, trials) for place in run["asked"])


def with_cores(target: Any, cores: int) -> Any:
    """A target that says how many cores a kernel may use; MetaSchedule's rules ask, and the records tell."""
    if target.kind.name != "llvm":
        return target
    return tvm.target.Target({**json.loads(str(target)), "num-cores": cores})


def _tvm_device(device: Device) -> Any:
    return None if device.kind == "cpu" else tvm.device(device.kind, 0)


@contextmanager
def _interruption() -> Iterator[threading.Event]:
    """Ctrl-C sets the event, so that the trial in flight ends first; a second one interrupts at once."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def first(number: int, frame: Any) -> None:
        stop.set()
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, first)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)
