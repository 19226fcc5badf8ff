"""ONNX nodes' attributes, and the values met on the way: NumPy arrays (constants) and Relax expressions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .._tvm import relax, tvm
from ..errors import TenantError

__all__ = ["attributes_of", "dense", "shape_or_size", "show", "static_shape", "type_proto"]


def attributes_of(node: Any) -> dict[str, Any]:
    """Attributes by name, as TVM's converters expect them: bytes stay bytes, lists are tuples."""
    from onnx import AttributeProto, helper

    result: dict[str, Any] = {}
    for attribute in node.attribute:
        if attribute.type == AttributeProto.TENSOR:
            result[attribute.name] = attribute.t
        elif attribute.type == AttributeProto.GRAPH:
            result[attribute.name] = attribute.g
        else:
            value = helper.get_attribute_value(attribute)
            result[attribute.name] = tuple(value) if isinstance(value, list) or hasattr(value, "append") else value
    return result


def type_proto(value: Any) -> Any:
    """The ONNX type of a value; an empty one for a left-out input."""
    from onnx import TypeProto, helper

    if value is None:
        return TypeProto()
    if isinstance(value, relax.Tuple):
        return helper.make_sequence_type_proto(type_proto(value.fields[0]) if len(value.fields) else TypeProto())
    shape = value.shape if isinstance(value, np.ndarray) else [int(extent) for extent in value.ty.shape.values]
    dtype = value.dtype if isinstance(value, np.ndarray) else np.dtype(str(value.ty.dtype))
    return helper.make_tensor_type_proto(helper.np_dtype_to_tensor_dtype(dtype), shape)


def static_shape(ty: Any, fail: Callable[[str], TenantError]) -> tuple[int, ...]:
    """The shape of a tensor type; raises what `fail` makes of the reason where it is not static."""
    shape = getattr(ty, "shape", None)
    if not isinstance(shape, relax.ShapeExpr) or not all(isinstance(e, tvm.tirx.IntImm) for e in shape.values):
        raise fail("the shape of its result depends on the inputs' values, and a tenant has static shapes")
    return tuple(int(extent) for extent in shape.values)


def shape_or_size(node: Any, shape: tuple[int, ...]) -> np.ndarray:
    """What a `Shape` or `Size` node gives for a tensor of this shape."""
    if node.op_type == "Size":
        return np.array(int(np.prod(shape, dtype="int64")), "int64")
    attributes = attributes_of(node)
    return np.array(shape[int(attributes.get("start", 0)) : attributes.get("end")], "int64").reshape(-1)


def dense(sparse: Any) -> np.ndarray:
    """The array of a ``SparseTensorProto``."""
    from onnx import numpy_helper

    values, indices = numpy_helper.to_array(sparse.values), numpy_helper.to_array(sparse.indices)
    dense = np.zeros(tuple(sparse.dims), values.dtype)
    if indices.ndim == 1:
        dense.reshape(-1)[indices] = values
    else:
        dense[tuple(indices.T)] = values
    return dense


def show(value: Any) -> str:
    """A value's dtype and shape for messages."""
    if value is None:
        return "none"
    if isinstance(value, np.ndarray):
        return f"{value.dtype}{list(value.shape)} constant"
    shape = getattr(value.ty, "shape", None)
    return f"{value.ty.dtype}{[int(e) for e in shape.values]}" if isinstance(shape, relax.ShapeExpr) else str(value.ty)
