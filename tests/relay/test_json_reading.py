"""JSON of `tvm.ir.save_json`, as the releases from 0.6 to 0.19 wrote it."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

import numpy as np
import pytest

from gacer_tvm.errors import RelayError
from gacer_tvm.relay import Any as AnyDim
from gacer_tvm.relay import (
    Call,
    Constant,
    IRModule,
    Let,
    TensorType,
    TupleGetItem,
    load,
    load_json,
    parse,
    post_order,
    structural_equal,
)

Node = dict[str, Any]


def _string(text: str) -> Node:
    return {"type_key": "runtime.String", "repr_str": text} if text else {"type_key": "runtime.String"}


def _int(value: int) -> Node:
    return {"type_key": "IntImm", "attrs": {"dtype": "int32", "span": "0", "value": str(value)}}


def _record(array: np.ndarray) -> str:
    code = {"f": 2, "i": 0, "u": 1, "b": 1}[array.dtype.kind]
    bits = 1 if array.dtype == bool else 8 * array.dtype.itemsize
    head = struct.pack("<QQiiiBBH", 0xDD5E40F096B4A13F, 0, 1, 0, array.ndim, code, bits, 1)
    return base64.b64encode(
        head + struct.pack(f"<{array.ndim + 1}q", *array.shape, array.nbytes) + array.tobytes()
    ).decode()


class Writer:
    """Makes node graphs by hand, in the form of one release."""

    def __init__(self, version: str) -> None:
        self.nodes: list[Node] = [{"type_key": ""}]
        self.blobs: list[str] = []
        self.version = version

    def add(self, key: str, /, **attrs: str | int) -> int:
        node: Node = {"type_key": key}
        if attrs:
            node["attrs"] = {name: str(value) for name, value in attrs.items()}
        return self.put(node)

    def put(self, node: Node) -> int:
        self.nodes.append(node)
        return len(self.nodes) - 1

    def array(self, *items: int) -> int:
        return self.put({"type_key": "Array", "data": list(items)} if items else {"type_key": "Array"})

    def var(self, name: str, shape: list[int]) -> int:
        """A float32 variable as 0.7 to 0.19 wrote it."""
        type_ = self.add(
            "relay.TensorType", dtype="float32", shape=self.array(*(self.put(_int(d)) for d in shape)), span=0
        )
        vid = self.add("relay.Id", name_hint=self.put(_string(name)))
        return self.add("relay.Var", _checked_type_=0, span=0, type_annotation=type_, vid=vid, virtual_device_=0)

    def op(self, name: str) -> int:
        return self.put({"type_key": "Op", "repr_str": name})

    def call(self, op: str, args: list[int], attrs: int = 0) -> int:
        return self.add(
            "relay.Call", _checked_type_=0, args=self.array(*args), attrs=attrs, op=self.op(op), span=0, type_args=0
        )

    def main(self, params: list[int], body: int) -> str:
        """The JSON of a module whose `@main` this is."""
        function = self.add(
            "relay.Function", attrs=0, body=body, params=self.array(*params), ret_type=0, span=0, type_params=0,
            _checked_type_=0, virtual_device_=0,
        )  # fmt: skip
        name = self.add("GlobalVar", name_hint=self.put(_string("main")), span=0, _checked_type_=0, struct_info_=0)
        functions = self.put({"type_key": "Map", "data": [name, function]})
        return self.text(self.add("IRModule", functions=functions, type_definitions=0, global_var_map_=0, source_map=0))

    def text(self, root: int) -> str:
        return json.dumps(
            {"root": root, "nodes": self.nodes, "b64ndarrays": self.blobs, "attrs": {"tvm_version": self.version}}
        )


def _body(text: str) -> Any:
    return load_json(text)["main"].body


def test_what_is_shared_stays_shared(shared_dir: Any) -> None:
    module = load(shared_dir / "relay" / "models" / "resnet18.json")
    nodes = json.loads((shared_dir / "relay" / "models" / "resnet18.json").read_text())["nodes"]
    calls = sum(1 for node in nodes if node["type_key"] == "relay.Call")
    assert sum(1 for node in post_order(module["main"].body) if isinstance(node, Call)) == calls
    assert module["main"].params[0].checked_type == TensorType((1, 3, 224, 224), "float32")


def test_spans_are_those_that_the_module_notes(shared_dir: Any) -> None:
    module = load(shared_dir / "relay" / "fixtures" / "infix.json")
    assert str(module["main"].params[0].span).startswith("from_string:2:")


@pytest.mark.parametrize("version", ["0.7.0", "0.8.0", "0.14.0", "0.19.0"])
def test_strings_of_attributes_as_literals_and_as_nodes(version: str) -> None:
    """A layout was a std::string up to 0.7 and an object from then on."""
    writer = Writer(version)
    x, w = writer.var("x", [1, 4, 4, 2]), writer.var("w", [3, 3, 2, 4])
    pair = writer.array(writer.put(_int(1)), writer.put(_int(1)))
    layout = (lambda text: text) if version == "0.7.0" else (lambda text: writer.put(_string(text)))
    attrs = writer.add(
        "relay.attrs.Conv2DAttrs", strides=pair, padding=writer.array(), dilation=pair, groups=2, channels=0, kernel_size=0,
        data_layout=layout("NHWC"), kernel_layout=layout("HWIO"), out_layout=layout(""), out_dtype="",
        auto_scheduler_rewritten_layout="",
    )  # fmt: skip
    call = _body(writer.main([x, w], writer.call("nn.conv2d", [x, w], attrs)))
    assert dict(call.attrs) == {
        "strides": (1, 1), "padding": (), "dilation": (1, 1), "groups": 2, "channels": None, "kernel_size": None,
        "data_layout": "NHWC", "kernel_layout": "HWIO", "out_layout": "", "out_dtype": None,
    }  # fmt: skip


def test_batch_matmul_transposed_always_up_to_07() -> None:
    for version, expected in [("0.7.0", True), ("0.8.0", False)]:
        writer = Writer(version)
        x = writer.var("x", [1, 2, 2])
        call = _body(writer.main([x], writer.call("nn.batch_matmul", [x, x])))
        assert call.attrs["transpose_b"] is expected


def test_the_weight_of_a_transposed_convolution_lay_as_iohw_up_to_07() -> None:
    for version, expected in [("0.7.0", "IOHW"), ("0.9.0", "OIHW")]:
        writer = Writer(version)
        x = writer.var("x", [1, 2, 2, 2])
        attrs = writer.add(
            "relay.attrs.Conv2DTransposeAttrs", channels=0, kernel_size=0, strides=writer.array(),
            output_padding=writer.array(), padding=writer.array(), dilation=writer.array(), groups=1, data_layout="NCHW",
            kernel_layout="OIHW", out_layout="", out_dtype="",
        )  # fmt: skip
        call = _body(writer.main([x], writer.call("nn.conv2d_transpose", [x, x], attrs)))
        assert call.attrs["kernel_layout"] == expected


def test_kinds_that_changed_with_the_release() -> None:
    """`k` of topk was an int in 0.6 and an object from 0.7 on."""
    for version, literal in [("0.6.1", True), ("0.7.0", False)]:
        writer = Writer(version)
        x = writer.var("x", [4])
        k = 3 if literal else writer.put(_int(3))
        attrs = writer.add("relay.attrs.TopkAttrs", k=k, axis=-1, ret_type="both", is_ascend=1, dtype="int32")
        call = _body(writer.main([x], writer.call("topk", [x], attrs)))
        assert (call.attrs["k"], call.attrs["is_ascend"], call.attrs["dtype"]) == (3, True, "int32")


def test_boxed_numbers_of_018() -> None:
    writer = Writer("0.18.0")
    x = writer.var("x", [4])
    sections = writer.array(*(writer.put({"type_key": "runtime.BoxInt", "repr_str": str(i)}) for i in (1, 3)))
    attrs = writer.add("relay.attrs.SplitAttrs", indices_or_sections=sections, axis=0)
    assert _body(writer.main([x], writer.call("split", [x], attrs))).attrs["indices_or_sections"] == (1, 3)


def test_numbers_of_every_kind_in_attributes() -> None:
    writer = Writer("0.14.0")
    x = writer.var("x", [4])
    for a_min, expected in [("-inf", -np.inf), ("1.0000000000000001e-05", 1e-5), ("6", 6.0)]:
        attrs = writer.add("relay.attrs.ClipAttrs", a_min=a_min, a_max="inf")
        call = _body(writer.main([x], writer.call("clip", [x], attrs)))
        assert (call.attrs["a_min"], call.attrs["a_max"]) == (expected, np.inf)
        assert isinstance(call.attrs["a_min"], float)


def test_a_module_of_tvm_06() -> None:
    """Other type names, names as literals, `global_key`, maps of their own kind."""
    writer = Writer("0.6.0")
    size = writer.add("Variable", dtype="int32", name="n")
    shape = writer.array(size, writer.put(_int(8)), writer.add("Any", dtype="int32"))
    type_ = writer.add("relay.TensorType", dtype="uint1", shape=shape, span=0)
    vid = writer.add("relay.Id", name_hint="a3")
    x = writer.add("relay.Var", _checked_type_=0, span=0, type_annotation=type_, vid=vid)
    op = writer.put({"type_key": "relay.Op", "global_key": "logical_not"})
    call = writer.add(
        "relay.Call", _checked_type_=0, args=writer.array(x), attrs=0, op=op, span=0, type_args=writer.array()
    )
    function = writer.add(
        "relay.Function", _checked_type_=0, attrs=0, body=call, params=writer.array(x),
        ret_type=writer.add("relay.TupleType", fields=writer.array(), span=0), span=0, type_params=writer.array(),
    )  # fmt: skip
    name = writer.add("relay.GlobalVar", _checked_type_=0, name_hint="main", span=0)
    functions = writer.put({"type_key": "Map", "data": [name, function]})
    names = writer.put({"type_key": "StrMap", "keys": ["main"], "data": [name]})
    module = load_json(
        writer.text(writer.add("relay.Module", functions=functions, global_var_map_=names, type_definitions=0))
    )
    main = module["main"]
    assert main.params[0].name_hint == "a3"
    assert main.params[0].type_annotation == TensorType((AnyDim("n"), 8, AnyDim()), "bool")
    assert isinstance(main.body, Call) and main.body.op.name == "logical_not"  # type: ignore[union-attr]


def test_the_table_of_a_text_of_06() -> None:
    writer = Writer("0.6.1")
    writer.blobs.append(_record(np.arange(3, dtype=np.float32)))
    constant = writer.add("relay.Constant", _checked_type_=0, data=0, span=0)
    table = writer.put({"type_key": "StrMap", "keys": ["relay.Constant"], "data": [writer.array(constant)]})
    text = "v0.0.4\nfn (%x: Tensor[(3), float32]) {\n  add(%x, meta[relay.Constant][0])\n}\nMETADATA:\n" + writer.text(
        table
    )
    assert np.array_equal(parse(text)["main"].body.args[1].data, [0, 1, 2])  # type: ignore[attr-defined]


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int8", "uint8", "int32", "int64", "bool"])
def test_constants(dtype: str) -> None:
    writer = Writer("0.14.0")
    array = (np.arange(6).reshape(2, 3) % 2).astype(dtype)
    writer.blobs.append(_record(array))
    first = writer.add("relay.Constant", _checked_type_=0, data=0, span=0)
    second = writer.add("relay.Constant", _checked_type_=0, data=0, span=0)
    body = _body(writer.main([], writer.call("add", [first, second])))
    one, other = body.args
    assert isinstance(one, Constant) and one.data.dtype == dtype
    assert np.array_equal(one.data, array)
    assert one is not other and one.data is other.data
    assert not one.data.flags.writeable


def test_a_function_alone_becomes_main() -> None:
    writer = Writer("0.14.0")
    x = writer.var("x", [4])
    function = writer.add("relay.Function", attrs=0, body=x, params=writer.array(x), ret_type=0, type_params=0)
    module = load_json(writer.text(function))
    assert isinstance(module, IRModule) and module["main"].params == (module["main"].body,)


def test_function_attributes() -> None:
    writer = Writer("0.14.0")
    x = writer.var("x", [4])
    values = [writer.put(_string("dnnl")), writer.put(_int(1)), writer.add("Target", kind=0, host=0), 0]
    mapping = writer.put({"type_key": "Map", "keys": ["Compiler", "Primitive", "target", "none"], "data": values})
    attrs = writer.add("DictAttrs", __dict__=mapping)
    function = writer.add("relay.Function", attrs=attrs, body=x, params=writer.array(x), ret_type=0, type_params=0)
    found = load_json(writer.text(function))["main"].attrs
    assert (found["Compiler"], found["Primitive"], found["none"]) == ("dnnl", 1, None)
    assert found["target"].type_key == "Target"


def test_ten_thousand_lets_deep() -> None:
    writer = Writer("0.8.0")
    x = writer.var("x", [4])
    body = x
    for index in range(10_000):
        body = writer.add("relay.Let", body=body, span=0, value=x, var=writer.var(f"v{index}", [4]), _checked_type_=0)
    text = writer.main([x], body)
    module = load_json(text)
    assert sum(1 for node in post_order(module["main"].body) if isinstance(node, Let)) == 10_000
    assert structural_equal(module, load_json(text))


def _simple() -> tuple[Writer, int]:
    writer = Writer("0.14.0")
    return writer, writer.var("x", [4])


def test_cycles_are_refused() -> None:
    writer, x = _simple()
    call = writer.call("nn.relu", [x])
    writer.nodes[int(writer.nodes[call]["attrs"]["args"])]["data"] = [call]
    with pytest.raises(RelayError, match="a cycle"):
        load_json(writer.main([x], call))


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("tuple_value", "99999", "refers to node 99999"),
        ("tuple_value", "-1", "should be the index of a node"),
        ("tuple_value", "0", "should hold Expr, but holds NoneType"),
        ("tuple_value", "1" * 50, "should be the index of a node"),
        ("tuple_value", 7, "should be the index of a node"),
        ("index", "4611686018427387904123", "integer of 64 bits"),
        ("index", "x", "integer of 64 bits"),
    ],
)
def test_wrong_fields_are_named(field: str, value: Any, words: str) -> None:
    writer, x = _simple()
    get = writer.add("relay.TupleGetItem", _checked_type_=0, index=0, span=0, tuple_value=x)
    writer.nodes[get]["attrs"][field] = value
    with pytest.raises(RelayError, match=words) as caught:
        load_json(writer.main([x], get), "m.json")
    assert f"m.json: node {get} (relay.TupleGetItem)" in str(caught.value)


def test_a_field_of_a_wrong_type_is_named() -> None:
    writer, x = _simple()
    get = writer.add("relay.TupleGetItem", _checked_type_=0, index=0, span=0, tuple_value=writer.put(_string("x")))
    with pytest.raises(RelayError, match="'tuple_value' should hold Expr, but holds str"):
        load_json(writer.main([x], get))
    assert isinstance(load_json(Writer.main(*_good())).functions["main"].body, TupleGetItem)


def _good() -> tuple[Writer, list[int], int]:
    writer, x = _simple()
    return writer, [x], writer.add("relay.TupleGetItem", _checked_type_=0, index=0, span=0, tuple_value=x)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not JSON"),
        ("[]", '"root" and "nodes"'),
        ("{}", '"root" and "nodes"'),
        ('{"nodes": [], "root": 0}', "root should be the index"),
        ('{"nodes": [{"type_key": ""}], "root": "0"}', "root should be the index"),
        ('{"nodes": [{"type_key": ""}], "root": 0}', "found a saved NoneType"),
        ('{"nodes": [7], "root": 0}', "node 0 is not an object"),
        ('{"nodes": [{"type_key": ""}, {"type_key": "Array", "data": 3}], "root": 1}', "data is not a list"),
        ('{"nodes": [{"type_key": ""}, {"type_key": "Array", "attrs": []}], "root": 1}', "attrs are not an object"),
        ('{"root": ' + "9" * 10_000 + ', "nodes": []}', "does not fit 64 bits"),
        ("[" * 100_000, "nests too deep"),
        ('{"root_index": 0, "nodes": []}', "has no Relay"),
        ('{"nodes": [], "heads": []}', "graph-executor"),
    ],
)
def test_other_json_is_refused(text: str, words: str) -> None:
    with pytest.raises(RelayError, match=words):
        load_json(text)


def test_a_lowered_module_is_refused() -> None:
    writer = Writer("0.14.0")
    name = writer.add("GlobalVar", name_hint=writer.put(_string("f")))
    functions = writer.put({"type_key": "Map", "data": [name, writer.add("tir.PrimFunc", body=0)]})
    with pytest.raises(RelayError, match=r"@f is no Relay function but a tir\.PrimFunc"):
        load_json(writer.text(writer.add("IRModule", functions=functions)))


@pytest.mark.parametrize(
    ("shape", "nbytes", "words"),
    [
        ((1 << 62,), 1 << 62, "impossible shape"),
        ((1 << 40,), 4 << 40, "claims 4398046511104 bytes"),
        ((0, 1 << 62), 0, "impossible shape"),
        ((-5,), 20, "negative dimension"),
        ((2,), 12, "is 8 bytes, but states 12"),
    ],
)
def test_tensors_that_claim_what_is_not_there(shape: tuple[int, ...], nbytes: int, words: str) -> None:
    writer = Writer("0.14.0")
    head = struct.pack("<QQiiiBBH", 0xDD5E40F096B4A13F, 0, 1, 0, len(shape), 2, 32, 1)
    writer.blobs.append(base64.b64encode(head + struct.pack(f"<{len(shape) + 1}q", *shape, nbytes)).decode())
    with pytest.raises(RelayError, match=words):
        load_json(writer.main([], writer.add("relay.Constant", _checked_type_=0, data=0, span=0)))
