"""Tenants in, multi-tenant graph out: the whole graph stage as one function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .. import progress
from ..errors import GraphError
from ..frontend import Tenant, normalize
from .lower import fuse
from .merge import Lowered, merge
from .model import MultiTenantGraph

__all__ = ["build_graph"]


def build_graph(
    tenants: Sequence[Tenant], target: Any, prepare: Callable[[Any, Any], Any] | None = None
) -> MultiTenantGraph:
    """Lower, fuse and merge named tenants for a target.

    Parameters
    ----------
    tenants
        Named tenants; at least one, names unique.
    target
        tvm Target.
    prepare
        Rewrites a tenant's Relax module for the target before it is lowered (layouts, packed weights).

    Raises
    ------
    GraphError
        For an empty set, a repeated name, or a tenant that cannot be lowered.
    """
    if not tenants:
        raise GraphError("no tenant given, expected at least one model")
    names = [tenant.name for tenant in tenants]
    for name in names:
        if not name:
            raise GraphError("a tenant has no name; name it, or pass the tenants as a mapping of name to model")
        if names.count(name) > 1:
            raise GraphError(f"two tenants are named {name!r}; names must be unique")
    lowered = []
    for tenant in progress.track(tenants, "lowering"):
        plain = normalize(tenant)
        module = plain.module if prepare is None else prepare(plain.module, target)
        module = fuse(module, target, tenant.name)
        lowered.append(
            Lowered(
                name=tenant.name,
                batch=tenant.batch or 1,
                module=module,
                inputs=tuple(tenant.inputs),
                outputs=tuple(tenant.outputs),
            )
        )
    return merge(lowered)
