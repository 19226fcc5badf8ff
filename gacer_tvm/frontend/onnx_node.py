"""What a converter of one ONNX node is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .constants import as_constant

__all__ = ["Converter", "Node"]


@dataclass
class Node:
    """One ONNX node with its inputs' values.

    Attributes
    ----------
    builder
        Where expressions are emitted.
    operator, version
        Operator type, and the version of its operator set.
    inputs
        NumPy arrays (constants), Relax expressions, or None for left-out inputs.
    attributes
        By name; strings are bytes.
    wanted
        For each output whether it has a name (somebody may read it).
    """

    builder: Any
    operator: str
    version: int
    inputs: list[Any]
    attributes: dict[str, Any]
    wanted: list[bool]

    def __len__(self) -> int:
        return len(self.inputs)

    def has(self, index: int) -> bool:
        """Whether input `index` is given."""
        return index < len(self.inputs) and self.inputs[index] is not None

    def expr(self, index: int) -> Any:
        """Input `index` as a Relax expression; None where it is left out."""
        if not self.has(index):
            return None
        value = self.inputs[index]
        return as_constant(value) if isinstance(value, np.ndarray) else value

    def const(self, index: int, what: str) -> np.ndarray:
        """Input `index`, which must be a constant.

        Raises
        ------
        ValueError
            When it depends on the model's inputs.
        """
        value = self.inputs[index]
        if not isinstance(value, np.ndarray):
            raise ValueError(f"its input {index} ({what}) depends on the inputs' values; it has to be a constant")
        return value

    def shape(self, index: int) -> tuple[int, ...]:
        """Shape of input `index`."""
        value = self.inputs[index]
        return value.shape if isinstance(value, np.ndarray) else tuple(int(e) for e in value.ty.shape.values)

    def dtype(self, index: int) -> str:
        """Dtype of input `index`."""
        value = self.inputs[index]
        return str(value.dtype) if isinstance(value, np.ndarray) else str(value.ty.dtype)

    def attr(self, name: str, default: Any = None) -> Any:
        """An attribute; strings decoded."""
        value = self.attributes.get(name, default)
        if isinstance(value, bytes):
            return value.decode()
        if isinstance(value, tuple) and value and isinstance(value[0], bytes):
            return tuple(item.decode() for item in value)
        return value

    def emit(self, expr: Any) -> Any:
        """Bind `expr` to a variable, so that its type is known."""
        return self.builder.emit(expr)


# A result is an expression, an array, or a list of them (one for each output; None where it was not asked for).
Converter = Callable[[Node], Any]
