"""A long short-term memory, unrolled: each step calls a cell that is a closure over nothing."""

from __future__ import annotations

from gacer_tvm.relay import op
from gacer_tvm.relay.ast import Call, Expr, Function, Tuple, TupleGetItem, Var
from gacer_tvm.relay.scope_builder import ScopeBuilder
from gacer_tvm.relay.testing import layers
from gacer_tvm.relay.testing.init import Workload, create_workload
from gacer_tvm.relay.types import TensorType, TupleType
from gacer_tvm.relay.walk import free_vars

__all__ = ["get_net", "get_workload", "lstm_cell"]

_WEIGHTS = ("i2h_weight", "i2h_bias", "h2h_weight", "h2h_bias")


def _weight_types(num_hidden: int, dtype: str) -> tuple[TensorType, ...]:
    weight, bias = TensorType((4 * num_hidden, num_hidden), dtype), TensorType((4 * num_hidden,), dtype)
    return (weight, bias, weight, bias)


def lstm_cell(num_hidden: int, batch_size: int = 1, dtype: str = "float32") -> Function:
    """One step: input, states and weights to output and states."""
    vector, gates_type = TensorType((batch_size, num_hidden), dtype), TensorType((batch_size, 4 * num_hidden), dtype)
    states_type = TupleType((vector, vector))
    result_type = TupleType((vector, states_type))
    inputs, states = Var("inputs", vector), Var("states", states_type)
    weights = [Var(name, type_) for name, type_ in zip(_WEIGHTS, _weight_types(num_hidden, dtype))]
    build = ScopeBuilder()

    def dense(name: str, data: Expr, weight: Var, bias: Var) -> Var:
        return build.let((name, gates_type), layers.dense_add_bias(data, name, 4 * num_hidden, weight, bias))

    i2h = dense("i2h", inputs, *weights[:2])
    h2h = dense("h2h", TupleGetItem(states, 0), *weights[2:])
    gates = build.let(("gates", gates_type), op.add(i2h, h2h))
    parts = build.let(("slice_gates", TupleType((vector,) * 4)), op.split(gates, 4, axis=1))
    gate = {}
    for index, (name, function) in enumerate(
        (("in_gate", op.sigmoid), ("forget_gate", op.sigmoid), ("in_transform", op.tanh), ("out_gate", op.sigmoid))
    ):
        gate[name] = build.let((name, vector), function(TupleGetItem(parts, index)))
    kept = op.multiply(gate["forget_gate"], TupleGetItem(states, 1))
    added = op.multiply(gate["in_gate"], gate["in_transform"])
    next_c = build.let(("next_c", vector), op.add(kept, added))
    next_h = build.let(("next_h", vector), op.multiply(gate["out_gate"], op.tanh(next_c)))
    build.ret(build.let(("ret", result_type), Tuple((next_h, Tuple((next_h, next_c))))))
    return Function((inputs, states, *weights), build.get(), result_type)


def get_net(iterations: int, num_hidden: int, batch_size: int = 1, dtype: str = "float32") -> Function:
    """The network as a function of its inputs (one for each step, all named `data`) and weights."""
    vector = TensorType((batch_size, num_hidden), dtype)
    states_type = TupleType((vector, vector))
    build = ScopeBuilder()
    zeros = build.let(("zeros", vector), op.zeros((batch_size, num_hidden), dtype))
    states: Expr = build.let(("init_states", states_type), Tuple((zeros, zeros)))
    out: Expr = zeros
    for step in range(iterations):
        names = ("i2h_{}_weight", "i2h_{}_bias", "h2h_{}_weight", "h2h_{}_bias")
        types = _weight_types(num_hidden, dtype)
        weights = [Var(name.format(step), type_) for name, type_ in zip(names, types)]
        cell = lstm_cell(num_hidden, batch_size, dtype)
        args = (Var("data", vector), states, *weights)
        result = build.let((f"call_{step}", TupleType((vector, states_type))), Call(cell, args))
        out = build.let((f"out_{step}", vector), TupleGetItem(result, 0))
        states = build.let((f"states_{step}", states_type), TupleGetItem(result, 1))
    build.ret(out)
    body = build.get()
    return Function(free_vars(body), body, vector)


def get_workload(iterations: int, num_hidden: int, batch_size: int = 1, dtype: str = "float32") -> Workload:
    """The module and random weights."""
    return create_workload(get_net(iterations, num_hidden, batch_size, dtype))
