"""Proof that an operator can be cut along the batch, from its TIR index expressions alone (never from its name).

Say the batch has B items and a buffer has r rows of axis 0 for each (its extent is B·r). An operator is divisible when
moving a block by one item moves what it touches by exactly one item, and nothing else changes. For the iteration
variable v that writes axis 0 of a batched buffer with r rows an item, every access of the block must satisfy, for
v → v + r:

* batched buffers (r' rows an item): index 0 grows by r', all other indices stay as they are, and for v in [0, r)
  index 0 lies in [0, r'), so that an item reads and writes its own rows only;
* other buffers: no index changes, but for values that are loaded from an item's own rows (an embedding); each chunk
  reads them whole;
* everything else in the expression (conditions, casts of v): does not change.

A block that writes an unbatched buffer must neither touch a batched one nor write one beside it: this is what refuses
batch statistics and sums over the batch. A softmax over the batch fails because its maximum is such a block, read by
a batched one.
The proof is transitive: buffers are followed from the outputs back to the inputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .._tvm import Analyzer, expr_ir, tir, tvm, tvm_ffi
from .model import Chunking
from .tir_blocks import Block, OpaqueFunction, buffer_params, leaf_blocks, shape_of

__all__ = ["BatchProof", "Refused", "batch_variables", "prove", "prove_chunking"]


class Refused(Exception):
    """The operator cannot be cut; the message is the reason."""


class BatchProof:
    """The result of a successful proof.

    Attributes
    ----------
    items
        Batch items B.
    rows
        Buffer → rows of axis 0 an item stands for (0: the buffer has no batch).
    variables
        For each leaf block (in order) the iteration variable that runs over the batch, or None.
    """

    def __init__(self, items: int) -> None:
        self.items = items
        self.rows: dict[Any, int] = {}
        self.variables: list[Any | None] = []


def prove_chunking(func: Any, outputs: int, items: int) -> Chunking:
    """The legal chunks of a PrimFunc whose last `outputs` parameters are written, for a batch of `items`.

    Parameters
    ----------
    func
        Unscheduled tirx PrimFunc in destination-passing style.
    outputs
        How many trailing parameters are outputs.
    items
        Batch items B of the tenant.
    """
    none = (0,) * len(func.params)
    if items <= 1:
        return Chunking(1, none, f"the batch is {items}")
    try:
        proof = prove(func, outputs, items)
    except (Refused, OpaqueFunction) as reason:
        return Chunking(1, none, str(reason))
    return Chunking(items, tuple(proof.rows.get(p, 0) for p in func.params))


def prove(func: Any, outputs: int, items: int) -> BatchProof:
    """Like `prove_chunking`, but hands on the whole proof and raises `Refused` or `OpaqueFunction`."""
    params = buffer_params(func)
    blocks = leaf_blocks(func)
    proof = BatchProof(items)
    writers: dict[Any, list[int]] = {}
    for n, block in enumerate(blocks):
        for access, write in block.accesses():
            if write:
                writers.setdefault(access.buffer, []).append(n)
    proof.variables = [None] * len(blocks)
    pending: list[Any] = []
    for param in params[len(params) - outputs :]:
        _set_rows(proof, param, _rows(param, items), pending)
        if proof.rows[param] == 0:
            raise Refused(f"output {param.name} {list(shape_of(param))} has no batch of {items} at axis 0")
    while pending:
        # A block that writes several buffers is proved again for each that turns out to be needed.
        for n in writers.get(pending.pop(), ()):
            _visit(proof, blocks[n], n, pending)
    _no_batch_in_unbatched(proof, blocks)
    _loops_apart(proof, blocks)
    return proof


def batch_variables(func: Any, proof: BatchProof) -> set[Any]:
    """The loop variables of `func` that run over the batch."""
    found = set()
    for block, variable in zip(leaf_blocks(func), proof.variables):
        if variable is not None:
            found.add(block.loops[variable])
    return found


def _rows(buffer: Any, items: int) -> int:
    shape = shape_of(buffer)
    return shape[0] // items if shape and shape[0] % items == 0 else 0


def _set_rows(proof: BatchProof, buffer: Any, rows: int, pending: list[Any]) -> None:
    known = proof.rows.get(buffer)
    if known is None:
        proof.rows[buffer] = rows
        pending.append(buffer)
    elif known != rows:
        raise Refused(f"buffer {buffer.name} is read both by items and as a whole")


def _visit(proof: BatchProof, block: Block, number: int, pending: list[Any]) -> None:
    """Prove one block that writes at least one buffer already known; learn the rows of what it reads."""
    written = [(a, proof.rows.get(a.buffer)) for a, write in block.accesses() if write]
    rows = next((r for _, r in written if r), 0)
    if rows == 0:
        for access, _ in block.accesses():
            if proof.rows.get(access.buffer, 0):
                raise Refused(f"block {block.name!r} reads the whole batch of {access.buffer.name}")
            _set_rows(proof, access.buffer, 0, pending)
        return
    variable = None
    for access, r in written:
        if r == 0:
            raise Refused(f"block {block.name!r} writes {access.buffer.name} for the whole batch")
        if r is None:
            continue
        index = access.indices[0]
        if not isinstance(index, expr_ir.Var) or index not in block.iters or index not in block.spatial:
            raise Refused(f"block {block.name!r} writes axis 0 of {access.buffer.name} at {index}")
        if variable is not None and not index.same_as(variable):
            raise Refused(f"block {block.name!r} writes the batch with two variables")
        variable = index
        rows = r
    assert variable is not None
    if block.iters[variable] != rows * proof.items or variable not in block.loops:
        raise Refused(f"block {block.name!r} runs {variable} over {block.iters[variable]}, not over the whole batch")
    proof.variables[number] = variable
    shift = _Shift(block, variable, rows)
    for access, _ in block.accesses():
        _set_rows(proof, access.buffer, shift.rows_of(access, proof.items), pending)
    for expr in (*(store.value for store in block.stores), *block.guards):
        shift.check_value(expr)


class _Shift:
    """What happens to a block's expressions when its batch variable moves by one item."""

    def __init__(self, block: Block, variable: Any, rows: int) -> None:
        self.block = block
        self.variable = variable
        self.rows = rows
        self.analyzer = Analyzer()
        for var, extent in block.iters.items():
            self.analyzer.bind(var, tvm.ir.Range(0, extent - rows if var.same_as(variable) else extent))
        self.inner = Analyzer()
        for var, extent in block.iters.items():
            self.inner.bind(var, tvm.ir.Range(0, rows if var.same_as(variable) else extent))
        for var, span in block.inner.items():
            self.analyzer.bind(var, span)
            self.inner.bind(var, span)

    def moved(self, expr: Any) -> Any:
        """`expr` one item further."""
        step = self.variable + tir.IntImm(self.variable.ty.dtype, self.rows)
        return _substitute(expr, self.variable, step)

    def rows_of(self, access: Any, items: int) -> int:
        """Rows an item of the accessed buffer stands for, 0 where the access does not move with the batch."""
        # Loaded values may be anything: what is found at them is taken from a buffer that every chunk reads whole.
        hide = _Hide()
        indices = [hide(index) for index in access.indices]
        if not any(_uses(i, self.variable) for i in indices):
            return 0
        name = access.buffer.name
        for index in indices[1:]:
            if _uses(index, self.variable) and not self._same(self.moved(index), index):
                raise Refused(f"block {self.block.name!r} reads {name} with the batch at another axis than 0")
        first = indices[0]
        if not _uses(first, self.variable) or self._same(self.moved(first), first):
            return 0
        rows = _rows(access.buffer, items)
        if rows == 0:
            raise Refused(f"{name} {list(shape_of(access.buffer))} has no batch of {items} at axis 0")
        if not self._same(self.moved(first), first + tir.IntImm(first.ty.dtype, rows)):
            raise Refused(f"block {self.block.name!r} reads {name} at row {first}, which does not follow the batch")
        bound = self.inner.const_int_bound(self.inner.simplify(first))
        if not (bound.min_value >= 0 and bound.max_value < rows):
            raise Refused(f"block {self.block.name!r} reads rows of {name} that belong to other items ({first})")
        return rows

    def check_value(self, expr: Any) -> None:
        """Refuse values and conditions that depend on which item is computed."""
        bare = _Hide()(expr)
        if _uses(bare, self.variable) and not self._same(self.moved(bare), bare):
            raise Refused(f"block {self.block.name!r} computes a value that depends on the position in the batch")

    def _same(self, left: Any, right: Any) -> bool:
        left, right = self.analyzer.simplify(left), self.analyzer.simplify(right)
        if tvm_ffi.structural_equal(left, right):
            return True
        try:
            return bool(self.analyzer.can_prove_equal(left, right))
        except (RuntimeError, ValueError):
            return False


class _Hide:
    """Replaces loads by variables, equal loads by the same one."""

    def __init__(self) -> None:
        self.known: list[tuple[Any, Any]] = []

    def __call__(self, expr: Any) -> Any:
        return tvm_ffi.structural_map(expr, (expr_ir.TensorLoad, self._variable), order="pre")

    def _variable(self, load: Any) -> Any:
        for known, var in self.known:
            if tvm_ffi.structural_equal(known, load):
                return var
        self.known.append((load, tir.Var(f"load{len(self.known)}", load.ty.dtype)))
        return self.known[-1][1]


def _uses(expr: Any, variable: Any) -> bool:
    found: list[Any] = []
    tvm_ffi.structural_walk(
        expr, (expr_ir.Var, lambda v: found.append(v) if v.same_as(variable) else None), order="pre"
    )
    return bool(found)


def _substitute(expr: Any, variable: Any, value: Any) -> Any:
    return tvm_ffi.structural_map(expr, (expr_ir.Var, lambda v: value if v.same_as(variable) else v), order="post")


def _loops_apart(proof: BatchProof, blocks: Sequence[Block]) -> None:
    """The batch loop of one block must not run another block over anything else: it will be shortened."""
    batch = {block.loops[v]: block for block, v in zip(blocks, proof.variables) if v is not None}
    for block, variable in zip(blocks, proof.variables):
        for loop in block.nest:
            if loop in batch and (variable is None or not block.loops[variable].same_as(loop)):
                raise Refused(f"block {block.name!r} shares the batch loop of block {batch[loop].name!r}")


def _no_batch_in_unbatched(proof: BatchProof, blocks: Sequence[Block]) -> None:
    """Blocks that no batched buffer led to must not touch one (they would see a part of the batch only)."""
    for block, variable in zip(blocks, proof.variables):
        if variable is None:
            for access, _ in block.accesses():
                if proof.rows.get(access.buffer, 0):
                    raise Refused(f"block {block.name!r} reads the whole batch of {access.buffer.name}")
