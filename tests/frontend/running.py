"""Running tenants by TVM's own virtual machine, the independent way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from gacer_tvm._tvm import relax, tvm
from gacer_tvm.frontend import Tenant, check_inputs, normalize


def run_module(module: Any, arrays: list[np.ndarray]) -> list[np.ndarray]:
    """Results of a module's `main`, flat."""
    machine = relax.VirtualMachine(tvm.compile(module, "llvm"), tvm.cpu())
    return _flat(machine["main"](*[tvm.runtime.tensor(array) for array in arrays]))


def _flat(value: Any) -> list[np.ndarray]:
    if isinstance(value, tvm.runtime.Tensor):
        return [value.numpy()]
    return [leaf for item in value for leaf in _flat(item)]


def run(tenant: Tenant, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Results of a normalized tenant by name, their shapes and dtypes checked against its signature."""
    check_inputs(tenant, inputs)
    found = run_module(normalize(tenant).module, [inputs[name] for name in tenant.inputs])
    assert len(found) == len(tenant.outputs)
    for array, (name, spec) in zip(found, tenant.outputs.items(), strict=True):
        assert (array.shape, str(array.dtype)) == (spec.shape, spec.dtype), name
    return dict(zip(tenant.outputs, found, strict=True))


def operators(tenant: Tenant) -> list[str]:
    """Names of the operators that a tenant's main calls, in order."""
    return [
        str(binding.value.op.name)
        for block in tenant.module["main"].body.blocks
        for binding in block.bindings
        if isinstance(binding.value, relax.Call)
    ]


def largest_error(found: np.ndarray, expected: np.ndarray) -> float:
    """Largest difference relative to the largest expected value."""
    assert found.shape == expected.shape and found.dtype == expected.dtype
    wide = expected.astype("float64")
    scale = np.abs(wide).max() if wide.size else 1.0
    return float(np.abs(found.astype("float64") - wide).max() / max(scale, 1e-30)) if wide.size else 0.0
