"""The tenant: one model, with its parameters, its signature and its batch, whatever it was written in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from .._tvm import tvm
from ..errors import TenantError
from .batch import AUTO, find_batch
from .relax_module import Bound, as_arrays, bind_shapes, read_main, split_params
from .signature import TensorSpec, describe

__all__ = ["Tenant"]


@dataclass(frozen=True, eq=False)
class Tenant:
    """One model that shares the device with others. A value: made by a constructor below, never changed.

    Attributes
    ----------
    module
        IRModule with a Relax function ``main``: the inputs first, then the parameters.
    params
        Values of main's trailing parameters by name, in their order; empty where they are bound as constants.
    inputs, outputs
        Ordered mappings of name to (shape, dtype); static.
    batch
        Batch size; None where the model has no batch.
    batch_axes
        For each input the axis of the batch, or None. Found (see `frontend.batch`) or given.
    name
        The user's name for it; may be empty until `build` names it.
    source
        Where it came from, for messages and reports: ``"onnx: det.onnx"``.
    normalized
        Whether `frontend.normalize` has been run on it.
    """

    module: Any
    params: Mapping[str, Any]
    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]
    batch: int | None = None
    batch_axes: Mapping[str, int | None] = field(default_factory=dict)
    name: str = ""
    source: str = "relax"
    normalized: bool = False

    def __post_init__(self) -> None:
        for key in ("params", "inputs", "outputs", "batch_axes"):
            object.__setattr__(self, key, MappingProxyType(dict(getattr(self, key))))

    def __repr__(self) -> str:
        batch = f", batch {self.batch}" if self.batch is not None else ""
        return f"Tenant({self.name or self.source}: {describe(self.inputs)} -> {describe(self.outputs)}{batch})"

    @property
    def label(self) -> str:
        """How messages call it."""
        return f"tenant {self.name!r}" if self.name else f"tenant from {self.source}"

    def named(self, name: str) -> Tenant:
        """The same tenant under another name."""
        return replace(self, name=name)

    @staticmethod
    def from_relax(
        module: Any,
        params: Mapping[str, Any] | Sequence[Any] | None = None,
        *,
        batch: int | None = None,
        shapes: Mapping[str, Sequence[int]] | None = None,
        batch_axis: Any = AUTO,
        output_names: Sequence[str] | None = None,
        entry: str = "main",
        name: str = "",
        source: str = "relax",
    ) -> Tenant:
        """A tenant from a Relax IRModule.

        Parameters
        ----------
        module
            IRModule; its function `entry` (or its only public Relax function) is the model.
        params
            Values of the parameters that are no inputs: by name (any position in the signature), or a list for the
            trailing ones. None: taken from the function's ``params`` attribute where an importer left them there,
            else everything is an input.
        batch
            Binds the one symbolic extent that is the batch.
        shapes
            Static shapes of inputs with symbolic extents.
        batch_axis
            ``"auto"``, an axis, a mapping of input to axis or None, or None for "has no batch".
        output_names
            Names of the results, in order; ``output0``, … by default.

        Raises
        ------
        TenantError
            When the module has no such function, a parameter is missing or does not fit, or a shape stays symbolic.
        """
        who = f"tenant {name!r}" if name else f"tenant from {source}"
        function, module = read_main(module, entry, who)
        function, module, values = split_params(function, module, params, who)
        bound: Bound = bind_shapes(module, len(function.params) - len(values), shapes or {}, batch, output_names, who)
        values = as_arrays(bound.module["main"], values, len(bound.inputs), who)
        size, axes = find_batch(who, bound.inputs, bound.outputs, batch_axis, bound.symbolic_axes)
        return Tenant(bound.module, values, bound.inputs, bound.outputs, size, axes, name, source)

    @staticmethod
    def from_torch(program: Any, *, batch_axis: Any = AUTO, name: str = "", **given: Any) -> Tenant:
        """A tenant from a ``torch.export.ExportedProgram``; see `frontend.torch_export.from_torch`."""
        from .torch_export import from_torch

        return from_torch(program, batch_axis=batch_axis, name=name, **given)

    @staticmethod
    def from_onnx(
        model: Any,
        shapes: Mapping[str, Sequence[int]] | None = None,
        *,
        constants: Mapping[str, Any] | None = None,
        batch: int | None = None,
        batch_axis: Any = AUTO,
        name: str = "",
    ) -> Tenant:
        """A tenant from an ONNX file or ``ModelProto``; see `frontend.onnx_import.from_onnx`."""
        from .onnx_import import from_onnx

        return from_onnx(model, shapes, constants=constants, batch=batch, batch_axis=batch_axis, name=name)

    @staticmethod
    def from_relay(module: Any, params: Any = None, *, name: str = "", **given: Any) -> Tenant:
        """A tenant from a saved Relay module.

        Parameters
        ----------
        module
            What `gacer_tvm.relay.load` returns, or the path of a Relay text or JSON file.
        params
            Parameters by name, or the path of a parameter file.
        **given
            As for `from_relax`.
        """
        from .. import relay

        source = "relay"
        if isinstance(module, str | Path):
            source = f"relay: {Path(module).name}"
            module = relay.load(module)
        if isinstance(params, str | Path):
            params = relay.load_params(params)
        converted = relay.to_relax(module, params)
        mod, left = converted if isinstance(converted, tuple) else (converted, None)
        return Tenant.from_relax(mod, left, name=name, source=source, **given)

    @staticmethod
    def of(model: Any, name: str = "") -> Tenant:
        """Whatever stands for a model as a Tenant.

        Parameters
        ----------
        model
            A `Tenant`, a Relax IRModule, a (module, params) pair, a ``torch.export.ExportedProgram``, an ONNX
            ``ModelProto``, a path of an ``.onnx`` or Relay file, or a Relay module.
        name
            Replaces the tenant's own name where not empty.

        Raises
        ------
        TenantError
            When it is none of these.
        """
        if isinstance(model, Tenant):
            return model.named(name) if name else model
        if isinstance(model, tuple) and len(model) == 2:
            first, params = model
            if isinstance(first, tvm.IRModule):
                return Tenant.from_relax(first, params, name=name)
            return Tenant.from_relay(first, params, name=name)
        if isinstance(model, tvm.IRModule):
            return Tenant.from_relax(model, name=name)
        kind = f"{type(model).__module__}.{type(model).__qualname__}"
        if kind.startswith("torch.export") and hasattr(model, "graph_signature"):
            return Tenant.from_torch(model, name=name)
        if kind.startswith("onnx.") and hasattr(model, "opset_import"):
            return Tenant.from_onnx(model, name=name)
        if isinstance(model, str | Path):
            suffix = Path(model).suffix.lower()
            return Tenant.from_onnx(model, name=name) if suffix == ".onnx" else Tenant.from_relay(model, name=name)
        if kind.startswith("gacer_tvm.relay"):
            return Tenant.from_relay(model, name=name)
        hint = ""
        if kind.startswith("torch.") or _is_torch_module(model):
            hint = "; a torch.nn.Module becomes one by torch.export.export(module.eval(), example_inputs)"
        who = f"tenant {name!r}" if name else "a tenant"
        raise TenantError(
            f"{who}: expected a Tenant, a Relax IRModule, a (module, params) pair, a torch.export.ExportedProgram, an "
            f"ONNX model, a Relay module, or a path of one, found {kind}{hint}"
        )


def _is_torch_module(model: Any) -> bool:
    return any(f"{base.__module__}.{base.__name__}" == "torch.nn.modules.module.Module" for base in type(model).__mro__)
