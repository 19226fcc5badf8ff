"""One kernel tuned: trials until it has its number, each on disk before the next begins, and compared with the default."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from .._tvm import s_tir
from ..kernels import rules
from ..kernels.request import GENERATION
from .context import KernelSearch
from .measure import Measurer
from .records import FAILED, KernelNote, Records, workload_module
from .size import TooMuchCode

__all__ = ["KernelRun", "Task"]

# Generations in a row that offer nothing new.
_STALE = 4
# A candidate that a process died with this often is recorded as failed.
_CRASHES = 2
_TURNS = 3
_FINALISTS = 2
_MARKER = "in_flight.json"


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
    """

    key: str
    name: str
    func: Any
    seconds: float


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
    cores
        The same number, for the default rules.
    seed
        Of the search.
    stopped
        Asked between trials: whether to leave off.
    """

    def __init__(
        self,
        task: Task,
        records: Records,
        measurer: Measurer,
        target: Any,
        cores: int,
        seed: int,
        stopped: Callable[[], bool],
    ) -> None:
        self.task, self.generations = task, 0
        self._records, self._measurer, self._target, self._cores = records, measurer, target, cores
        self._seed, self._stopped = seed, stopped
        self._module = workload_module(task.func)
        self._search: KernelSearch | None = None
        self._stale = 0
        self.note = records.kernels.setdefault(task.key, KernelNote())
        self.note.name, self.note.cores = task.name, cores

    @property
    def worth(self) -> float:
        """Seconds a round that one more generation of trials is spent on."""
        return self.task.seconds / (self.generations + 1)

    def done(self, trials: int) -> bool:
        """Whether there is nothing left to try."""
        return self.note.exhausted or self._records.count(self.task.key) >= trials

    def generation(self, trials: int, measured: Callable[[int, str], None]) -> None:
        """One generation of candidates, up to `trials` in all; calls ``measured(1, note)`` after each trial."""
        if self._search is None:
            if self.note.default is None:
                self.note.default = self._time_default()
                self._records.save_notes()
            self._try_tilings(measured)
            self._search = KernelSearch(self._module, self._target, self._seed)
        self.generations += 1
        candidates = self._search.candidates()
        seconds = self._measured(candidates, trials, measured)
        if len(seconds) == len(candidates) and candidates:
            self._search.told(candidates, seconds)
        elif not candidates:
            self.note.exhausted = True
        if self._stale >= _STALE:
            self.note.exhausted = True

    def _measured(self, candidates: list[Any], trials: int, measured: Callable[[int, str], None]) -> list[list[float]]:
        """Seconds of each candidate, from the records or measured now; fewer than asked where it was stopped."""
        known = self._records.trials.setdefault(self.task.key, {})
        waiting: list[tuple[int, Callable[[], list[float]]]] = []
        found: dict[int, list[float]] = {}
        new = 0

        def finish() -> None:
            number, wait = waiting.pop(0)
            found[number] = wait() or [FAILED]
            self._records.commit(self.task.key, self._module, candidates[number], found[number], self._target)
            self._clear()
            best = self._records.best(self.task.key)
            count = self._records.count(self.task.key)
            shown = f"{best * 1e3:.3g} ms" if best is not None else "none runs"
            measured(1, f"{self.task.name}: {shown} after {count}")

        for number, candidate in enumerate(candidates):
            text = str(candidate.sch.trace)
            if text in known:
                found[number] = known[text]
                continue
            if self._stopped() or self._records.count(self.task.key) + len(waiting) >= trials:
                break
            new += 1
            if self._measurer.parallel == 1 and self._crashed(text):
                waiting.append((number, list))
            else:
                waiting.append((number, self._submitted(candidate)))
            if len(waiting) >= self._measurer.parallel:
                finish()
        while waiting:
            finish()
        self._stale = 0 if new else self._stale + 1
        return [found[n] for n in range(len(candidates)) if n in found]

    def _submitted(self, candidate: Any) -> Callable[[], list[float]]:
        try:
            return self._measurer.submit(candidate.sch.mod, self._target, list(candidate.args_info))
        except TooMuchCode:
            self.note.too_large += 1
            return list

    def _try_tilings(self, measured: Callable[[int, str], None]) -> None:
        """Time the tilings of our own rule that come next in its estimate; they are few, and no trials."""
        note = self.note
        if note.generation != GENERATION:
            note.tilings, note.tiling, note.generation = {}, "", GENERATION
        for text in rules.tilings(self.task.func, self._target, self._cores):
            if text in note.tilings or self._stopped():
                continue
            note.tilings[text] = self._time(self._retiled(text)) or FAILED
            self._records.save_notes()
            measured(0, f"{self.task.name}: {note.tilings[text] * 1e3:.3g} ms, another tiling")

    def _retiled(self, text: str) -> Any:
        return workload_module(rules.retiled(self.task.func, self._target, self._cores, text))

    def settle(self) -> None:
        """Time the best record, the best tiling and the default in turns, so that chance does not decide between them."""
        self._try_tilings(lambda *_: None)
        modules: dict[str, Any] = {}
        record = self._records.database.query_tuning_record(self._module, self._target, "main")
        if self._records.best(self.task.key) is not None:
            schedule = s_tir.Schedule(record.workload.mod)
            with self._target:
                record.trace.apply_to_schedule(schedule, remove_postproc=False)
            modules[""] = schedule.mod
        ranked = sorted(self.note.tilings, key=lambda t: self.note.tilings[t])
        modules.update({t: self._retiled(t) for t in ranked[:_FINALISTS] if self.note.tilings[t] < FAILED})
        taken: dict[str | None, list[float | None]] = {name: [] for name in (None, *modules)}
        for _ in range(_TURNS):
            for name, seconds in taken.items():
                seconds.append(self._time_default() if name is None else self._time(modules[name]))
        medians = {name: _median(seconds) for name, seconds in taken.items()}
        self.note.default = medians[None]
        best = min(modules, key=lambda n: medians[n] or FAILED, default="")
        self.note.tuned, self.note.tiling = medians.get(best), best

    def close(self) -> None:
        """End the search; keep what the records say of the kernel where it was not settled."""
        if self._search is not None:
            self._search.close()

    def _time_default(self) -> float | None:
        with self._target:
            made = rules.schedule(self.task.func, self._target, self._cores).func
        return self._time(workload_module(made))

    def _time(self, module: Any) -> float | None:
        ms = s_tir.meta_schedule
        arguments = list(ms.arg_info.ArgInfo.from_prim_func(self._module["main"]))
        return _median(self._measurer.submit(module, self._target, arguments)())

    def _crashed(self, trace: str) -> bool:
        """Mark a candidate as under way; whether earlier processes have died with it."""
        name = sha256(f"{self.task.key} {trace}".encode()).hexdigest()[:16]
        path = self._records.folder / _MARKER
        tries = 0
        try:
            held = json.loads(path.read_text())
            tries = int(held["tries"]) if held["candidate"] == name else 0
        except (OSError, ValueError, KeyError, TypeError):
            pass
        path.write_text(json.dumps({"candidate": name, "tries": tries + 1}))
        return tries >= _CRASHES

    def _clear(self) -> None:
        (self._records.folder / _MARKER).unlink(missing_ok=True)


def _median(values: list[Any]) -> float | None:
    kept = sorted(v for v in values if v is not None)
    return float(kept[len(kept) // 2]) if kept else None
