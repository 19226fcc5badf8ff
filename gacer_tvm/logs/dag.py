"""A computation as the auto-scheduler saw it: stages in its topological order, each a placeholder or one formula.

This is a plain value, independent of TVM: printed forms are parsed into it (`dag_text`), TIR functions are read into it
(`dag_of_tir`), tensor expressions are built from it (`dag_te`), and two of them can be compared (`dag_match`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["Call", "Compute", "Dag", "Expr", "Load", "Num", "Placeholder", "Stage", "Var", "loads_of", "walk"]


@dataclass(frozen=True, slots=True)
class Var:
    """A loop variable, by name; names are unique within a stage."""

    name: str


@dataclass(frozen=True, slots=True)
class Num:
    """A constant; `dtype` is ``int32``, ``float32``, ``bool`` ..."""

    value: int | float
    dtype: str = "int32"


@dataclass(frozen=True, slots=True)
class Call:
    """An operator or function on values: ``+ - * / // % min max >= > <= < == != && || ! select exp cast:float32`` ..."""

    op: str
    args: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Load:
    """One element of an earlier stage, named by its index."""

    stage: int
    indices: tuple[Expr, ...]


Expr = Var | Num | Call | Load


@dataclass(frozen=True, slots=True)
class Placeholder:
    """An input."""

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"


@dataclass(frozen=True, slots=True)
class Compute:
    """One formula: ``name(axes) = body``, or ``name(axes) combiner= body`` over the reduction axes.

    `axes` and `reduce` are (name, extent) pairs; `combiner` is ``""``, ``"+"``, ``"max"`` or ``"min"``.
    """

    name: str
    axes: tuple[tuple[str, int], ...]
    reduce: tuple[tuple[str, int], ...]
    combiner: str
    body: Expr
    dtype: str = "float32"

    @property
    def shape(self) -> tuple[int, ...]:
        """The output's shape."""
        return tuple(extent for _, extent in self.axes)


Stage = Placeholder | Compute


@dataclass(frozen=True, slots=True)
class Dag:
    """Stages in topological order, placeholders included; the last one is the output."""

    stages: tuple[Stage, ...]

    @property
    def inputs(self) -> tuple[Placeholder, ...]:
        """The placeholders, in order."""
        return tuple(stage for stage in self.stages if isinstance(stage, Placeholder))

    @property
    def output(self) -> Stage:
        """The last stage."""
        return self.stages[-1]

    def readers(self, index: int) -> tuple[int, ...]:
        """Stages that read stage `index`."""
        return tuple(
            position
            for position, stage in enumerate(self.stages)
            if isinstance(stage, Compute) and any(load.stage == index for load in loads_of(stage.body))
        )


def walk(expr: Expr) -> Iterator[Expr]:
    """Every node of an expression, parents before children."""
    pending = [expr]
    while pending:
        node = pending.pop()
        yield node
        if isinstance(node, Call):
            pending.extend(reversed(node.args))
        elif isinstance(node, Load):
            pending.extend(reversed(node.indices))


def loads_of(expr: Expr) -> tuple[Load, ...]:
    """Every read of another stage, in the order of writing."""
    return tuple(node for node in walk(expr) if isinstance(node, Load))
