"""Reading a Relay module from a file, text or JSON."""

from __future__ import annotations

import os
from pathlib import Path

from gacer_tvm.errors import RelayError
from gacer_tvm.relay.ast import IRModule
from gacer_tvm.relay.json_reader import load_json
from gacer_tvm.relay.parser import parse

__all__ = ["load"]

# First bytes of files that are mistaken for modules, and what to do with them.
_OTHERS = {
    (0xF7E58D4F05049CB7).to_bytes(8, "little"): "a parameter file; read it with relay.load_params",
    b"\x1f\x8b": "compressed with gzip; unpack it first",
    b"PK\x03\x04": "a zip archive; unpack it first",
    b"\x7fELF": "a compiled library; a module cannot be taken out of it",
}


def load(path: str | os.PathLike[str], *, missing_constants: str = "error") -> IRModule:
    """The Relay module in a file: text of `mod.astext()` or JSON of `tvm.ir.save_json(mod)`, whichever it is.

    Parameters
    ----------
    path : path
    missing_constants : {"error", "params"}
        See `parse`.

    Returns
    -------
    IRModule

    Raises
    ------
    RelayError
        If the file cannot be read or holds no Relay module; a syntax error tells line, column and what was expected.
    """
    name = os.fspath(path)
    try:
        content = Path(path).read_bytes()
    except (OSError, ValueError) as error:
        raise RelayError(f"The Relay module {name!r} cannot be read: {error}.") from None
    for magic, what in _OTHERS.items():
        if content.startswith(magic):
            raise RelayError(f"{name!r} is {what}.")
    if content.lstrip()[:1] == b"{":
        return load_json(content, name)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RelayError(f"{name!r} is neither Relay text nor JSON: byte {error.start} is not UTF-8.") from None
    return parse(text, name, missing_constants=missing_constants)
