"""Runs Relay expressions through Relax, and compares what comes out with an independent truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gacer_tvm import relay
from gacer_tvm._tvm import relax, tvm
from gacer_tvm.relay.conversion import to_relax


def tensor(array: Any) -> Any:
    """A TVM tensor of an array; a scalar keeps its rank 0."""
    array = np.asarray(array)
    return tvm.runtime.tensor(np.ascontiguousarray(array).reshape(array.shape))


def flat(value: Any) -> list[np.ndarray]:
    """The arrays in a virtual machine's result, in order."""
    if hasattr(value, "numpy"):
        return [value.numpy()]
    return [array for part in value for array in flat(part)]


# Tests compile many kernels and run each once: LLVM's optimizations would take most of the time.
QUICK = tvm.target.Target({"kind": "llvm", "opt-level": 0})


def run_module(
    module: Any, inputs: Mapping[str, Any], params: Mapping[str, Any] | None = None, target: Any = QUICK
) -> list[np.ndarray]:
    """The outputs of a Relay module (or expression) on `inputs`, compiled for the CPU."""
    converted, weights = to_relax(module, params)
    names = [var.name_hint if hasattr(var, "name_hint") else var.name for var in converted["main"].params]
    machine = relax.VirtualMachine(tvm.compile(converted, target), tvm.cpu())
    given = {**weights, **inputs}
    return flat(machine["main"](*[tensor(given[name]) for name in names]))


def variables(**arrays: Any) -> list[relay.Var]:
    """A Relay variable for each array, of its name, shape and type."""
    return [relay.var(name, shape=array.shape, dtype=str(array.dtype)) for name, array in arrays.items()]


def run_all(exprs: Sequence[Any], inputs: Mapping[str, Any]) -> list[list[np.ndarray]]:
    """The outputs of several expressions over the same inputs, compiled as one function."""
    wrapped = [relay.Tuple((expr,)) for expr in exprs]
    types = [relay.infer_type(expr) for expr in exprs]
    outputs = run_module(relay.IRModule.from_expr(relay.Tuple(tuple(wrapped))), inputs)
    grouped, start = [], 0
    for type_ in types:
        count = _leaves(type_)
        grouped.append(outputs[start : start + count])
        start += count
    assert start == len(outputs)
    return grouped


def _leaves(type_: Any) -> int:
    return sum(map(_leaves, type_.fields)) if isinstance(type_, relay.TupleType) else 1


def _types(type_: Any) -> list[Any]:
    return [leaf for part in type_.fields for leaf in _types(part)] if isinstance(type_, relay.TupleType) else [type_]


def check(
    cases: Mapping[str, tuple[Any, Any]], inputs: Mapping[str, Any], rtol: float = 1e-5, atol: float = 1e-6
) -> None:
    """Compare each case's expression with its expected value or values.

    Parameters
    ----------
    cases : Mapping of str to (expression, expected)
        `expected` is an array, or a list of them for several outputs. Whole numbers must be equal.
    inputs : Mapping of str to array
        Every case's free variables, by name.
    """
    used = {name: np.asarray(array) for name, array in inputs.items()}
    names = [var.name_hint for var in relay.analysis.free_vars(relay.Tuple(tuple(expr for expr, _ in cases.values())))]
    outputs = run_all([expr for expr, _ in cases.values()], {name: used[name] for name in names})
    for (label, (expr, expected)), found in zip(cases.items(), outputs):
        wanted = expected if isinstance(expected, list) else [expected]
        assert len(wanted) == len(found), label
        for type_, want, got in zip(_types(relay.infer_type(expr)), wanted, found):
            want = np.asarray(want)
            assert got.dtype == want.dtype, (label, got.dtype, want.dtype)
            assert got.shape == want.shape == tuple(type_.shape), (label, got.shape, want.shape, type_)
            assert str(got.dtype) == type_.dtype, label
            if want.dtype.kind in "biu":
                np.testing.assert_array_equal(got, want, err_msg=label)
            else:
                np.testing.assert_allclose(got, want, rtol=rtol, atol=atol, err_msg=label)
