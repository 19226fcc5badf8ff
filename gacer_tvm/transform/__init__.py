"""Transform stage: a schedule applied to a merged IRModule, as TVM passes.

    mod = transform.MergeTenants()(several_models)           # one main over all tenants
    mod = transform.ScheduleTenants("auto", device)(mod)     # search; the schedule becomes an attribute
    mod = transform.Regulate()(mod)                          # OrderOperators, SplitOperators, AnnotateStreams
    executable = tvm.compile(mod, target)

All of them are module passes: they compose in `tvm.transform.Sequential` with each other and with TVM's own. The
pipeline ``"gacer"`` does all but the merge: ``tvm.compile(merged, target, relax_pipeline="gacer")``.
"""

from __future__ import annotations

from .annotate_streams import AnnotateStreams
from .attributes import LAUNCHES, SCHEDULE, attach_schedule, attached_schedule
from .merge_tenants import MergeTenants
from .order_operators import OrderOperators
from .pipeline import gacer_pipeline
from .regulate import Regulate
from .remove_whole_kernels import RemoveWholeKernels
from .schedule_kernels import ScheduleKernels
from .schedule_tenants import ScheduleTenants
from .split_operators import SplitOperators

__all__ = [
    "LAUNCHES",
    "SCHEDULE",
    "AnnotateStreams",
    "MergeTenants",
    "OrderOperators",
    "Regulate",
    "RemoveWholeKernels",
    "ScheduleKernels",
    "ScheduleTenants",
    "SplitOperators",
    "attach_schedule",
    "attached_schedule",
    "gacer_pipeline",
]
