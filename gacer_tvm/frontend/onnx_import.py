"""ONNX: a file or ``ModelProto`` becomes a tenant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UnsupportedOperatorError
from .batch import AUTO, find_batch
from .onnx_file import fixed_inputs, load_model, opset_versions, with_constants
from .onnx_functions import unknown_operators
from .onnx_walk import import_graph
from .relax_module import read_outputs

if TYPE_CHECKING:
    from .tenant import Tenant

__all__ = ["from_onnx"]


def from_onnx(
    model: Any,
    shapes: Mapping[str, Sequence[int]] | None = None,
    *,
    constants: Mapping[str, Any] | None = None,
    batch: int | None = None,
    batch_axis: Any = AUTO,
    name: str = "",
) -> Tenant:
    """A tenant from an ONNX model.

    Parameters
    ----------
    model
        Path of a file (external data beside it), or an ``onnx.ModelProto``.
    shapes
        Static shapes by input name, for inputs that the model leaves open.
    constants
        Values of inputs that never change (a sample rate, a mode): they become part of the model and are no inputs of
        the tenant; what depends on them alone, branches included, is decided now.
    batch
        Extent of axis 0 where an input leaves it open and `shapes` does not name the input.
    batch_axis
        As for `Tenant.from_relax`.

    Returns
    -------
    Tenant
        Inputs and outputs have the model's own names.

    Raises
    ------
    TenantError
        When the file is not there, is no ONNX model, or lacks its external data; when `shapes` does not fit; when a
        node cannot be converted for these shapes.
    UnsupportedOperatorError
        Listing every operator without a conversion, with its count.
    """
    from .tenant import Tenant

    source = f"onnx: {Path(model).name}" if isinstance(model, str | Path) else "onnx"
    who = f"tenant {name!r}" if name else f"tenant from {source}"
    proto = with_constants(load_model(model, who), constants or {}, who)
    inputs, open_axes = fixed_inputs(proto, shapes or {}, batch, who)
    versions = opset_versions(proto)
    unknown = unknown_operators(proto)
    if unknown:
        listed = ", ".join(
            f"{domain + '.' if domain else ''}{operator} ({count}×)"
            for (domain, operator), count in sorted(unknown.items())
        )
        raise UnsupportedOperatorError(f"{who}: ONNX operators without a conversion: {listed}")
    module = import_graph(proto, inputs, versions, who)
    outputs = read_outputs(module, [output.name for output in proto.graph.output], who)
    size, axes = find_batch(who, inputs, outputs, batch_axis, open_axes)
    return Tenant(module, {}, inputs, outputs, size, axes, name, source)
