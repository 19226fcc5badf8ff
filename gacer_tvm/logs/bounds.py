"""A function out of a log, proved to stay inside its buffers before anything of it may run.

A saved module is only data until it is compiled; compiled, an index beyond a buffer reads or writes whatever lies there.
So every index must be provable from constant loop extents and the conditions around it, and what cannot be proved (an index
that is itself data, say) is refused.
"""

from __future__ import annotations

from typing import Any

from gacer_tvm._tvm import Analyzer, expr_ir, s_tir, tir, tvm, tvm_ffi

__all__ = ["OutOfBounds", "check_bounds"]


class OutOfBounds(ValueError):
    """An index that cannot be proved to stay inside; internal, reported with the record."""


def check_bounds(function: Any) -> None:
    """Prove every access of an unscheduled PrimFunc.

    Raises
    ------
    OutOfBounds
        With the buffer whose access cannot be proved.
    """
    _Prover().statement(function.body)


class _Prover:
    def __init__(self) -> None:
        self.analyzer = Analyzer()

    # --- statements ------------------------------------------------------------------------------------------------

    def statement(self, node: Any) -> None:
        if isinstance(node, tir.SeqStmt):
            for part in node.seq:
                self.statement(part)
        elif isinstance(node, tir.For):
            self._bind(node.loop_var, node.min, node.extent, "a loop")
            self.statement(node.body)
        elif isinstance(node, tir.IfThenElse):
            self._condition(node.condition)
            with self.analyzer.constraint_scope(node.condition):
                self.statement(node.then_case)
            if node.else_case is not None:
                with self.analyzer.constraint_scope(tir.Not(node.condition)):
                    self.statement(node.else_case)
        elif isinstance(node, s_tir.SBlockRealize):
            self._block(node)
        elif isinstance(node, tir.BufferStore):
            self._access(node.buffer, node.indices)
            self.value(node.value)
        else:
            raise OutOfBounds(f"a statement of kind {type(node).__name__}")

    def _block(self, realize: Any) -> None:
        block = realize.block
        for iter_var, value in zip(block.iter_vars, realize.iter_values, strict=True):
            self._inside(value, iter_var.dom.min, iter_var.dom.min + iter_var.dom.extent, "a block variable")
            self._bind(iter_var.var, iter_var.dom.min, iter_var.dom.extent, "a block variable")
        if block.init is not None:
            self.statement(block.init)
        self.statement(block.body)

    def _bind(self, variable: Any, start: Any, extent: Any, what: str) -> None:
        if not isinstance(start, tir.IntImm) or not isinstance(extent, tir.IntImm) or int(extent) <= 0:
            raise OutOfBounds(f"{what} without a constant extent")
        self.analyzer.bind(variable, tvm.ir.Range.from_min_extent(start, extent))

    # --- values ----------------------------------------------------------------------------------------------------

    def value(self, node: Any) -> None:
        if isinstance(node, expr_ir.TensorLoad):
            self._access(node.source, node.indices)
            for index in node.indices:
                self.value(index)
        elif isinstance(node, expr_ir.Call) and str(getattr(node.op, "name", "")).endswith("if_then_else"):
            condition, yes, no = node.args
            self._condition(condition)
            with self.analyzer.constraint_scope(condition):
                self.value(yes)
            with self.analyzer.constraint_scope(tir.Not(condition)):
                self.value(no)
        elif isinstance(node, expr_ir.Call):
            for part in node.args:
                self.value(part)
        else:
            for part in _PARTS.get(type(node).__name__, ()):
                self.value(getattr(node, part))
            if type(node).__name__ not in _PARTS and _loads(node):
                raise OutOfBounds(f"an expression of kind {type(node).__name__}")

    def _condition(self, node: Any) -> None:
        self._exact(node, "a condition")
        self.value(node)

    def _access(self, buffer: Any, indices: Any) -> None:
        shape = buffer.ty.shape
        if len(indices) != len(shape):
            raise OutOfBounds(f"buffer {str(buffer.name)[:40]!r} is used with {len(indices)} indices")
        for index, extent in zip(indices, shape, strict=True):
            self._inside(index, tir.const(0, str(index.ty.dtype)), extent, f"an index of {str(buffer.name)[:40]!r}")

    def _exact(self, node: Any, what: str) -> None:
        """Refuse arithmetic that could wrap around: the prover reckons with integers of any size."""

        parts: list[Any] = []
        tvm_ffi.structural_walk(node, [(kind, parts.append) for kind in (tir.Add, tir.Sub, tir.Mul)])
        for part in parts:
            dtype = str(part.ty.dtype)
            if dtype.startswith(("int", "uint")):
                bound = self.analyzer.const_int_bound(part)
                if max(-bound.min_value, bound.max_value) >= 1 << (62 if dtype.endswith("64") else 30):
                    raise OutOfBounds(f"{what} may overflow")

    def _inside(self, value: Any, low: Any, high: Any, what: str) -> None:
        self._exact(value, what)
        low, high = (tir.IntImm(str(value.ty.dtype), int(getattr(bound, "value", bound))) for bound in (low, high))
        if not (self.analyzer.can_prove(value >= low) and self.analyzer.can_prove(value < high)):
            raise OutOfBounds(f"{what} cannot be proved to stay inside")


_PARTS = {
    **dict.fromkeys(("Add", "Sub", "Mul", "Div", "Mod", "FloorDiv", "FloorMod", "Min", "Max"), ("a", "b")),
    **dict.fromkeys(("EQ", "NE", "LT", "LE", "GT", "GE", "And", "Or"), ("a", "b")),
    **dict.fromkeys(("LShift", "RShift", "BitwiseAnd", "BitwiseOr", "BitwiseXor"), ("a", "b")),
    "Not": ("a",),
    "BitwiseNot": ("a",),
    "Cast": ("value",),
    "Select": ("condition", "true_value", "false_value"),
}


def _loads(node: Any) -> bool:
    found: list[Any] = []
    tvm_ffi.structural_walk(node, (expr_ir.TensorLoad, found.append))
    return bool(found)
