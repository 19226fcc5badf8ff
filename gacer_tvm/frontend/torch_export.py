"""PyTorch: a ``torch.export.ExportedProgram`` becomes a tenant."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import TenantError, UnsupportedOperatorError
from .batch import AUTO
from .signature import unique_names
from .torch_ops import KEPT_WHOLE, TORCH_OPERATORS

if TYPE_CHECKING:
    from .tenant import Tenant

__all__ = ["from_torch"]


def from_torch(
    program: Any,
    *,
    batch: int | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
    batch_axis: Any = AUTO,
    name: str = "",
) -> Tenant:
    """A tenant from an exported PyTorch program.

    Parameters
    ----------
    program
        ``torch.export.export(module.eval(), example_inputs)``.
    batch, shapes
        Values for symbolic extents (programs exported with ``dynamic_shapes``).
    batch_axis
        As for `Tenant.from_relax`.

    Returns
    -------
    Tenant
        Inputs are named as in the program; outputs by the keys of the dictionary or dataclass that the module returns,
        joined by dots, else ``output0``, ….

    Raises
    ------
    TenantError
        When PyTorch is not installed, the program keeps state between calls, or takes something that is no tensor.
    UnsupportedOperatorError
        Listing every operator that has no conversion, with its count.
    """
    from .tenant import Tenant

    who = f"tenant {name!r}" if name else "tenant from torch"
    try:
        import torch
        from tvm.relax.frontend.torch import from_exported_program
        from tvm.relax.frontend.torch.exported_program_translator import ExportedProgramImporter
    except ImportError as error:
        raise TenantError(f"{who}: PyTorch is needed for it: pip install 'gacer-tvm[torch]' ({error})") from error
    if not isinstance(program, torch.export.ExportedProgram):
        hint = "; export it first: torch.export.export(module.eval(), example_inputs)" if callable(program) else ""
        raise TenantError(
            f"{who}: expected a torch.export.ExportedProgram, found {type(program).__module__}.{type(program).__name__}{hint}"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = program.run_decompositions(_decompositions())
    # Exported programs mutate in place; only decomposed ones say what.
    _refuse_state(program, who)
    _refuse_non_tensors(program, who)
    known = {**ExportedProgramImporter().convert_map, **TORCH_OPERATORS}
    missing = Counter(
        node.target.__name__
        for node in program.graph.nodes
        if node.op == "call_function" and node.target.__name__ not in known
    )
    if missing:
        listed = ", ".join(f"{op} ({count}×)" for op, count in sorted(missing.items()))
        raise UnsupportedOperatorError(f"{who}: PyTorch operators without a conversion: {listed}")
    names = _output_names(program)
    try:
        module = from_exported_program(program, run_ep_decomposition=False, custom_convert_map=TORCH_OPERATORS)
    except TenantError:
        raise
    except Exception as error:  # whatever the importer trips over is the model's, not the caller's, to explain
        raise TenantError(f"{who}: TVM's PyTorch importer failed: {type(error).__name__}: {error}") from error
    return Tenant.from_relax(
        module, batch=batch, shapes=shapes, batch_axis=batch_axis, output_names=names, name=name, source="torch"
    )


def _decompositions() -> Any:
    """PyTorch's own table, less the operators that are converted whole."""
    import torch

    table: Any = torch.export.default_decompositions()
    for kept in KEPT_WHOLE:
        name, overload = kept.split(".")
        table.pop(getattr(getattr(torch.ops.aten, name), overload), None)
    return table


def _refuse_state(program: Any, who: str) -> None:
    signature = program.graph_signature
    changed = sorted(signature.buffers_to_mutate.values())
    if changed:
        shown = ", ".join(changed[:4]) + (", …" if len(changed) > 4 else "")
        raise TenantError(
            f"{who}: the program updates its buffers ({shown}), and a tenant keeps no state between calls; "
            f"call .eval() before torch.export.export, or pass the state in and out"
        )
    written = sorted(signature.user_inputs_to_mutate.values())
    if written:
        raise TenantError(
            f"{who}: the program writes into its inputs {', '.join(written)}; return the new values instead"
        )


def _refuse_non_tensors(program: Any, who: str) -> None:
    import torch

    for spec in program.graph_signature.input_specs:
        if spec.kind is not torch.export.graph_signature.InputKind.USER_INPUT:
            continue
        if not isinstance(spec.arg, torch.export.graph_signature.TensorArgument):
            value = getattr(spec.arg, "value", type(spec.arg).__name__)
            raise TenantError(
                f"{who}: its argument {spec.arg.name!r} is no tensor ({value!r} was passed to torch.export); "
                f"wrap the module in one that takes tensors only"
            )


def _output_names(program: Any) -> list[str] | None:
    """Keys on the way to each result; None where the module returns only tensors and sequences."""
    from torch.utils import _pytree as pytree

    spec = program.call_spec.out_spec
    count = len(program.graph_signature.user_outputs)
    if spec is None or spec.num_leaves != count:
        return None
    paths, _ = pytree.tree_flatten_with_path(pytree.tree_unflatten(list(range(count)), spec))
    names: list[str | None] = []
    for path, _leaf in paths:
        parts = [str(getattr(key, "key", getattr(key, "name", getattr(key, "idx", "")))) for key in path]
        named = any(hasattr(key, "key") or hasattr(key, "name") for key in path)
        names.append(".".join(parts) if named else None)
    return unique_names(names, "output")
