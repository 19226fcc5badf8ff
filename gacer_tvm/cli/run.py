"""Run a bundle once on inputs from .npz files (random ones where none are given) and store or describe the outputs."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from ..errors import TenantError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``gacer-tvm run``."""
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--input", action="append", default=[], metavar="TENANT=FILE.npz", help="inputs of a tenant, by name")
    parser.add_argument("--random", action="store_true", help="random inputs for tenants without a file")
    parser.add_argument("-o", "--out", type=Path, default=None, metavar="FOLDER", help="write TENANT.npz there")


def run(arguments: argparse.Namespace) -> int:
    """Load, run, print."""
    from ..executable.bundle import load
    from ..kernels.store import write_beside

    with load(arguments.bundle) as executable:
        inputs = {}
        for entry in arguments.input:
            name, _, path = entry.partition("=")
            try:
                with np.load(path, allow_pickle=False) as held:
                    inputs[name] = dict(held)
            except (OSError, ValueError) as error:
                raise TenantError(f"tenant {name!r}: cannot read {path!r} as .npz: {error}") from error
        if arguments.random:
            rng = np.random.default_rng(0)
            for name, signature in executable.tenants.items():
                inputs.setdefault(
                    name, {k: (rng.standard_normal(s.shape)).astype(s.dtype) for k, s in signature.inputs.items()}
                )
        outputs = executable.run(inputs)
        for name, arrays in outputs.items():
            for (key, spec), array in zip(executable.tenants[name].outputs.items(), arrays):
                print(f"{name}/{key}: {spec}, min {np.min(array):.6g}, max {np.max(array):.6g}, mean {np.mean(array):.6g}")
            if arguments.out is not None:
                named = dict(zip(executable.tenants[name].outputs, arrays))
                write_beside(arguments.out / f"{name}.npz", lambda p, named=named: np.savez(p, **named))
    return 0
