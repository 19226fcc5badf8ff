"""Types of Relay expressions: tensors, tuples, functions, references, and applied algebraic data types.

Types are values: two of them are equal when they are written alike. Equality and hashing are iterative, because a type
read from a file may nest deeper than Python's stack.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

__all__ = [
    "ANY",
    "Any",
    "Dim",
    "FuncType",
    "GlobalTypeVar",
    "RefType",
    "TensorType",
    "TupleType",
    "Type",
    "TypeCall",
    "TypeVar",
    "scalar_type",
    "type_text",
]


@dataclass(frozen=True, slots=True)
class Any:
    """A dimension that is known only at run time: `?` in text.

    Parameters
    ----------
    name : str
        The symbolic variable's name where the source had one (`tir.Var`), else empty. Dimensions of the same name are
        the same number; unnamed ones are unrelated.
    """

    name: str = ""

    def __repr__(self) -> str:
        return self.name or "?"


ANY = Any()
Dim = int | Any


class Type:
    """Base of all types; equality and hash by structure."""

    __slots__ = ()

    def _tokens(self) -> Iterator[object]:
        """The type as a flat stream of classes, field values and tuple lengths, which determines it uniquely."""
        stack: list[object] = [self]
        while stack:
            item = stack.pop()
            if isinstance(item, Type):
                yield type(item)
                stack.extend(getattr(item, name) for name in reversed(type(item).__match_args__))  # type: ignore[attr-defined]
            elif isinstance(item, tuple):
                yield len(item)
                stack.extend(reversed(item))
            else:
                yield item

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if type(self) is not type(other):
            return NotImplemented
        mine, theirs = self._tokens(), other._tokens()
        end = object()
        while True:
            left, right = next(mine, end), next(theirs, end)
            if left is end or right is end:
                return left is right
            if left is not right and (type(left) is not type(right) or left != right):
                return False

    def __hash__(self) -> int:
        return hash(tuple(self._tokens()))

    def __repr__(self) -> str:
        return type_text(self)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class TensorType(Type):
    """A tensor: `Tensor[(1, ?, 3), float32]`; a scalar has the shape `()`.

    Parameters
    ----------
    shape : tuple of int or Any
    dtype : str
        As TVM writes it: "float32", "int8", "bool", "bfloat16".
    """

    shape: tuple[Dim, ...]
    dtype: str = "float32"

    def __post_init__(self) -> None:
        if type(self.shape) is not tuple:
            object.__setattr__(self, "shape", tuple(self.shape))

    @property
    def is_static(self) -> bool:
        """Whether every dimension is a number."""
        return all(type(dim) is int for dim in self.shape)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class TupleType(Type):
    """A tuple of types."""

    fields: tuple[Type, ...]

    def __post_init__(self) -> None:
        if type(self.fields) is not tuple:
            object.__setattr__(self, "fields", tuple(self.fields))


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class FuncType(Type):
    """The type of a function, `fn (A, B) -> C`. `None` stands for a type that was not stated (`_`)."""

    arg_types: tuple[Type | None, ...]
    ret_type: Type | None
    type_params: tuple[TypeVar, ...] = ()


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class RefType(Type):
    """The type of a mutable reference."""

    value: Type | None


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class TypeVar(Type):
    """A type parameter of a function or data type."""

    name: str


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class GlobalTypeVar(Type):
    """The name of an algebraic data type."""

    name: str


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class TypeCall(Type):
    """An algebraic data type applied to arguments: `List[int32]`."""

    func: Type
    args: tuple[Type | None, ...]


@cache
def scalar_type(dtype: str) -> TensorType:
    """The type of a tensor without dimensions."""
    return TensorType((), dtype)


def type_text(type_: Type | None) -> str:
    """Relay's text for a type; `_` for one that is not stated.

    Parameters
    ----------
    type_ : Type or None

    Returns
    -------
    str
        Text that the parser reads back to an equal type; symbolic dimensions are written by name.
    """
    out: list[str] = []
    stack: list[object] = [type_]
    while stack:
        item = stack.pop()
        if isinstance(item, str):
            out.append(item)
        elif item is None:
            out.append("_")
        elif isinstance(item, TensorType):
            out.append(_tensor_text(item))
        elif isinstance(item, TupleType):
            stack.append(",)" if len(item.fields) == 1 else ")")
            _push_list(stack, item.fields)
            stack.append("(")
        elif isinstance(item, FuncType):
            stack.extend([item.ret_type, ") -> "])
            _push_list(stack, item.arg_types)
            params = ", ".join(var.name for var in item.type_params)
            stack.append(f"fn [{params}](" if params else "fn (")
        elif isinstance(item, RefType):
            stack.extend([")", item.value, "ref("])
        elif isinstance(item, TypeCall):
            stack.append("]")
            _push_list(stack, item.args)
            stack.extend(["[", item.func])
        else:
            out.append(item.name)  # type: ignore[attr-defined]
    return "".join(out)


def _push_list(stack: list[object], items: tuple[object, ...]) -> None:
    for index in range(len(items) - 1, -1, -1):
        stack.append(items[index])
        if index:
            stack.append(", ")


def _tensor_text(tensor: TensorType) -> str:
    if not tensor.shape:
        return tensor.dtype
    dims = ", ".join(_dim_text(dim) for dim in tensor.shape)
    return f"Tensor[({dims}), {tensor.dtype}]"


def _dim_text(dim: Dim) -> str:
    if not isinstance(dim, Any):
        return str(dim)
    return dim.name if dim.name.isidentifier() and dim.name.isascii() else "?"
