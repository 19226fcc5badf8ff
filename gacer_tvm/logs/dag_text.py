"""The printed form of a ComputeDAG, parsed: ``conv(n, y, x, f) += (pad[n, (y + ry), (x + rx), c]*w[ry, rx, c, f])``.

The auto-scheduler's workload keys hash this text (`simple_text` gives the hashed form), and its tasks print it, so a text
is both the identity of a workload and the whole of its computation, but for one thing: loop extents. They follow from the
shapes of inputs and output (`dag_extents`).
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from .dag import Call, Expr, Load, Num, Var, walk
from .winograd import data_matrix, output_matrix

__all__ = ["DagTextError", "Line", "parse_lines", "simple_text", "workload_hash"]

_OMITTED = "..(OMITTED).."
_PLACEHOLDER = re.compile(r"^([\w.\-/]+) = PLACEHOLDER ?(?:\[([^\]]*)\])?\s*$")
_COMPUTE = re.compile(r"^([\w.\-/]+)\(([^()]*)\) (\+|max|min)?= ?(.*)$")
_TOKEN = re.compile(
    r"\s*(?:(?P<num>\d+(?:\.\d*)?(?:e[+-]?\d+)?(?P<suffix>h|f|[if]\d+)?(?![\w.]))"
    r"|(?P<name>[A-Za-z_][\w.]*)"
    r"|(?P<op>&&|\|\||[<>=!]=|[-+*/%()\[\],<>!]))"
)
_PRECEDENCE = {
    "||": 1,
    "&&": 2,
    "==": 3,
    "!=": 3,
    "<": 4,
    "<=": 4,
    ">": 4,
    ">=": 4,
    "+": 5,
    "-": 5,
    "*": 6,
    "/": 6,
    "%": 6,
}
_RENAMED = {
    "floordiv": "//",
    "floormod": "%",
    "select": "select",
    "if_then_else": "select",
    "tirx.if_then_else": "select",
    "tir.if_then_else": "select",
    "tir.likely": "likely",
    "likely": "likely",
}
_CASTS = re.compile(r"^(?:u?int|float|bfloat)\d+$|^bool$")
_UNARY = {
    "exp",
    "log",
    "sqrt",
    "rsqrt",
    "tanh",
    "sigmoid",
    "erf",
    "floor",
    "ceil",
    "fabs",
    "abs",
    "round",
    "cos",
    "sin",
}
_MAX_DEPTH = 150
_MAX_LINE = 20_000
_MAX_DIGITS = 18


class DagTextError(ValueError):
    """A text that is not a printed ComputeDAG; internal, callers say what it means for a record."""


@dataclass(frozen=True, slots=True)
class Line:
    """One stage as printed. For a placeholder `axes` is empty and `shape` may be None; `matrix` is a Winograd constant."""

    name: str
    placeholder: bool
    shape: tuple[int, ...] | None = None
    axes: tuple[str, ...] = ()
    combiner: str = ""
    body: Expr | None = None
    matrix: tuple[tuple[float, ...], ...] | None = None


def simple_text(text: str) -> str:
    """The form that was hashed: no shapes, and of a bare call only the callee."""
    lines = []
    for line in text.splitlines():
        placeholder = _PLACEHOLDER.match(line)
        if placeholder:
            lines.append(f"{placeholder.group(1)} = PLACEHOLDER \n")
        else:
            lines.append(re.sub(r" = (tir\.\w+)\(.*$", r" = Op(\1)", line) + "\n")
    return "".join(lines)


def workload_hash(text: str) -> str:
    """The md5 that a workload key of TVM 0.8 to 0.19 begins with, for this computation."""
    return hashlib.md5(simple_text(text).encode(), usedforsecurity=False).hexdigest()


def parse_lines(text: str) -> tuple[Line, ...]:
    """Parse a printed ComputeDAG; loads refer to stages by index.

    Names repeat (``T_add`` twice; before TVM 0.10 every input was ``placeholder``): a name means the oldest input of that
    name that nothing has read yet, else the latest stage so named.

    Raises
    ------
    DagTextError
        With the offending line.
    """
    lines: list[Line] = []
    scope = _Scope()
    for raw in text.splitlines():
        if not raw.strip():
            continue
        if len(raw) > _MAX_LINE:
            raise DagTextError("a line is too long")
        line = _parse_line(raw.rstrip(), scope)
        scope.define(line, len(lines))
        lines.append(line)
    if not lines or lines[-1].placeholder:
        raise DagTextError("the text does not end with a formula")
    return tuple(lines)


class _Scope:
    """What a stage's name means at some line."""

    def __init__(self) -> None:
        self.latest: dict[str, int] = {}
        self.unread: dict[str, list[int]] = {}

    def define(self, line: Line, index: int) -> None:
        self.latest[line.name] = index
        if line.placeholder:
            self.unread.setdefault(line.name, []).append(index)
        else:
            self.unread.pop(line.name, None)

    def resolve(self, name: str) -> int:
        waiting = self.unread.get(name)
        if waiting:
            return waiting.pop(0)
        if name not in self.latest:
            raise DagTextError(f"{name!r} is read before it is defined")
        return self.latest[name]


def _parse_line(raw: str, scope: _Scope) -> Line:
    found = _PLACEHOLDER.match(raw)
    if found:
        shape = None
        if found.group(2) is not None:
            try:
                shape = tuple(_integer(part.strip()) for part in found.group(2).split(",") if part.strip())
            except DagTextError as error:
                raise DagTextError(f"placeholder {found.group(1)!r} has no constant shape") from error
        return Line(found.group(1), True, shape)
    found = _COMPUTE.match(raw)
    if not found:
        raise DagTextError(f"not a stage: {raw[:80]!r}")
    name, axes_text, combiner, body = found.groups()
    axes = tuple(part.strip() for part in axes_text.split(",") if part.strip())
    matrix = _constant_matrix(body) if len(axes) == 2 and not combiner else None
    if matrix is not None:
        return Line(name, False, axes=axes, matrix=matrix)
    if _OMITTED in body:
        raise DagTextError(f"stage {name!r} was printed shortened")
    return Line(name, False, axes=axes, combiner=combiner or "", body=_Parser(body, scope).parse())


def _constant_matrix(body: str) -> tuple[tuple[float, ...], ...] | None:
    """A Winograd matrix from its text: nested selects over ``floormod(i, rows)``, ``floormod(j, columns)``.

    Old prints shorten the text to its two ends; a matrix that what is left contradicts is refused.
    """
    found = re.match(r"select\(\(\(floormod\((\w+), (\d+)\) == \d+\) && \(floormod\((\w+), (\d+)\) == \d+\)\)", body)
    if not found:
        return None
    rows, columns = _integer(found.group(2)), _integer(found.group(4))
    if rows == columns:
        matrix = data_matrix(rows)
    elif columns == rows - 2:
        matrix = output_matrix(rows)
    else:
        matrix = None
    if matrix is None:
        return None
    condition = r"\(\(floormod\(\w+, \d+\) == (\d+)\) && \(floormod\(\w+, \d+\) == (\d+)\)\), (-?[\d.e+-]+)f"
    for row, column, value in re.findall(condition, body):
        if abs(matrix[_integer(row) % rows][_integer(column) % columns] - _real(value)) > 1e-4:
            return None
    return matrix


class _Parser:
    """Precedence climbing over the tokens of one formula; nothing is evaluated."""

    def __init__(self, text: str, scope: _Scope) -> None:
        self.tokens: list[tuple[str, str]] = []
        position = 0
        text = text.rstrip()
        while position < len(text):
            found = _TOKEN.match(text, position)
            if not found:
                raise DagTextError(f"cannot read {text[position : position + 20]!r}")
            kind = found.lastgroup if found.lastgroup != "suffix" else "num"
            self.tokens.append((str(kind), found.group().strip()))
            position = found.end()
        self.at = 0
        self.depth = 0
        self.scope = scope

    def parse(self) -> Expr:
        expr = self._binary(1)
        if self.at != len(self.tokens):
            raise DagTextError(f"unexpected {self._peek()!r}")
        return expr

    def _peek(self) -> str:
        return self.tokens[self.at][1] if self.at < len(self.tokens) else ""

    def _take(self, expected: str = "") -> tuple[str, str]:
        if self.at >= len(self.tokens):
            raise DagTextError("the formula ends too early")
        token = self.tokens[self.at]
        if expected and token[1] != expected:
            raise DagTextError(f"expected {expected!r}, found {token[1]!r}")
        self.at += 1
        return token

    def _binary(self, lowest: int) -> Expr:
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise DagTextError("the formula is nested too deeply")
        left = self._unary()
        while _PRECEDENCE.get(self._peek(), 0) >= lowest:
            op = self._take()[1]
            left = Call(op, (left, self._binary(_PRECEDENCE[op] + 1)))
        self.depth -= 1
        return left

    def _unary(self) -> Expr:
        kind, text = self._take()
        if text == "-":
            operand = self._unary()
            return Num(-operand.value, operand.dtype) if isinstance(operand, Num) else Call("-", (Num(0), operand))
        if text == "!":
            return Call("!", (self._unary(),))
        if text == "(":
            # `(bool)1` is a constant with its type; everything else in parentheses is a group.
            if _CASTS.match(self._peek()) and self.tokens[self.at + 1 : self.at + 2] == [("op", ")")]:
                dtype = self._take()[1]
                self._take(")")
                operand = self._unary()
                return Num(operand.value, dtype) if isinstance(operand, Num) else Call(f"cast:{dtype}", (operand,))
            inner = self._binary(1)
            self._take(")")
            return inner
        if kind == "num":
            return _number(text)
        if kind != "name":
            raise DagTextError(f"unexpected {text!r}")
        if self._peek() == "[":
            return self._load(text)
        if self._peek() == "(":
            return self._call(text)
        return Var(text)

    def _arguments(self, close: str) -> tuple[Expr, ...]:
        args: list[Expr] = []
        self.at += 1
        while self._peek() != close:
            args.append(self._binary(1))
            if self._peek() == ",":
                self._take()
        self._take(close)
        return tuple(args)

    def _load(self, name: str) -> Expr:
        # Before its indices: they cannot read the same input, and the order of writing is what counts.
        stage = self.scope.resolve(name)
        return Load(stage, self._arguments("]"))

    def _call(self, name: str) -> Expr:
        args = self._arguments(")")
        if _CASTS.match(name) and len(args) == 1:
            return Call(f"cast:{name}", args)
        short = _RENAMED.get(name) or name.removeprefix("tir.").removeprefix("tirx.")
        if short == "likely" and len(args) == 1:
            return args[0]
        if short in ("max", "min", "//", "%") and len(args) == 2:
            return Call(short, args)
        if short == "select" and len(args) == 3:
            # `if_then_else` guards its branches, `select` does not: reading outside a buffer needs the guard.
            return Call("if" if "if_then_else" in name else "select", args)
        if short in _UNARY and len(args) == 1:
            return Call(short, args)
        raise DagTextError(f"unknown function {name!r} of {len(args)} arguments")


def _number(text: str) -> Num:
    found = re.match(r"(.*?)(h|f|[if]\d+)?$", text)
    digits, suffix = (found.group(1), found.group(2) or "") if found else (text, "")
    if suffix.startswith("i"):
        return Num(_integer(digits), f"int{suffix[1:]}")
    if suffix in ("h", "f") or suffix.startswith("f"):
        value = _real(digits)
        if suffix == "f" and abs(value) > 3.4028e38:
            value = 3.4028234663852886e38  # the printer rounds float32's largest value up
        return Num(value, {"h": "float16", "f": "float32"}.get(suffix, f"float{suffix[1:]}"))
    if "." in digits or "e" in digits:
        return Num(_real(digits), "float64")
    return Num(_integer(digits))


def _integer(text: str) -> int:
    # Python refuses to read integers of more than 4300 digits; TVM's have 64 bits.
    if not text.isdecimal() or len(text) > _MAX_DIGITS:
        raise DagTextError(f"not an integer of 64 bits: {text[:40]!r}")
    return int(text)


def _real(text: str) -> float:
    try:
        value = float(text)
    except ValueError as error:
        raise DagTextError(f"not a number: {text[:40]!r}") from error
    if not math.isfinite(value):
        raise DagTextError(f"not a finite number: {text[:40]!r}")
    return value


def variables(expr: Expr) -> Sequence[str]:
    """Names of the variables of an expression, in the order of first use."""
    return list(dict.fromkeys(node.name for node in walk(expr) if isinstance(node, Var)))
