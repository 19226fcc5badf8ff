"""Printed Relay reads back to an equal tree, and is what TVM prints."""

from __future__ import annotations

import random
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gacer_tvm.errors import RelayError
from gacer_tvm.relay import (
    Call,
    Constant,
    Function,
    If,
    IRModule,
    Let,
    Op,
    TensorType,
    Tuple,
    Var,
    astext,
    load,
    parse,
    parse_expr,
    structural_equal,
)
from gacer_tvm.relay.attrs import make_attrs
from tests.relay.relay_trees import TreeMaker


def _comparable(text: str) -> list[str]:
    """Lines without the notes of source places and without the table of constants."""
    return re.sub(r" span=\S+", "", text).split("#[metadata]")[0].rstrip().split("\n")


def _texts(shared: Path) -> list[Path]:
    return sorted([*(shared / "relay" / "fixtures").glob("*.relay"), *(shared / "relay" / "models").glob("*.relay")])


def test_our_text_is_tvms_text_word_for_word(shared_dir: Path) -> None:
    """Numbering, inlining, names, defaults left out, literals, noted types: all as the real TVM printed them."""
    paths = _texts(shared_dir)
    assert len(paths) > 20
    for path in paths:
        original = path.read_text()
        assert _comparable(astext(parse(original))) == _comparable(original), path.name


def test_text_of_json_is_tvms_text(shared_dir: Path) -> None:
    for path in _texts(shared_dir):
        if path.with_suffix(".json").exists():
            assert _comparable(astext(load(path.with_suffix(".json")))) == _comparable(path.read_text()), path.name


def test_fixtures_read_back(shared_dir: Path) -> None:
    for path in _texts(shared_dir):
        module = load(path)
        assert structural_equal(parse(astext(module)), module), path.name


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_random_trees_read_back(data: st.DataObject) -> None:
    module = TreeMaker(lambda n: data.draw(st.integers(0, n - 1))).module()
    _check_round_trip(module)


@pytest.mark.parametrize("block", range(4))
def test_many_random_trees_read_back(block: int) -> None:
    for seed in range(100 * block, 100 * (block + 1)):
        _check_round_trip(TreeMaker(random.Random(seed).randrange).module())


def _check_round_trip(module: IRModule) -> None:
    text = astext(module)
    back = parse(text)
    assert structural_equal(back, module), text
    assert structural_equal(module, back), text
    assert astext(back) == text


def test_structural_equality_sees_differences() -> None:
    texts = [
        "fn (%x: int8, %y: int8) { nn.relu(%x) }",
        "fn (%x: int8, %y: int8) { nn.relu(%y) }",
        "fn (%x: int8, %y: int8) { tanh(%x) }",
        "fn (%x: int8, %y: int32) { nn.relu(%x) }",
        "fn (%x: int8, %z: int8) { nn.relu(%x) }",
        "fn (%x: int8, %y: int8) -> int8 { nn.relu(%x) }",
        "fn (%x: int8, %y: int8, A=1) { nn.relu(%x) }",
        "fn (%x: int8, %y: int8, A=1f) { nn.relu(%x) }",
        "fn (%x: int8, %y: int8, A=True) { nn.relu(%x) }",
        "fn (%x: int8, %y: int8) { (%x, 1) }",
        "fn (%x: int8, %y: int8) { (%x, 2) }",
        "fn (%x: int8, %y: int8) { (%x, 1i64) }",
        "fn (%x: int8, %y: int8) { (%x, 0f) }",
        "fn (%x: int8, %y: int8) { (%x, -0f) }",
        "fn (%x: int8, %y: int8) { nn.softmax(%x) }",
        "fn (%x: int8, %y: int8) { nn.softmax(%x, axis=1) }",
        "fn (%x: int8, %y: int8) { (nn.relu(%x), nn.relu(%x)) }",
        "fn (%x: int8, %y: int8) { %0 = nn.relu(%x); (%0, %0) }",
        "fn (%x: int8, %y: int8) { let %z = %x; %z }",
        "fn (%x: int8, %y: int8) { let %z: int8 = %x; %z }",
        "fn (%x: int8, %y: int8) { fn (%a, %b) { %a } }",
        "fn (%x: int8, %y: int8) { fn (%a, %b) { %b } }",
        "fn (%x: int8, %y: int8) { if (%x) { %x } else { %y } }",
        "fn (%x: int8, %y: int8) { if (%x) { %y } else { %x } }",
        "def @f(%x: int8, %y: int8) { nn.relu(%x) }",
    ]
    modules = [parse(text) for text in texts]
    for i, one in enumerate(modules):
        for j, other in enumerate(modules):
            assert structural_equal(one, other) == (i == j), (texts[i], texts[j])


def test_bound_names_do_not_matter_but_parameters_names_do() -> None:
    assert structural_equal(parse("fn (%x) { let %a = %x; %a }"), parse("fn (%x) { let %b = %x; %b }"))
    assert not structural_equal(parse("fn (%x) { %x }"), parse("fn (%y) { %y }"))
    one, other = parse_expr("free_var %x: int8; nn.relu(%x)"), parse_expr("free_var %y: int8; nn.relu(%y)")
    assert not structural_equal(one, other)
    assert structural_equal(one, other, map_free_vars=True)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_numbers_read_back_bit_for_bit(dtype: str) -> None:
    bits = np.random.default_rng(0).integers(0, 1 << 63, 400, dtype=np.uint64).view(np.float64)
    with np.errstate(all="ignore"):
        values = np.concatenate([bits.astype(dtype), np.array([0.1, 1 / 3, 1e-7, 65504, -0.0, 5e-8], dtype)])
    for value in values:
        array = np.array(value, dtype)
        back = parse_expr(astext(Constant(array)))
        assert isinstance(back, Constant)
        assert back.data.dtype == dtype and back.data.tobytes() == array.tobytes(), value


def test_short_numbers_are_printed_short() -> None:
    texts = [astext(Constant(np.array(value, "float32"))).split("\n")[1] for value in (0.1, 3, 1e-5, -0.5)]
    assert texts == ["0.1f", "3f", "1e-05f", "-0.5f"]


def test_what_branches_share_is_bound_before_them() -> None:
    x = Var("x", TensorType((2,)))
    shared = Call(Op("nn.relu"), (x,))
    condition = Var("c", TensorType((), "bool"))
    branches = If(condition, Call(Op("tanh"), (shared,)), Call(Op("exp"), (shared,)))
    text = astext(IRModule({"main": Function((condition, x), branches)}))
    assert text.index("%0 = nn.relu(%x);") < text.index("if (%c)")


def test_a_let_among_arguments_is_put_in_parentheses() -> None:
    x = Var("x")
    inner = Let(Var("a"), x, Call(Op("nn.relu"), (x,)))
    module = IRModule({"main": Function((x,), Tuple((inner, inner)))})
    back = parse(astext(module))
    assert structural_equal(back, module)
    assert "%0 = (\n" in astext(module)


def test_variables_of_one_name_get_names_of_their_own() -> None:
    a, b = Var("x"), Var("x")
    module = IRModule({"main": Function((a, b), Tuple((a, b)))})
    text = astext(module)
    assert "@main(%x, %x1)" in text
    assert structural_equal(parse(text), module)
    # `%t.0` would be a field of `%t`.
    t, t0 = Var("t"), Var("t.0")
    assert structural_equal(parse_expr(astext(Function((t, t0), Tuple((t, t0))))), Function((t, t0), Tuple((t, t0))))


def test_without_the_table_the_text_says_so_when_read() -> None:
    module = IRModule({"main": Function((), Constant(np.arange(3)))})
    text = astext(module, show_meta_data=False)
    assert "meta[relay.Constant][0]" in text and "#[metadata]" not in text
    with pytest.raises(RelayError, match="does not have"):
        parse(text)
    assert str(module) == text


def test_types_are_noted_unless_not_wanted(shared_dir: Path) -> None:
    module = load(shared_dir / "relay" / "fixtures" / "mlp.relay")
    assert "/* ty=" in astext(module)
    assert "/*" not in astext(module, show_types=False)


def test_attributes_that_tvm_always_states() -> None:
    call = Call(Op("nn.dense"), (Var("x"), Var("w")), make_attrs("relay.attrs.DenseAttrs", {}))
    assert "nn.dense(%x, %w, units=None)" in astext(call)


def test_what_text_cannot_say_is_refused() -> None:
    x, y = Var("x"), Var("y")
    for expr in [
        Function((x,), y),
        Function((x, x), x),
        Call(Op("no such operator"), (x,)),
        Call(Op("nn.relu"), (x,), make_attrs("test.Attrs", {"a": object()})),
        Constant(np.zeros(2, np.complex64)),
    ]:
        with pytest.raises(RelayError):
            astext(IRModule({"main": Function((), expr)}))


def test_depth_and_length() -> None:
    x = Var("x")
    chain: Call | Var = x
    for _ in range(10_000):
        chain = Call(Op("nn.relu"), (chain,))
    nested: If | Var = x
    for _ in range(5_000):
        nested = If(x, nested, x)
    lets: Let | Var = x
    for index in range(10_000):
        lets = Let(Var(f"v{index}"), x, lets)
    for body in (chain, nested, lets):
        module = IRModule({"main": Function((x,), body)})
        assert structural_equal(parse(astext(module)), module)
