"""LSTM, GRU and RNN: unrolled over their static number of steps into a straight line.

The inputs' share of the gates is one matrix product for all steps; each step then multiplies the state only. Formulas
and gate orders as in the ONNX operator specification.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .._tvm import relax
from .constants import as_constant
from .onnx_node import Converter, Node

__all__ = ["RECURRENT"]

op = relax.op
Activation = Callable[[Any], Any]


class _Direction(NamedTuple):
    """What one direction works with."""

    share: Any  # inputs' share of the gates, (T, B, G*H)
    recurrence: Any  # (H, G*H)
    recurrence_bias: Any  # (G*H,) or None
    weights: Any  # R as it came, (G*H, H)
    activations: list[Activation]
    backwards: bool


def _activation(name: str, alpha: float | None, beta: float | None, dtype: str) -> Activation:
    def number(value: float | None, default: float) -> Any:
        return relax.const(default if value is None else value, dtype)

    table: dict[str, Activation] = {
        "sigmoid": op.sigmoid,
        "tanh": op.tanh,
        "relu": op.nn.relu,
        "softsign": lambda x: op.divide(x, op.add(number(None, 1.0), op.abs(x))),
        "softplus": lambda x: op.nn.softplus(x),
        "affine": lambda x: op.add(op.multiply(x, number(alpha, 1.0)), number(beta, 0.0)),
        "leakyrelu": lambda x: op.nn.leakyrelu(x, 0.01 if alpha is None else alpha),
        "thresholdedrelu": lambda x: op.where(op.greater(x, number(alpha, 1.0)), x, number(None, 0.0)),
        "scaledtanh": lambda x: op.multiply(number(alpha, 1.0), op.tanh(op.multiply(number(beta, 1.0), x))),
        "hardsigmoid": lambda x: op.clip(op.add(op.multiply(x, number(alpha, 0.2)), number(beta, 0.5)), 0, 1),
        "elu": lambda x: op.where(
            op.greater(x, number(None, 0.0)),
            x,
            op.multiply(number(alpha, 1.0), op.subtract(op.exp(x), number(None, 1.0))),
        ),
    }
    if name.lower() not in table:
        raise ValueError(f"the activation {name} is not supported")
    return table[name.lower()]


class _Cells:
    """The parts that the three operators share."""

    def __init__(self, node: Node, gates: int, defaults: list[str]) -> None:
        self.node = node
        self.dtype = node.dtype(0)
        self.swapped = bool(node.attr("layout", 0))
        self.x = node.expr(0)
        if self.swapped:
            self.x = node.emit(op.permute_dims(self.x, [1, 0, 2]))
        self.steps, self.batch, self.width = (int(extent) for extent in self.x.ty.shape.values)
        self.hidden = int(node.shape(2)[2])
        self.gates = gates
        direction = node.attr("direction", "forward")
        self.ways = [False, True] if direction == "bidirectional" else [direction == "reverse"]
        self.clip = node.attr("clip")
        names = list(node.attr("activations") or defaults * len(self.ways))
        alphas, betas = list(node.attr("activation_alpha") or []), list(node.attr("activation_beta") or [])
        each = len(defaults)
        self.activations = [
            [
                # Alphas and betas are listed for those activations only that take them; one for each is the usual case.
                _activation(name, _pick(alphas, names, k), _pick(betas, names, k), self.dtype)
                for k, name in list(enumerate(names))[way * each : way * each + each]
            ]
            for way in range(len(self.ways))
        ]
        self.lengths: Any = None
        if node.has(4):
            lengths = node.inputs[4]
            if not isinstance(lengths, np.ndarray) or bool((lengths != self.steps).any()):
                self.lengths = node.expr(4)

    def direction(self, way: int) -> _Direction:
        """Weights of one direction, and the inputs' share of its gates."""
        node, wide = self.node, self.gates * self.hidden
        weight = self.item(1, way)
        recurrence = self.item(2, way)
        flat = op.reshape(self.x, (self.steps * self.batch, self.width))
        share = op.matmul(node.emit(flat), node.emit(op.permute_dims(weight)))
        bias = None
        if node.has(3):
            both = self.item(3, way)
            own = op.strided_slice(both, [0], [0], [wide])
            bias = node.emit(op.strided_slice(both, [0], [wide], [2 * wide]))
            share = op.add(node.emit(share), node.emit(own))
        share = node.emit(op.reshape(node.emit(share), (self.steps, self.batch, wide)))
        transposed = node.emit(op.permute_dims(recurrence))
        return _Direction(share, transposed, bias, recurrence, self.activations[way], self.ways[way])

    def item(self, index: int, way: int) -> Any:
        """Input `index` for one direction (its axis 0 removed)."""
        value = self.node.inputs[index]
        if isinstance(value, np.ndarray):
            return as_constant(value[way])
        part = self.node.emit(op.strided_slice(value, [0], [way], [way + 1]))
        return self.node.emit(op.squeeze(part, [0]))

    def initial(self, index: int, way: int) -> Any:
        """The first state of one direction, (B, H)."""
        node = self.node
        if not node.has(index):
            return relax.const(np.zeros((self.batch, self.hidden), self.dtype))
        if not self.swapped:
            return self.item(index, way)
        part = node.emit(op.strided_slice(node.expr(index), [1], [way], [way + 1]))
        return node.emit(op.squeeze(part, [1]))

    def at(self, share: Any, step: int) -> Any:
        """The inputs' share at one step, (B, G*H)."""
        part = self.node.emit(op.strided_slice(share, [0], [step], [step + 1]))
        return self.node.emit(op.squeeze(part, [0]))

    def clipped(self, x: Any) -> Any:
        """Before an activation."""
        return x if self.clip is None else self.node.emit(op.clip(x, -float(self.clip), float(self.clip)))

    def running(self, step: int) -> Any:
        """Which sequences still run at `step`, (B, 1); None when all do."""
        if self.lengths is None:
            return None
        running = op.greater(self.lengths, relax.const(step, str(self.lengths.ty.dtype)))
        return self.node.emit(op.reshape(self.node.emit(running), (self.batch, 1)))

    def results(self, outputs: list[list[Any]], finals: list[list[Any]]) -> list[Any]:
        """Y and the last states, from the steps' states of each direction (in time order)."""
        node = self.node
        stacked = []
        for states in outputs:
            lifted = [node.emit(op.expand_dims(state, [0, 1])) for state in states]
            stacked.append(node.emit(op.concat(lifted, 0)) if len(lifted) > 1 else lifted[0])
        y = node.emit(op.concat(stacked, 1)) if len(stacked) > 1 else stacked[0]  # (T, D, B, H)
        if self.swapped:
            y = node.emit(op.permute_dims(y, [2, 0, 1, 3]))
        lasts = []
        for final in finals:
            lifted = [node.emit(op.expand_dims(state, [1 if self.swapped else 0])) for state in final]
            lasts.append(node.emit(op.concat(lifted, 1 if self.swapped else 0)) if len(lifted) > 1 else lifted[0])
        return [y, *lasts]

    def run(self, states: int, step: Callable[[_Direction, int, Any, list[Any]], list[Any]]) -> list[Any]:
        """Unroll: `step(direction, way, share at the step, states)` gives the next states, the output first."""
        outputs, finals = [], []
        for way in range(len(self.ways)):
            direction = self.direction(way)
            state = [self.initial(5 + index, way) for index in range(states)]
            seen: list[Any] = [None] * self.steps
            order = range(self.steps - 1, -1, -1) if direction.backwards else range(self.steps)
            for time in order:
                new = step(direction, way, self.at(direction.share, time), state)
                running = self.running(time)
                if running is None:
                    state, seen[time] = new, new[0]
                else:
                    zero = relax.const(np.zeros((), self.dtype))
                    seen[time] = self.node.emit(op.where(running, new[0], zero))
                    state = [self.node.emit(op.where(running, n, s)) for n, s in zip(new, state, strict=True)]
            outputs.append(seen)
            finals.append(state)
        return self.results(outputs, [[final[k] for final in finals] for k in range(states)])


def _pick(values: list[float], names: list[str], index: int) -> float | None:
    if len(values) == len(names):
        return values[index]
    takes = {"affine", "leakyrelu", "thresholdedrelu", "scaledtanh", "hardsigmoid", "elu"}
    rank = sum(name.lower() in takes for name in names[:index])
    return values[rank] if names[index].lower() in takes and rank < len(values) else None


def _gates(cells: _Cells, total: Any, count: int) -> list[Any]:
    pieces = cells.node.emit(op.split(total, count, axis=1))
    return [cells.node.emit(relax.TupleGetItem(pieces, index)) for index in range(count)]


def _lstm(node: Node) -> list[Any]:
    cells = _Cells(node, 4, ["Sigmoid", "Tanh", "Tanh"])
    emit = node.emit
    coupled = bool(node.attr("input_forget", 0))

    def step(way: _Direction, index: int, share: Any, state: list[Any]) -> list[Any]:
        f, g, h = way.activations
        hidden, cell = state
        total = emit(op.add(share, emit(op.matmul(hidden, way.recurrence))))
        if way.recurrence_bias is not None:
            total = emit(op.add(total, way.recurrence_bias))
        at_i, at_o, at_f, at_c = _gates(cells, total, 4)
        peep = None
        if node.has(7):
            size = cells.hidden
            whole = cells.item(7, index)
            peep = [emit(op.strided_slice(whole, [0], [k * size], [k * size + size])) for k in range(3)]
            at_i = emit(op.add(at_i, emit(op.multiply(peep[0], cell))))
            at_f = emit(op.add(at_f, emit(op.multiply(peep[2], cell))))
        gate_i = emit(f(cells.clipped(at_i)))
        one = relax.const(1.0, cells.dtype)
        gate_f = emit(op.subtract(one, gate_i)) if coupled else emit(f(cells.clipped(at_f)))
        candidate = emit(g(cells.clipped(at_c)))
        cell = emit(op.add(emit(op.multiply(gate_f, cell)), emit(op.multiply(gate_i, candidate))))
        if peep is not None:
            at_o = emit(op.add(at_o, emit(op.multiply(peep[1], cell))))
        gate_o = emit(f(cells.clipped(at_o)))
        return [emit(op.multiply(gate_o, emit(h(cell)))), cell]

    return cells.run(2, step)


def _gru(node: Node) -> list[Any]:
    cells = _Cells(node, 3, ["Sigmoid", "Tanh"])
    emit = node.emit
    before = bool(node.attr("linear_before_reset", 0))
    size = cells.hidden

    def part(value: Any, axis: int, start: int, stop: int) -> Any:
        return emit(op.strided_slice(value, [axis], [start * size], [stop * size]))

    def step(way: _Direction, index: int, share: Any, state: list[Any]) -> list[Any]:
        f, g = way.activations
        (hidden,) = state
        x_zr, x_h = part(share, 1, 0, 2), part(share, 1, 2, 3)
        zr = emit(op.add(x_zr, emit(op.matmul(hidden, part(way.recurrence, 1, 0, 2)))))
        bias = way.recurrence_bias
        if bias is not None:
            zr = emit(op.add(zr, part(bias, 0, 0, 2)))
        z, r = (emit(f(cells.clipped(gate))) for gate in _gates(cells, zr, 2))
        own = part(way.recurrence, 1, 2, 3)
        own_bias = None if bias is None else part(bias, 0, 2, 3)
        left = hidden if before else emit(op.multiply(r, hidden))
        recurrent = emit(op.matmul(left, own))
        if own_bias is not None:
            recurrent = emit(op.add(recurrent, own_bias))
        if before:
            recurrent = emit(op.multiply(r, recurrent))
        candidate = emit(g(cells.clipped(emit(op.add(x_h, recurrent)))))
        keep = emit(op.multiply(z, hidden))
        take = emit(op.multiply(emit(op.subtract(relax.const(1.0, cells.dtype), z)), candidate))
        return [emit(op.add(take, keep))]

    return cells.run(1, step)


def _rnn(node: Node) -> list[Any]:
    cells = _Cells(node, 1, ["Tanh"])
    emit = node.emit

    def step(way: _Direction, index: int, share: Any, state: list[Any]) -> list[Any]:
        total = emit(op.add(share, emit(op.matmul(state[0], way.recurrence))))
        if way.recurrence_bias is not None:
            total = emit(op.add(total, way.recurrence_bias))
        return [emit(way.activations[0](cells.clipped(total)))]

    return cells.run(1, step)


RECURRENT: dict[str, Converter] = {"GRU": _gru, "LSTM": _lstm, "RNN": _rnn}
