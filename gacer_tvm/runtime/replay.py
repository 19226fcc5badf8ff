"""A launch plan as straight lists of calls, one list a stream: what every runtime replays."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..plan import Launch, LaunchPlan

__all__ = ["Bound", "bind"]

# A call without results: the function and its arguments, ready to go.
Bound = tuple[Callable[..., Any], tuple[Any, ...]]


def bind(plan: LaunchPlan, tensors: Mapping[int, Any], function: Callable[[Launch], Callable[..., Any]]) -> list[Bound]:
    """For each launch the function and its arguments: tensors in argument order, then the first item of a chunk.

    Parameters
    ----------
    plan
        The plan.
    tensors
        Tensor of each buffer by index.
    function
        Gives the kernel of a launch.
    """
    bound: list[Bound] = []
    for launch in plan.launches:
        arguments = tuple(tensors[b] for b in launch.buffers)
        if not launch.whole:
            arguments = (*arguments, launch.first)
        bound.append((function(launch), arguments))
    return bound
