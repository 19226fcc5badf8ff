"""Running mutually recursive generators on a heap-allocated stack, so that input may nest as deep as memory allows."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

__all__ = ["Steps", "TooDeepError", "run"]

# A step yields other steps to be run, and is resumed with their results.
Steps = Generator[Any, Any, Any]


class TooDeepError(Exception):
    """Steps called one another more deeply than allowed."""


def run(first: Steps, limit: int | None = None) -> Any:
    """The result of `first`, which may yield generators and gets their results sent back.

    Parameters
    ----------
    first : generator
        Yields generators of the same kind; its return value is the result.
    limit : int, optional
        How many may wait for one another.

    Raises
    ------
    TooDeepError
        Beyond `limit`.
    """
    most = limit if limit is not None else 1 << 62
    stack = [first]
    value: Any = None
    while stack:
        try:
            called = stack[-1].send(value)
        except StopIteration as stop:
            stack.pop()
            value = stop.value
        else:
            if len(stack) >= most:
                raise TooDeepError
            stack.append(called)
            value = None
    return value
