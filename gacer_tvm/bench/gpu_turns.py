"""Who may use the device when units of the GPU suite run side by side: locks on files, which a killed process loses by itself.

Every unit holds ``device.lock`` shared while it prepares or checks, and exclusively while it times: nothing else is then at
work on the device or on the host. Units that wait to time all have their turns before any of them prepares again
(``device.gate``); otherwise each would prepare its next measurement alone, while all others wait for it.
"""

from __future__ import annotations

import contextlib
import fcntl
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import IO

__all__ = ["Turns"]


class Turns:
    """A unit's part in the use of the device, to be entered for as long as the unit runs.

    Parameters
    ----------
    folder
        Where the files of the locks are; None where the unit has the device to itself.
    seconds
        Most seconds that the unit may spend in timed sections; None: as its time allows.
    """

    def __init__(self, folder: Path | None = None, seconds: float | None = None) -> None:
        self.seconds = seconds
        self._spent = 0.0
        self._since: float | None = None
        self._folder = folder
        self._files: list[IO[bytes]] = []

    @property
    def shared(self) -> bool:
        """Whether other units may run at the same time."""
        return self._folder is not None

    def left(self, otherwise: float) -> float:
        """Seconds left for timed sections, or `otherwise` where they are not limited."""
        if self.seconds is None:
            return otherwise
        under_way = 0.0 if self._since is None else time.monotonic() - self._since
        return max(0.0, self.seconds - self._spent - under_way)

    def __enter__(self) -> Turns:
        if self._folder is not None:
            self._files = [(self._folder / name).open("ab") for name in ("device.lock", "device.gate")]
            device = self._files[0]
            try:
                # Beside others that prepare, also where some wait to time: the more prepare at once, the better.
                fcntl.flock(device, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                self._share()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        # Children that were forked hold the same locks: given up, not only closed.
        for file in self._files:
            fcntl.flock(file, fcntl.LOCK_UN)
            file.close()
        self._files = []

    @contextlib.contextmanager
    def timed(self) -> Iterator[None]:
        """Have the device and the machine to oneself, among the units of this run."""
        if self._since is not None:
            yield
            return
        if self._files:
            device, gate = self._files
            # Two that held their shares while they wait for the whole would wait for each other.
            fcntl.flock(device, fcntl.LOCK_UN)
            fcntl.flock(gate, fcntl.LOCK_SH)
            fcntl.flock(device, fcntl.LOCK_EX)
        began = self._since = time.monotonic()
        try:
            yield
        finally:
            self._spent += time.monotonic() - began
            self._since = None
            if self._files:
                fcntl.flock(device, fcntl.LOCK_UN)
                fcntl.flock(gate, fcntl.LOCK_UN)
                self._share()

    def _share(self) -> None:
        """Take a share of the device, once nobody waits to time: those hold the gate together."""
        device, gate = self._files
        fcntl.flock(gate, fcntl.LOCK_EX)
        fcntl.flock(device, fcntl.LOCK_SH)
        fcntl.flock(gate, fcntl.LOCK_UN)
