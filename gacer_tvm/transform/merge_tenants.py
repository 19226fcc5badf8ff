"""Several models in one module become one multi-tenant main."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .._tvm import relax, tvm
from ..errors import GraphError
from ..frontend import Tenant
from ..graph.build import build_graph

__all__ = ["MergeTenants"]


@tvm.transform.module_pass(opt_level=0, name="MergeTenants")
class MergeTenants:
    """Lowers, fuses and merges the public Relax functions of a module; each becomes a tenant of its name.

    Rewrite
    -------
    ::

        @R.function                                     @T.prim_func  detector__fused_conv2d_relu(…)
        def detector(x): … Relax operators …            @T.prim_func  ranker__fused_dense_add(…)
        @R.function                               →     @R.function
        def ranker(x): … Relax operators …              def main(detector__x, ranker__x):
                                                            … R.call_tir(detector__…) … R.call_tir(ranker__…) …
                                                            return (detector's outputs, then ranker's)

    The names, batches, inputs and outputs of the tenants become the attribute ``gacer.tenants``, by which every other
    pass of this package knows a merged module. Parameters must be bound as constants (``relax.transform.BindParams``)
    or become inputs.

    Parameters
    ----------
    target
        What to lower for; by default the current target, or the CPU.
    batch_axes
        For each function what `Tenant.from_relax` takes as `batch_axis`; by default it is found.

    Raises
    ------
    GraphError
        If there is no public Relax function, or one cannot be lowered.
    TenantError
        If one cannot become a tenant.
    """

    def __init__(self, target: Any = None, batch_axes: Mapping[str, Any] | None = None) -> None:
        self.target = target
        self.batch_axes = dict(batch_axes or {})

    def transform_module(self, module: Any, context: Any) -> Any:
        names = sorted(
            gv.name_hint
            for gv, func in module.functions.items()
            if isinstance(func, relax.Function) and "global_symbol" in (func.attrs or {})
        )
        if not names:
            raise GraphError("the module has no public Relax function, expected one for each tenant")
        unknown = sorted(set(self.batch_axes) - set(names))
        if unknown:
            raise GraphError(f"batch_axes names {unknown}, expected some of the functions {names}")
        target = self.target or tvm.target.Target.current(allow_none=True) or tvm.target.Target({"kind": "llvm"})
        tenants = []
        for name in names:
            given = {"batch_axis": self.batch_axes[name]} if name in self.batch_axes else {}
            tenants.append(Tenant.from_relax(module, entry=name, name=name, **given))
        return build_graph(tenants, target).module
