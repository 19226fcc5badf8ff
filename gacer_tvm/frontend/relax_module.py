"""Reading a Relax IRModule: which function is the model, which of its variables are inputs, which shapes it has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from .._tvm import relax, tvm
from ..errors import TenantError
from .signature import TensorSpec, describe, flat_types, tensor_spec, unique_names
from .straighten import rebuild, single_block

__all__ = ["Bound", "as_arrays", "bind_shapes", "read_main", "read_outputs", "split_params"]


class Bound(NamedTuple):
    """A module with static shapes and its signature."""

    module: Any
    inputs: dict[str, TensorSpec]
    outputs: dict[str, TensorSpec]
    symbolic_axes: dict[str, int]


def read_main(module: Any, entry: str, who: str) -> tuple[Any, Any]:
    """The model's function, and the module with it under the name ``main``."""
    if not isinstance(module, tvm.IRModule):
        raise TenantError(
            f"{who}: expected a tvm.IRModule, found {type(module).__module__}.{type(module).__qualname__}"
        )
    functions = {gv.name_hint: f for gv, f in module.functions_items() if isinstance(f, relax.Function)}
    if entry not in functions:
        public = [name for name, f in functions.items() if f.attrs and "global_symbol" in f.attrs]
        if len(public) != 1:
            found = ", ".join(sorted(functions)) or "no Relax function at all"
            raise TenantError(f"{who}: the module has no function {entry!r}; found {found}; name it with entry=…")
        entry = public[0]
    if len(functions) > 1:
        # Other models of the module are none of this one's business.
        module = relax.transform.DeadCodeElimination([entry])(module)
    function = module[entry]
    if entry != "main":
        function = function.with_attr("global_symbol", "main")
        rest = {gv: f for gv, f in module.functions_items() if gv.name_hint != entry}
        module = tvm.IRModule({**rest, "main": function}, attrs=module.attrs)
    return function, module


def split_params(
    function: Any, module: Any, params: Mapping[str, Any] | Sequence[Any] | None, who: str
) -> tuple[Any, Any, dict[str, Any]]:
    """Tell main's inputs from its parameters, and put the inputs first."""
    variables = list(function.params)
    names = [var.name for var in variables]
    if params is None:
        attrs = function.attrs
        params = list(attrs["params"]) if attrs and "params" in attrs else []
    if isinstance(params, Mapping):
        unknown = [name for name in params if name not in names]
        if unknown:
            raise TenantError(f"{who}: params {unknown} are not in main's signature, which has {names}")
        values = {name: params[name] for name in names if name in params}
    else:
        values_list = list(params)
        if len(values_list) > len(names):
            raise TenantError(f"{who}: {len(values_list)} params were given, but main has only {len(names)} arguments")
        count = len(values_list)
        return function, module, dict(zip(unique_names(names[len(names) - count :], "param"), values_list, strict=True))
    ordered = [v for v in variables if v.name not in values] + [v for v in variables if v.name in values]
    if not all(a.same_as(b) for a, b in zip(ordered, variables, strict=True)):
        function = relax.Function(ordered, function.body, function.ret_ty, function.is_pure, function.attrs)
        module = module.clone()
        module["main"] = function
    return function, module, values


def as_arrays(function: Any, values: Mapping[str, Any], first: int, who: str) -> dict[str, Any]:
    """The parameters' values as TVM tensors, checked against main's types."""
    result = {}
    for var, (name, value) in zip(function.params[first:], values.items(), strict=True):
        expected = tensor_spec(var.ty, f"{who}, parameter {name!r}")
        tensor = value if isinstance(value, tvm.runtime.Tensor) else tvm.runtime.tensor(_numpy(value))
        found = TensorSpec(tuple(int(extent) for extent in tensor.shape), str(tensor.dtype))
        if found != expected:
            raise TenantError(f"{who}, parameter {name!r}: expected {expected}, found {found}")
        result[name] = tensor
    return result


def _numpy(value: Any) -> np.ndarray:
    if hasattr(value, "detach"):  # a torch tensor that may require a gradient or lie on a device
        value = value.detach().cpu().numpy()
    return np.ascontiguousarray(value).reshape(np.shape(value))


def bind_shapes(
    module: Any,
    count: int,
    shapes: Mapping[str, Sequence[int]],
    batch: int | None,
    output_names: Sequence[str] | None,
    who: str,
) -> Bound:
    """Give every symbolic extent its value and read the signature.

    Parameters
    ----------
    count
        How many of main's variables are inputs.
    shapes, batch
        As for `Tenant.from_relax`.
    """
    variables = list(module["main"].params[:count])
    names = unique_names([var.name for var in variables], "input")
    unknown = [name for name in shapes if name not in names]
    if unknown:
        raise TenantError(f"{who}: shapes names {unknown}, which are no inputs; the inputs are {names}")
    binding: dict[Any, int] = {}
    places: dict[Any, list[tuple[str, int]]] = {}
    for name, var in zip(names, variables, strict=True):
        extents = list(var.ty.shape.values) if isinstance(getattr(var.ty, "shape", None), relax.ShapeExpr) else []
        for axis, extent in enumerate(extents):
            if isinstance(extent, tvm.tirx.Var):
                places.setdefault(extent, []).append((name, axis))
        if name in shapes:
            _bind_one(binding, extents, tuple(int(extent) for extent in shapes[name]), name, who)
    open_symbols = [symbol for symbol in places if symbol not in binding]
    if batch is not None and open_symbols:
        leading = [symbol for symbol in open_symbols if any(axis == 0 for _, axis in places[symbol])] or open_symbols
        if len(leading) > 1:
            raise TenantError(
                f"{who}: batch={batch} fits several symbolic extents, {[s.name for s in leading]}; give shapes={{…}}"
            )
        binding[leading[0]] = int(batch)
    batch_symbols = [s for s in binding if any(axis == 0 for _, axis in places.get(s, []))]
    symbolic_axes = dict(reversed(places[batch_symbols[0]])) if len(batch_symbols) == 1 else {}
    if binding:
        module = relax.transform.BindSymbolicVars(binding, "main")(module)
    main = module["main"]
    inputs = {
        name: tensor_spec(var.ty, f"{who}, input {name!r}")
        for name, var in zip(names, main.params[:count], strict=True)
    }
    if batch is not None and not any(batch in spec.shape for spec in inputs.values()):
        raise TenantError(f"{who}: batch={batch}, but its shapes are fixed: {describe(inputs)}")
    return Bound(module, inputs, read_outputs(module, output_names, who), symbolic_axes)


def _bind_one(binding: dict[Any, int], extents: list[Any], shape: tuple[int, ...], name: str, who: str) -> None:
    expected = f"({', '.join(str(extent) for extent in extents)})"
    if len(extents) != len(shape):
        raise TenantError(f"{who}, input {name!r}: expected a shape like {expected}, found {shape}")
    for extent, given in zip(extents, shape, strict=True):
        fixed = int(extent) if isinstance(extent, tvm.tirx.IntImm) else None
        if isinstance(extent, tvm.tirx.Var):
            fixed = binding.setdefault(extent, given)
        if fixed is not None and fixed != given:
            raise TenantError(f"{who}, input {name!r}: expected a shape like {expected}, found {shape}")


def read_outputs(module: Any, names: Sequence[str] | None, who: str) -> dict[str, TensorSpec]:
    """Shape and dtype of each result of `main`; `names` as for `Tenant.from_relax`."""
    types = flat_types(module["main"].ret_ty)
    if not all(isinstance(ty, relax.TensorType) and isinstance(ty.shape, relax.ShapeExpr) for ty in types):
        # Annotated more loosely than what can be derived now that the shapes are known.
        types = flat_types(rebuild(single_block(module, who))["main"].ret_ty)
    if names is not None and len(names) != len(types):
        raise TenantError(f"{who}: {len(names)} output names were given for {len(types)} results")
    wanted = unique_names(list(names) if names is not None else [None] * len(types), "output")
    return {name: tensor_spec(ty, f"{who}, output {name!r}") for name, ty in zip(wanted, types, strict=True)}
