"""From a workload key to its computation: the tutorials' names, the shipped dictionary, or a text with the key's hash."""

from __future__ import annotations

import json
import lzma
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from os import PathLike
from pathlib import Path

from gacer_tvm.errors import LogError

from .ansor_key import WorkloadKey, parse_key
from .ansor_state import FinalState, ReplayStop, follow
from .dag import Compute, Dag, Placeholder
from .dag_extents import dag_from_text
from .dag_text import DagTextError, workload_hash
from .families import candidate_texts
from .named import named_texts
from .result import real
from .steps import Step

__all__ = ["Dictionary", "Identified", "dag_axes", "identify", "load_dictionary"]

_SHIPPED = Path(__file__).parent / "data" / "ansor_tasks.json.xz"


@dataclass(frozen=True, slots=True)
class Identified:
    """A computation and how it was found: ``name``, ``dictionary`` or ``hash``."""

    dag: Dag
    how: str


@dataclass(frozen=True, slots=True)
class Dictionary:
    """Printed computations by workload key: (text, FLOPs or None)."""

    entries: Mapping[str, tuple[str, float | None]]


@lru_cache(maxsize=1)
def shipped_dictionary() -> Dictionary:
    """The tasks of ResNet-18/50, MobileNet and others, extracted with TVM 0.17 for CUDA and LLVM targets."""
    return _dictionary(json.loads(lzma.decompress(_SHIPPED.read_bytes())), str(_SHIPPED))


def load_dictionary(path: str | PathLike[str]) -> Dictionary:
    """Read a dictionary of your own: JSON, ``{workload key: {"dag": printed ComputeDAG, "flops": number}}``.

    ``task.workload_key`` and ``str(task.compute_dag)`` of the TVM that wrote the log give it.

    Raises
    ------
    LogError
        If the file is not of that form.
    """
    try:
        value = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise LogError(f"the dictionary {str(path)!r} cannot be read: {error}") from error
    return _dictionary(value, str(path))


def _dictionary(value: object, path: str) -> Dictionary:
    if not isinstance(value, dict):
        raise LogError(f"the dictionary {path!r} is not a JSON object of workload keys")
    entries: dict[str, tuple[str, float | None]] = {}
    for key, item in value.items():
        if not isinstance(item, dict) or not isinstance(item.get("dag"), str):
            raise LogError(f'the dictionary {path!r} has no "dag" text for key {key[:80]!r}')
        flops = real(item.get("flops"))
        entries[key] = (item["dag"], flops if flops and flops > 0 else None)
    return Dictionary(entries)


def identify(workload: str, steps: tuple[Step, ...], dictionary: Dictionary | None = None) -> Identified:
    """The computation of an Ansor record.

    Parameters
    ----------
    workload
        The record's workload key.
    steps
        The record's steps: they must fit the computation, loop extents included.
    dictionary
        Asked before the shipped one.

    Raises
    ------
    ReplayStop
        With the reason if no computation is known, or none fits the steps.
    """
    key = parse_key(workload)
    if key is None:
        raise ReplayStop("the workload key is no key")
    stop: ReplayStop | None = None
    loose: Identified | None = None
    for found in _computations(workload, key, dictionary):
        try:
            state = follow(dag_axes(found.dag), steps)
        except ReplayStop as failed:
            # Of several that do not fit, the one that went furthest tells most.
            if stop is None or (failed.step or 0) > (stop.step or 0):
                stop = failed
            continue
        if found.how != "name" or _reaches(state):
            return found
        loose = loose or found
    if loose is not None:
        return loose
    if stop is not None:
        raise stop
    if not key.hashed:
        raise ReplayStop(f"no computation is known for the registered function {key.name!r}")
    if not key.shapes:
        raise ReplayStop("the key is a hash without shapes (written before 2021), which no dictionary has")
    raise ReplayStop("no known computation has this key's hash")


def _reaches(state: FinalState) -> bool:
    """Whether the steps schedule the last stage: those of a bare product also fit a product with a sum behind it."""
    last = state.stages[-1]
    return bool(last.program) or any(it.annotation != "none" for it in last.iters)


def _computations(workload: str, key: WorkloadKey, dictionary: Dictionary | None) -> Iterator[Identified]:
    for known in (dictionary, shipped_dictionary()):
        entry = known.entries.get(workload) if known is not None else None
        if entry is not None:
            dag = _parse(entry[0], key.shapes or None, entry[1])
            if dag is not None:
                yield Identified(dag, "dictionary")
    if key.hashed:
        for shapes in key.cuts:
            yield from _by_hash(key.name, shapes)
    else:
        for text, shapes, dtype in named_texts(key):
            dag = _parse(text, shapes, None)
            if dag is not None:
                yield Identified(_with_dtype(dag, dtype), "name")


@lru_cache(maxsize=4096)
def _by_hash(digest: str, shapes: tuple[tuple[int, ...], ...]) -> tuple[Identified, ...]:
    for text in candidate_texts(shapes):
        if workload_hash(text) == digest:
            dag = _parse(text, shapes, None)
            if dag is not None:
                return (Identified(dag, "hash"),)
    return ()


@lru_cache(maxsize=4096)
def _parse(text: str, shapes: tuple[tuple[int, ...], ...] | None, flops: float | None) -> Dag | None:
    try:
        return dag_from_text(text, shapes, flops)
    except DagTextError:
        return None


def _with_dtype(dag: Dag, dtype: str) -> Dag:
    if dtype == "float32":
        return dag
    return Dag(tuple(replace(stage, dtype=dtype) for stage in dag.stages))


def dag_axes(dag: Dag) -> list[tuple[tuple[int, ...], tuple[int, ...] | None]]:
    """Loop extents of each stage, as `follow` takes them."""
    axes: list[tuple[tuple[int, ...], tuple[int, ...] | None]] = []
    for stage in dag.stages:
        if isinstance(stage, Placeholder):
            axes.append((stage.shape, None))
        else:
            assert isinstance(stage, Compute)
            axes.append((stage.shape, tuple(extent for _, extent in stage.reduce)))
    return axes
