"""Reading an ONNX model: the file, its external data, its inputs with their shapes fixed, its functions inlined."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import TenantError
from .signature import TensorSpec

__all__ = ["fixed_inputs", "load_model", "opset_versions", "require_onnx", "with_constants"]


def require_onnx(who: str) -> Any:
    """The ``onnx`` package, or an error that names the extra."""
    try:
        import onnx
    except ImportError as error:
        raise TenantError(
            f"{who}: the package onnx is needed for it: pip install 'gacer-tvm[onnx]' ({error})"
        ) from error
    return onnx


def load_model(model: Any, who: str) -> Any:
    """A ``ModelProto`` from a path or from itself.

    Raises
    ------
    TenantError
        When there is no such file, it is no ONNX model or a truncated one, or its external data are missing.
    """
    onnx = require_onnx(who)
    if isinstance(model, onnx.ModelProto):
        proto, place = model, "the ModelProto"
        if _external(proto):
            raise TenantError(
                f"{who}: the ModelProto's external data were not loaded; give the path of its file instead"
            )
    elif isinstance(model, str | Path):
        path = Path(model)
        place = str(path)
        if not path.is_file():
            raise TenantError(f"{who}: there is no file {place}")
        try:
            proto = onnx.load_model_from_string(path.read_bytes())
        except Exception as error:  # protobuf's own errors have no common public base
            raise TenantError(f"{who}: {place} is no ONNX model, or a truncated one: {error}") from error
        _load_external(onnx, proto, path, who)
    else:
        raise TenantError(f"{who}: expected a path or an onnx.ModelProto, found {type(model).__name__}")
    if not proto.graph.output or not proto.opset_import:
        raise TenantError(f"{who}: {place} is no ONNX model: it has no graph with an output, or no opset version")
    return proto


def _load_external(onnx: Any, proto: Any, path: Path, who: str) -> None:
    missing = sorted({location for location in _external(proto) if not (path.parent / location).is_file()})
    if missing:
        raise TenantError(
            f"{who}: {path} keeps weights in other files, and {', '.join(missing)} is not beside it in {path.parent}"
        )
    try:
        onnx.load_external_data_for_model(proto, str(path.parent))
    except Exception as error:
        raise TenantError(f"{who}: the external data of {path} cannot be read: {error}") from error


def _external(proto: Any) -> list[str]:
    """Files in which the weights lie that have not been read yet."""
    from onnx.external_data_helper import uses_external_data

    return [
        next((entry.value for entry in tensor.external_data if entry.key == "location"), "")
        for tensor in proto.graph.initializer
        if uses_external_data(tensor)
    ]


def opset_versions(proto: Any) -> dict[str, int]:
    """Operator set version by domain; the default domain is ``""``."""
    return {("" if entry.domain == "ai.onnx" else entry.domain): int(entry.version) for entry in proto.opset_import}


def with_constants(proto: Any, constants: Mapping[str, Any], who: str) -> Any:
    """The model with some of its inputs turned into constants."""
    if not constants:
        return proto
    import onnx

    declared = {value.name: value for value in proto.graph.input}
    unknown = [name for name in constants if name not in declared]
    if unknown:
        raise TenantError(f"{who}: constants names {unknown}, which are no inputs; the inputs are {list(declared)}")
    fixed = onnx.ModelProto()
    fixed.CopyFrom(proto)
    del fixed.graph.input[:]
    fixed.graph.input.extend(value for name, value in declared.items() if name not in constants)
    for name, value in constants.items():
        array = np.asarray(value, _dtype(declared[name], who))
        extents = _extents(declared[name])
        if extents is not None and len(extents) != array.ndim:
            raise TenantError(f"{who}, constant {name!r}: expected {len(extents)} axes, found shape {array.shape}")
        fixed.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    return fixed


def fixed_inputs(
    proto: Any, shapes: Mapping[str, Sequence[int]], batch: int | None, who: str
) -> tuple[dict[str, TensorSpec], dict[str, int]]:
    """Static shape and dtype of each input, and the axes at which `batch` was put.

    Parameters
    ----------
    shapes
        Shapes by input name; needed for inputs with open extents.
    batch
        Extent for axis 0 of every input where that is open and `shapes` says nothing.

    Raises
    ------
    TenantError
        When `shapes` names what is no input, does not fit what the model declares, or leaves an extent open.
    """
    constants = {tensor.name for tensor in proto.graph.initializer}
    constants |= {tensor.values.name for tensor in proto.graph.sparse_initializer}
    declared = {value.name: value for value in proto.graph.input if value.name not in constants}
    unknown = [name for name in shapes if name not in declared]
    if unknown:
        known = ", ".join(
            f"{name}: ({', '.join(map(str, _extents(value) or ['?']))})" for name, value in declared.items()
        )
        raise TenantError(f"{who}: shapes names {unknown}, which are no inputs; the inputs are {known}")
    inputs: dict[str, TensorSpec] = {}
    batch_axes: dict[str, int] = {}
    bound: dict[str, int] = {}
    for name, value in declared.items():
        if name in shapes:
            _bind_names(_extents(value), shapes[name], name, bound, who)
    for name, value in declared.items():
        dtype = _dtype(value, who)
        extents = _extents(value)
        shape: list[Any]
        if name in shapes:
            shape = [int(extent) for extent in shapes[name]]
        elif extents is None:
            raise TenantError(f"{who}, input {name!r}: the model declares no shape; give shapes={{{name!r}: (…)}}")
        else:
            shape = [bound.get(extent, extent) if isinstance(extent, str) else extent for extent in extents]
        if batch is not None and name not in shapes and shape and isinstance(shape[0], str):
            shape[0] = int(batch)
        if extents and shape and isinstance(extents[0], str):
            batch_axes[name] = 0
        open_dims = [extent for extent in shape if isinstance(extent, str)]
        if open_dims:
            example = ", ".join(str(extent) for extent in shape)
            hint = "batch=… and/or " if batch is None and isinstance(shape[0], str) else ""
            raise TenantError(
                f"{who}, input {name!r}: expected static shapes, found ({example}); give {hint}shapes={{{name!r}: (…)}}"
            )
        inputs[name] = TensorSpec(tuple(shape), dtype)
    extents_at_batch = {inputs[name].shape[axis] for name, axis in batch_axes.items()}
    return inputs, batch_axes if len(extents_at_batch) == 1 else {}


def _extents(value: Any) -> list[int | str] | None:
    """Declared extents: a number, or a name ("?" where it has none); None where even the rank is open."""
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        return None
    return [int(dim.dim_value) if dim.dim_value > 0 else (dim.dim_param or "?") for dim in tensor.shape.dim]


def _bind_names(
    extents: list[int | str] | None, given: Sequence[int], name: str, bound: dict[str, int], who: str
) -> None:
    shape = tuple(int(extent) for extent in given)
    if any(extent < 0 for extent in shape):
        raise TenantError(f"{who}, input {name!r}: shapes must not be negative, found {shape}")
    if extents is None:
        return
    expected = f"({', '.join(map(str, extents))})"
    if len(extents) != len(shape):
        raise TenantError(f"{who}, input {name!r}: expected a shape like {expected}, found {shape}")
    for extent, value in zip(extents, shape, strict=True):
        if isinstance(extent, int) and extent != value:
            raise TenantError(f"{who}, input {name!r}: expected a shape like {expected}, found {shape}")
        if isinstance(extent, str) and extent != "?" and bound.setdefault(extent, value) != value:
            raise TenantError(
                f"{who}, input {name!r}: the extent {extent} is {value} here and {bound[extent]} in another place"
            )


def _dtype(value: Any, who: str) -> str:
    from onnx import TensorProto, helper

    kind = value.type.WhichOneof("value")
    if kind != "tensor_type":
        raise TenantError(f"{who}, input {value.name!r}: expected a tensor, found {kind or 'nothing'}")
    element = value.type.tensor_type.elem_type
    if element in (TensorProto.STRING, TensorProto.UNDEFINED):
        raise TenantError(
            f"{who}, input {value.name!r}: expected numbers, found {TensorProto.DataType.Name(element).lower()}"
        )
    return str(helper.tensor_dtype_to_np_dtype(element))
