"""Two DAGs compared by what they compute, whatever their stages and variables are called.

The part that a schedule is about, the *anchor* (a convolution with its padding, a product, a softmax), must be the same,
formula by formula. The *tail* of pointwise stages fused behind it (bias, residual, activation) may differ: a schedule
inlines it into its last stage, and the last stage has the anchor's shape whatever it adds. So a schedule that was logged
for convolution + bias + ReLU also serves convolution + bias + residual + ReLU; every use is checked numerically anyhow.

Dtypes do not count, for hashed keys do not hold them.
"""

from __future__ import annotations

from dataclasses import dataclass

from .dag import Call, Compute, Dag, Expr, Load, Num, Placeholder, Var, loads_of

__all__ = ["AnchorForm", "Matched", "anchor_form", "match"]


@dataclass(frozen=True, slots=True)
class AnchorForm:
    """A DAG in normal form.

    Attributes
    ----------
    key
        Equal for equal anchors.
    order
        Stages of the anchor in canonical order: equal anchors correspond position by position.
    anchor
        The anchor's last stage.
    tail
        The pointwise stages behind it, in order; the last one is the output. May be empty.
    """

    key: str
    order: tuple[int, ...]
    anchor: int
    tail: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Matched:
    """How a logged computation lies over another one.

    Attributes
    ----------
    stages
        For each stage of the logged DAG the stage of the other one, or None (tails of different length).
    tails
        Lengths of both tails, logged and other.
    """

    stages: tuple[int | None, ...]
    tails: tuple[int, int]


def match(logged: Dag, other: Dag) -> Matched | None:
    """Lay `logged` over `other`; None if their anchors differ."""
    a, b = anchor_form(logged), anchor_form(other)
    if a.key != b.key:
        return None
    mapping: dict[int, int] = {}
    back: dict[int, int] = {}
    for mine, theirs in zip(a.order, b.order, strict=True):
        # The same key reads one stage twice where the other reads two equal ones: not the same graph.
        if mapping.setdefault(mine, theirs) != theirs or back.setdefault(theirs, mine) != mine:
            return None
    if len(a.tail) == len(b.tail):
        mapping.update(zip(a.tail, b.tail, strict=True))
    elif a.tail and b.tail:
        mapping[a.tail[-1]] = b.tail[-1]
    return Matched(tuple(mapping.get(index) for index in range(len(logged.stages))), (len(a.tail), len(b.tail)))


def anchor_form(dag: Dag) -> AnchorForm:
    """The normal form of a DAG."""
    anchor, tail = _split_tail(dag)
    writer = _Writer(dag)
    key = writer.stage(anchor)
    return AnchorForm(key, tuple(writer.order(anchor)), anchor, tail)


def _split_tail(dag: Dag) -> tuple[int, tuple[int, ...]]:
    current = len(dag.stages) - 1
    tail: list[int] = []
    while True:
        before = _pointwise_input(dag, current)
        if before is None:
            return current, tuple(reversed(tail))
        tail.append(current)
        current = before


def _pointwise_input(dag: Dag, index: int) -> int | None:
    """The one formula that a pointwise stage reads, element by element; None if the stage is no pointwise tail."""
    stage = dag.stages[index]
    if not isinstance(stage, Compute) or stage.reduce:
        return None
    identity = tuple(Var(name) for name, _ in stage.axes)
    source: int | None = None
    for load in loads_of(stage.body):
        if isinstance(dag.stages[load.stage], Placeholder):
            continue
        if load.indices != identity or (source is not None and source != load.stage):
            return None
        source = load.stage
    if source is None or dag.readers(source) != (index,):
        return None
    producer = dag.stages[source]
    return source if isinstance(producer, Compute) and producer.shape == stage.shape else None


_COMMUTATIVE = {"+", "*", "max", "min", "&&", "||", "==", "!="}


class _Writer:
    """Canonical text of stages and formulas; remembers in which order a formula's loads stand in its text."""

    def __init__(self, dag: Dag) -> None:
        self.dag = dag
        self.texts: dict[int, str] = {}
        self.reads: dict[int, list[int]] = {}

    def stage(self, index: int) -> str:
        if index not in self.texts:
            # Producers come earlier in the list, so their texts are made first and nothing recurses deeply.
            for earlier in range(index + 1):
                if earlier not in self.texts:
                    self.texts[earlier] = self._write(earlier)
        return self.texts[index]

    def _write(self, index: int) -> str:
        stage = self.dag.stages[index]
        shape = ",".join(map(str, stage.shape))
        if isinstance(stage, Placeholder):
            return f"P[{shape}]"
        names = {name: f"s{position}" for position, (name, _) in enumerate(stage.axes)}
        names.update({name: f"r{position}" for position, (name, _) in enumerate(stage.reduce)})
        text, loads = self._value(stage.body, names)
        self.reads[index] = loads
        reduce = ",".join(str(extent) for _, extent in stage.reduce)
        return f"({shape}|{reduce}|{stage.combiner}|{text})"

    def order(self, index: int) -> list[int]:
        """Stages below `index` and itself, depth first in the order of the texts; a stage read twice stands twice."""
        result: list[int] = []
        pending = [index]
        seen: set[int] = set()
        while pending:
            current = pending.pop()
            result.append(current)
            if current not in seen:
                seen.add(current)
                pending.extend(reversed(self.reads.get(current, [])))
        return result

    def _value(self, expr: Expr, names: dict[str, str]) -> tuple[str, list[int]]:
        if isinstance(expr, Var):
            return names.get(expr.name, expr.name), []
        if isinstance(expr, Num):
            return f"{float(expr.value):.6g}", []
        if isinstance(expr, Load):
            indices = ",".join(self._index(index, names) for index in expr.indices)
            return f"{self.texts[expr.stage]}@[{indices}]", [expr.stage]
        if expr.op.startswith("cast:"):
            return self._value(expr.args[0], names)
        if expr.op in ("<", "<=", ">", ">="):
            return self._comparison(expr, names), [load.stage for load in loads_of(expr)]
        op = "select" if expr.op in ("if", "if_then_else") else expr.op
        operands = _flatten(expr, op) if op in ("+", "*", "&&", "||") else list(expr.args)
        parts = [self._value(operand, names) for operand in operands]
        if op in _COMMUTATIVE:
            parts.sort(key=lambda part: part[0])
        return f"{op}({';'.join(text for text, _ in parts)})", [load for _, loads in parts for load in loads]

    def _comparison(self, expr: Call, names: dict[str, str]) -> str:
        """Brought to ``difference <= 0`` over integers."""
        left, right = expr.args
        if expr.op in (">", ">="):
            left, right = right, left
        terms, constant = self._linear(left, names)
        minus, subtracted = self._linear(right, names)
        for atom, factor in minus.items():
            terms[atom] = terms.get(atom, 0) - factor
        constant -= subtracted
        if expr.op in ("<", ">"):
            constant += 1
        return f"le0({_linear_text(terms, constant)})"

    def _index(self, expr: Expr, names: dict[str, str]) -> str:
        return _linear_text(*self._linear(expr, names))

    def _linear(self, expr: Expr, names: dict[str, str]) -> tuple[dict[str, int], int]:
        """Sum of integer multiples of atoms, and a constant."""
        if isinstance(expr, Num) and float(expr.value).is_integer():
            return {}, int(expr.value)
        if isinstance(expr, Call) and expr.op.startswith("cast:"):
            return self._linear(expr.args[0], names)
        if isinstance(expr, Call) and expr.op in ("+", "-"):
            terms, constant = self._linear(expr.args[0], names)
            other, more = self._linear(expr.args[1], names)
            sign = 1 if expr.op == "+" else -1
            result = dict(terms)
            for atom, factor in other.items():
                result[atom] = result.get(atom, 0) + sign * factor
            return result, constant + sign * more
        if isinstance(expr, Call) and expr.op == "*":
            for left, right in ((expr.args[0], expr.args[1]), (expr.args[1], expr.args[0])):
                if isinstance(left, Num) and float(left.value).is_integer():
                    terms, constant = self._linear(right, names)
                    scale = int(left.value)
                    return {atom: count * scale for atom, count in terms.items()}, constant * scale
        if isinstance(expr, Call) and expr.op in ("//", "%"):
            inner = ",".join(self._index(arg, names) for arg in expr.args)
            return {f"{expr.op}({inner})": 1}, 0
        return {self._value(expr, names)[0]: 1}, 0


def _linear_text(terms: dict[str, int], constant: int) -> str:
    parts = [f"{factor}*{atom}" for atom, factor in sorted(terms.items()) if factor]
    if constant or not parts:
        parts.append(str(constant))
    return "+".join(parts)


def _flatten(expr: Call, op: str) -> list[Expr]:
    operands: list[Expr] = []
    pending: list[Expr] = [expr]
    while pending:
        node = pending.pop()
        if isinstance(node, Call) and node.op == op:
            pending.extend(reversed(node.args))
        else:
            operands.append(node)
    return operands
