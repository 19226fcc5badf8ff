"""A schedule applied to a module: all of its passes, in order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .._tvm import tvm
from ..schedule import Schedule
from .annotate_streams import AnnotateStreams
from .order_operators import OrderOperators
from .split_operators import SplitOperators

__all__ = ["Regulate", "regulate_passes"]


def regulate_passes(schedule: Schedule | None = None, kernel: Callable[[Any], Any] | None = None) -> list[Any]:
    """The passes that apply a schedule."""
    return [OrderOperators(schedule), SplitOperators(schedule, kernel), AnnotateStreams(schedule)]


def Regulate(schedule: Schedule | None = None, kernel: Callable[[Any], Any] | None = None) -> Any:
    """The pass that applies a schedule to a merged module.

    Rewrite
    -------
    `OrderOperators`, then `SplitOperators`, then `AnnotateStreams`; see there. The result is valid Relax: TVM's
    virtual machine computes with it what it computes with the merged module.

    Parameters
    ----------
    schedule
        By default the one attached to the module.
    kernel
        See `SplitOperators`.
    """
    return tvm.transform.Sequential(regulate_passes(schedule, kernel), name="Regulate")
