"""How fast a core reads what another core has just written: whether cores share a cache, now.

A virtual machine's cores are moved about by its host. While they lie on dies that share no cache, a kernel on several cores
fetches what its predecessor wrote across the dies, and takes up to five times as long (depthwise convolutions, means), though
every core by itself is as fast as ever. On a machine of one's own the rate does not change.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from .._tvm import s_tir, te, tvm
from ..runtime.cpu import limit_cores

__all__ = ["Exchange", "probe"]

_LINE = 64
_WORDS = _LINE // 8


class Exchange:
    """Each core writes a block, then reads one word of every cache line that another core wrote.

    Parameters
    ----------
    target
        tvm Target of the CPU.
    cores
        Cores that take part, at least 2.
    size
        Bytes of a core's block; small enough for a second-level cache.

    Raises
    ------
    ValueError
        For fewer than two cores.
    """

    def __init__(self, target: Any, cores: int, size: int = 256 * 1024) -> None:
        if cores < 2:
            raise ValueError(f"{cores} core: expected at least 2 that can exchange data")
        self._cores, self._bytes = cores, cores * size
        lines = size // _LINE
        with target:
            module = tvm.compile(tvm.IRModule({"write": _write(cores, lines), "read": _read(cores, lines)}), target)
        self._write, self._read = module["write"], module["read"]
        self._blocks = tvm.runtime.tensor(np.zeros((cores, lines, _WORDS), np.int64))
        self._sums = tvm.runtime.tensor(np.zeros(cores, np.int64))

    def rate(self, repeats: int = 40) -> float:
        """Bytes a second that all cores together read, the upper quartile of `repeats`; on a thread of its own."""
        times: list[float] = []

        def run() -> None:
            limit_cores(self._cores)
            for _ in range(repeats + 2):
                self._write(self._blocks)
                start = time.perf_counter()
                self._read(self._blocks, self._sums)
                times.append(time.perf_counter() - start)

        thread = threading.Thread(target=run, name="gacer-exchange")
        thread.start()
        thread.join()
        # Others' load makes single reads slow; a distance between the cores makes all of them slow.
        return self._bytes / float(np.quantile(times[2:], 0.25))


def probe(target: Any, cores: int) -> Callable[[], float]:
    """What `gacer_tvm.profile.steady.Steady` asks: GB/s at which the cores exchange data now; 0 where there is one."""
    if cores < 2:
        return lambda: 0.0
    exchange = Exchange(target, cores)
    return lambda: exchange.rate() / 1e9


def _write(cores: int, lines: int) -> Any:
    blocks = te.compute((cores, lines, _WORDS), lambda p, n, w: (p + n).astype("int64"), name="blocks")
    return _parallel(te.create_prim_func([blocks]), "write", "blocks")


def _read(cores: int, lines: int) -> Any:
    blocks = te.placeholder((cores, lines, _WORDS), name="blocks", dtype="int64")
    n = te.reduce_axis((0, lines), name="n")
    sums = te.compute((cores,), lambda p: te.sum(blocks[(p + 1) % cores, n, 0], axis=n), name="sums")
    return _parallel(te.create_prim_func([blocks, sums]), "read", "sums")


def _parallel(func: Any, name: str, block: str) -> Any:
    schedule = s_tir.Schedule(func)
    schedule.parallel(schedule.get_loops(schedule.get_sblock(block))[0])
    return schedule.mod["main"].with_attr("global_symbol", name)
