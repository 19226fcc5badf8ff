"""Random graphs, schedules and plans for the tests of this folder."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st

from gacer_tvm.graph.model import MultiTenantGraph
from gacer_tvm.graph.synthetic import random_graph
from gacer_tvm.plan import LaunchPlan, Placement, lower
from gacer_tvm.schedule import Schedule, make


@st.composite
def graphs(draw: st.DrawFn, operators: int = 8) -> MultiTenantGraph:
    """Small synthetic graphs with branches, indivisible operators and tiny tensors."""
    return random_graph(
        draw(st.integers(0, 10**6)),
        tenants=draw(st.integers(1, 3)),
        operators=draw(st.integers(1, operators)),
        batch=draw(st.integers(1, 5)),
        width=draw(st.integers(1, 3)),
        scale=1e-7,
    )


@st.composite
def plans(draw: st.DrawFn, operators: int = 8) -> tuple[MultiTenantGraph, Schedule, LaunchPlan]:
    """A graph, a random legal schedule of it, and its plan."""
    graph = draw(graphs(operators))
    schedule = make.random(graph, "test", draw(st.integers(0, 10**6)))
    return graph, schedule, lower(schedule, graph)


def with_launch(plan: LaunchPlan, at: int, /, **changes: object) -> LaunchPlan:
    """`plan` with one launch changed."""
    launches = list(plan.launches)
    launches[at] = replace(launches[at], **changes)  # type: ignore[arg-type]
    return replace(plan, launches=tuple(launches))


def with_offset(plan: LaunchPlan, root: int, offset: int) -> LaunchPlan:
    """`plan` with one buffer somewhere else."""
    return replace(
        plan, placement=Placement({**plan.placement.offsets, root: offset}, plan.placement.arena_bytes)
    )


def without_wait(plan: LaunchPlan, launch: int, wait: int) -> LaunchPlan:
    """`plan` with one wait removed."""
    left = tuple(w for w in plan.launches[launch].waits if w != wait)
    return with_launch(plan, launch, waits=left)


@st.composite
def mutations(draw: st.DrawFn, plan: LaunchPlan) -> LaunchPlan:
    """A plan with one to three things changed: waits removed or added (backwards too), streams, addresses."""
    for _ in range(draw(st.integers(1, 3))):
        launch = draw(st.sampled_from(plan.launches))
        launch = plan.launches[launch.index]
        kinds = ["stream", "wait"]
        if launch.waits:
            kinds.append("event")
        if plan.placement.offsets:
            kinds.append("offset")
        kind = draw(st.sampled_from(kinds))
        if kind == "stream":
            plan = with_launch(plan, launch.index, stream=draw(st.integers(0, plan.streams - 1)))
        elif kind == "wait":
            other = draw(st.integers(0, len(plan.launches) - 1))
            plan = with_launch(plan, launch.index, waits=tuple(sorted({*launch.waits, other})))
        elif kind == "event":
            plan = without_wait(plan, launch.index, draw(st.sampled_from(launch.waits)))
        else:
            root = draw(st.sampled_from(sorted(plan.placement.offsets)))
            step = draw(st.integers(-2, plan.placement.arena_bytes // 64 + 1))
            plan = with_offset(plan, root, 64 * step)
    return plan
