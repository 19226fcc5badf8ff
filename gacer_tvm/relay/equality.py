"""Whether two Relay trees mean the same: structure, shared nodes, bound variables up to renaming."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from gacer_tvm.relay.ast import (
    Attrs,
    Call,
    Constant,
    Constructor,
    Expr,
    Function,
    GlobalVar,
    If,
    IRModule,
    Let,
    Match,
    Op,
    Opaque,
    Pattern,
    PatternConstructor,
    PatternTuple,
    PatternVar,
    RefCreate,
    RefRead,
    RefWrite,
    Tuple,
    TupleGetItem,
    Var,
)

__all__ = ["structural_equal"]


def structural_equal(left: object, right: object, *, map_free_vars: bool = False) -> bool:
    """Whether two modules or expressions are equal but for the names of bound variables.

    Types, attributes and constants have to be equal (constants bit for bit), and what is one shared node in one tree
    has to be one in the other. Spans, noted types and the type arguments of calls (which inference adds, and text does
    not hold) do not count. The names of parameters of a module's functions count, because callers pass them by name,
    unless a function has two of the same name. Without recursion.

    Parameters
    ----------
    left, right : IRModule or Expr
    map_free_vars : bool
        Whether free variables may correspond too, one to one, if their types are equal; otherwise each equals itself.
    """
    if isinstance(left, IRModule) and isinstance(right, IRModule):
        return _modules_equal(left, right)
    if isinstance(left, Expr) and isinstance(right, Expr):
        return _Comparison(map_free_vars).equal(left, right)
    return False


def _modules_equal(left: IRModule, right: IRModule) -> bool:
    if left.functions.keys() != right.functions.keys() or left.type_definitions.keys() != right.type_definitions.keys():
        return False
    if not _attrs_equal(left.attrs, right.attrs, []):
        return False
    for name, definition in left.type_definitions.items():
        other = right.type_definitions[name]
        if definition.type_vars != other.type_vars:
            return False
        if [(c.name_hint, c.inputs) for c in definition.constructors] != [
            (c.name_hint, c.inputs) for c in other.constructors
        ]:
            return False
    for name, function in left.functions.items():
        other_function = right.functions[name]
        names = [param.name_hint for param in function.params]
        other_names = [param.name_hint for param in other_function.params]
        if names != other_names and len(set(names)) == len(names) and len(set(other_names)) == len(other_names):
            return False
        if not _Comparison(False).equal(function, other_function):
            return False
    return True


class _Comparison:
    """One comparison: which nodes of the two trees have been found to correspond."""

    def __init__(self, map_free_vars: bool) -> None:
        self._map_free = map_free_vars
        self._to_right: dict[int, int] = {}
        self._to_left: dict[int, int] = {}
        self._work: list[tuple[Any, Any]] = []

    def equal(self, left: Expr, right: Expr) -> bool:
        self._work = [(left, right)]
        while self._work:
            one, other = self._work.pop()
            if type(one) is not type(other) or not self._visit(one, other):
                return False
        return True

    def _bind(self, one: object, other: object) -> bool:
        """Let two nodes correspond; False if either corresponds to another already."""
        return self._to_right.setdefault(id(one), id(other)) == id(other) and self._to_left.setdefault(
            id(other), id(one)
        ) == id(one)

    def _bind_var(self, one: Var, other: Var) -> bool:
        return one.type_annotation == other.type_annotation and self._bind(one, other)

    def _visit(self, one: Any, other: Any) -> bool:
        """Compare two nodes of one type but for what is below them, which is put on the list of work."""
        match one:
            case Constant():
                return _arrays_equal(one.data, other.data)
            case Op() | GlobalVar() | Constructor():
                return bool(one == other)
            case Var():
                known = self._to_right.get(id(one))
                if known is not None or id(other) in self._to_left:
                    return known == id(other)
                return self._bind_var(one, other) if self._map_free else one is other
        if id(one) in self._to_right or id(other) in self._to_left:
            return self._to_right.get(id(one)) == id(other)
        self._bind(one, other)
        return self._compound(one, other)

    def _compound(self, one: Any, other: Any) -> bool:
        work = self._work
        match one:
            case Call():
                if len(one.args) != len(other.args):
                    return False
                if not _attrs_equal(one.attrs, other.attrs, work):
                    return False
                work.append((one.op, other.op))
                work.extend(zip(one.args, other.args))
            case Tuple():
                if len(one.fields) != len(other.fields):
                    return False
                work.extend(zip(one.fields, other.fields))
            case TupleGetItem():
                work.append((one.tuple_value, other.tuple_value))
                return bool(one.index == other.index)
            case Let():
                # The work list is last in, first out: the variable is bound before either side of it is looked at,
                # which also lets a function call itself by it.
                work.append((one.body, other.body))
                work.append((one.value, other.value))
                return self._bind_var(one.var, other.var)
            case Function():
                return self._functions(one, other)
            case If():
                work.append((one.false_branch, other.false_branch))
                work.append((one.true_branch, other.true_branch))
                work.append((one.cond, other.cond))
            case RefCreate():
                work.append((one.value, other.value))
            case RefRead():
                work.append((one.ref, other.ref))
            case RefWrite():
                work.extend([(one.ref, other.ref), (one.value, other.value)])
            case Match():
                if len(one.clauses) != len(other.clauses) or one.complete != other.complete:
                    return False
                for mine, theirs in zip(one.clauses, other.clauses):
                    if not self._patterns(mine.lhs, theirs.lhs):
                        return False
                    work.append((mine.rhs, theirs.rhs))
                work.append((one.data, other.data))
        return True

    def _functions(self, one: Function, other: Function) -> bool:
        if len(one.params) != len(other.params) or one.ret_type != other.ret_type:
            return False
        if one.type_params != other.type_params or not _attrs_equal(one.attrs, other.attrs, self._work):
            return False
        self._work.append((one.body, other.body))
        return all(self._bind_var(mine, theirs) for mine, theirs in zip(one.params, other.params))

    def _patterns(self, one: Pattern, other: Pattern) -> bool:
        work: list[tuple[Any, Any]] = [(one, other)]
        while work:
            mine, theirs = work.pop()
            if type(mine) is not type(theirs):
                return False
            if isinstance(mine, PatternVar):
                if not self._bind_var(mine.var, theirs.var):
                    return False
            elif isinstance(mine, (PatternConstructor, PatternTuple)):
                if isinstance(mine, PatternConstructor) and mine.constructor != theirs.constructor:
                    return False
                if len(mine.patterns) != len(theirs.patterns):
                    return False
                work.extend(zip(mine.patterns, theirs.patterns))
        return True


def _arrays_equal(one: np.ndarray, other: np.ndarray) -> bool:
    if one is other:
        return True
    return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()


def _attrs_equal(one: Attrs, other: Attrs, work: list[tuple[Any, Any]]) -> bool:
    """Whether attributes are equal, but for expressions that they hold, which are put on the list of work."""
    if one is other and not any(isinstance(value, Expr) for value in one.values()):
        return True
    return _values_equal(one, other, work)


def _values_equal(one: Any, other: Any, exprs: list[tuple[Any, Any]]) -> bool:
    """Attribute values: plain data at any depth, numbers of the same kind only."""
    work = [(one, other)]
    while work:
        mine, theirs = work.pop()
        if isinstance(mine, Expr) and isinstance(theirs, Expr):
            exprs.append((mine, theirs))
        elif type(mine) is not type(theirs):
            return False
        elif isinstance(mine, tuple):
            if len(mine) != len(theirs):
                return False
            work.extend(zip(mine, theirs))
        elif isinstance(mine, Mapping):
            if mine.keys() != theirs.keys() or (isinstance(mine, Attrs) and mine.type_key != theirs.type_key):
                return False
            work.extend((mine[key], theirs[key]) for key in mine)
        elif isinstance(mine, Opaque):
            if mine.type_key != theirs.type_key or mine.fields != theirs.fields:
                return False
        elif mine != theirs and not (mine != mine and theirs != theirs):
            return False
    return True
