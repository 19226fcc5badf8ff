"""Records as rows for the learned cost model: what a kernel did, on what device, and how long it took.

A log knows neither clocks nor registers nor what else ran; what it knows is put in one place here, in SI units.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .record import AutoTvmConfig, LogRecord, MetaTrace
from .steps import Annotate, AnsorSchedule, CacheRead, Pragma, Split, Step

__all__ = ["BYTES", "LogRow", "log_rows"]

BYTES = {
    "float64": 8,
    "float32": 4,
    "float16": 2,
    "bfloat16": 2,
    "int64": 8,
    "int32": 4,
    "int16": 2,
    "int8": 1,
    "uint8": 1,
}


@dataclass(frozen=True, slots=True)
class LogRow:
    """One measurement.

    Attributes
    ----------
    source, op_class, dtype
        As in the record; an unknown dtype is ``float32``, the default of all three tools.
    device_kind, device, arch
        ``cpu`` or ``gpu``; the model or target kind; ``sm_86`` or the CPU's name, where told.
    flops
        Arithmetic operations of the workload.
    bytes_moved
        Bytes of all inputs and outputs, each once.
    seconds
        Median of the repeats.
    threads, vthreads, blocks
        Threads a block, virtual threads a block and blocks of the largest kernel, where the schedule tells (GPU); else 0.
    unroll
        The largest unrolling limit of the schedule; 0 without.
    shared_caches
        Copies into shared memory.
    inner_tile
        Elements that one thread (GPU) or one vectorized loop nest (CPU) computes; 0 where the schedule does not tell.
    """

    source: str
    op_class: str
    dtype: str
    device_kind: str
    device: str
    arch: str
    flops: float
    bytes_moved: int
    seconds: float
    threads: int = 0
    vthreads: int = 0
    blocks: int = 0
    unroll: int = 0
    shared_caches: int = 0
    inner_tile: int = 0


def log_rows(records: Iterable[LogRecord], *, best_only: bool = False) -> tuple[LogRow, ...]:
    """Rows of all good records whose arithmetic is known.

    Parameters
    ----------
    records
        What `read_logs` read.
    best_only
        One row for each (target, workload): the fastest. That is what a table of kernel latencies wants; a model of
        schedules wants all.
    """
    rows: list[LogRow] = []
    best: dict[tuple[str, str], tuple[float, int]] = {}
    for record in records:
        row = _row(record)
        if row is None:
            continue
        if best_only:
            key = (record.target.text, record.workload)
            known = best.get(key)
            if known is not None:
                if row.seconds < known[0]:
                    rows[known[1]] = row
                    best[key] = (row.seconds, known[1])
                continue
            best[key] = (row.seconds, len(rows))
        rows.append(row)
    return tuple(rows)


def _row(record: LogRecord) -> LogRow | None:
    seconds = record.median_seconds
    if seconds is None or not record.flops or not record.tensors or record.target.device == "other":
        return None
    dtype = record.dtype or "float32"
    moved = sum(tensor.size * BYTES.get(tensor.dtype or dtype, 4) for tensor in record.tensors)
    return LogRow(
        source=record.source,
        op_class=record.op_class,
        dtype=dtype,
        device_kind=record.target.device,
        device=record.target.model or record.target.kind,
        arch=record.target.arch,
        flops=record.flops,
        bytes_moved=moved,
        seconds=seconds,
        **_schedule_figures(record),
    )


def _schedule_figures(record: LogRecord) -> dict[str, int]:
    schedule = record.schedule
    if isinstance(schedule, AnsorSchedule):
        return _ansor_figures(schedule.steps)
    if isinstance(schedule, AutoTvmConfig):
        return _autotvm_figures(schedule)
    if isinstance(schedule, MetaTrace):
        return _meta_figures(schedule)
    return {}


def _ansor_figures(steps: tuple[Step, ...]) -> dict[str, int]:
    """From the tiling of the main stage: lengths are (virtual threads, threads, inner, inner) for each spatial loop."""
    unroll = max(
        (
            int(step.text.partition("$")[2])
            for step in steps
            if isinstance(step, Pragma) and step.text.partition("$")[2].isdecimal()
        ),
        default=0,
    )
    shared = sum(isinstance(step, CacheRead) and step.scope == "shared" for step in steps)
    gpu = any(isinstance(step, Annotate) and step.kind.startswith("threadIdx") for step in steps)
    tiled: dict[int, list[Split]] = {}
    for step in steps:
        if isinstance(step, Split) and step.inner_to_outer:
            tiled.setdefault(step.stage, []).append(step)
    main = max(tiled.values(), key=lambda splits: sum(len(split.lengths) for split in splits), default=[])
    depth = max((len(split.lengths) for split in main), default=0)
    spatial = [split for split in main if len(split.lengths) == depth]
    figures = {"unroll": unroll, "shared_caches": shared}
    if gpu and depth >= 4:
        figures.update(vthreads=1, threads=1, blocks=1, inner_tile=1)
        for split in spatial:
            total = 1
            for length in split.lengths:
                total *= length
            figures["vthreads"] *= split.lengths[0]
            figures["threads"] *= split.lengths[1]
            figures["inner_tile"] *= total // (split.lengths[0] * split.lengths[1])
            figures["blocks"] *= -(-max(split.extent, 1) // total)
    elif gpu:
        figures.update(_flat_threads(steps))
    elif depth >= 2:
        tile = 1
        for split in spatial:
            tile *= split.lengths[-1]
        figures["inner_tile"] = tile
    return figures


def _flat_threads(steps: tuple[Step, ...]) -> dict[str, int]:
    """Kernels that are only fused, split once and bound."""
    found: dict[str, int] = {}
    for step in steps:
        if isinstance(step, Split) and len(step.lengths) == 1 and step.lengths[0] > found.get("threads", 0):
            found = {"threads": step.lengths[0], "blocks": -(-max(step.extent, 1) // step.lengths[0]), "vthreads": 1}
    return found


def _autotvm_figures(config: AutoTvmConfig) -> dict[str, int]:
    """Knobs of the CUDA templates: ``tile_f = [blocks, virtual threads, threads, inner]``, and the like."""
    figures = {"threads": 1, "vthreads": 1, "inner_tile": 1, "unroll": 0}
    seen = False
    for name, kind, value in config.knobs:
        if kind == "sp" and isinstance(value, tuple) and all(type(item) is int for item in value) and len(value) == 4:
            seen = True
            figures["vthreads"] *= max(value[1], 1)
            figures["threads"] *= max(value[2], 1)
            figures["inner_tile"] *= max(value[3], 1)
        elif name == "auto_unroll_max_step" and type(value) is int:
            figures["unroll"] = value
    return figures if seen else {"unroll": figures["unroll"]}


def _meta_figures(trace: MetaTrace) -> dict[str, int]:
    shared = sum(
        kind == "CacheRead" and len(attrs) > 1 and attrs[1] == "shared" for kind, _, attrs, _ in trace.instructions
    )
    return {"shared_caches": shared}
