"""Relay text means what TVM's own tests and files say it means."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gacer_tvm.errors import RelayError
from gacer_tvm.relay import (
    Any,
    Call,
    Constant,
    Function,
    FuncType,
    If,
    IRModule,
    Let,
    Match,
    Op,
    RefRead,
    RefWrite,
    TensorType,
    Tuple,
    TupleGetItem,
    TupleType,
    Var,
    load,
    load_json,
    parse,
    parse_expr,
    post_order,
    scalar_type,
    structural_equal,
)

WITH_JSON = [
    "conv_block", "conv_block_composite", "dqn", "dyn_shape", "global_fn", "if_else", "infix", "list_adt", "lstm", "mlp",
    "mlp_anf", "mlp_bound_bias_meta", "qnn_conv", "resnet8_cifar", "scalars", "tuples",
]  # fmt: skip


@pytest.mark.parametrize("name", WITH_JSON)
def test_text_and_json_of_one_module_are_equal(shared_dir: Path, name: str) -> None:
    """JSON states every attribute, text only those that differ from a default: equality proves the defaults."""
    folder = shared_dir / "relay" / "fixtures"
    text, json = load(folder / f"{name}.relay"), load(folder / f"{name}.json")
    assert structural_equal(text, json)
    assert structural_equal(json, text)


def test_resnet18_text_and_json_are_equal(shared_dir: Path) -> None:
    folder = shared_dir / "relay" / "models"
    assert structural_equal(load(folder / "resnet18.relay"), load(folder / "resnet18.json"))


def test_every_model_is_read_with_the_types_noted(shared_dir: Path) -> None:
    for path in sorted((shared_dir / "relay" / "models").glob("*.relay")):
        calls = [node for node in post_order(load(path)["main"].body) if isinstance(node, Call)]
        assert len(calls) > 20, path
        assert all(call.checked_type is not None for call in calls), path


# Literals


@pytest.mark.parametrize(
    ("text", "value", "dtype"),
    [
        ("1", 1, "int32"), ("0", 0, "int32"), ("-100", -100, "int32"), ("-05", -5, "int32"), ("--10", 10, "int32"),
        ("---10", -10, "int32"), ("2147483647", 2147483647, "int32"), ("2147483648", 2147483648, "int64"),
        ("9223372036854775807", 9223372036854775807, "int64"), ("-42i", -42, "int32"), ("-42i16", -42, "int16"),
        ("3i64", 3, "int64"), ("1.0f", 1.0, "float32"), ("3f16", 3.0, "float16"), ("2.5f64", 2.5, "float64"),
        ("1e-1f", np.float32(0.1), "float32"), ("1.0E+1f", 10.0, "float32"), ("-10.0f", -10.0, "float32"),
        ("inff", np.inf, "float32"), ("-inff", -np.inf, "float32"), ("inff64", np.inf, "float64"),
        ("True", True, "bool"), ("False", False, "bool"), ("1.5", 1.5, "float32"),
    ],
)  # fmt: skip
def test_literals(text: str, value: object, dtype: str) -> None:
    found = parse_expr(text)
    assert isinstance(found, Constant)
    assert (found.data.shape, str(found.data.dtype)) == ((), dtype)
    assert found.data == value


@pytest.mark.parametrize("text", ["2147483648i32", "32768i16", "65505f16", "3.40283e+38f32", "1i7", "1f8", "9" * 30])
def test_numbers_that_do_not_fit(text: str) -> None:
    with pytest.raises(RelayError):
        parse_expr(text)


def test_not_a_number_is_read_though_tvm_cannot() -> None:
    assert np.isnan(parse_expr("nanf").data)


# Expressions


def _names(expr: object) -> object:
    """A call tree as nested tuples of names and numbers."""
    if isinstance(expr, Call):
        return (expr.op.name, *map(_names, expr.args))
    return expr.data.item()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("1 * 2 + 3", ("add", ("multiply", 1, 2), 3)),
        ("1 + 2 * 3", ("add", 1, ("multiply", 2, 3))),
        ("1 - 2 - 3", ("subtract", ("subtract", 1, 2), 3)),
        ("8 / 4 / 2", ("divide", ("divide", 8, 4), 2)),
        ("1 * 1 + 1 < 1 == 1", ("equal", ("less", ("add", ("multiply", 1, 1), 1), 1), 1)),
        ("1 == 1 < 1 + 1 * 1", ("equal", 1, ("less", 1, ("add", 1, ("multiply", 1, 1))))),
        ("1 * (2 + 3)", ("multiply", 1, ("add", 2, 3))),
        ("1 <= 2", ("less_equal", 1, 2)),
        ("1 >= 2", ("greater_equal", 1, 2)),
        ("1 > 2", ("greater", 1, 2)),
        ("1 != 2", ("not_equal", 1, 2)),
        ("abs(1)", ("abs", 1)),
        ("-abs(1)", ("negative", ("abs", 1))),
        ("5 -2", ("add", 5, -2)),
    ],
)
def test_operators(text: str, tree: object) -> None:
    assert _names(parse_expr(text)) == tree


def test_graph_bindings_share_and_lets_do_not_inline() -> None:
    shared = parse_expr("%0 = (); %1 = 1; (%0, %0, %1)")
    assert isinstance(shared, Tuple)
    assert shared.fields[0] is shared.fields[1]
    assert isinstance(shared.fields[2], Constant)
    let = parse_expr("let %x = 1; let %y = 2; (%x, %y)")
    assert isinstance(let, Let) and isinstance(let.body, Let)
    assert let.body.body.fields == (let.var, let.body.var)  # type: ignore[attr-defined]


def test_statements_for_effect_become_lets() -> None:
    found = parse_expr("(); 1; 2")
    assert isinstance(found, Let) and isinstance(found.body, Let)
    assert found.body.body.data == 2  # type: ignore[attr-defined]


def test_tuples_and_their_fields() -> None:
    assert len(parse_expr("()").fields) == 0  # type: ignore[attr-defined]
    assert len(parse_expr("(0,)").fields) == 1  # type: ignore[attr-defined]
    assert isinstance(parse_expr("(0)"), Constant)
    call = parse_expr("free_var %x: float32; %x((%x,).0, %x)")
    assert isinstance(call, Call)
    assert isinstance(call.args[0], TupleGetItem) and call.args[0].index == 0
    nested = parse_expr("fn (%t) { %t.1.2 }").body  # type: ignore[attr-defined]
    assert (nested.index, nested.tuple_value.index) == (2, 1)
    after_call = parse_expr("fn (%t) { %t(%t).1 }").body  # type: ignore[attr-defined]
    assert isinstance(after_call, TupleGetItem) and isinstance(after_call.tuple_value, Call)


def test_names_with_dots_dashes_and_colons() -> None:
    names = ["conv1.weight", "input.1", "a-b", "in:0", "onnx::Conv_7", "scope/name", "12.w", "t"]
    listed = ", ".join(f"%{name}" for name in names)
    function = parse_expr(f"fn ({listed}: int8) {{ ({listed}.1) }}")
    assert isinstance(function, Function)
    assert [param.name_hint for param in function.params] == names
    fields = function.body.fields  # type: ignore[attr-defined]
    assert fields[:-1] == function.params[:-1]
    assert isinstance(fields[-1], TupleGetItem) and fields[-1].tuple_value is function.params[-1]


def test_slash_divides_between_variables() -> None:
    body = parse_expr("fn (%a, %b) { %a / %b }").body  # type: ignore[attr-defined]
    assert body.op == Op("divide")


def test_closures_curried_calls_and_recursion() -> None:
    found = parse_expr("let %f = fn (%x) { fn (%y) { %x * %y } }; %f(0)(0)")
    assert isinstance(found, Let) and isinstance(found.body, Call)
    assert isinstance(found.body.op, Call)
    loop = parse_expr("let %f = fn (%x) { %f(%x) }; %f(1)")
    assert loop.value.body.op is loop.var  # type: ignore[attr-defined]


def test_a_let_may_hide_the_variable_that_it_uses() -> None:
    function = parse_expr("fn (%x) { let %x = nn.relu(%x); nn.relu(%x) }")
    let = function.body  # type: ignore[attr-defined]
    assert let.value.args[0] is function.params[0]  # type: ignore[attr-defined]
    assert let.body.args[0] is let.var


def test_scopes_end_with_their_block() -> None:
    with pytest.raises(RelayError, match="%x is not defined here"):
        parse_expr("if (True) { let %x = (); () } else { %x }")
    with pytest.raises(RelayError, match="%y is not defined here"):
        parse_expr("((let %y = 1; %y), %y)")


def test_numbers_restart_in_each_function_and_may_be_used_across_branches() -> None:
    module = parse("def @main(%x) { %0 = nn.relu(%x); %0 } def @f(%x) { %0 = tanh(%x); %0 }")
    assert [module[name].body.op.name for name in ("main", "f")] == ["nn.relu", "tanh"]  # type: ignore[attr-defined]
    # TVM's printer binds in one branch what it uses in the other.
    branches = parse_expr("fn (%c, %x) { if (%c) { %0 = nn.relu(%x); add(%0, %0) } else { negative(%0) } }").body  # type: ignore[attr-defined]
    assert branches.false_branch.args[0] is branches.true_branch.args[0]
    hidden = parse_expr(
        "fn (%c, %x) { %0 = tanh(%x); %1 = if (%c) { %0 = nn.relu(%x); %0 } else { %x }; (%0, %1) }"
    ).body  # type: ignore[attr-defined]
    assert hidden.fields[0].op.name == "tanh"


def test_if_match_and_references() -> None:
    assert isinstance(parse_expr("if (True) { 0 } else { 1 }"), If)
    assert isinstance(parse_expr("if (True) { 0 } else if (False) { 1 } else { 2 }").false_branch, If)  # type: ignore[attr-defined]
    body = parse("def @main(%x: float32) { %0 = ref(%x); ref_write(%0, 1f); ref_read(%0) }")["main"].body
    assert isinstance(body, Let) and isinstance(body.value, RefWrite) and isinstance(body.body, RefRead)
    assert body.value.ref is body.body.ref


ADT = "type List[A] { Cons(A, List[A]), Nil, }\n"


@pytest.mark.parametrize(("keyword", "complete"), [("match", True), ("match?", False)])
def test_match(keyword: str, complete: bool) -> None:
    module = parse(
        ADT + f"def @len[A](%xs: List[A]) -> int32 {{ {keyword} (%xs) {{"
        "Cons(_, %rest : List[A]) => { (); 1 + @len(%rest) }, Nil => 0, } }"
    )
    body = module["len"].body
    assert isinstance(body, Match) and body.complete is complete
    assert [clause.lhs.constructor.name_hint for clause in body.clauses] == ["Cons", "Nil"]  # type: ignore[attr-defined]
    definition = module.type_definitions["List"]
    assert [len(constructor.inputs) for constructor in definition.constructors] == [2, 0]


def test_a_constructor_without_fields_is_a_call() -> None:
    body = parse("def @main(%x: int32) { Cons(%x, Nil) }\n" + ADT)["main"].body
    assert isinstance(body, Call) and isinstance(body.args[1], Call)
    assert body.args[1].args == ()


def test_comments_nest() -> None:
    assert structural_equal(parse_expr("// one\n /* two /* three */ */ ()"), parse_expr("()"))


# Types


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("int32", scalar_type("int32")),
        ("int8x4", scalar_type("int8x4")),
        ("bool", scalar_type("bool")),
        ("bfloat16", scalar_type("bfloat16")),
        ("Tensor[(), float32]", TensorType((), "float32")),
        ("Tensor[(3), float32]", TensorType((3,), "float32")),
        ("Tensor[(3,), float32]", TensorType((3,), "float32")),
        ("Tensor[(?, 4i64), int8]", TensorType((Any(), 4), "int8")),
        ("Tensor[(n, n), int8]", TensorType((Any("n"), Any("n")), "int8")),
        ("()", TupleType(())),
        ("(int32,)", TupleType((scalar_type("int32"),))),
        ("(int32)", TupleType((scalar_type("int32"),))),
        ("fn (int32, bool) -> int8", FuncType((scalar_type("int32"), scalar_type("bool")), scalar_type("int8"))),
        ("_", None),
    ],
)
def test_types(text: str, expected: object) -> None:
    function = parse_expr(f"fn (%x: {text}) {{ %x }}")
    assert isinstance(function, Function)
    assert function.params[0].type_annotation == expected


def test_a_tuple_type_of_one_in_parentheses_was_that_one_in_06() -> None:
    found = parse("v0.0.4\nfn (%x: (int32)) { %x }")["main"].params[0].type_annotation
    assert found == scalar_type("int32")


# Attributes


def test_attributes_have_tvms_defaults() -> None:
    call = parse_expr(
        'fn (%x, %w) { nn.conv2d(%x, %w, padding=[1, 1, 1, 1], kernel_size=[3, 3], out_dtype="int32") }'
    ).body  # type: ignore[attr-defined]
    assert dict(call.attrs) == {
        "strides": (1, 1), "padding": (1, 1, 1, 1), "dilation": (1, 1), "groups": 1, "channels": None,
        "kernel_size": (3, 3), "data_layout": "NCHW", "kernel_layout": "OIHW", "out_layout": "", "out_dtype": "int32",
    }  # fmt: skip
    assert call.attrs.type_key == "relay.attrs.Conv2DAttrs"
    assert call.attrs.strides == (1, 1)


def test_attribute_values() -> None:
    function = parse_expr(
        'fn (%x, A=1, B="two\\n\\"", C=[1, [2f, True]], D=None, relay.reshape_only=1, E=(3), type=[]) { %x }'
    )
    assert isinstance(function, Function)
    assert dict(function.attrs) == {
        "A": 1, "B": 'two\n"', "C": (1, (2.0, True)), "D": None, "relay.reshape_only": 1, "E": 3, "type": (),
    }  # fmt: skip


def test_a_call_of_a_function_names_its_struct() -> None:
    call = parse_expr('fn (%f, %x) { %f(%x, name="n", attrs_type_key="attrs.TestAttrs") }').body  # type: ignore[attr-defined]
    assert (call.attrs.type_key, dict(call.attrs)) == ("attrs.TestAttrs", {"name": "n"})


def test_attributes_of_operators_that_do_not_declare_them() -> None:
    stated = parse_expr('fn (%x) { cumsum(%x, axis=1, attrs_type_key="relay.attrs.ScanopAttrs") }').body  # type: ignore[attr-defined]
    bare = parse_expr("fn (%x) { cumsum(%x, axis=1) }").body  # type: ignore[attr-defined]
    assert dict(stated.attrs) == dict(bare.attrs) == {"axis": 1, "dtype": None, "exclusive": False}


def test_devices_are_skipped() -> None:
    module = parse(
        "def @main(%x {virtual_device=VirtualDevice(device_type=2, target=Target(keys={'cuda', \"a)\"}))}: int32, "
        "virtual_device=meta[VirtualDevice][0]) { on_device(%x, virtual_device=meta[VirtualDevice][1]) }"
    )
    assert module["main"].params[0].type_annotation == scalar_type("int32")
    assert len(module["main"].attrs) == 0


def test_an_unknown_operator_is_kept_for_conversion_to_report() -> None:
    call = parse_expr("fn (%x) { my.own_op(%x, axis=1) }").body  # type: ignore[attr-defined]
    assert call.op == Op("my.own_op") and dict(call.attrs) == {"axis": 1}


# Habits of printers and people


def test_noted_types_and_places() -> None:
    module = parse(
        '#[version = "0.0.5"]\r\ndef @main(%x: int8 /* ty=int8 span=a.py:3:1 */) {\r\n'
        "  %0 = nn.relu(%x) /* ty=Tensor[(1), int8] span=b:1:2 */ /* en_id=4 */;\r\n  (%0, 1 /* ty=int32 */)\r\n}\r\n",
        "m.relay",
    )
    value = module["main"].body
    assert value.fields[0].checked_type == TensorType((1,), "int8")  # type: ignore[attr-defined]
    assert value.fields[1].checked_type == scalar_type("int32")  # type: ignore[attr-defined]
    assert str(value.fields[0].span) == "m.relay:3:8"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "text",
    [
        "fn (%x: int8) { nn.relu(%x) }",
        "\ufeffdef @main(%x: int8) { nn.relu(%x) }",
        '#[version = "0.0.5"]\ndef @main(%x: int8) { { nn.relu(%x) } }',
        "v0.0.4\nfn (%x: int8) {\n  nn.relu(%x);\n}",
        "// who\nv0.0.4\ndef @main(%x: int8) { nn.relu(%x, int8) }",
        "def @main(%x: int8) { nn.relu(%x, Tensor[(1, 2), int8], (Tensor[(1), int8], int8)) }",
        "free_var %x: int8\nnn.relu(%x)",
        "def @main(%x: int8) { %0 = nn.relu(%x); %0; }",
    ],
)
def test_ways_to_write_one_module(text: str) -> None:
    assert structural_equal(parse(text), parse("def @main(%x: int8) { nn.relu(%x) }"))


def test_what_only_tvm_06_wrote() -> None:
    body = parse("v0.0.4\nfn (%r) { let %_ = (%r := 1);; %r^ }")["main"].body
    assert isinstance(body, Let) and isinstance(body.value, RefWrite) and isinstance(body.body, RefRead)
    old = parse("v0.0.4\nfn (%a, %b) { nn.batch_matmul(%a, %b) }")["main"].body
    assert old.attrs["transpose_b"] is True  # type: ignore[attr-defined]
    new = parse("fn (%a, %b) { nn.batch_matmul(%a, %b) }")["main"].body
    assert new.attrs["transpose_b"] is False  # type: ignore[attr-defined]


def test_dequantize_had_no_out_dtype_before_014() -> None:
    assert parse("fn (%a) { qnn.dequantize(%a, 1f, 0) }")["main"].body.attrs["out_dtype"] == "float32"  # type: ignore[attr-defined]


# Constants that are elsewhere


PARTITIONED = """
def @main(%x: Tensor[(1, 2), float32]) {
  %0 = add(%x, meta[relay.Constant][2] /* ty=Tensor[(2), float32] */);
  @part(%0)
}
def @part(%y: Tensor[(1, 2), float32], Compiler="dnnl") {
  %0 = add(%y, meta[relay.Constant][0] /* ty=Tensor[(1, 2), float32] */);
  %1 = add(%0, meta[relay.Constant][1]);
  add(%1, meta[relay.Constant][0])
}
"""


def test_text_without_its_table_is_refused() -> None:
    with pytest.raises(RelayError, match=r"(?s)3:16: .*table that this text does not have.*missing_constants"):
        parse(PARTITIONED)


def test_missing_constants_become_parameters_of_all_callers() -> None:
    module = parse(PARTITIONED, missing_constants="params")
    main, part = module["main"], module["part"]
    names = ["x", "constant_0", "constant_1", "constant_2"]
    assert [param.name_hint for param in main.params] == names
    assert [param.type_annotation for param in main.params[1:]] == [
        TensorType((1, 2)), None, TensorType((2,)),
    ]  # fmt: skip
    assert [param.name_hint for param in part.params] == ["y", "constant_0", "constant_1"]
    assert main.body.args[1:] == main.params[1:3]  # type: ignore[attr-defined]
    assert part.body.args[1] is part.params[1]  # type: ignore[attr-defined]


def test_missing_constants_avoid_names_that_are_taken() -> None:
    module = parse(
        "def @main(%constant_0: int8) { add(%constant_0, meta[relay.Constant][0]) }", missing_constants="params"
    )
    first, second = module["main"].params
    assert first.name_hint != second.name_hint
    assert module["main"].body.args == (first, second)  # type: ignore[attr-defined]


def test_constants_given_by_the_caller() -> None:
    weight = np.arange(3, dtype=np.float32)
    body = parse("fn (%x) { add(%x, meta[relay.Constant][0]) }", metadata={"relay.Constant": [weight]})["main"].body
    assert np.array_equal(body.args[1].data, weight)  # type: ignore[attr-defined]


def test_constants_of_the_texts_own_table(shared_dir: Path) -> None:
    path = shared_dir / "relay" / "fixtures" / "mlp_bound_bias_meta"
    text, json = load(f"{path}.relay"), load_json(Path(f"{path}.json").read_text())
    arrays = [node.data for node in post_order(text["main"].body) if isinstance(node, Constant)]
    assert [array.shape for array in arrays] == [(128,), (64,), (10,)]
    assert structural_equal(text, json)


def test_an_undeclared_struct_without_its_table_is_done_without_where_it_can_be() -> None:
    text = (
        "fn (%a, %b) { add(nn.batch_matmul(%a, %b, meta[relay.attrs.BatchMatmulAttrs][0]), meta[relay.Constant][0]) }"
    )
    matmul = parse(text, missing_constants="params")["main"].body.args[0]  # type: ignore[attr-defined]
    assert matmul.attrs["transpose_b"] is True
    with pytest.raises(RelayError, match=r"BatchMatmulAttrs\]\[0\] refers to a table"):
        parse(text)
    with pytest.raises(RelayError, match=r"TopkAttrs\]\[0\] refers to a table"):
        parse("fn (%a) { nn.softmax(%a, meta[relay.attrs.TopkAttrs][0]) }", missing_constants="params")


# Depth and length


@pytest.mark.parametrize(
    "text",
    [
        "fn (%x) { " + "".join(f"%{i} = add(%{i - 1}, %x); " if i else "%0 = add(%x, %x); " for i in range(10_000)) + "%9999 }",
        "fn (%x) { " + "".join(f"let %v{i} = nn.relu(%x); " for i in range(10_000)) + "%v9999 }",
        "fn (%x) { " + "nn.relu(" * 10_000 + "%x" + ")" * 10_000 + " }",
        "fn (%x) { " + "if (%x) { " * 10_000 + "%x" + "} else { %x }" * 10_000 + " }",
        "fn (%x) { " + "fn () { " * 10_000 + "%x" + "}" * 10_000 + " }",
        "fn (%x: " + "(" * 10_000 + "int8" + ",)" * 10_000 + ") { %x }",
        "fn (%x, A=" + "[" * 10_000 + "]" * 10_000 + ") { %x }",
        "fn (%x) { " + "%x + " * 10_000 + "%x }",
    ],
    ids=["graph", "let", "calls", "ifs", "functions", "types", "attributes", "operators"],
)  # fmt: skip
def test_ten_thousand_deep(text: str) -> None:
    module = parse(text)
    assert isinstance(module, IRModule)
    assert structural_equal(module, parse(text))
    assert len(repr(module)) < 1000


def test_a_million_brackets_are_refused() -> None:
    with pytest.raises(RelayError, match="nests too deep"):
        parse("fn (%x) { " + "(" * 1_000_000)


def test_a_graph_of_exponential_paths_is_read_and_compared() -> None:
    text = (
        "fn (%x) { %0 = add(%x, %x); " + "".join(f"%{i} = add(%{i - 1}, %{i - 1}); " for i in range(1, 200)) + "%199 }"
    )
    one, other = parse(text), parse(text)
    assert structural_equal(one, other)
    assert sum(1 for node in post_order(one["main"].body) if isinstance(node, Call)) == 200


def test_free_variables_of_a_bare_expression_become_parameters() -> None:
    module = parse("free_var %x: int8; free_var %y: int8; %x + %y")
    assert [param.name_hint for param in module["main"].params] == ["x", "y"]
    assert all(isinstance(param, Var) for param in module["main"].params)
