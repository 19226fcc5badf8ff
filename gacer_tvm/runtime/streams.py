"""Streams as worker threads: each runs its own list of calls; an event between two of them is a lock handed over.

A wait edge is one lock, held from the start. The producer releases it when it has run, the consumer acquires it before it
runs, which also takes it again for the next round. Kernels release the GIL, so the Python side costs well under a
microsecond a launch.
"""

from __future__ import annotations

import threading
from _thread import allocate_lock
from collections.abc import Callable, Sequence
from typing import Any

from ..plan import LaunchPlan
from .replay import Bound

__all__ = ["ThreadStreams"]


class ThreadStreams:
    """Worker threads that replay a plan, round after round.

    Parameters
    ----------
    plan
        Gives streams, order and waits.
    calls
        For each launch what to call (see `replay.bind`).
    set_cores
        Called on a stream's own thread before a launch whose core count differs from the one before; None: never.
    wrap
        Replaces the call of a launch (profiling); gets the launch and its call.
    """

    def __init__(
        self,
        plan: LaunchPlan,
        calls: Sequence[Bound],
        set_cores: Callable[[int | None], None] | None = None,
        wrap: Callable[[Any, Bound], Bound] | None = None,
    ) -> None:
        self._plan = plan
        self._calls = list(calls)
        self._set_cores = set_cores
        self._wrap = wrap
        self._failure: BaseException | None = None
        self._closed = False
        self._edges: list[Any] = []
        self._programs = self._build()
        self._start = [_held() for _ in self._programs]
        self._done = [_held() for _ in self._programs]
        self._threads = [
            threading.Thread(target=self._work, args=(n,), name=f"gacer-stream-{n}", daemon=True)
            for n in range(len(self._programs))
        ]
        for thread in self._threads:
            thread.start()

    def round(self) -> None:
        """Run every launch once; returns when all have finished, raises what a kernel raised."""
        if self._closed:
            raise RuntimeError("these streams are closed")
        for lock in self._start:
            lock.release()
        for lock in self._done:
            lock.acquire()
        if self._failure is not None:
            failure, self._failure = self._failure, None
            self._reset()
            raise failure

    def close(self) -> None:
        """End the worker threads; does nothing the second time."""
        if self._closed:
            return
        self._closed = True
        for lock in self._start:
            lock.release()
        for thread in self._threads:
            thread.join()

    def _build(self) -> list[list[Bound]]:
        signals: dict[int, list[Any]] = {}
        waits: dict[int, list[Any]] = {}
        for launch in self._plan.launches:
            for before in launch.waits:
                lock = _held()
                self._edges.append(lock)
                signals.setdefault(before, []).append(lock)
                waits.setdefault(launch.index, []).append(lock)
        programs: dict[int, list[Bound]] = {}
        cores: dict[int, int | None] = {}
        for launch, call in zip(self._plan.launches, self._calls):
            program = programs.setdefault(launch.stream, [])
            program.extend((lock.acquire, ()) for lock in waits.get(launch.index, ()))
            if self._set_cores is not None and (
                launch.stream not in cores or cores[launch.stream] != launch.cores
            ):
                cores[launch.stream] = launch.cores
                program.append((self._set_cores, (launch.cores,)))
            program.append(call if self._wrap is None else self._wrap(launch, call))
            program.extend((lock.release, ()) for lock in signals.get(launch.index, ()))
        return [programs[stream] for stream in sorted(programs)]

    def _work(self, number: int) -> None:
        program, start, done = self._programs[number], self._start[number], self._done[number]
        while True:
            start.acquire()
            if self._closed:
                return
            if self._failure is None:
                try:
                    for function, arguments in program:
                        function(*arguments)
                except BaseException as error:  # handed to the caller of round()
                    if self._failure is None:
                        self._failure = error
                    # Nobody may stay waiting for what will not come.
                    for lock in self._edges:
                        _release(lock)
            done.release()

    def _reset(self) -> None:
        """After a failure: all events back to "not happened"."""
        for lock in self._edges:
            lock.acquire(blocking=False)


def _held() -> Any:
    lock = allocate_lock()
    lock.acquire()
    return lock


def _release(lock: Any) -> None:
    try:
        lock.release()
    except RuntimeError:
        return
