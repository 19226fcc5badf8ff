"""Reader of auto-scheduler (Ansor) records, versions 0.1 to 0.6: ``{"i": [task, state], "r": [...], "v": "v0.6"}``."""

from __future__ import annotations

import math
from collections.abc import Mapping

from .ansor_key import WorkloadKey, parse_key
from .named import is_product, is_shape
from .record import LogRecord, Tensor
from .result import BadRecord, parse_result
from .steps import AnsorSchedule, BadStep, Split, Step, parse_steps
from .target_text import parse_target
from .workload import classify, flops_of

__all__ = ["is_ansor", "read_ansor"]


def is_ansor(value: Mapping[str, object]) -> bool:
    """Whether a decoded line looks like a record of the auto-scheduler."""
    task = value.get("i")
    return isinstance(task, list) and len(task) == 2 and isinstance(task[0], list) and "r" in value


def read_ansor(value: Mapping[str, object], file: str, line: int) -> LogRecord:
    """Type one decoded line.

    Raises
    ------
    BadRecord
        With the reason; the reader counts it.
    """
    task_and_state = value["i"]
    assert isinstance(task_and_state, list)
    task, state = task_and_state
    # The key and the target are in all versions; hardware parameters, host, layout option, input names came later.
    if len(task) < 2 or not isinstance(task[0], str) or not isinstance(task[1], str):
        raise BadRecord("an auto-scheduler task without key and target")
    if not isinstance(state, list) or len(state) != 2:
        raise BadRecord("an auto-scheduler state without steps")
    key = parse_key(task[0])
    if key is None:
        raise BadRecord("a workload key that is no key")
    try:
        steps = parse_steps(state[1])
    except BadStep as bad:
        raise BadRecord(f"bad step: {bad}") from bad
    layout = task[4] if len(task) > 4 and type(task[4]) is int else 0
    version = value.get("v")
    op_class, tensors, outputs, flops = _workload(key, steps)
    return LogRecord(
        source="ansor",
        version=version[:8] if isinstance(version, str) else "",
        file=file,
        line=line,
        target=parse_target(task[1]),
        workload=task[0],
        op_class=op_class,
        tensors=tensors,
        outputs=outputs,
        **parse_result(value["r"]),
        flops=flops,
        schedule=AnsorSchedule(steps, layout),
        cores=_cores(task),
    )


def _cores(task: list[object]) -> int | None:
    """The first of the hardware parameters; -1 on a GPU."""
    hardware = task[2] if len(task) > 2 else None
    cores = hardware[0] if isinstance(hardware, list) and hardware else None
    return cores if type(cores) is int and 0 < cores <= 4096 else None


def _workload(key: WorkloadKey, steps: tuple[Step, ...]) -> tuple[str, tuple[Tensor, ...], int, float | None]:
    if key.hashed and key.shapes:
        op_class = classify(key.shapes)
        tensors = tuple(Tensor(shape) for shape in key.shapes)
        return op_class, tensors, 1, flops_of(op_class, tensors)
    if not key.hashed:
        return _named(key)
    return _from_steps(steps)


def _named(key: WorkloadKey) -> tuple[str, tuple[Tensor, ...], int, float | None]:
    """Class and shapes of the functions that TVM's tutorials register."""
    numbers = [item for item in key.arguments if type(item) is int and 0 < item < 1 << 24]
    dtype = next((item for item in key.arguments if isinstance(item, str) and item[:3] in ("flo", "int", "uin")), "")
    name = key.name.lower()
    if "conv2d" in name and len(numbers) >= 7:
        n, h, w, co, ci, kh, kw = numbers[:7]
        stride = _pair(key.arguments[7] if len(key.arguments) > 7 else 1)
        padding = _pair(key.arguments[8] if len(key.arguments) > 8 else 0)
        out = [(size + 2 * p - k) // s + 1 for size, p, k, s in zip((h, w), padding, (kh, kw), stride, strict=True)]
        if min(out) > 0:
            shapes = ((n, ci, h, w), (co, ci, kh, kw), (n, co, *out))
            flops = 2.0 * math.prod(shapes[2]) * ci * kh * kw
            return "conv2d", tuple(Tensor(shape, dtype) for shape in shapes), 1, flops
    if "conv2d" in name and len(key.arguments) >= 2 and all(is_shape(item) for item in key.arguments[:2]):
        given = [item for item in key.arguments[:2] if isinstance(item, list)]
        return "conv2d", tuple(Tensor(tuple(shape), dtype) for shape in given), 0, None
    if (is_product(name) or "sparse_dense" in name) and len(numbers) >= 3:
        n, k, m = numbers[:3]
        tensors = tuple(Tensor(shape, dtype) for shape in ((n, k), (k, m), (n, m)))
        kind = "sparse_dense" if "sparse" in name else "dense"
        return kind, tensors, 1, None if kind == "sparse_dense" else 2.0 * n * k * m
    return "unknown", (), 0, None


def _pair(value: object) -> tuple[int, int]:
    if type(value) is int and 0 <= value < 1024:
        return value, value
    if isinstance(value, list) and len(value) == 2 and all(type(item) is int and 0 <= item < 1024 for item in value):
        return max(value[0], 0), max(value[1], 0)
    return 1, 1


def _from_steps(steps: tuple[Step, ...]) -> tuple[str, tuple[Tensor, ...], int, float | None]:
    """What the tiling of the main stage tells of a key without shapes (2020): its loop extents, spatial then reduction.

    The tiles of a multi-level tiling have three or four lengths for a spatial loop and one or two for a reduction.
    """
    tiled: dict[int, list[Split]] = {}
    for step in steps:
        if isinstance(step, Split) and step.extent > 0 and len(step.lengths) >= 1:
            tiled.setdefault(step.stage, []).append(step)
    main = max(tiled.values(), key=len, default=[])
    deepest = max((len(split.lengths) for split in main), default=0)
    if len(main) < 3 or deepest < 3:
        return "unknown", (), 0, None
    spatial = tuple(split.extent for split in main if len(split.lengths) == deepest)
    reduce = tuple(split.extent for split in main if len(split.lengths) < deepest)
    if not spatial or not reduce:
        return "unknown", (), 0, None
    op_class = {
        (2, 1): "dense",
        (3, 1): "batch_matmul",
        (4, 3): "conv2d",
        (4, 1): "conv2d_winograd",
        (5, 3): "conv2d",
    }.get((len(spatial), len(reduce)), "unknown")
    flops = None if op_class == "unknown" else 2.0 * math.prod(spatial) * math.prod(reduce)
    return op_class, (Tensor(spatial),), 1, flops
