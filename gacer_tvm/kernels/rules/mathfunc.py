"""exp, tanh, sigmoid and erf in float32 as plain arithmetic, so that they vectorize.

LLVM turns these calls on vectors into one library call a lane. The polynomials below were fitted for this module (weighted
least squares on Chebyshev nodes, minimizing the largest relative error) and are within 5e-7 of the exact value, relative;
NaN stays NaN, and overflow and underflow end where the library's do.
"""

from __future__ import annotations

from typing import Any

from ..._tvm import expr_ir, tir, tvm_ffi
from .program import op_name

__all__ = ["vectorizable"]

_LOG2E = 1.4426950408889634
_LN2_HIGH = 0.693359375
_LN2_LOW = -2.12194440e-4
# exp(r) = 1 + r + r² P(r) for |r| ≤ ln 2 / 2
_EXP = (
    0.4999999403953552,
    0.1666652113199234,
    0.04166838899254799,
    0.008368710055947304,
    0.0013814610429108143,
)
# tanh(x) = x P(x²) / Q(x²) for |x| ≤ 9, erf(x) likewise for |x| ≤ 3.925
_TANH = (
    (1.0, 0.1338103860616684, 0.003495603334158659, 2.0609302737284452e-05, 1.3354913619423314e-08),
    (1.0, 0.46714353561401367, 0.02587704174220562, 0.00032856586039997637, 7.776673101034248e-07),
)
_ERF = (
    (
        1.1283791065216064, 0.1905927062034607, 0.05276905745267868, 0.0037724722642451525, 0.0002848361909855157,
        2.0459649476833874e-06,
    ),
    (1.0, 0.5022411346435547, 0.11418219655752182, 0.01498305331915617, 0.0011638280702754855, 3.80467354261782e-05),
)  # fmt: skip


def vectorizable(statement: Any) -> Any:
    """`statement` (stores and bound scalars) with calls of float32 functions replaced by arithmetic.

    What the arithmetic uses several times is bound to scalars before the store: nested let expressions would cost TVM's
    passes time exponential in their depth.
    """
    parts = list(statement.seq) if isinstance(statement, tir.SeqStmt) else [statement]
    made: list[Any] = []
    for part in parts:
        binds: list[Any] = []
        value = tvm_ffi.structural_map(part.value, (expr_ir.Call, _Replacer(binds)))
        if not binds and value.same_as(part.value):
            made.append(part)
        elif isinstance(part, tir.Bind):
            made.extend([*binds, tir.Bind(part.var, value)])
        else:
            made.extend([*binds, tir.stmt.BufferStore(part.buffer, value, part.indices)])
    return made[0] if len(made) == 1 else tir.SeqStmt(made)


class _Replacer:
    """Replaces a call; what it binds goes to `binds`."""

    def __init__(self, binds: list[Any]) -> None:
        self.binds = binds

    def __call__(self, call: Any) -> Any:
        make = _TABLE.get(op_name(call))
        if make is None or str(call.ty.dtype) != "float32":
            return call
        return make(self, *call.args)

    def bind(self, value: Any) -> Any:
        """A variable that holds `value`."""
        if isinstance(value, expr_ir.Var):
            return value
        var = tir.Var("t", str(value.ty.dtype))
        self.binds.append(tir.Bind(var, value))
        return var


def _const(value: float) -> Any:
    return tir.FloatImm("float32", value)


def _clamp(r: _Replacer, x: Any, low: float, high: float) -> Any:
    """`x` within limits; NaN stays NaN, because a comparison with NaN is false and each choice then takes `x`."""
    x = r.bind(x)
    below = r.bind(tir.Select(tir.GT(x, _const(high)), _const(high), x))
    return r.bind(tir.Select(tir.LT(below, _const(low)), _const(low), below))


def _polynomial(coefficients: tuple[float, ...], x: Any) -> Any:
    total = _const(coefficients[-1])
    for c in reversed(coefficients[:-1]):
        total = total * x + _const(c)
    return total


def _exp(r: _Replacer, x: Any) -> Any:
    c = _clamp(r, x, -104.0, 89.0)
    n = r.bind(tir.floor(c * _const(_LOG2E) + _const(0.5)))
    d = r.bind(c - n * _const(_LN2_HIGH) - n * _const(_LN2_LOW))
    p = d * d * _polynomial(_EXP, d) + d + _const(1.0)
    # 2^n is applied in two halves: n reaches 128 and, for denormal results, -150.
    whole = r.bind(tir.Cast("int32", n))
    half = r.bind(tir.shift_right(whole, tir.IntImm("int32", 1)))
    return p * _power(half) * _power(whole - half)


def _power(n: Any) -> Any:
    bits = tir.shift_left(n + tir.IntImm("int32", 127), tir.IntImm("int32", 23))
    return tir.reinterpret("float32", bits)


def _rational(r: _Replacer, table: tuple[tuple[float, ...], tuple[float, ...]], limit: float, x: Any) -> Any:
    c = _clamp(r, x, -limit, limit)
    u = r.bind(c * c)
    return _clamp(r, c * _polynomial(table[0], u) / _polynomial(table[1], u), -1.0, 1.0)


def _sigmoid(r: _Replacer, x: Any) -> Any:
    return _const(1.0) / (_const(1.0) + _exp(r, _const(0.0) - x))


def _pow(r: _Replacer, x: Any, y: Any) -> Any:
    if isinstance(y, tir.FloatImm):
        if y.value == 2.0:
            x = r.bind(x)
            return x * x
        if y.value == 3.0:
            x = r.bind(x)
            return x * x * x
        if y.value == 1.0:
            return x
        if y.value == -1.0:
            return _const(1.0) / x
        if y.value == 0.5:
            return tir.sqrt(x)
    return tir.pow(x, y)


_TABLE: dict[str, Any] = {
    "exp": _exp,
    "tanh": lambda r, x: _rational(r, _TANH, 9.0, x),
    "erf": lambda r, x: _rational(r, _ERF, 3.925, x),
    "sigmoid": _sigmoid,
    "pow": _pow,
}
