"""One kernel tuned: trials until it has its number, each on disk before the next begins, and compared with the default.

Trials are of two kinds. Tilings of our own rule come first, since they start from where the rule is; then MetaSchedule has one
generation; then whichever of the two found the faster kernel has the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from .._tvm import s_tir
from ..kernels import rules
from ..kernels.request import GENERATION
from . import context
from .climb import Climb
from .measure import Measurer
from .records import FAILED, KernelNote, Records, workload_module
from .trial import Candidate, Trials

__all__ = ["KernelRun", "Task"]

# Trials of tilings before MetaSchedule has its first generation.
OWN = 32
# Generations in a row that offer nothing new.
_STALE = 4
# Tilings that are compared with the default at the end, and a record too, if it is so close to the best tiling.
_FINALISTS, _CLOSE = 3, 1.25


@dataclass(frozen=True)
class Task:
    """A kernel to tune.

    Attributes
    ----------
    key
        Its workload key.
    name
        An operator that it belongs to.
    func
        Unscheduled PrimFunc.
    seconds
        Its share of a round of the schedule.
    cores
        Cores that it runs on: its share of the machine.
    """

    key: str
    name: str
    func: Any
    seconds: float
    cores: int


class KernelRun:
    """Trials of one task.

    Parameters
    ----------
    task
        What to tune.
    records
        Where trials are kept.
    measurer
        Who builds and times.
    target
        tvm Target, with the cores that the kernel may use.
    default_cores
        Cores that the default rules' kernel is made for, which runs where no record does.
    seed
        Of the searches.
    stopped
        Asked between trials: whether to leave off.
    """

    def __init__(
        self,
        task: Task,
        records: Records,
        measurer: Measurer,
        target: Any,
        default_cores: int,
        seed: int,
        stopped: Callable[[], bool],
    ) -> None:
        self.task, self.generations = task, 0
        self._records, self._measurer, self._target = records, measurer, target
        self._cores, self._default_cores = task.cores, default_cores
        self._seed, self._stopped = seed, stopped
        self._module = workload_module(task.func)
        self._arguments = list(s_tir.meta_schedule.arg_info.ArgInfo.from_prim_func(self._module["main"]))
        self._search: context.KernelSearch | None = None
        self._climb: Climb | None = None
        self._stale = 0
        self.note = records.kernels.setdefault(task.key, KernelNote())
        self.note.name, self.note.cores = task.name, task.cores

    @property
    def worth(self) -> float:
        """Seconds a round that one more generation of trials is spent on."""
        return self.task.seconds / (self.generations + 1)

    def done(self, trials: int) -> bool:
        """Whether there is nothing left to try."""
        return self._records.enough(self.task.key, trials)

    def generation(self, trials: int, measured: Callable[[int, str], None]) -> None:
        """One generation of candidates, up to `trials` in all; calls ``measured(1, note)`` after each trial."""
        if self._climb is None:
            if self.note.default is None:
                self.note.default = self._time(self._default())
                self._records.save_notes()
            self._climb = Climb(self.task.func, self._target, self._cores, self._seed)
        self.generations += 1
        of = Trials(self.task.key, self.task.name, self._records, self._measurer, self._target, self._stopped)
        if self._climbs() and self._climbed(self._climb, of, trials, measured):
            return
        if self._stale < _STALE:
            self._sampled(of, trials, measured)
        elif not self._climbed(self._climb, of, trials, measured):
            self.note.exhausted = True

    def _climbs(self) -> bool:
        """Whether the next trials are of tilings. Once one kind has the rest, its lead can only grow: this stays decided."""
        own = self._records.tilings.trials.get(self.task.key, {})
        sampled = self._records.trials.get(self.task.key, {})
        if len(own) < OWN or self._stale >= _STALE:
            return True
        if len(sampled) < context.BLOCK:
            return False
        best, other = self._records.tilings.best(self.task.key), self._records.best(self.task.key)
        return other is None or (best is not None and best <= other)

    def _climbed(self, climb: Climb, of: Trials, trials: int, measured: Callable[[int, str], None]) -> bool:
        """A generation of tilings; whether there were any."""
        known = self._records.tilings.trials.setdefault(self.task.key, {})
        first = len(known)
        while len(known) < first + context.BLOCK and self._climbs():
            found = climb.next(known, self._measurer.parallel)
            if not found:
                break
            asked = [
                Candidate(text, workload_module(func), self._arguments, partial(self._keep_tiling, text))
                for text, func in found
            ]
            if len(of.measured(asked, known, trials, self._hopeless, measured)) < len(asked):
                return True
        return len(known) > first

    def _sampled(self, of: Trials, trials: int, measured: Callable[[int, str], None]) -> None:
        """A generation of MetaSchedule's."""
        if self._search is None:
            self._search = context.KernelSearch(self._module, self._target, self._seed)
        known = self._records.trials.setdefault(self.task.key, {})
        first = len(known)
        candidates = self._search.candidates()
        asked = [
            Candidate(str(c.sch.trace), c.sch.mod, list(c.args_info), partial(self._keep_record, c))
            for c in candidates
        ]
        seconds = of.measured(asked, known, trials, self._hopeless, measured)
        if not candidates:
            self._stale = _STALE
            return
        self._stale = 0 if len(known) > first else self._stale + 1
        if len(seconds) == len(candidates):
            self._search.told(candidates, seconds)

    def _keep_tiling(self, text: str, seconds: list[float]) -> None:
        self._records.tilings.commit(self.task.key, text, seconds)

    def _keep_record(self, candidate: Any, seconds: list[float]) -> None:
        self._records.commit(self.task.key, self._module, candidate, seconds, self._target)

    def _hopeless(self) -> float | None:
        """Seconds of a candidate that need not be timed more than once."""
        best = (self._records.best(self.task.key), self._records.tilings.best(self.task.key), self.note.default)
        known = [s for s in best if s is not None]
        return 2 * min(known) if known else None

    def settle(self) -> None:
        """Time the best of each kind and the default in turns, so that chance does not decide between them."""
        modules: dict[str | None, Any] = {None: self._default()}
        known = self._records.tilings.trials.get(self.task.key, {})
        best, other = self._records.tilings.best(self.task.key), self._records.best(self.task.key)
        if other is not None and (best is None or other <= _CLOSE * best):
            record = self._records.database.query_tuning_record(self._module, self._target, "main")
            schedule = s_tir.Schedule(record.workload.mod)
            with self._target:
                record.trace.apply_to_schedule(schedule, remove_postproc=False)
            modules[""] = schedule.mod
        # Made for other cores than it runs on, the default is none of these tilings.
        same = self._cores == self._default_cores
        default = rules.tilings(self.task.func, self._target, self._cores)[:1] if same else []
        ranked = sorted((t for t in known if t not in default), key=lambda t: sum(known[t]) / len(known[t]))
        for text in ranked[:_FINALISTS]:
            if min(known[text]) < FAILED:
                made = rules.retiled(self.task.func, self._target, self._cores, text)
                modules[text] = workload_module(made)
        taken = self._measurer.in_turns(list(modules.values()), self._target, self._arguments)
        medians = {name: _median(seconds) for name, seconds in zip(modules, taken, strict=True)}
        self.note.default = medians.pop(None)
        self.note.tiling = min(medians, key=lambda n: medians[n] or FAILED, default="") or ""
        self.note.tuned, self.note.generation = medians.get(self.note.tiling), GENERATION

    def close(self) -> None:
        """End the search; keep what the records say of the kernel where it was not settled."""
        if self._search is not None:
            self._search.close()

    def _default(self) -> Any:
        with self._target:
            return workload_module(rules.schedule(self.task.func, self._target, self._default_cores).func)

    def _time(self, module: Any) -> float | None:
        return _median(self._measurer.submit(module, self._target, self._arguments)())


def _median(values: list[Any]) -> float | None:
    kept = sorted(v for v in values if v is not None)
    return float(kept[len(kept) // 2]) if kept else None
