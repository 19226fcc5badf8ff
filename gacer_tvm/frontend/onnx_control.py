"""If, Loop and Scan: only what is decided by constants, followed or unrolled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .._tvm import relax
from .onnx_values import attributes_of

__all__ = ["CONTROL", "branch", "loop", "scan"]

_MAX_UNROLLED = 4096


def branch(walk: Any, node: Any, values: list[Any], env: dict[str, Any]) -> list[Any]:
    """The results of an `If` whose condition is constant."""
    if not isinstance(values[0], np.ndarray):
        raise walk.fail(
            node,
            f"its condition {node.input[0]!r} depends on the inputs' values, and a tenant is one fixed sequence of "
            f"operators; export the branch that is taken",
        )
    name = "then_branch" if bool(values[0].reshape(-1)[0]) else "else_branch"
    body = next(attribute.g for attribute in node.attribute if attribute.name == name)
    return _subgraph(walk, body, [], env)


def _subgraph(walk: Any, graph: Any, arguments: list[Any], env: Mapping[str, Any]) -> list[Any]:
    """The results of a subgraph, which sees everything around it."""
    inner = dict(env)
    inner.update(zip((value.name for value in graph.input), arguments, strict=True))
    walk.graph(graph, inner)
    return [walk.read(inner, output.name, "a subgraph's outputs") for output in graph.output]


def loop(walk: Any, node: Any, values: list[Any], env: dict[str, Any]) -> list[Any]:
    """The results of a `Loop` of a constant number of turns."""
    body = next(attribute.g for attribute in node.attribute if attribute.name == "body")
    limit, condition, *state = values
    for what, value in (("trip count", limit), ("condition", condition)):
        if value is not None and not isinstance(value, np.ndarray):
            raise walk.fail(node, f"its {what} depends on the inputs' values, so it cannot be unrolled")
    trips = _MAX_UNROLLED + 1 if limit is None else int(limit.reshape(-1)[0])
    going = condition is None or bool(condition.reshape(-1)[0])
    collected: list[list[Any]] = [[] for _ in range(len(body.output) - 1 - len(state))]
    count = 0
    while going and count < trips:
        if count >= _MAX_UNROLLED:
            raise walk.fail(node, f"it runs more than {_MAX_UNROLLED} times")
        arguments = [np.array(count, "int64"), np.array(True), *state]
        again, *rest = _subgraph(walk, body, arguments, env)
        if not isinstance(again, np.ndarray):
            raise walk.fail(node, "the condition that its body computes depends on the inputs' values")
        going = bool(again.reshape(-1)[0])
        state = rest[: len(state)]
        for items, item in zip(collected, rest[len(state) :], strict=True):
            items.append(item)
        count += 1
    if collected and not count:
        raise walk.fail(node, "it runs zero times, so that its scan outputs are empty")
    return [*state, *(_stack(walk, items, 0) for items in collected)]


def scan(walk: Any, node: Any, values: list[Any], env: dict[str, Any]) -> list[Any]:
    """The results of a `Scan`."""
    attributes = attributes_of(node)
    body = attributes["body"]
    scanned = int(attributes["num_scan_inputs"])
    state, sequences = values[: len(values) - scanned], values[len(values) - scanned :]
    outputs = len(body.output) - len(state)
    axes = list(attributes.get("scan_input_axes", [0] * scanned))
    backwards = list(attributes.get("scan_input_directions", [0] * scanned))
    out_axes = list(attributes.get("scan_output_axes", [0] * outputs))
    out_backwards = list(attributes.get("scan_output_directions", [0] * outputs))
    if walk.versions.get("", 1) < 9:
        raise walk.fail(
            node, "Scan before operator set 9 has a batch axis of its own; convert the model to a later set"
        )
    length = walk.shape_of(sequences[0], node)[axes[0]]
    if length > _MAX_UNROLLED:
        raise walk.fail(node, f"it runs {length} times; at most {_MAX_UNROLLED} are unrolled")
    collected: list[list[Any]] = [[] for _ in range(outputs)]
    for step in range(length):
        items = [
            _slice(walk, value, axis, length - 1 - step if back else step)
            for value, axis, back in zip(sequences, axes, backwards, strict=True)
        ]
        results = _subgraph(walk, body, [*state, *items], env)
        state = results[: len(state)]
        for found, item in zip(collected, results[len(state) :], strict=True):
            found.append(item)
    stacked = [
        _stack(walk, items[::-1] if back else items, axis)
        for items, axis, back in zip(collected, out_axes, out_backwards, strict=True)
    ]
    return [*state, *stacked]


def _slice(walk: Any, value: Any, axis: int, index: int) -> Any:
    """One item along an axis, which is removed."""
    if isinstance(value, np.ndarray):
        return np.asarray(np.take(value, index, axis=axis))
    part = relax.op.strided_slice(value, [axis], [index], [index + 1])
    return walk.builder.emit(relax.op.squeeze(walk.builder.emit(part), [axis]))


def _stack(walk: Any, items: list[Any], axis: int) -> Any:
    """Items joined along a new axis."""
    if all(isinstance(item, np.ndarray) for item in items):
        return np.stack(items, axis=axis)
    if axis < 0:
        axis += len(walk.expression(items[0]).ty.shape.values) + 1
    parts = [walk.builder.emit(relax.op.expand_dims(walk.expression(item), [axis])) for item in items]
    return walk.builder.emit(relax.op.concat(parts, axis)) if len(parts) > 1 else parts[0]


CONTROL = {"If": branch, "Loop": loop, "Scan": scan}
