"""Reader of MetaSchedule databases written before TVM 0.20: ``database_tuning_record.json`` and ``database_workload.json``.

A record names its module by line number in the other file. Shapes and seconds are in the record itself, so records are of
use without it; replaying their traces needs it (`old_tir`, `trace_replay`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from .record import LogRecord, MetaTrace, Tensor
from .result import BadRecord, Result, real
from .target_text import parse_target_object
from .workload import classify, flops_of

__all__ = ["is_meta_record", "is_workload_line", "read_meta_record", "workload_file_of", "workload_hashes"]

Instruction = tuple[str, tuple[object, ...], tuple[object, ...], tuple[str, ...]]

_HASH = re.compile(r'^\s*\[\s*"(-?\d+)"')
_BLOCK_CLASSES = (
    ("depthwise", "depthwise_conv2d"),
    ("group_conv2d", "group_conv2d"),
    ("conv2d_transpose", "conv2d_transpose"),
    ("conv2d", "conv2d"),
    ("conv1d", "conv1d"),
    ("conv3d", "conv3d"),
    ("batch_matmul", "batch_matmul"),
    ("matmul", "dense"),
    ("dense", "dense"),
    ("softmax", "softmax"),
    ("pool", "pool"),
    ("norm", "reduce"),
    ("sum", "reduce"),
)


def is_meta_record(value: object) -> bool:
    """Whether a decoded line looks like a tuning record: ``[index, [trace, seconds, target, arguments]]``."""
    return isinstance(value, list) and len(value) == 2 and type(value[0]) is int and isinstance(value[1], list)


def is_workload_line(value: object) -> bool:
    """Whether a decoded line looks like a workload: ``[hash, module]``."""
    return (
        isinstance(value, list)
        and len(value) == 2
        and isinstance(value[0], str)
        and isinstance(value[1], str)
        and value[0].lstrip("-").isdigit()
    )


def workload_file_of(records: Path) -> Path | None:
    """The workload file that stands beside a record file, or None."""
    name = records.name.replace("tuning_record", "workload")
    if name == records.name:
        return None
    path = records.with_name(name)
    return path if path.is_file() else None


def workload_hashes(path: Path) -> list[str]:
    """The structural hash of each line of a workload file ("" for a bad line), without decoding the modules."""
    hashes = []
    with path.open("r", encoding="utf-8", errors="replace") as file:
        for line in file:
            found = _HASH.match(line[:64])
            hashes.append(found.group(1) if found else "")
    return hashes


def read_meta_record(value: Sequence[object], file: str, line: int, database: str, hashes: Sequence[str]) -> LogRecord:
    """Type one decoded line of a record file.

    Raises
    ------
    BadRecord
        With the reason; the reader counts it.
    """
    index, body = value
    assert isinstance(body, list)
    if type(index) is not int or not 0 <= index < 1 << 24 or len(body) != 4:
        raise BadRecord("a MetaSchedule record that is not [trace, seconds, target, arguments]")
    trace, seconds, target, arguments = body
    tensors = _arguments(arguments)
    instructions, decisions = _trace(trace)
    workload = hashes[index] if index < len(hashes) and hashes[index] else f"{Path(file).name}#{index}"
    op_class = _op_class([tensor.shape for tensor in tensors], instructions)
    return LogRecord(
        source="metaschedule",
        version="",
        file=file,
        line=line,
        target=parse_target_object(target),
        workload=workload,
        op_class=op_class,
        tensors=tensors,
        outputs=1 if tensors else 0,
        **_seconds(seconds),
        flops=flops_of(op_class, tensors),
        schedule=MetaTrace(instructions, decisions, index, database),
    )


def _seconds(value: object) -> Result:
    if value is None:
        return Result(seconds=(), error=8, tuning_seconds=None, timestamp=None)
    if not isinstance(value, list) or len(value) > 100_000:
        raise BadRecord("run seconds that are no list")
    numbers = [real(item) for item in value]
    known = tuple(number for number in numbers if number is not None and 0.0 < number < 1e8)
    ok = bool(known) and len(known) == len(numbers)
    return Result(seconds=known if ok else (), error=0 if ok else 8, tuning_seconds=None, timestamp=None)


def _arguments(value: object) -> tuple[Tensor, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or len(value) > 1000:
        raise BadRecord("arguments that are no list")
    tensors = []
    for item in value:
        if not isinstance(item, list) or len(item) != 3 or item[0] != "TENSOR" or not isinstance(item[2], list):
            raise BadRecord("an argument that is no tensor")
        if len(item[2]) > 8 or any(type(size) is not int or not 0 <= size < 1 << 31 for size in item[2]):
            raise BadRecord("an argument with a shape that is no shape")
        tensors.append(Tensor(tuple(item[2]), item[1][:16] if isinstance(item[1], str) else ""))
    return tuple(tensors)


def _trace(value: object) -> tuple[tuple[Instruction, ...], tuple[tuple[int, object], ...]]:
    if (
        not isinstance(value, list)
        or len(value) != 2
        or not isinstance(value[0], list)
        or not isinstance(value[1], list)
    ):
        raise BadRecord("a trace that is not [instructions, decisions]")
    if len(value[0]) > 100_000 or len(value[1]) > 100_000:
        raise BadRecord("a trace of impossible length")
    instructions = []
    for item in value[0]:
        if (
            not isinstance(item, list)
            or len(item) != 4
            or not isinstance(item[0], str)
            or not all(isinstance(part, list) for part in item[1:])
            or not all(isinstance(name, str) for name in item[3])
        ):
            raise BadRecord("a trace instruction that is not [kind, inputs, attributes, outputs]")
        instructions.append((item[0][:64], tuple(item[1]), tuple(item[2]), tuple(item[3])))
    decisions = []
    for item in value[1]:
        if not isinstance(item, list) or len(item) != 2 or type(item[0]) is not int:
            raise BadRecord("a trace decision that is not [instruction, value]")
        decisions.append((item[0], item[1]))
    return tuple(instructions), tuple(decisions)


def _op_class(shapes: Sequence[tuple[int, ...]], instructions: Sequence[Instruction]) -> str:
    """By the names of the blocks that the trace fetches; by the shapes where no name tells."""
    names = [str(attrs[0]).lower() for kind, _, attrs, _ in instructions if kind in ("GetBlock", "GetSBlock") and attrs]
    for mark, op_class in _BLOCK_CLASSES:
        if any(mark in name for name in names):
            return op_class
    return classify([shape for shape in shapes if shape]) if shapes else "unknown"
