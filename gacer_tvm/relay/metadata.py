"""What `meta[type_key][index]` refers to: the table at the end of a text, one given by the caller, or nothing.

Text that was printed without its table (`print(mod)`, `astext(show_meta_data=False)`) has references but no numbers.
The default is to refuse it; the other choice makes each missing constant a parameter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gacer_tvm.errors import RelayError
from gacer_tvm.relay.ast import NO_ATTRS, Attrs, Constant, Opaque, Var
from gacer_tvm.relay.attrs import make_attrs
from gacer_tvm.relay.cursor import Cursor
from gacer_tvm.relay.json_graph import read_graph
from gacer_tvm.relay.json_nodes import Decoder
from gacer_tvm.relay.lexer import Tokens
from gacer_tvm.relay.operators import op_info
from gacer_tvm.relay.type_parser import read_type
from gacer_tvm.relay.types import Type

__all__ = ["MetaTable"]


class MetaTable:
    """Resolves meta references of one text.

    Parameters
    ----------
    tokens : Tokens
    given : Mapping of str to sequence, optional
        Objects by type key, counted on from those of the text's own table: arrays or `Constant` for "relay.Constant".
    missing : {"error", "params"}
        What to do about constants that no table has.
    """

    def __init__(self, tokens: Tokens, given: Mapping[str, Sequence[Any]] | None, missing: str) -> None:
        if missing not in ("error", "params"):
            raise RelayError(f'missing_constants must be "error" or "params", not {missing!r}.')
        self._tokens = tokens
        self._given = given or {}
        self._missing = missing
        self._table: dict[str, tuple[int, ...]] | None = None
        self._decoder: Decoder | None = None
        self._notes: dict[str, str] | None = None
        self._constants: dict[int, Constant] = {}
        # The variables that stand for missing constants, by function and index.
        self.variables: dict[str | None, dict[int, Var]] = {}

    def attribute(self, cursor: Cursor, index: int, function: str | None) -> Any:
        """As `value`, for an attribute: devices, targets and the like that no table has are noted by name alone."""
        key, _ = _split(cursor.values[index])
        if not self.has_table and key != "relay.Constant":
            return Opaque(f"text.{key}")
        return self.value(cursor, index, function)

    def call_attributes(self, cursor: Cursor, index: int, op_name: str) -> Attrs | None:
        """What an attribute struct that no table has must have been, if that is known.

        Printers wrote a struct that an operator did not declare as a reference. Where conversion does not need it, or
        the release that did so is known by it, it can be done without.
        """
        key, _ = _split(cursor.values[index])
        if self.has_table or self._missing != "params" or not key.startswith("relay.attrs."):
            return None
        if op_name == "nn.batch_matmul":
            # Only the releases that always transposed the second argument left its struct undeclared.
            return make_attrs("relay.attrs.BatchMatmulAttrs", {"transpose_b": True})
        info = op_info(op_name)
        return NO_ATTRS if info is not None and not info.attrs_key else None

    def value(self, cursor: Cursor, index: int, function: str | None) -> Any:
        """What the meta reference at token `index` means.

        Parameters
        ----------
        cursor : Cursor
        index : int
        function : str or None
            The global function it stands in.

        Returns
        -------
        object
            A value as `json_nodes.Decoder` makes them, or a variable that stands for a missing constant.
        """
        key, number = _split(cursor.values[index])
        own = self._own().get(key, ())
        if number < len(own):
            assert self._decoder is not None
            return self._decoder.value(own[number])
        given = self._given.get(key, ())
        if number - len(own) < len(given):
            return self._from_caller(key, number, given[number - len(own)])
        if own or given:
            raise cursor.complaint(
                f"meta[{key}][{number}] is out of range: the table has {len(own) + len(given)} of them", index
            )
        if self._missing == "params" and key in ("relay.Constant", "Constant"):
            return self._variable(cursor, index, function, number)
        raise cursor.complaint(self._explain(cursor, key, number), index)

    @property
    def has_table(self) -> bool:
        """Whether there is a table at all."""
        return self._tokens.metadata is not None or bool(self._given)

    def _own(self) -> dict[str, tuple[int, ...]]:
        if self._table is None:
            self._table = {}
            if self._tokens.metadata is not None:
                text, _ = self._tokens.metadata
                self._table = self._read(text, f"{self._tokens.source.name}, #[metadata]")
        return self._table

    def _read(self, text: str, name: str) -> dict[str, tuple[int, ...]]:
        graph = read_graph(text, name)
        root = graph.nodes[graph.root]
        keys = root.keys()
        lists = root.links()
        if root.type_key != "Map" or len(keys) != len(lists):
            raise RelayError(f"{name}: expected a map of type keys to lists at the root.")
        self._decoder = Decoder(graph)
        # Only what is referred to gets decoded.
        return {key: tuple(graph.nodes[link].links()) for key, link in zip(keys, lists)}

    def _from_caller(self, key: str, number: int, value: Any) -> Any:
        if key != "relay.Constant" or isinstance(value, Constant):
            return value
        found = self._constants.get(number)
        if found is None:
            array = np.asarray(value.numpy() if hasattr(value, "numpy") else value)
            found = self._constants[number] = Constant(array)
        return found

    def _variable(self, cursor: Cursor, index: int, function: str | None, number: int) -> Var:
        of_function = self.variables.setdefault(function, {})
        var = of_function.get(number)
        if var is None:
            var = of_function[number] = Var(f"constant_{number}", self._noted_type(number), span=cursor.span(index))
        return var

    def _noted_type(self, number: int) -> Type | None:
        """The type noted behind a reference to constant `number`; printers note it once, at the first."""
        tokens = self._tokens
        if self._notes is None:
            self._notes = {}
            for index, note in tokens.notes.items():
                if tokens.kinds[index] == "meta":
                    self._notes.setdefault(tokens.values[index], note)
        for value, note in self._notes.items():
            key, found = _split(value)
            if found == number and key.endswith("Constant"):
                try:
                    return read_type(note)
                except RelayError:
                    return None
        return None

    def _explain(self, cursor: Cursor, key: str, number: int) -> str:
        count = len({value for kind, value in zip(cursor.kinds, cursor.values) if kind == "meta"})
        message = (
            f"meta[{key}][{number}] refers to a table that this text does not have: it was printed without its "
            f"constants ({count} of them). Print it with mod.astext(show_meta_data=True), or save it with "
            "tvm.ir.save_json(mod)"
        )
        if key == "relay.Constant":
            message += '; or read it with missing_constants="params", which makes them parameters of @main'
        return message


def _split(value: str) -> tuple[str, int]:
    """Type key and index of a meta token's text, `key][index`; an index beyond any table for one of many digits."""
    key, _, rest = value.partition("]")
    digits = rest.lstrip(" \t\r\n[")
    return key, int(digits) if len(digits) <= 9 else 10**9
