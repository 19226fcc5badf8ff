"""Whole modules: functions, branches, weights, shapes left open, and what is refused."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

from gacer_tvm import relay
from gacer_tvm._tvm import relax
from gacer_tvm.errors import RelayError, UnsupportedOperatorError
from gacer_tvm.relay.convert import CONVERTERS
from gacer_tvm.relay.operators import op_info
from gacer_tvm.relay.rules import RULES
from tests.relay.running import run_module

RNG = np.random.RandomState(9)


def _text(body: str) -> relay.IRModule:
    return relay.parse('#[version = "0.0.5"]\n' + body)


def _calls(module: Any) -> list[str]:
    found: list[str] = []
    relax.analysis.post_order_visit(
        module["main"].body,
        lambda node: found.append(node.op.name) if hasattr(node, "op") and hasattr(node.op, "name") else None,
    )
    return found


def test_each_rule_has_a_converter_and_names_a_known_operator() -> None:
    assert set(RULES) == set(CONVERTERS)
    # Names that only the first versions had.
    old = {"contrib.adaptive_avg_pool2d", "contrib.adaptive_max_pool2d", "contrib.ndarray_size"}
    assert {name for name in RULES if op_info(name) is None} <= old


def test_closures_and_global_functions_are_inlined() -> None:
    module = _text(
        """
        def @twice(%f: fn (Tensor[(2), float32]) -> Tensor[(2), float32], %x: Tensor[(2), float32]) {
          %f(%f(%x))
        }
        def @main(%x: Tensor[(2), float32], %y: Tensor[(2), float32]) {
          let %g = fn (%z: Tensor[(2), float32]) -> Tensor[(2), float32] { add(multiply(%z, %y), %x) };
          @twice(%g, %x)
        }
        """
    )
    x, y = np.array([1.0, -2.0], "float32"), np.array([3.0, 0.5], "float32")
    (found,) = run_module(module, {"x": x, "y": y})
    once = x * y + x
    np.testing.assert_allclose(found, once * y + x, rtol=1e-6)


def test_operators_are_values() -> None:
    x = relay.var("x", shape=(3,))
    f = relay.var("f")
    apply = relay.Function([f], f(x))
    module = relay.IRModule.from_expr(relay.Function([x], relay.Call(apply, [relay.Op("tanh")])))
    data = RNG.randn(3).astype("float32")
    np.testing.assert_allclose(run_module(module, {"x": data})[0], np.tanh(data), rtol=1e-5)


def test_a_shared_node_is_computed_once() -> None:
    x = relay.var("x", shape=(3,))
    shared = relay.exp(x)
    converted, _ = relay.to_relax(relay.Tuple((shared + shared, relay.sqrt(shared))))
    assert _calls(converted).count("relax.exp") == 1


def test_what_is_not_used_is_not_computed() -> None:
    x = relay.var("x", shape=(3,))
    unused = relay.var("unused")
    converted, _ = relay.to_relax(relay.Let(unused, relay.exp(x), relay.nn.dropout(x)))
    assert _calls(converted) == []


@pytest.mark.parametrize("flag", [True, False])
def test_if_selects_between_tuples(flag: bool) -> None:
    module = _text(
        """
        def @main(%c: bool, %x: Tensor[(2, 3), float32]) {
          if (%c) { (exp(%x), (%x, 1f)) } else { let %y = negative(%x); (%y, (add(%y, 1f), 2f)) }
        }
        """
    )
    x = RNG.randn(2, 3).astype("float32")
    found = run_module(module, {"c": np.array(flag), "x": x})
    want = [np.exp(x), x, np.float32(1)] if flag else [-x, 1 - x, np.float32(2)]
    for got, expected in zip(found, want):
        np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_if_keeps_the_other_branch_out_of_the_result() -> None:
    # The branch not taken divides by zero; its NaN must not leak.
    x = relay.var("x", shape=(2,))
    cond = relay.max(x) > relay.const(0.0)
    module = relay.IRModule.from_expr(relay.If(cond, x, relay.log(x * 0.0 - 1.0)))
    np.testing.assert_array_equal(run_module(module, {"x": np.array([1.0, 2.0], "float32")})[0], [1, 2])


def test_a_known_condition_needs_no_selection() -> None:
    x = relay.var("x", shape=(2,))
    known = relay.equal(relay.take(relay.shape_of(x), relay.const(0), axis=0), relay.const(2))
    converted, _ = relay.to_relax(relay.If(known, relay.exp(x), relay.log(x)))
    assert _calls(converted) == ["relax.exp"]


def test_tuples_are_inputs() -> None:
    module = _text(
        """
        def @main(%p: (Tensor[(2), float32], (Tensor[(3), float32], Tensor[(2), float32]))) {
          %0 = %p.1;
          (add(%p.0, %0.1), %0.0)
        }
        """
    )
    converted, _ = relay.to_relax(module)
    assert isinstance(converted["main"].params[0].ty, relax.TupleType)
    relax.analysis.well_formed(converted)


def test_weights_come_last() -> None:
    w, x, b, y = (relay.var(name, shape=(2,)) for name in "wxby")
    module = relay.IRModule.from_expr(relay.Function([w, x, b, y], x * w + b + y))
    params = {"w": np.array([1, 2], "float32"), "b": relay.const(np.array([3, 4], "float32"))}
    converted, weights = relay.to_relax(module, params)
    names = [str(p.name_hint if hasattr(p, "name_hint") else p.name) for p in converted["main"].params]
    assert names == ["x", "y", "w", "b"]
    assert list(weights) == ["w", "b"]
    assert int(converted["main"].attrs["num_input"]) == 2
    (found,) = run_module(module, {"x": np.array([5, 6], "float32"), "y": np.zeros(2, "float32")}, params)
    np.testing.assert_array_equal(found, [8, 16])


def test_no_parameters_mean_that_all_are_inputs() -> None:
    x, w = relay.var("x", shape=(2,)), relay.var("w", shape=(2,))
    converted, weights = relay.to_relax(relay.Function([x, w], x * w))
    assert weights == {}
    assert int(converted["main"].attrs["num_input"]) == 2


def test_repeated_names_are_told_apart() -> None:
    one, two = relay.var("data", shape=(2,)), relay.var("data", shape=(2,))
    converted, _ = relay.to_relax(relay.Function([one, two], one - two))
    names = [str(p.name_hint if hasattr(p, "name_hint") else p.name) for p in converted["main"].params]
    assert len(set(names)) == 2


def test_parameters_that_do_not_fit_are_refused() -> None:
    x, w = relay.var("x", shape=(2,)), relay.var("w", shape=(2,))
    module = relay.IRModule.from_expr(relay.Function([x, w], x * w))
    with pytest.raises(RelayError, match=r"'w' is Tensor\[\(3,\), float32\], but @main states"):
        relay.to_relax(module, {"w": np.zeros(3, "float32")})
    with pytest.raises(RelayError, match="float64"):
        relay.to_relax(module, {"w": np.zeros(2)})
    with pytest.raises(RelayError, match="belong to another module"):
        relay.to_relax(module, {"other": np.zeros(2, "float32")})
    with pytest.warns(UserWarning, match="not used by @main: extra"):
        relay.to_relax(module, {"w": np.zeros(2, "float32"), "extra": np.zeros(1)})


def test_untyped_weights_get_their_types() -> None:
    x = relay.var("x", shape=(1, 3, 8, 8))
    body = relay.nn.bias_add(relay.nn.conv2d(x, relay.var("w"), channels=4, kernel_size=3), relay.var("b"))
    converted, _ = relay.to_relax(body)
    shapes = [[int(d) for d in p.ty.shape.values] for p in converted["main"].params]
    assert shapes == [[1, 3, 8, 8], [4, 3, 3, 3], [4]]


def test_shapes_may_be_given() -> None:
    x = relay.var("x", shape=(relay.Any(), 4))
    y = relay.var("y", shape=(relay.Any(), 4))
    module = relay.IRModule.from_expr(relay.Function([x, y], relay.reshape(relay.concatenate([x, y], 0), (-1, 2, 2))))
    converted, _ = relay.to_relax(module, shapes={"x": (2, 4), "y": (3, 4)})
    assert [int(d) for d in converted["main"].ret_ty.shape.values] == [5, 2, 2]
    with pytest.raises(RelayError, match="contradicts"):
        relay.to_relax(module, shapes={"x": (2, 5)})
    with pytest.raises(RelayError, match="given for z"):
        relay.to_relax(module, shapes={"z": (2, 4)})


def test_symbolic_shapes_keep_what_is_known() -> None:
    n = relay.Any("n")
    x = relay.var("x", shape=(n, 2, 6))
    w = relay.var("w", shape=(6, 6))
    body = relay.reshape(relay.nn.dense(relay.reshape(x, (-3, 0)), w), (-1, 2, 6))
    body = relay.nn.softmax(relay.reshape(relay.transpose(body + x, (0, 2, 1)), (0, 3, 4)))
    data, weight = RNG.randn(5, 2, 6).astype("float32"), RNG.randn(6, 6).astype("float32")
    (found,) = run_module(relay.IRModule.from_expr(body), {"x": data, "w": weight})
    inner = ((data.reshape(10, 6) @ weight.T).reshape(5, 2, 6) + data).transpose(0, 2, 1).reshape(5, 3, 4)
    powers = np.exp(inner - inner.max(-1, keepdims=True))
    np.testing.assert_allclose(found, powers / powers.sum(-1, keepdims=True), rtol=1e-5)


def test_unknown_operators_are_listed_all_at_once() -> None:
    module = _text(
        """
        def @main(%x: Tensor[(2), float32]) {
          %0 = my.first(%x);
          %1 = my.second(%0);
          %2 = my.first(%1);
          add(my.first(%2), %x)
        }
        """
    )
    with pytest.raises(UnsupportedOperatorError) as caught:
        relay.to_relax(module)
    message = str(caught.value)
    assert "2 Relay operators (4 calls)" in message
    assert "my.first: 3 calls at" in message
    assert ":4:" in message and ":6:" in message and ":7:" in message
    assert "my.second: 1 call at" in message


def test_recursion_is_refused() -> None:
    module = _text(
        """
        def @loop(%n: int32) -> int32 { if (less(%n, 1)) { %n } else { @loop(subtract(%n, 1)) } }
        def @main(%n: int32) -> int32 { @loop(%n) }
        """
    )
    with pytest.raises(RelayError, match="calls itself"):
        relay.to_relax(module)


def test_recursion_on_known_numbers_unrolls() -> None:
    module = _text(
        """
        def @grow(%n: int32, %x: Tensor[(2), float32]) -> Tensor[(2), float32] {
          if (less(%n, 1)) { %x } else { @grow(subtract(%n, 1), add(%x, %x)) }
        }
        def @main(%x: Tensor[(2), float32]) { @grow(3, %x) }
        """
    )
    np.testing.assert_array_equal(run_module(module, {"x": np.array([1, 2], "float32")})[0], [8, 16])


def test_references_are_refused() -> None:
    module = _text("def @main(%x: Tensor[(2), float32]) { let %r = ref(%x); ref_read(%r) }")
    with pytest.raises(RelayError, match="references are not supported"):
        relay.to_relax(module)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("add(%x, %y)", "do not broadcast"),
        ("%x.0", "no tuple"),
        ("%x(%y)", "no function"),
        ("let %f = fn (%a: float32) { %a }; %f(%x, %y)", "2 arguments"),
        ("nn.dense(%x, %y)", "nn.dense"),
        ("concatenate((%x, %y))", "equal"),
        ("let %z: Tensor[(7), float32] = %x; %z", "stated as"),
        ("if (%x) { %x } else { %x }", "bool scalar"),
        ("fn (%a: float32) { %a }", "returns a function"),
    ],
)
def test_what_makes_no_sense_is_refused(body: str, message: str) -> None:
    module = _text(f"def @main(%x: Tensor[(2, 3), float32], %y: Tensor[(4, 5), float32]) {{ {body} }}")
    with pytest.raises(RelayError, match=message):
        relay.to_relax(module)


def test_a_module_needs_a_main() -> None:
    with pytest.raises(RelayError, match="no @main"):
        relay.to_relax(_text("def @other(%x: float32) { %x }"))


def test_noted_types_are_checked() -> None:
    text = "def @main(%x: Tensor[(2), float32]) { exp(%x) /* ty=Tensor[(3), float32] */ }"
    with pytest.raises(RelayError, match="noted to have the type"):
        relay.to_relax(_text(text))
    relay.to_relax(_text(text), check_types=False)


def test_ten_thousand_bindings_convert() -> None:
    lines = ["let %v0 = %x;"] + [f"let %v{i} = add(%v{i - 1}, %x);" for i in range(1, 10_000)]
    module = _text("def @main(%x: Tensor[(2), float32]) {\n" + "\n".join(lines) + "\n%v9999 }")
    start = time.perf_counter()
    converted, _ = relay.to_relax(module)
    assert _calls(converted).count("relax.add") == 9_999
    assert time.perf_counter() - start < 60
    body: Any = relay.var("x", shape=(2,))
    for _ in range(10_000):
        body = relay.tanh(body)
    assert relay.infer_type(body) == relay.TensorType((2,))
