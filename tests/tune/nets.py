"""Two tiny tenants, and measurers that need no clock."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from gacer_tvm import tune
from gacer_tvm._tvm import relax
from gacer_tvm.tune import kernel
from gacer_tvm.tune.tune import TuneResult

op = relax.op


def dense(batch: int, width: int, hidden: int, seed: int) -> Any:
    """Matmul, relu: one kernel."""
    rng = np.random.default_rng(seed)
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType((batch, width), "float32"))
    weight = relax.const(rng.standard_normal((width, hidden), dtype=np.float32))
    with builder.function("main", [x]):
        with builder.dataflow():
            out = builder.emit_output(builder.emit(op.nn.relu(op.matmul(x, weight))))
        builder.emit_func_output(out)
    return builder.get()


def tenants() -> dict[str, Any]:
    """Three tenants with two different kernels between them."""
    return {"a": dense(4, 32, 48, 0), "b": dense(4, 24, 16, 1), "twin of a": dense(4, 32, 48, 2)}


class Told:
    """Answers with the seconds that `seconds` gives for a schedule's text; remembers what was asked."""

    parallel = 1

    def __init__(self, seconds: Callable[[str], list[float]] | None = None) -> None:
        self.seconds = seconds or of_text
        self.asked: list[str] = []
        self.closed = False

    def submit(
        self, module: Any, target: Any, arguments: list[Any], hopeless: float | None = None
    ) -> Callable[[], list[float]]:
        text = module["main"].script()
        self.asked.append(text)
        found = self.seconds(text)
        return lambda: found

    def in_turns(self, modules: Sequence[Any], target: Any, arguments: list[Any]) -> list[list[float]]:
        return [self.submit(module, target, arguments)() for module in modules]

    def close(self) -> None:
        self.closed = True


def of_text(text: str) -> list[float]:
    """Seconds that depend on the schedule and on nothing else."""
    number = int(hashlib.sha256(text.encode()).hexdigest()[:8], 16)
    return [1e-6 * (1 + number / 2**32)]


def tuned(folder: Path, trials: int, measurer: Any = None, own: int = 0, **given: Any) -> TuneResult:
    """A run on the tiny tenants, one round, whole operators; the first `own` trials of each kernel are tilings of our rule."""
    usual = {"rounds": 1, "search_seconds": 0.5, "cache": False}
    with patch.object(kernel, "OWN", own):
        return tune(tenants(), "cpu", folder, trials, measurer=measurer, **{**usual, **given})
