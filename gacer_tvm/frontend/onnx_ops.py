"""Which converter turns which ONNX operator into Relax: ours where TVM has none or a wrong one, else TVM's.

Operators are told apart by domain as well (TVM's importer looks at the name alone, and takes the standard `Attention`
for Microsoft's).
"""

from __future__ import annotations

from functools import cache
from typing import Any

from .onnx_fixes import FIXES
from .onnx_microsoft import MICROSOFT
from .onnx_node import Converter, Node
from .onnx_quantized import QUANTIZED
from .onnx_recurrent import RECURRENT
from .onnx_resize import RESIZE
from .onnx_signal import SIGNAL
from .onnx_tensor import TENSOR

__all__ = ["converter_for", "is_known"]

_MICROSOFT = "com.microsoft"
# In TVM's map under a bare name, but Microsoft's.
_TVM_MICROSOFT = {
    "Attention", "BiasGelu", "EmbedLayerNormalization", "FastGelu", "Gelu", "MatMulInteger16", "SkipLayerNormalization",
}  # fmt: skip
_NOT_STANDARD = {"Attention", "AllClassNMS", *(_TVM_MICROSOFT - {"Gelu"})}
# What they compute has a shape that depends on values, or is known to be wrong; nothing may fail silently.
_REFUSED = {"NonMaxSuppression", "AllClassNMS"}


@cache
def _ours() -> dict[tuple[str, str], Converter]:
    table: dict[tuple[str, str], Converter] = {}
    for part in (FIXES, TENSOR, RESIZE, SIGNAL, RECURRENT, QUANTIZED):
        table.update({("", operator): converter for operator, converter in part.items()})
    table.update({(_MICROSOFT, operator): converter for operator, converter in MICROSOFT.items()})
    # Written by ONNX Runtime's optimizer without a domain.
    table["", "SimplifiedLayerNormalization"] = MICROSOFT["SimplifiedLayerNormalization"]
    return table


@cache
def _tvm() -> dict[str, Any]:
    from tvm.relax.frontend.onnx import onnx_frontend

    return dict(onnx_frontend._get_convert_map())


def _tvm_knows(domain: str, operator: str) -> bool:
    if operator in _REFUSED or operator not in _tvm():
        return False
    return operator in _TVM_MICROSOFT if domain == _MICROSOFT else domain == "" and operator not in _NOT_STANDARD


def is_known(domain: str, operator: str) -> bool:
    """Whether an operator has a converter."""
    return (domain, operator) in _ours() or _tvm_knows(domain, operator)


def converter_for(domain: str, operator: str) -> Converter:
    """The converter of a known operator."""
    ours = _ours().get((domain, operator))
    return ours if ours is not None else tvm_converter


def tvm_converter(node: Node) -> Any:
    """Convert a node by TVM's importer."""
    from tvm.relax.frontend.onnx.onnx_frontend import onnx_input

    function = _tvm()[node.operator].get_converter(node.version)
    inputs = onnx_input([node.expr(index) for index in range(len(node))])
    return function(node.builder, inputs, dict(node.attributes), [{}, {}])
