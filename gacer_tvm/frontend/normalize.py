"""The form in which every tenant reaches the graph stage.

`main` is one dataflow block, its parameters are the tenant's inputs and nothing else, it returns a flat tuple (of one
tensor too), every shape is static, every parameter is a constant, operators of constants are folded, inference
batch-norm is folded into its neighbours, and nothing dead is left.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from .._tvm import relax, tvm
from .constants import value_of
from .fold_batch_norm import fold_batch_norm
from .fold_constants import fold_constants
from .signature import flat_types, tensor_spec
from .straighten import Walk, call_name, main_block, rebuild, single_block

if TYPE_CHECKING:
    from .tenant import Tenant

__all__ = ["normalize"]


def normalize(tenant: Tenant) -> Tenant:
    """Bring a tenant to the form described above; its inputs and outputs stay as they are.

    Returns
    -------
    Tenant
        With ``normalized=True`` and empty `params`. A normalized tenant is returned as it is.

    Raises
    ------
    TenantError
        When the model has branches, loops or side effects.
    """
    if tenant.normalized:
        return tenant
    module = _bind(tenant)
    module = single_block(module, tenant.label)
    module = rebuild(module, _plain)
    module = fold_constants(module)
    module = fold_batch_norm(module)
    module = relax.transform.DeadCodeElimination(["main"])(module)
    _refuse_dynamic(module, tenant.label)
    return replace(tenant, module=module, params={}, normalized=True)


def _refuse_dynamic(module: Any, who: str) -> None:
    for binding in main_block(module):
        for ty in flat_types(binding.var.ty):
            if isinstance(ty, relax.TensorType):
                tensor_spec(ty, f"{who}, operator {call_name(binding.value) or 'tuple'} ({binding.var.name})")


def _bind(tenant: Tenant) -> Any:
    """Make constants of the parameters (by variable: names may repeat)."""
    if not tenant.params:
        return tenant.module
    variables = tenant.module["main"].params[len(tenant.inputs) :]
    binding = {var: tvm.runtime.tensor(value) for var, value in zip(variables, tenant.params.values(), strict=True)}
    return relax.transform.BindParams("main", binding)(tenant.module)


def _plain(walk: Walk, var: Any, call: Any) -> Any:
    """Small rewrites that every source needs.

    Rewrite
    -------
    ``dropout(x)`` → ``x``: what TVM's own lowering computes; the mask is only made where it is read.
    ``take(x, i)`` → a slice where `i` is one constant; else a take that cannot read outside `x` (TVM's default mode can,
    and crashes the process when indices are wrong).
    ``matmul(x, broadcast_to(w))`` → ``matmul(x, w)`` where a product repeats its factor anyway: `torch.export` writes a layer
    over (steps, batch, features) so, and folding would keep a copy of the weights for each step.
    """
    name = call_name(call)
    if name == "relax.matmul":
        return _unrepeated(walk, call)
    if name == "relax.nn.dropout":
        return relax.Tuple([call.args[0], relax.op.ones_like(call.args[0])])
    if name != "relax.take" or str(call.attrs.mode) != "fast" or call.attrs.axis is None:
        return None
    data, axis = call.args[0], int(call.attrs.axis)
    index = value_of(call.args[1])
    extent = int(data.ty.shape.values[axis])
    if index is not None and index.ndim == 0 and -extent <= int(index) < extent and isinstance(data, relax.Var):
        first = int(index) % extent
        part = walk.builder.emit(relax.op.strided_slice(data, [axis], [first], [first + 1]), var.name)
        return relax.op.squeeze(part, [axis])
    return relax.op.take(data, call.args[1], axis=axis, mode="clip")


def _unrepeated(walk: Walk, call: Any) -> Any:
    """A matrix product of factors as they were before they were repeated over leading axes; None where neither was."""
    factors = [_before_broadcast(walk, factor) for factor in call.args]
    shapes = [_shape(factor) for factor in factors]
    if all(new.same_as(old) for new, old in zip(factors, call.args)) or None in shapes or min(map(len, shapes)) < 2:
        return None
    whole = walk.builder.normalize(call)
    leading = np.broadcast_shapes(*(shape[:-2] for shape in shapes))
    if (*leading, shapes[0][-2], shapes[1][-1]) != _shape(whole):
        return None
    return relax.op.matmul(*factors, out_dtype=call.attrs.out_dtype or None)


def _before_broadcast(walk: Walk, factor: Any) -> Any:
    """What was repeated over leading axes to make `factor`; else `factor` itself."""
    made = walk.builder.lookup_binding(factor) if isinstance(factor, relax.Var) else None
    if made is None or call_name(made) != "relax.broadcast_to":
        return factor
    before, after = _shape(made.args[0]), _shape(factor)
    return made.args[0] if before is not None and len(before) >= 2 and before[-2:] == after[-2:] else factor


def _shape(expr: Any) -> tuple[int, ...] | None:
    shape = getattr(expr.ty, "shape", None)
    values = getattr(shape, "values", None)
    return None if values is None else tuple(int(v) for v in values)
