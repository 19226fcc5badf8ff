"""Records, targets and small computations that the tests of old logs share."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from gacer_tvm._tvm import tvm
from gacer_tvm.logs.dag import Dag
from gacer_tvm.logs.dag_extents import dag_from_text
from gacer_tvm.logs.reader import read_line
from gacer_tvm.logs.record import LogRecord
from gacer_tvm.logs.twin import Twin

MATMUL = (
    "A = PLACEHOLDER\nB = PLACEHOLDER\nmatmul(i, j) += (A[i, k]*B[k, j])\n"
    "C = PLACEHOLDER\nout(i, j) = (matmul[i, j] + C[i, j])\n"
)


def matmul_dag(n: int, k: int, m: int) -> Dag:
    """A product of (n, k) and (k, m), and a third matrix added."""
    return dag_from_text(MATMUL, ((n, k), (k, m), (n, m), (n, m)))


def ansor_line(key: list[Any], steps: list[Any], target: str = "llvm -keys=cpu", version: str = "v0.6") -> str:
    """One auto-scheduler record of that version, measured at 1 ms."""
    task: list[Any] = [json.dumps(key), target]
    if version not in ("v0.1", "v0.2"):
        task.append([2, 64, 64, 0, 0, 0, 0, 0])
    if version in ("v0.5", "v0.6"):
        task += ["", 0]
    if version == "v0.6":
        task.append([])
    return json.dumps({"i": [task, [[], steps]], "r": [[0.001], 0, 0.5, 1600000000], "v": version})


def record_of(line: str, file: str = "log.json", number: int = 1, **more: Any) -> LogRecord:
    """A line read."""
    record = read_line(line, file, number, **more)
    assert record is not None
    return record


def cpu() -> Any:
    """A plain CPU target."""
    return tvm.target.Target("llvm")


def cuda() -> Any:
    """A CUDA target; no device is needed to schedule for it."""
    return tvm.target.Target(
        {
            "kind": "cuda",
            "arch": "sm_80",
            "max_threads_per_block": 1024,
            "max_shared_memory_per_block": 49152,
            "thread_warp_size": 32,
        },
        host="llvm",
    )


def run(function: Any, *arrays: np.ndarray, out: tuple[int, ...]) -> np.ndarray:
    """Compile a function, or a twin, for the CPU and call it."""
    spaces: tuple[tuple[tuple[int, ...], str], ...] = ()
    if isinstance(function, Twin):
        function, spaces = function.function, function.workspaces
    module = tvm.IRModule({"main": function.with_attr("global_symbol", "main")})
    library = tvm.compile(module, target="llvm")
    result = tvm.runtime.tensor(np.zeros(out, "float32"))
    lent = [tvm.runtime.tensor(np.full(shape, np.nan, dtype)) for shape, dtype in spaces]
    library["main"](*[tvm.runtime.tensor(array) for array in arrays], result, *lent)
    return result.numpy()
