"""A syntax error tells line, column, what was expected and what was found; nothing but our errors gets out."""

from __future__ import annotations

from pathlib import Path

import pytest

from gacer_tvm.errors import RelayError, RelaySyntaxError, TenantError
from gacer_tvm.relay import load, parse, parse_expr


@pytest.mark.parametrize(
    ("text", "line", "column", "words"),
    [
        ("def @main(%x) {\n  %0 = nn.conv2d(%x %x);\n  %0\n}", 2, 21, "expected ',' or ')' after an argument, found '%x'"),
        ("def @main(%x) {\n  %0 = nn.relu(%x)\n  %0\n}", 3, 3, "expected ';' after a binding, found '%0'"),
        ("def @main(%x) {\n  nn.relu(%x)\n", 3, 1, "expected ';' or '}' after an expression, found the end of the text"),
        ("def @main(%x: Tensor[(1, 2) float32]) { %x }", 1, 29, "expected ',' and the element type"),
        ("def @main(%x: Tensor[(1, -2), float32]) { %x }", 1, 26, "expected a dimension"),
        ("def @main(%x: Tensor[(1), flaot32]) { %x }", 1, 27, "expected an element type such as float32, found 'flaot32'"),
        ("def @main(%x: Tensor[(99999999999999999999), int8]) { %x }", 1, 23, "does not fit 64 bits"),
        ("def main(%x) { %x }", 1, 5, "expected '@name' after def, found 'main'"),
        ("def @main(%x) { %y }", 1, 17, "the variable %y is not defined here"),
        ("def @main(%x) { %7 }", 1, 17, "%7 is used but not bound before"),
        ("def @main(%x) { @f(%x) }", 1, 17, "the function @f is used but not defined"),
        ("def @main(%x) { %x }\ndef @main(%x) { %x }", 2, 1, "the function @main is defined twice"),
        ("def @main(%x) { nn.relu(%x, axis=1) }", 1, 24, "nn.relu has no attributes"),
        ("def @main(%x) { cast(%x) }", 1, 17, "cast needs the attribute 'dtype'"),
        ('def @main(%x) { nn.softmax(%x, axis="a") }', 1, 27, "'axis' must be an integer, but is 'a'"),
        ("def @main(%x) { nn.softmax(%x, axis=1, axis=2) }", 1, 40, "the attribute 'axis' is given twice"),
        ("def @main(%x) { nn.conv2d(%x, %x, strides=2) }", 1, 26, "'strides' must be a list of integers, but is 2"),
        ("def @main(%x) { if (%x) { 1 } }", 1, 31, "expected 'else', found '}'"),
        ("def @main(%x) { let x = 1; x }", 1, 21, "expected a variable %name after let, found 'x'"),
        ("def @main(%x) { relu }", 1, 17, "expected an expression, found 'relu'"),
        ("def @main(%x) { /* %x }", 1, 17, "expected the end '*/' of the comment"),
        ('def @main(%x, A="b) { %x }', 1, 17, "expected the closing quote"),
        ("def @main(%x) { %x & %x }", 1, 20, "expected Relay text, found '&'"),
        ("def @main(%x) { % x }", 1, 17, "expected a variable's name or number after '%', found ' '"),
        ('#[version = "0.0.9"]\ndef @main(%x) { %x }', 1, 1, "version 0.0.5 or 0.0.4, found version '0.0.9'"),
        ("#[test]\ndef @main(%x) { %x }", 1, 1, "expected #[version"),
        ("def @main(%x) { match (%x) { Cons(_) => 1 } }", 1, 30, "expected a constructor's name, %name or _"),
        ("type T { A }\ntype T { B }", 2, 1, "the type T is defined twice"),
        ("type T { A }\ntype U { A }", 2, 10, "the constructor A is defined twice"),
        ("@main = primfn(a: handle) -> () {}", 1, 1, "lowered TIR function"),
        ("", 1, 1, "expected Relay text"),
        ("def @main() { meta[relay.Constant][1] }\n#[metadata]\n{}", None, None, '"root" and "nodes"'),
    ],
)  # fmt: skip
def test_where_and_what(text: str, line: int | None, column: int | None, words: str) -> None:
    with pytest.raises(RelayError) as caught:
        parse(text, "m.relay")
    assert words in str(caught.value)
    if line is not None:
        assert isinstance(caught.value, RelaySyntaxError)
        assert (caught.value.line, caught.value.column) == (line, column)
        assert str(caught.value).startswith(f"m.relay:{line}:{column}: ")


def test_the_line_is_shown_with_a_mark_below_the_place() -> None:
    with pytest.raises(RelaySyntaxError) as caught:
        parse_expr("%0 = add(1, 2);\nadd(%0 3)")
    shown, mark = str(caught.value).split("\n")[1:]
    assert shown[mark.index("^")] == "3"


def test_a_long_line_is_shown_in_part() -> None:
    with pytest.raises(RelaySyntaxError) as caught:
        parse("fn (%x) { " + "add(%x, " * 100_000 + " & ")
    assert len(str(caught.value)) < 400


def test_relay_errors_are_tenant_errors() -> None:
    with pytest.raises(TenantError):
        parse("def")
    with pytest.raises(RelayError, match="must be a string"):
        parse(b"def @main() { 1 }")  # type: ignore[arg-type]
    with pytest.raises(RelayError, match="missing_constants"):
        parse("1", missing_constants="zeros")


def test_files_that_are_no_modules(tmp_path: Path) -> None:
    cases = {
        "a.params": ((0xF7E58D4F05049CB7).to_bytes(8, "little"), "parameter file"),
        "a.gz": (b"\x1f\x8b\x08", "gzip"),
        "a.so": (b"\x7fELF", "library"),
        "a.bin": (b"\xff\xfe\x00", "neither Relay text nor JSON"),
        "a.json": (b'{"nodes": [', "not JSON, or cut off"),
        "graph.json": (b'{"nodes": [], "arg_nodes": [], "heads": []}', "graph-executor"),
    }
    for name, (content, words) in cases.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(RelayError, match=words):
            load(tmp_path / name)
    with pytest.raises(RelayError, match="cannot be read"):
        load(tmp_path / "none.relay")
    with pytest.raises(RelayError, match="cannot be read"):
        load(tmp_path)


@pytest.mark.parametrize(
    "text",
    ["-" * 200_000, "- " * 200_000, "/*" * 200_000, '"' + "\\" * 200_000, "1" * 200_000, "%x" + ".0" * 200_000,
     "%" + "a" * 200_000, "#[" * 200_000, "[" * 200_000, "meta[relay.Constant][" + "9" * 200_000 + "]",
     "/* ty= " + " " * 200_000, "fn (%x: " + "fn (" * 200_000],
)  # fmt: skip
def test_hostile_text_ends_in_our_error(text: str) -> None:
    with pytest.raises(RelayError):
        parse(text)
