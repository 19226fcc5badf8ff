"""The table of operators and attributes agrees with the one taken from TVM 0.14's headers and a running 0.17."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from gacer_tvm.errors import RelayError
from gacer_tvm.relay.attrs import call_attrs, default_attrs, make_attrs
from gacer_tvm.relay.operators import REQUIRED, attr_struct, op_info

# Printed by us as TVM 0.14 does, but read with a default, since older releases wrote text without them.
_OURS = {("relay.attrs.DequantizeAttrs", "out_dtype"), ("relay.attrs.TopkAttrs", "k")}


def _tables(shared: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    folder = shared / "relay"
    return json.loads((folder / "relay_ops.json").read_text()), json.loads((folder / "relay_attrs.json").read_text())


def test_operators(shared_dir: Path) -> None:
    ops, _ = _tables(shared_dir)
    for name, entry in ops.items():
        if "ethosu" in name or name in ("parser.MetaRef", "scatter", "hardswish"):
            # Of other hardware, of the parser's own making, or left without arguments by the running TVM.
            continue
        info = op_info(name)
        assert info is not None, name
        assert list(info.arg_names) == entry["args"], name
        if entry["attrs_type_key"] not in ("", "DictAttrs"):
            assert info.attrs_key == entry["attrs_type_key"] and info.declared, name


def _value(text: str) -> Any:
    """A default in C++ as a value; raises KeyError for what this cannot read."""
    if "NullValue" in text:
        return None
    if text in ("true", "Bool(true)"):
        return True
    if text in ("false", "Bool(false)"):
        return False
    if text.startswith('"'):
        return text.strip('"')
    if re.fullmatch(r"(Integer\()?-?\d+\)?", text):
        return int(re.sub(r"[^\d-]", "", text))
    if re.fullmatch(r"-?[\d.]+(e-?\d+)?", text):
        return float(text)
    found = re.fullmatch(r"Array<\w+>\(?\{([-\d, ]*)\}\)?", text)
    if found is not None:
        return tuple(int(item) for item in found[1].split(",") if item.strip())
    raise KeyError(text)


def test_attributes_and_their_defaults(shared_dir: Path) -> None:
    _, tables = _tables(shared_dir)
    compared = 0
    for key, fields in tables["v0.14.0"].items():
        if not key.startswith("relay.attrs.") or "Ethosu" in key or key == "relay.attrs.SparseTransposeAttrs":
            continue
        struct = attr_struct(key)
        assert struct is not None, key
        for name, entry in fields.items():
            field = struct.fields.get(name) or struct.older[name]
            if entry["default"] is None:
                assert field.stated, (key, name)
                assert (key, name) in _OURS or field.default in (None, REQUIRED), (key, name)
                continue
            try:
                expected = _value(entry["default"])
            except KeyError:
                continue
            # C++ takes a number for a boolean or a float.
            assert field.default == expected, (key, name)
            compared += 1
    assert compared > 350


def test_fields_that_older_releases_had(shared_dir: Path) -> None:
    _, tables = _tables(shared_dir)
    for key, fields in tables["v0.8.0"].items():
        struct = attr_struct(key)
        # (The reference table gives SparseTransposeAttrs the fields of its neighbour in the header.)
        if key.startswith("relay.attrs.") and "Ethosu" not in key and key != "relay.attrs.SparseTransposeAttrs":
            assert struct is not None, key
            assert set(fields) <= {*struct.fields, *struct.older}, key


def test_making_attributes() -> None:
    attrs = make_attrs("relay.attrs.PadAttrs", {"pad_width": [[0, 1], [2, 3]], "pad_value": 1})
    assert dict(attrs) == {"pad_width": ((0, 1), (2, 3)), "pad_mode": "constant", "pad_value": 1.0}
    assert dict(default_attrs("nn.relu")) == {}
    assert call_attrs("nn.softmax", {"axis": True})["axis"] == 1
    assert call_attrs("nn.dropout", {"rate": 1})["rate"] == 1.0
    for name, given in [
        ("nn.softmax", {"axis": 1.5}),
        ("nn.softmax", {"axis": 1 << 70}),
        ("nn.pad", {"pad_width": [[[1]]]}),
        ("nn.batch_norm", {"center": 2}),
        ("cast", {"dtype": 3}),
        ("cast", {}),
        ("add", {"axis": 1}),
    ]:
        with pytest.raises(RelayError, match=name.split(".")[-1]):
            call_attrs(name, given)
