"""One tenant lowered: legalized and fused until its main function is a straight line of `call_tir`."""

from __future__ import annotations

from typing import Any

from .._tvm import relax, tir, tvm
from ..errors import GraphError

__all__ = ["fuse", "fuse_passes"]


def fuse_passes() -> list[Any]:
    """The passes that turn Relax operators into fused kernels."""
    transform = relax.transform
    return [
        # Sorts and scans have no legalization of their own: the target decides how they are done.
        relax.backend.DispatchSampling(),
        relax.backend.DispatchSortScan(),
        transform.LegalizeOps(),
        transform.FoldConstant(),
        transform.AnnotateTIROpPattern(),
        transform.FuseOps(),
        transform.FuseTIR(),
        transform.DeadCodeElimination(),
    ]


def fuse(module: Any, target: Any, tenant: str) -> Any:
    """Legalize and fuse a Relax module for `target`.

    Parameters
    ----------
    module
        Relax IRModule; constants bound, static shapes, pure dataflow.
    target
        tvm Target.
    tenant
        Its name, for messages.

    Raises
    ------
    GraphError
        Naming the tenant, if TVM cannot lower it.
    """
    try:
        with target:
            return tvm.transform.Sequential(fuse_passes())(module)
    except (RuntimeError, ValueError, TypeError, KeyError, AttributeError) as error:
        first = str(error).strip().splitlines()
        raise GraphError(
            f"tenant {tenant!r}: TVM {tvm.__version__} cannot lower it: {first[-1] if first else error!r}"
        ) from error


def prim_funcs(module: Any) -> dict[str, Any]:
    """The PrimFuncs of a module by name."""
    return {gv.name_hint: f for gv, f in module.functions.items() if isinstance(f, tir.PrimFunc)}
