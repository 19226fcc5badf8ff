"""How expressions move through memory: strides along a variable, guards of padded reads, conditions that can be decided."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..._tvm import Analyzer, expr_ir, tir, tvm, tvm_ffi
from .program import op_name, shape_of, substitute

__all__ = ["decide", "identity_of", "int64", "operations", "split_guards", "stride", "uses", "variables"]


# Operations that a function call becomes.
_CALLS = {"exp": 24, "sigmoid": 28, "tanh": 20, "erf": 24}


def int64(value: int) -> Any:
    """`value` as an int64 constant, the type of all index arithmetic here."""
    return tir.IntImm("int64", value)


def variables(node: Any) -> set[Any]:
    """The variables an expression uses (buffers are variables too and are left out)."""
    found: set[Any] = set()
    tvm_ffi.structural_walk(node, (expr_ir.Var, found.add))
    return {v for v in found if not hasattr(v.ty, "shape")}


def uses(node: Any, var: Any) -> bool:
    """Whether `node` depends on `var`."""
    return var in variables(node)


def stride(load: Any, var: Any, ranges: Mapping[Any, int], lanes: int = 1) -> int | None:
    """Elements that `load` moves when `var` grows by one; 0 if it does not depend on it.

    Parameters
    ----------
    load
        A buffer load.
    var
        The variable.
    ranges
        Extents of the other variables.
    lanes
        The variable moves inside an aligned group of this many; packed layouts (``[v // 16, …, v % 16]``) are linear there.

    Returns
    -------
    int or None
        None where the movement is not linear.
    """
    if not any(uses(i, var) for i in load.indices):
        return 0
    analyzer = Analyzer()
    for other, extent in ranges.items():
        if not other.same_as(var):
            analyzer.bind(other, tvm.ir.Range.from_min_extent(int64(0), int64(extent)))
    flat: Any = int64(0)
    for index, extent in zip(load.indices, shape_of(load.source), strict=True):
        flat = flat * int64(extent) + index
    moving = var
    if lanes > 1:
        group, moving = tir.Var("group", str(var.ty.dtype)), tir.Var("lane", str(var.ty.dtype))
        groups = max(1, ranges.get(var, lanes) // lanes)
        analyzer.bind(group, tvm.ir.Range.from_min_extent(int64(0), int64(groups)))
        analyzer.bind(moving, tvm.ir.Range.from_min_extent(int64(0), int64(lanes)))
        flat = substitute(flat, {var: group * int64(lanes) + moving})
    flat = analyzer.simplify(flat)
    step = analyzer.simplify(substitute(flat, {moving: moving + int64(1)}) - flat) if lanes == 1 else None
    if lanes > 1:
        terms = tvm.sym.detect_linear_equation(flat, [moving])
        step = terms[0] if terms else None
    return int(step) if isinstance(step, tir.IntImm) else None


def identity_of(combine: str, dtype: str) -> list[float]:
    """Values that a reduction ignores."""
    if combine == "sum":
        return [0.0]
    if combine == "prod":
        return [1.0]
    if dtype == "float32":
        lowest = -3.4028234663852886e38
        return [lowest, float("-inf")] if combine == "max" else [-lowest, float("inf")]
    return []


def split_guards(term: Any, combine: str, init: Any) -> tuple[list[Any], Any]:
    """Split a reduction term into conditions and the term where they hold.

    Where a condition fails the term is one that the reduction ignores, as zero padding is in a sum of products; the
    reduction may then skip the point. (An infinite or NaN weight times a padded zero is skipped as well.)

    Returns
    -------
    guards, term
        Conjuncts, and the unguarded term.
    """
    ignored = identity_of(combine, str(term.ty.dtype))
    if combine in ("max", "min") and isinstance(init, tir.FloatImm):
        ignored = [*ignored, init.value]
    return _split(term, ignored, product=combine == "sum")


def _split(term: Any, ignored: list[float], product: bool) -> tuple[list[Any], Any]:
    if isinstance(term, expr_ir.Call) and op_name(term) == "if_then_else":
        condition, value, other = term.args
        if isinstance(other, (tir.FloatImm, tir.IntImm)) and float(other.value) in ignored:
            guards, bare = _split(value, ignored, product)
            return [*_conjuncts(condition), *guards], bare
    if product and isinstance(term, tir.Mul):
        left, a = _split(term.a, [0.0], True)
        right, b = _split(term.b, [0.0], True)
        return [*left, *right], a * b if left or right else term
    if product and isinstance(term, tir.Cast):
        guards, value = _split(term.value, [0.0], True)
        return guards, tir.Cast(str(term.ty.dtype), value) if guards else term
    return [], term


def _conjuncts(condition: Any) -> list[Any]:
    if isinstance(condition, tir.And):
        return [*_conjuncts(condition.a), *_conjuncts(condition.b)]
    return [condition]


def decide(condition: Any, ranges: Mapping[Any, tuple[int, int]]) -> bool | None:
    """Whether `condition` holds for all values of its variables (True), for none (False), or depends (None).

    Parameters
    ----------
    condition
        A boolean expression.
    ranges
        Variable → (first value, count); variables left out may be anything.
    """
    analyzer = Analyzer()
    for var, (first, count) in ranges.items():
        analyzer.bind(var, tvm.ir.Range.from_min_extent(int64(first), int64(count)))
    known = analyzer.simplify(condition)
    if isinstance(known, tir.IntImm):
        return bool(int(known))
    if analyzer.can_prove(condition):
        return True
    if analyzer.can_prove(tir.Not(condition)):
        return False
    return None


def operations(node: Any) -> int:
    """Arithmetic operations of an expression, index arithmetic left out."""
    bare = tvm_ffi.structural_map(node, (expr_ir.TensorLoad, lambda n: tir.const(0, str(n.source.ty.dtype))))
    count = 0

    def one(_: Any) -> None:
        nonlocal count
        count += 1

    def call(node: Any) -> None:
        nonlocal count
        count += _CALLS.get(op_name(node), 1)

    kinds = (tir.Add, tir.Sub, tir.Mul, tir.Div, tir.Max, tir.Min, tir.Select, tir.Cast)
    tvm_ffi.structural_walk(bare, [(kinds, one), (expr_ir.Call, call)])
    return count
