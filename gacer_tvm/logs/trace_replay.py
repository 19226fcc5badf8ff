"""Traces of older MetaSchedule versions, translated and run on today's `s_tir.Schedule`.

Each instruction is carried over by hand (``GetBlock`` is ``get_sblock`` now, splits and caches gained options), with the
decisions that were recorded, so that a trace stops at a named instruction and what was run is recorded as a trace of today.
Instructions outside the table (layout transformations, tensor intrinsics) stop it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gacer_tvm._tvm import tir

from .ansor_state import ReplayStop
from .limits import MAX_UNROLL, SCOPES, THREADS
from .old_tir import is_hint
from .record import MetaTrace

__all__ = ["replay_trace"]

_NONE = "None"


def replay_trace(schedule: Any, trace: MetaTrace, names: Mapping[str, str] | None = None, on_cpu: bool = False) -> None:
    """Run a recorded trace.

    Parameters
    ----------
    schedule
        ``s_tir.Schedule`` of the unscheduled function.
    trace
        As it was read.
    names
        Block names of the trace's own module → those of the schedule's function, where these differ.
    on_cpu
        Leave out thread bindings (a GPU's trace for a CPU).

    Raises
    ------
    ReplayStop
        With the position of the instruction that stopped it.
    """
    runner = _Runner(schedule, names or {}, on_cpu)
    decisions = dict(trace.decisions)
    for position, (kind, inputs, attrs, outputs) in enumerate(trace.instructions):
        try:
            runner.run(kind, inputs, attrs, outputs, decisions.get(position))
        except ReplayStop as stop:
            stop.step = position
            raise
        except (RuntimeError, ValueError, TypeError, IndexError, KeyError, AttributeError, ArithmeticError) as error:
            raise ReplayStop(_reason(error), position) from error


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    for line in lines:
        if line.startswith("Error message: "):
            return line.removeprefix("Error message: ")[:200]
    return (lines[0] if lines else type(error).__name__)[:200]


class _Runner:
    def __init__(self, schedule: Any, names: Mapping[str, str], on_cpu: bool) -> None:
        self.sch = schedule
        self.names = names
        self.on_cpu = on_cpu
        self.values: dict[str, Any] = {}

    def run(
        self, kind: str, inputs: Sequence[Any], attrs: Sequence[Any], outputs: Sequence[str], decision: Any
    ) -> None:
        method = _INSTRUCTIONS.get(kind)
        if method is None:
            raise ReplayStop(f"instruction {kind!r} has no counterpart here")
        result = method(self, [self._value(item) for item in inputs], list(attrs), decision)
        results = [] if result is None else list(result) if isinstance(result, list | tuple) else [result]
        if kind in ("GetBlock", "GetSBlock"):
            results = results[:1]
        if len(results) != len(outputs):
            raise ReplayStop(f"{kind} gives {len(results)} results here, {len(outputs)} in the record")
        self.values.update(zip(outputs, results, strict=True))

    def _value(self, item: Any) -> Any:
        """A literal, or the random variable of that name; strings are quoted in old traces."""
        if isinstance(item, list | tuple):
            return [self._value(part) for part in item]
        if not isinstance(item, str):
            return item
        if item == _NONE:
            return None
        if item in self.values:
            return self.values[item]
        if item.startswith('"') and item.endswith('"') and len(item) >= 2:
            return item[1:-1]
        if item.lstrip("-").isdigit():
            return int(item)
        raise ReplayStop(f"the value {item[:40]!r} is not known")

    # --- instructions whose form changed ---------------------------------------------------------------------------

    def get_block(self, inputs: list[Any], attrs: list[Any], decision: Any) -> Any:
        name = str(attrs[0])
        return self.sch.get_sblock(self.names.get(name, name))

    def sample_categorical(self, inputs: list[Any], attrs: list[Any], decision: Any) -> Any:
        if decision is None:
            raise ReplayStop("a sampled value without its decision")
        return self.sch.sample_categorical([int(c) for c in attrs[0]], [float(p) for p in attrs[1]], int(decision))

    def sample_perfect_tile(self, inputs: list[Any], attrs: list[Any], decision: Any) -> Any:
        if not isinstance(decision, list):
            raise ReplayStop("a sampled tile without its decision")
        return self.sch.sample_perfect_tile(inputs[0], int(attrs[0]), int(attrs[1]), [int(item) for item in decision])

    def sample_compute_location(self, inputs: list[Any], attrs: list[Any], decision: Any) -> Any:
        if decision is None:
            raise ReplayStop("a sampled location without its decision")
        return self.sch.sample_compute_location(inputs[0], int(decision))

    def split(self, inputs: list[Any], attrs: list[Any], decision: Any) -> Any:
        preserve = bool(attrs[0]) if attrs else True
        return self.sch.split(inputs[0], factors=inputs[1:], preserve_unit_iters=preserve)

    def fuse(self, inputs: list[Any], attrs: list[Any], decision: Any) -> Any:
        return self.sch.fuse(*inputs, preserve_unit_iters=bool(attrs[0]) if attrs else True)

    def reorder(self, inputs: list[Any], attrs: list[Any], decision: Any) -> None:
        self.sch.reorder(*inputs)

    def bind(self, inputs: list[Any], attrs: list[Any], decision: Any) -> None:
        axis = str(attrs[0])
        if axis not in THREADS:
            raise ReplayStop(f"a loop is bound to {axis[:40]!r}")
        if not self.on_cpu:
            self.sch.bind(inputs[0], axis)
        elif axis == "blockIdx.x":
            self.sch.parallel(inputs[0])

    def cache_read(self, inputs: list[Any], attrs: list[Any], decision: Any) -> Any:
        consumers = inputs[1] if len(inputs) > 1 and isinstance(inputs[1], list) else inputs[1:]
        return self.sch.cache_read(inputs[0], int(attrs[0]), self._scope(attrs[1]), consumer_blocks=list(consumers))

    def cache_write(self, inputs: list[Any], attrs: list[Any], decision: Any) -> Any:
        consumers = inputs[1] if len(inputs) > 1 and isinstance(inputs[1], list) else inputs[1:]
        return self.sch.cache_write(inputs[0], int(attrs[0]), self._scope(attrs[1]), consumer_blocks=list(consumers))

    def _scope(self, scope: Any) -> str:
        if scope not in SCOPES:
            raise ReplayStop(f"memory {str(scope)[:40]!r} has no counterpart here")
        return "global" if self.on_cpu else str(scope)

    def set_scope(self, inputs: list[Any], attrs: list[Any], decision: Any) -> None:
        self.sch.set_scope(inputs[0], int(attrs[0]), self._scope(attrs[1]))

    def compute_at(self, inputs: list[Any], attrs: list[Any], decision: Any) -> None:
        index = int(attrs[1]) if len(attrs) > 1 else -1
        self.sch.compute_at(inputs[0], inputs[1], preserve_unit_loops=bool(attrs[0]), index=index)

    def reverse_compute_at(self, inputs: list[Any], attrs: list[Any], decision: Any) -> None:
        index = int(attrs[1]) if len(attrs) > 1 else -1
        self.sch.reverse_compute_at(inputs[0], inputs[1], preserve_unit_loops=bool(attrs[0]), index=index)

    def annotate(self, inputs: list[Any], attrs: list[Any], decision: Any) -> None:
        value, key = inputs[1], str(attrs[0])
        # Of pragmas only those that limit unrolling pass.
        if key == "pragma_auto_unroll_max_step" or key == "pragma_unroll_explicit":
            self.sch.annotate(inputs[0], key, min(int(value), MAX_UNROLL))
            return
        if not is_hint(key):
            raise ReplayStop(f"annotation {key[:60]!r} has no counterpart here")
        if isinstance(value, str) and value[:1] in "[{":
            value = json.loads(value)
        if isinstance(value, float):
            value = tir.FloatImm("float32", value)
        self.sch.annotate(inputs[0], key, value)

    def unannotate(self, inputs: list[Any], attrs: list[Any], decision: Any) -> None:
        self.sch.unannotate(inputs[0], str(attrs[0]))

    def storage_align(self, inputs: list[Any], attrs: list[Any], decision: Any) -> None:
        self.sch.storage_align(inputs[0], *[int(item) for item in attrs[:4]])

    def rfactor(self, inputs: list[Any], attrs: list[Any], decision: Any) -> Any:
        return self.sch.rfactor(inputs[0], int(attrs[0]))


def _plain(method: str) -> Callable[[_Runner, list[Any], list[Any], Any], Any]:
    def run(runner: _Runner, inputs: list[Any], attrs: list[Any], decision: Any) -> Any:
        return getattr(runner.sch, method)(*inputs)

    return run


_INSTRUCTIONS: dict[str, Callable[[_Runner, list[Any], list[Any], Any], Any]] = {
    "GetBlock": _Runner.get_block,
    "GetSBlock": _Runner.get_block,
    "GetLoops": _plain("get_loops"),
    "GetChildBlocks": _plain("get_child_blocks"),
    "GetProducers": _plain("get_producers"),
    "GetConsumers": _plain("get_consumers"),
    "GetOutputBlocks": _plain("get_output_blocks"),
    "SampleCategorical": _Runner.sample_categorical,
    "SamplePerfectTile": _Runner.sample_perfect_tile,
    "SampleComputeLocation": _Runner.sample_compute_location,
    "Split": _Runner.split,
    "Fuse": _Runner.fuse,
    "Reorder": _Runner.reorder,
    "AddUnitLoop": _plain("add_unit_loop"),
    "Parallel": _plain("parallel"),
    "Vectorize": _plain("vectorize"),
    "Unroll": _plain("unroll"),
    "Bind": _Runner.bind,
    "CacheRead": _Runner.cache_read,
    "CacheWrite": _Runner.cache_write,
    "SetScope": _Runner.set_scope,
    "ComputeAt": _Runner.compute_at,
    "ReverseComputeAt": _Runner.reverse_compute_at,
    "ComputeInline": _plain("compute_inline"),
    "ReverseComputeInline": _plain("reverse_compute_inline"),
    "DecomposeReduction": _plain("decompose_reduction"),
    "RFactor": _Runner.rfactor,
    "StorageAlign": _Runner.storage_align,
    "Annotate": _Runner.annotate,
    "Unannotate": _Runner.unannotate,
    "EnterPostproc": _plain("enter_postproc"),
}
