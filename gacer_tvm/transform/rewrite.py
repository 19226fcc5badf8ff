"""Rebuilding main from its bindings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .._tvm import relax
from ..errors import GraphError

__all__ = ["bindings_of", "with_bindings"]


def bindings_of(module: Any) -> list[Any]:
    """The bindings of main, which must be one dataflow block.

    Raises
    ------
    GraphError
        If it is anything else.
    """
    body = module["main"].body
    blocks = list(body.blocks) if isinstance(body, relax.SeqExpr) else []
    if len(blocks) != 1 or not isinstance(blocks[0], relax.DataflowBlock):
        kinds = [type(block).__name__ for block in blocks]
        raise GraphError(
            f"main consists of {kinds or type(body).__name__}, expected one DataflowBlock; "
            f"run this pass before TVM's lowering (ToNonDataflow, CallTIRRewrite)"
        )
    return list(blocks[0].bindings)


def with_bindings(module: Any, bindings: Sequence[Any]) -> Any:
    """`module` with the dataflow block of main replaced; everything else stays."""
    main = module["main"]
    body = relax.SeqExpr([relax.DataflowBlock(list(bindings))], main.body.body)
    func = relax.Function(main.params, body, main.ret_ty, main.is_pure, main.attrs)
    made = module.clone()
    made.update_func(module.get_global_var("main"), func)
    return relax.transform.Normalize()(made)
