"""Relay modules: functions and data type definitions by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from gacer_tvm.errors import RelayError
from gacer_tvm.relay.nodes import Constructor, Expr, Function, GlobalVar
from gacer_tvm.relay.notes import NO_ATTRS, Attrs
from gacer_tvm.relay.types import TypeVar

__all__ = ["IRModule", "TypeData"]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class TypeData:
    """The definition of an algebraic data type; one without constructors is `extern`."""

    name: str
    type_vars: tuple[TypeVar, ...] = ()
    constructors: tuple[Constructor, ...] = ()
    extern: bool = False

    def __repr__(self) -> str:
        return f"<TypeData {self.name}>"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class IRModule:
    """A Relay module: functions by name, and data type definitions by name, in the order written.

    Parameters
    ----------
    functions : Mapping of str to Function
        Names without the `@`.
    type_definitions : Mapping of str to TypeData
    attrs : Attrs
    """

    functions: Mapping[str, Function]
    type_definitions: Mapping[str, TypeData] = field(default_factory=dict)
    attrs: Attrs = NO_ATTRS

    def __post_init__(self) -> None:
        object.__setattr__(self, "functions", MappingProxyType(dict(self.functions)))
        object.__setattr__(self, "type_definitions", MappingProxyType(dict(self.type_definitions)))

    def __getitem__(self, name: str | GlobalVar) -> Function:
        key = name.name_hint if isinstance(name, GlobalVar) else name
        try:
            return self.functions[key]
        except KeyError:
            raise RelayError(
                f"The module has no function @{key}; it has {', '.join('@' + n for n in self.functions) or 'none'}."
            ) from None

    def __contains__(self, name: object) -> bool:
        return (name.name_hint if isinstance(name, GlobalVar) else name) in self.functions

    def __repr__(self) -> str:
        return f"<IRModule {', '.join('@' + name for name in self.functions)}>"

    def __str__(self) -> str:
        return self.astext(show_meta_data=False)

    def astext(self, show_meta_data: bool = True) -> str:
        """The module as Relay text; see `gacer_tvm.relay.astext`."""
        from gacer_tvm.relay.printer import astext

        return astext(self, show_meta_data=show_meta_data)

    @classmethod
    def from_expr(cls, expr: Expr, functions: Mapping[str, Function] | None = None) -> IRModule:
        """A module whose `@main` is `expr`; an expression that is no function becomes one of its free variables.

        Parameters
        ----------
        expr : Expr
        functions : Mapping of str to Function, optional
            Other functions of the module.
        """
        from gacer_tvm.relay.walk import free_vars

        expr = expr.astuple() if hasattr(expr, "astuple") else expr
        main = expr if isinstance(expr, Function) else Function(free_vars(expr), expr)
        return cls({**(functions or {}), "main": main})

    def __reduce__(self) -> tuple[Callable[[str], IRModule], tuple[str]]:
        """Pickled and copied as text, so that depth costs no stack; spans are those of the text then."""
        return _from_text, (self.astext(),)


def _from_text(text: str) -> IRModule:
    from gacer_tvm.relay.parser import parse

    return parse(text)
