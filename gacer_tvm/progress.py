"""Progress as events: the core reports to a listener, and whoever runs it decides what to show.

The core never prints. `listen(tqdm_listener())` draws bars in terminals and notebooks; the default listener is silent.
"""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterable, Iterator
from typing import Any, Protocol, TypeVar

__all__ = ["Listener", "TqdmListener", "listen", "track", "update"]

T = TypeVar("T")


class Listener(Protocol):
    """What a progress listener answers to."""

    def start(self, task: str, total: int | None) -> Any:
        """Begin `task` of `total` steps (None when unknown); the returned handle comes back in later calls."""

    def advance(self, handle: Any, steps: int, note: str) -> None:
        """`steps` more are done; `note` says what is being worked on (may be empty)."""

    def finish(self, handle: Any) -> None:
        """The task is over, successfully or not."""


class _Silent:
    def start(self, task: str, total: int | None) -> Any:
        return None

    def advance(self, handle: Any, steps: int, note: str) -> None:
        return None

    def finish(self, handle: Any) -> None:
        return None


class TqdmListener:
    """Draws each task as a `tqdm.auto` bar on standard error."""

    def start(self, task: str, total: int | None) -> Any:
        from tqdm.auto import tqdm

        return tqdm(total=total, desc=task, leave=False, delay=0.5)

    def advance(self, handle: Any, steps: int, note: str) -> None:
        if note:
            handle.set_postfix_str(note, refresh=False)
        handle.update(steps)

    def finish(self, handle: Any) -> None:
        handle.close()


_SILENT = _Silent()
_listener: contextvars.ContextVar[Listener] = contextvars.ContextVar("gacer_progress")


@contextlib.contextmanager
def listen(listener: Listener) -> Iterator[Listener]:
    """Send the progress of everything run inside the block to `listener`."""
    token = _listener.set(listener)
    try:
        yield listener
    finally:
        _listener.reset(token)


class _Task:
    """A running task; a context manager so that it is finished on errors too."""

    def __init__(self, name: str, total: int | None) -> None:
        self._listener: Listener = _listener.get(_SILENT)
        self._handle = self._listener.start(name, total)

    def __enter__(self) -> _Task:
        return self

    def __exit__(self, *exc: object) -> None:
        self._listener.finish(self._handle)

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Report `steps` more steps done."""
        self._listener.advance(self._handle, steps, note)


def update(name: str, total: int | None = None) -> _Task:
    """Start a task to be advanced by hand: ``with update("search", 100) as task: task.advance()``."""
    return _Task(name, total)


def track(items: Iterable[T], name: str, total: int | None = None) -> Iterator[T]:
    """Yield from `items`, reporting one step for each."""
    if total is None and hasattr(items, "__len__"):
        total = len(items)
    with update(name, total) as task:
        for item in items:
            yield item
            task.advance()
