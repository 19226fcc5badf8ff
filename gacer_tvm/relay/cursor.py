"""A place in a list of tokens: looking ahead, taking, and saying what was expected."""

from __future__ import annotations

from typing import Any

from gacer_tvm.errors import RelaySyntaxError
from gacer_tvm.relay.ast import Span
from gacer_tvm.relay.lexer import Source, Tokens
from gacer_tvm.relay.trampoline import Steps, TooDeepError, run

__all__ = ["Cursor"]

# About five steps wait for each bracket that is open, so that some 30,000 may be.
_MAX_STEPS = 150_000
_MARKS = {"local": "%", "graph": "%", "global": "@"}


class Cursor:
    """Reads tokens from first to last.

    Parameters
    ----------
    tokens : Tokens
    """

    __slots__ = ("index", "kind", "kinds", "notes", "offsets", "source", "values")

    def __init__(self, tokens: Tokens) -> None:
        self.source: Source = tokens.source
        self.kinds = tokens.kinds
        self.values = tokens.values
        self.offsets = tokens.offsets
        self.notes = tokens.notes
        self.index = 0
        self.kind = self.kinds[0]

    @property
    def value(self) -> str:
        """Text of the token that comes next."""
        return self.values[self.index]

    @property
    def offset(self) -> int:
        """Where the token that comes next begins."""
        return self.offsets[self.index]

    def ahead(self, count: int = 1) -> str:
        """The kind of the token `count` behind the next one."""
        index = self.index + count
        return self.kinds[index] if index < len(self.kinds) else "eof"

    def move_to(self, index: int) -> None:
        """Continue at another token."""
        self.index = index
        self.kind = self.kinds[index]

    def take(self) -> str:
        """Consume the next token, whatever it is, and give its text."""
        value = self.values[self.index]
        if self.kind != "eof":
            self.index += 1
            self.kind = self.kinds[self.index]
        return value

    def accept(self, kind: str) -> bool:
        """Consume the next token if it is of this kind; whether it was."""
        if self.kind != kind:
            return False
        self.index += 1
        self.kind = self.kinds[self.index]
        return True

    def expect(self, kind: str, what: str) -> str:
        """Consume the next token, which must be of this kind; its text.

        Parameters
        ----------
        kind : str
        what : str
            What to say is expected, as in "'=' after the variable's name".
        """
        if self.kind != kind:
            raise self.error(what)
        return self.take()

    def run(self, steps: Steps) -> Any:
        """The result of reading steps; text that nests deeper than any program does is refused."""
        try:
            return run(steps, _MAX_STEPS)
        except TooDeepError:
            raise self.complaint("the text nests too deep here") from None

    def note(self) -> str | None:
        """The type note behind the token taken last."""
        return self.notes.get(self.index - 1) if self.notes else None

    def error(self, expected: str, index: int | None = None) -> RelaySyntaxError:
        """The error that something else was expected at the next token, or at token `index`."""
        at = self.index if index is None else index
        return self.source.error(self.offsets[at], f"expected {expected}", self._shown(at))

    def complaint(self, message: str, index: int | None = None) -> RelaySyntaxError:
        """The error that something is wrong, other than the kind of token, at the next token or at token `index`."""
        at = self.index if index is None else index
        return self.source.error(self.offsets[min(at, len(self.offsets) - 1)], message)

    def span(self, index: int) -> Span:
        """Where token `index` stands."""
        line, column = self.source.position(self.offsets[index])
        return Span(self.source.name, line, column)

    def _shown(self, index: int) -> str:
        kind = self.kinds[index]
        if kind == "eof":
            return "the end of the text"
        if kind == "meta":
            return f"'meta[{self.values[index]}]'"
        value = self.values[index]
        value = value if len(value) <= 40 else value[:37] + "..."
        return f'"{value}"' if kind == "string" else f"'{_MARKS.get(kind, '')}{value}'"
