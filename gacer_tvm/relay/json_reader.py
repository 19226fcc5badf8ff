"""Reading modules that `tvm.ir.save_json` wrote."""

from __future__ import annotations

from gacer_tvm.errors import RelayError
from gacer_tvm.relay.ast import Expr, IRModule
from gacer_tvm.relay.json_graph import read_graph
from gacer_tvm.relay.json_nodes import Decoder

__all__ = ["load_json"]


def load_json(text: str | bytes, source: str = "JSON") -> IRModule:
    """The module that `tvm.ir.save_json(module)` of TVM 0.6 to 0.19 wrote.

    Parameters
    ----------
    text : str or bytes
        The JSON itself.
    source : str
        Where it comes from, for messages.

    Returns
    -------
    IRModule
        Shared sub-expressions are shared. A saved function or other expression becomes the module's `@main`.

    Raises
    ------
    RelayError
        If the text is not such JSON, is cut off, or refers to what is not there.
    """
    graph = read_graph(text, source)
    value = Decoder(graph).value(graph.root)
    if isinstance(value, IRModule):
        return value
    if isinstance(value, Expr):
        return IRModule.from_expr(value)
    raise RelayError(f"{source}: expected a saved Relay module, found a saved {type(value).__name__}.")
