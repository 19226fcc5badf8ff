"""One typed record for every measurement that an old tuning log holds, whichever tool wrote it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from .steps import AnsorSchedule
from .target_text import LogTarget

__all__ = [
    "ERROR_NAMES",
    "AutoTvmConfig",
    "LogRecord",
    "MetaTrace",
    "Schedule",
    "Source",
    "Tensor",
]

Source = Literal["ansor", "autotvm", "metaschedule"]

# The numbering that AutoTVM and the auto-scheduler shared.
ERROR_NAMES = (
    "ok",
    "instantiation",
    "compile host",
    "compile device",
    "runtime device",
    "wrong answer",
    "build timeout",
    "run timeout",
    "unknown",
    "fleet",
)


@dataclass(frozen=True, slots=True)
class Tensor:
    """Shape and dtype of one input or output; `dtype` is empty where the log does not tell."""

    shape: tuple[int, ...]
    dtype: str = ""

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class AutoTvmConfig:
    """The knobs of an AutoTVM template: (name, kind, value) triples. Templates left TVM, so these are features only."""

    template: str
    knobs: tuple[tuple[str, str, object], ...]


@dataclass(frozen=True, slots=True)
class MetaTrace:
    """A MetaSchedule trace as it was written: instructions ``(kind, inputs, attrs, outputs)`` and decisions.

    `workload_index` points into the database's list of modules; `database` is the file that holds them ("" if none was
    beside the records).
    """

    instructions: tuple[tuple[str, tuple[object, ...], tuple[object, ...], tuple[str, ...]], ...]
    decisions: tuple[tuple[int, object], ...]
    workload_index: int
    database: str = ""


Schedule = AnsorSchedule | AutoTvmConfig | MetaTrace


@dataclass(frozen=True, slots=True)
class LogRecord:
    """One measured (or failed) candidate.

    Attributes
    ----------
    source, version
        The tool that wrote it and the format's version, as in the file (``"v0.6"``, ``"0.2"``); empty for databases.
    file, line
        Where it was read; lines count from 1.
    target
        The target string, parsed.
    workload
        What was computed, as the log names it: an Ansor workload key, an AutoTVM task with its arguments, a MetaSchedule
        structural hash. Two records with the same `source` and `workload` measured the same computation.
    op_class
        ``conv2d``, ``depthwise_conv2d``, ``conv2d_winograd``, ``dense``, ``batch_matmul``, ``pool`` ... ; ``unknown``
        where neither the name nor the shapes tell.
    tensors
        Inputs in order, then the output(s) where the log holds them (`outputs` counts these).
    seconds
        The measured repeats; empty for a failure.
    error
        0 for a good measurement, else an index into `ERROR_NAMES`.
    tuning_seconds
        What building and running the candidate cost.
    timestamp
        Unix seconds, or None.
    flops
        Arithmetic operations of the workload where they can be told from the shapes, else None.
    schedule
        What was tried, or None where the line has none.
    cores
        Cores of the CPU that the tuner was told of (Ansor since 0.3), or None.
    """

    source: Source
    version: str
    file: str
    line: int
    target: LogTarget
    workload: str
    op_class: str
    tensors: tuple[Tensor, ...]
    outputs: int
    seconds: tuple[float, ...]
    error: int
    tuning_seconds: float | None = None
    timestamp: float | None = None
    flops: float | None = None
    schedule: Schedule | None = field(default=None, repr=False)
    cores: int | None = None

    @property
    def ok(self) -> bool:
        """Whether the candidate ran and was timed."""
        return self.error == 0 and bool(self.seconds)

    @property
    def error_name(self) -> str:
        """`error` in words."""
        return ERROR_NAMES[self.error] if 0 <= self.error < len(ERROR_NAMES) else f"error {self.error}"

    @property
    def best_seconds(self) -> float | None:
        """The fastest repeat; None for a failure."""
        return min(self.seconds) if self.ok else None

    @property
    def median_seconds(self) -> float | None:
        """The middle repeat; None for a failure."""
        if not self.ok:
            return None
        ordered = sorted(self.seconds)
        half = len(ordered) // 2
        return ordered[half] if len(ordered) % 2 else 0.5 * (ordered[half - 1] + ordered[half])

    @property
    def dtype(self) -> str:
        """The dtype of the first tensor that has one; empty if none is known."""
        return next((tensor.dtype for tensor in self.tensors if tensor.dtype), "")

    @property
    def place(self) -> str:
        """``file:line``."""
        return f"{self.file}:{self.line}"
