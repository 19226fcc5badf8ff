"""Rewrites of a Relax module before it is lowered, for fast kernels: layouts and constant weights."""

from __future__ import annotations

from .._tvm import relax, tvm
from .channels import channels_last
from .constants import fold_constants

__all__ = ["prepare"]


def prepare(mod: tvm.IRModule, target: tvm.target.Target) -> tvm.IRModule:
    """Rewrite `mod` so that its kernels suit `target`; inputs, outputs and their layouts stay as they are.

    On a CPU the module comes back legalized (calls of PrimFuncs, not yet fused): convolutions and what follows them work
    channels last, constant weights are packed.

    Parameters
    ----------
    mod : tvm.IRModule
        A Relax module before LegalizeOps, with its weights bound as constants.
    target : tvm.target.Target
        What it will be compiled for.

    Returns
    -------
    tvm.IRModule
        The same function of the same inputs; activations keep the batch at axis 0.
    """
    if target.kind.name != "llvm":
        return mod
    with target:
        mod = fold_constants(relax.transform.DecomposeOpsForInference()(mod))
        mod = tvm.transform.Sequential(
            [
                relax.transform.FoldConstant(),
                relax.transform.LegalizeOps(),
                relax.transform.FoldConstant(),
            ]
        )(mod)
        return channels_last(mod)
