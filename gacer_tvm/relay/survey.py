"""Looks over all that a function reaches before it is evaluated, to report at once what cannot be converted."""

from __future__ import annotations

from collections.abc import Iterator

from gacer_tvm.errors import RelayError, UnsupportedOperatorError
from gacer_tvm.relay.ast import (
    Call,
    Constructor,
    Expr,
    GlobalVar,
    IRModule,
    Match,
    Op,
    RefCreate,
    RefRead,
    RefWrite,
    Span,
)
from gacer_tvm.relay.rules.registry import RULES
from gacer_tvm.relay.walk import post_order

__all__ = ["check_convertible", "operators", "reachable"]

# Enough to find them; the count says how many more there are.
_PLACES = 5


def reachable(module: IRModule, entry: str = "main") -> Iterator[tuple[str, Expr]]:
    """Each expression of `entry` and of the global functions that it reaches, with its function's name."""
    pending, seen = [entry], {entry}
    while pending:
        name = pending.pop()
        for node in post_order(module[name]):
            yield name, node
            if isinstance(node, GlobalVar) and node.name_hint not in seen and node.name_hint in module:
                seen.add(node.name_hint)
                pending.append(node.name_hint)


def operators(module: IRModule, entry: str = "main") -> dict[str, list[Span | None]]:
    """The operators that a function reaches, each with the places of its calls."""
    found: dict[str, list[Span | None]] = {}
    for _, node in reachable(module, entry):
        if isinstance(node, Call) and isinstance(node.op, Op):
            found.setdefault(node.op.name, []).append(node.span)
    return found


def check_convertible(module: IRModule, entry: str = "main") -> None:
    """Refuse what has no straight-line meaning or no converter.

    Raises
    ------
    RelayError
        For algebraic data types and references, with their places.
    UnsupportedOperatorError
        Naming every unknown operator with its number of calls and their places.
    """
    adt: list[str] = []
    refs: list[str] = []
    for name, node in reachable(module, entry):
        place = str(node.span) if node.span is not None else f"in @{name}"
        if isinstance(node, Match):
            adt.append(f"match {place}")
        elif isinstance(node, Call) and isinstance(node.op, Constructor):
            adt.append(f"constructor {node.op.name_hint} {place}")
        elif isinstance(node, Constructor):
            adt.append(f"constructor {node.name_hint} {place}")
        elif isinstance(node, (RefCreate, RefRead, RefWrite)):
            refs.append(f"{type(node).__name__} {place}")
    if adt:
        raise RelayError(
            "Algebraic data types are not supported: a graph must be straight-line tensor code. They stand at: "
            f"{_listing(adt)}. Types defined: {', '.join(module.type_definitions) or 'none'}."
        )
    if refs:
        raise RelayError(f"Mutable references are not supported. They stand at: {_listing(refs)}.")
    unknown = {name: spans for name, spans in operators(module, entry).items() if name not in RULES}
    if unknown:
        raise UnsupportedOperatorError(_unknown_message(unknown))


def _listing(items: list[str]) -> str:
    shown = ", ".join(items[:_PLACES])
    return shown if len(items) <= _PLACES else f"{shown} and {len(items) - _PLACES} more"


def _unknown_message(unknown: dict[str, list[Span | None]]) -> str:
    lines = []
    for name in sorted(unknown, key=lambda key: (-len(unknown[key]), key)):
        spans = [str(span) for span in unknown[name] if span is not None]
        where = f" at {_listing(spans)}" if spans else ""
        lines.append(f"  {name}: {len(unknown[name])} call{'s' if len(unknown[name]) != 1 else ''}{where}")
    total = sum(len(spans) for spans in unknown.values())
    return (
        f"{len(unknown)} Relay operator{'s' if len(unknown) != 1 else ''} ({total} calls) cannot be converted:\n"
        + "\n".join(lines)
    )
