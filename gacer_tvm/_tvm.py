"""The TVM names that move between releases, in one place.

apache-tvm renames modules every few weeks (`tvm.tir` became `tvm.tirx`, `StructInfo` became types). Everything in
gacer_tvm that touches such a name imports it from here, so that a new TVM is one file of work. Written for 0.27.

TVM pins the workers of its thread pool, and the calling thread, to cores counted from zero; two streams would then share
core 0. The pool reads its environment when it first starts, so unbinding has to happen before any kernel runs.
"""

from __future__ import annotations

import os
from typing import Any

os.environ.setdefault("TVM_BIND_THREADS", "0")
# One pool per stream: the pools must be created at full size, each stream then limits its own.
os.environ.setdefault("TVM_NUM_THREADS", str(os.cpu_count() or 1))
# Idle workers spin 300,000 times by default, on cores that another stream needs.
os.environ.setdefault("TVM_THREAD_POOL_SPIN_COUNT", "1000")
# CUDA streams beyond this many share hardware queues and wait for each other; read when the device is first used.
os.environ.setdefault("CUDA_DEVICE_MAX_CONNECTIONS", "32")

from . import _cudart  # noqa: F401  # before TVM

# isort: split
import tvm
import tvm_ffi
from tvm import relax, s_tir, te, topi
from tvm import tirx as tir
from tvm.ir import expr as expr_ir
from tvm.sym import Analyzer

from . import errors

__all__ = ["Analyzer", "expr_ir", "relax", "s_tir", "te", "tir", "topi", "tvm", "tvm_ffi"]


def _register_errors() -> None:
    """Errors raised inside a TVM pass keep their class on their way through TVM."""
    for name in errors.__all__:
        tvm_ffi.register_error(name, getattr(errors, name))


def _gacer_pipeline(**options: Any) -> Any:
    from .transform.pipeline import gacer_pipeline

    return gacer_pipeline(**options)


_register_errors()
# So that `tvm.compile(merged, target, relax_pipeline="gacer")` finds it once anything of gacer_tvm has loaded TVM.
relax.pipeline.PIPELINE_MAP.setdefault("gacer", _gacer_pipeline)
