"""One kernel's search in MetaSchedule: candidates are asked for, and told how long they took.

TVM's own loop (`tune_tasks`) writes records a batch at a time and cannot be stopped in between; here the caller has
the loop, so that every trial is on disk before the next one begins.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from .._tvm import s_tir

__all__ = ["BLOCK", "KernelSearch", "make_context"]

# Candidates of one generation, whatever the number of trials: the path of 64 trials begins with that of 32.
BLOCK = 16
# Larger populations cost seconds a generation, and 64 trials learn too little for them to matter.
_POPULATION = 32
_GENERATIONS = 3
_FOREVER = 1 << 20

# MetaSchedule says a page about every generation.
_QUIET = logging.getLogger("gacer_tvm.tune.meta_schedule")
_QUIET.setLevel(logging.ERROR)


def make_context(module: Any, target: Any, seed: int) -> Any:
    """A MetaSchedule context for one kernel.

    Its Python constructor is passed by: it imports every tensor intrinsic of TVM, which takes half a minute and matters
    only to targets that use one.
    """
    ms = s_tir.meta_schedule
    kind = str(target.kind.name)
    generator = ms.space_generator.PostOrderApply(
        sch_rules=ms.ScheduleRule.create(kind),
        postprocs=ms.Postproc.create(kind),
        mutator_probs=ms.Mutator.create(kind),
    )
    strategy = ms.search_strategy.EvolutionarySearch(population_size=_POPULATION, genetic_num_iters=_GENERATIONS)
    inner = ms.tune_context
    context = ms.TuneContext.__new__(ms.TuneContext)
    # Candidates are handed to threads as these become free: with more than one the same seed gives other candidates.
    threads = 1
    context.__init_handle_by_constructor__(
        inner._ffi_api.TuneContext,
        module,
        target,
        generator,
        strategy,
        "main",
        threads,
        seed % (2**31 - 2) + 1,
        inner.get_logging_func(_QUIET),
    )
    inner._ffi_api.TuneContextInitialize(context)
    return context


class KernelSearch:
    """MetaSchedule's evolutionary search for one kernel.

    It learns only from what it is told, never from an old database, so that the same seed and the same timings give the same
    candidates: a run that goes on where another stopped walks the old path first, from the records.

    Parameters
    ----------
    module, target
        The kernel, and what it is for.
    seed
        Of the sampling.
    """

    def __init__(self, module: Any, target: Any, seed: int) -> None:
        ms = s_tir.meta_schedule
        self.module, self.target, self.seed = module, target, seed
        self._round = 0
        with self._seeded():
            self._context = make_context(module, target, seed)
            self._memory = ms.database.MemoryDatabase()
            self._model = ms.cost_model.XGBModel(num_warmup_samples=BLOCK, early_stopping_rounds=8, num_tuning_cores=1)
            self._context.pre_tuning(_FOREVER, BLOCK, None, self._memory, self._model)

    def candidates(self) -> list[Any]:
        """The next candidates; none where the space is exhausted."""
        self._round += 1
        with self._seeded():
            return list(self._context.generate_measure_candidates() or [])

    def told(self, candidates: list[Any], seconds: list[list[float]]) -> None:
        """Learn what `candidates` took."""
        ms = s_tir.meta_schedule
        results = [ms.runner.RunnerResult(s, None) for s in seconds]
        workload = self._memory.commit_workload(self.module)
        for candidate, taken in zip(candidates, seconds, strict=True):
            self._memory.commit_tuning_record(
                ms.database.TuningRecord(candidate.sch.trace, workload, taken, self.target, candidate.args_info)
            )
        with self._seeded():
            self._context.notify_runner_results(candidates, results)
            self._model.update(self._context, candidates, results)

    def close(self) -> None:
        """Give the search's memory back."""
        self._context.post_tuning()

    @contextmanager
    def _seeded(self) -> Iterator[None]:
        """NumPy's global generator, which the cost model draws from, seeded for this round and then left as it was."""
        held = np.random.get_state()  # noqa: NPY002
        np.random.seed((self.seed * 1009 + self._round) % (2**32))  # noqa: NPY002
        try:
            yield
        finally:
            np.random.set_state(held)  # noqa: NPY002
