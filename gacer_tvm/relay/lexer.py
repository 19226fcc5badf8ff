"""Relay text as tokens.

One pass over the text with one regular expression. Comments are dropped, except that a `/* ty=... */` note is kept
beside the token that it follows. The `#[metadata]` section is cut off and kept as text.

Lenient where printers and people are: names of local variables may hold dots, dashes and colons, as frontends named them
(`%conv1.weight`, `%input:0`, `%onnx::Conv_12`); a decimal point makes a number a float even without the suffix `f`.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass, field

from gacer_tvm.errors import RelaySyntaxError

__all__ = ["Source", "Tokens", "is_name", "tokenize"]

KEYWORDS = frozenset(
    ["let", "fn", "def", "if", "else", "type", "match", "extern", "free_var", "ref", "ref_read", "ref_write"]
)

# A name may hold a slash inside, not at its end: `%a/%b` divides.
_NAME = r"[A-Za-z_](?:\w|/(?=\w))*"
_TOKEN = re.compile(
    rf"""
    (?P<space>[\s]+|//[^\n]*)
  | (?P<comment>/\*)
  | %(?P<graph>\d+(?!\w)(?:\.\d+(?!\w))*)(?!\.?[A-Za-z_])
  | %(?P<local>[\w/](?:\w|/(?=\w))*(?:\.[\w/]+|-\w+|:\d+|::[\w/]+)*)
  | @(?P<global>[A-Za-z_/](?:\w|[./-](?=\w))*)
  | meta\[(?P<meta>[^\[\]\s]*\]\s*\[\s*\d+)\s*\]
  | (?P<number>-{{0,32}}(?:\d+(?:\.\d*)?(?:[eE][+-]?\d+)?(?:[fi]\d*)?|(?:inf|nan)f(?:16|32|64)?)(?!\w))
  | v(?P<header>0\.0\.\d+)\b
  | (?P<ident>{_NAME}(?:\.[A-Za-z_](?:\w|/(?=\w))*)*)
  | "(?P<string>[^"\\]*(?:\\.[^"\\]*)*)"
  | '(?P<quoted>[^'\n]*)'
  | (?P<punct>=>|==|<=|>=|!=|->|;;|:=|[()\[\]{{}},;:=<>+*/\-.?^])
  | \#\[(?P<pragma>[^\]]*)\]
    """,
    re.VERBOSE | re.DOTALL,
)
_NESTING = re.compile(r"/\*|\*/")
_ESCAPE = re.compile(r"\\(x[0-9A-Fa-f]{2}|[0-7]{3}|.)", re.DOTALL)
_SIMPLE_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", '"': '"', "\\": "\\"}


_GLOBAL_NAME = re.compile(r"@[A-Za-z_/](?:\w|[./-](?=\w))*")
_OPERATOR_NAME = re.compile(rf"{_NAME}(?:\.[A-Za-z_](?:\w|/(?=\w))*)*")


def is_name(text: str) -> bool:
    """Whether `text` is read as one operator's name, or with an `@` in front one function's."""
    form = _GLOBAL_NAME if text.startswith("@") else _OPERATOR_NAME
    return form.fullmatch(text) is not None and text not in KEYWORDS


class Source:
    """A text, its name, and where its lines begin.

    Parameters
    ----------
    name : str
        File name or the like, for messages.
    text : str
    """

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.text = text
        self._starts = [0, *(match.end() for match in re.finditer(r"\n", text))]

    def position(self, offset: int) -> tuple[int, int]:
        """Line and column of a character, both from 1."""
        line = bisect_right(self._starts, offset)
        return line, offset - self._starts[line - 1] + 1

    def error(self, offset: int, expected: str, found: str | None = None) -> RelaySyntaxError:
        """The error to raise at a place: what was expected, what stands there, and the line itself."""
        line, column = self.position(offset)
        start = self._starts[line - 1]
        end = self._starts[line] - 1 if line < len(self._starts) else len(self.text)
        # A window of the line around the place: a line can be a hundred kilobytes long.
        low, high = max(start, offset - 50), min(end, offset + 50)
        shown = self.text[low:high].replace("\t", " ").rstrip("\r\n")
        message = f"{self.name}:{line}:{column}: {expected}"
        if found is not None:
            message += f", found {found}"
        message += f"\n    {shown}\n    {' ' * (offset - low)}^"
        return RelaySyntaxError(message, line, column, expected)


@dataclass(slots=True)
class Tokens:
    """The tokens of a text, as parallel lists.

    Parameters
    ----------
    kinds : list of str
        "local", "graph", "global", "number", "ident", "string", "meta", "eof"; keywords and punctuation are their
        own kind.
    values : list of str
        The token's text without its marks (`%`, `@`, quotes).
    offsets : list of int
    notes : dict of int to str
        Type notes by the index of the token that they follow.
    version : str or None
        What the first line states: "0.0.5", "0.0.4", or None.
    metadata : (str, int) or None
        Text and offset of the metadata section.
    """

    source: Source
    kinds: list[str] = field(default_factory=list)
    values: list[str] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    notes: dict[int, str] = field(default_factory=dict)
    version: str | None = None
    metadata: tuple[str, int] | None = None


def tokenize(source: Source) -> Tokens:
    """The tokens of `source`, ended by one of kind "eof".

    Raises
    ------
    RelaySyntaxError
        At a character that begins no token, a comment or string without end, an unknown `#[...]`.
    """
    tokens = Tokens(source)
    text, match_at, position = source.text, _TOKEN.match, int(source.text.startswith("\ufeff"))
    kinds, values, offsets = tokens.kinds, tokens.values, tokens.offsets
    length = len(text)
    while position < length:
        match = match_at(text, position)
        if match is None:
            raise _bad_character(source, position)
        kind = match.lastgroup
        start, position = position, match.end()
        if kind == "space":
            continue
        if kind == "comment":
            position = _skip_comment(tokens, start)
            continue
        value = match[kind]  # type: ignore[index]
        if kind == "punct":
            kind = value
        elif kind == "ident":
            if value in KEYWORDS:
                kind = value
                if value == "match" and text.startswith("?", position):
                    kind = value = "match?"
                    position += 1
            elif value == "METADATA" and text.startswith(":", position):
                tokens.metadata = (text[position + 1 :], position + 1)
                break
        elif kind == "header":
            # How TVM 0.6 began, behind comments or none.
            _set_version(tokens, value, start)
            continue
        elif kind == "pragma":
            if _pragma(tokens, value.strip(), start, position):
                break
            continue
        elif kind == "string":
            if "\\" in value:
                value = _ESCAPE.sub(_unescape, value)
        elif kind == "quoted":
            kind = "string"
        kinds.append(kind)  # type: ignore[arg-type]
        values.append(value)
        offsets.append(start)
    kinds.append("eof")
    values.append("")
    offsets.append(length)
    return tokens


def _set_version(tokens: Tokens, version: str, offset: int) -> None:
    if version not in ("0.0.5", "0.0.4") or tokens.kinds:
        raise tokens.source.error(offset, "expected Relay text of version 0.0.5 or 0.0.4", f"version {version[:20]!r}")
    tokens.version = version


def _pragma(tokens: Tokens, content: str, start: int, end: int) -> bool:
    """Take in `#[version = "..."]` or `#[metadata]`; whether the rest of the text is metadata."""
    source = tokens.source
    if content == "metadata":
        tokens.metadata = (source.text[end:], end)
        return True
    match = re.fullmatch(r'version\s*=\s*"?([^"]*)"?', content)
    if match is None:
        raise source.error(start, 'expected #[version = "0.0.5"] or #[metadata]', f"#[{content[:40]}]")
    _set_version(tokens, match[1], start)
    return False


def _skip_comment(tokens: Tokens, start: int) -> int:
    """The offset behind the block comment at `start`; comments nest. A type note is kept."""
    text = tokens.source.text
    depth, position = 0, start
    for mark in _NESTING.finditer(text, start):
        position = mark.end()
        if mark.group() == "/*":
            depth += 1
        else:
            depth -= 1
            if depth == 0:
                break
    else:
        raise tokens.source.error(start, "expected the end '*/' of the comment that begins here", "the end of the text")
    if tokens.kinds:
        note_start = text.find("ty=", start + 2, position - 2)
        if note_start >= 0:
            note_end = text.find(" span=", note_start, position - 2)
            note = text[note_start + 3 : note_end if note_end >= 0 else position - 2].strip()
            tokens.notes.setdefault(len(tokens.kinds) - 1, note)
    return position


def _unescape(match: re.Match[str]) -> str:
    code = match[1]
    if len(code) == 3:
        return chr(int(code[1:], 16)) if code[0] == "x" else chr(int(code, 8) & 0xFF)
    # An unknown escape stays as it is: old printers did not escape.
    return _SIMPLE_ESCAPES.get(code, match[0])


def _bad_character(source: Source, offset: int) -> RelaySyntaxError:
    character = source.text[offset]
    if character == '"':
        return source.error(offset, "expected the closing quote of the string that begins here", "the end of the text")
    if character == "%":
        return source.error(
            offset, "expected a variable's name or number after '%'", repr(source.text[offset + 1 : offset + 2])
        )
    if character == "@":
        return source.error(offset, "expected a function's name after '@'", repr(source.text[offset + 1 : offset + 2]))
    return source.error(offset, "expected Relay text", repr(character))
