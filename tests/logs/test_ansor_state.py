"""The steps followed on paper: indices, extents, places, and what stops them."""

from __future__ import annotations

import pytest

from gacer_tvm.logs.ansor_state import ReplayStop, follow
from gacer_tvm.logs.steps import Step, parse_steps

# A (64, 32) and B (32, 48), their product, C, the sum.
MATMUL = [((64, 32), None), ((32, 48), None), ((64, 48), (32,)), ((64, 48), None), ((64, 48), ())]


def steps(*raw: list) -> tuple[Step, ...]:
    """Typed steps."""
    return parse_steps([list(item) for item in raw])


def test_multi_level_tiling() -> None:
    """Extents after split and reorder; a follow split takes the source's lengths, the rest multiplied."""
    state = follow(
        MATMUL,
        steps(
            ["SP", 2, 0, 64, [2, 4, 2], 1],
            ["SP", 2, 4, 48, [3, 2, 2], 1],
            ["SP", 2, 8, 32, [8], 1],
            ["RE", 2, [0, 4, 1, 5, 8, 2, 6, 9, 3, 7]],
            ["FSP", 4, 0, 0, 2],
            ["FSP", 4, 3, 1, 2],
        ),
    )
    assert [it.extent for it in state.stages[2].iters] == [4, 4, 2, 3, 4, 4, 2, 8, 2, 2]
    assert [it.reduce for it in state.stages[2].iters] == [False] * 4 + [True, False, False, True, False, False]
    assert [it.extent for it in state.stages[4].iters] == [4, 2, 8, 4, 3, 4]


def test_attachment_follows_the_target() -> None:
    """A stage placed at a loop stays with it when that loop is fused or split later (the last part of it)."""
    state = follow(MATMUL, steps(["CA", 2, 4, 1], ["FU", 4, [0, 1]], ["SP", 4, 0, 64 * 48, [16], 1]))
    product, output = state.stages[2], state.stages[4]
    assert product.target is output and product.target_iter is output.iters[1]
    assert [it.extent for it in output.iters] == [192, 16]


def test_caches_shift_the_stages() -> None:
    """CHR puts a copy after its source; CHW puts the computation before its copy."""
    state = follow(MATMUL, steps(["CHW", 2, "local"], ["CHR", 1, "shared", [3 - 1]], ["CHR", 0, "shared", [3]]))
    kinds = [(op.kind, op.scope) for op in state.structure]
    assert kinds == [("cache_write", "local"), ("cache_read", "shared"), ("cache_read", "shared")]
    sources = [stage.source for stage in state.stages]
    assert sources == [0, None, 1, None, 2, None, 3, 4]
    assert [len(stage.axes) for stage in state.stages] == [2, 2, 2, 2, 3, 2, 2, 2]


def test_rfactor_makes_a_stage_before() -> None:
    """The factored loop becomes a spatial axis of the new stage, and the reduction of the old one."""
    state = follow(MATMUL, steps(["SP", 2, 2, 32, [8], 1], ["RF", 2, 3, 1]))
    made, old = state.stages[2], state.stages[3]
    assert [(it.extent, it.reduce) for it in made.axes] == [(64, False), (8, False), (48, False), (4, True)]
    assert [(it.extent, it.reduce) for it in old.axes] == [(64, False), (48, False), (8, True)]


@pytest.mark.parametrize(
    ("raw", "step", "reason"),
    [
        ([["SP", 2, 0, 128, [4], 1]], 0, "splits a loop of 128, here it has 64"),
        ([["RE", 2, [0, 1, 2]], ["RE", 2, [0, 1]]], 1, "orders 2 loops"),
        ([["CI", 9]], 0, "no stage 9"),
        ([["AN", 0, 0, 3]], 0, "an input"),
        ([["CI", 2], ["AN", 2, 0, 3]], 1, "inlined before"),
        ([["AN", 2, 0, 11]], 0, "tensorize"),
        ([["PR", 2, 0, "tensor_core"]], 0, "pragma 'tensor_core'"),
        ([["CA", 4, 2, 0]], 0, "placed into an earlier one"),
        ([["FU", 2, [0, 2]]], 0, "not neighbours"),
        ([["FU", 2, [1, 2]]], 0, "a spatial and a reduction loop"),
        ([["AN", 2, 7, 1]], 0, "no loop 7"),
        ([["SP", 2, 0, 64, [4], 1], ["CHW", 2, "local"]], 1, "after its loops were changed"),
    ],
)
def test_what_does_not_fit_stops(raw: list, step: int, reason: str) -> None:
    """With the number of the step."""
    with pytest.raises(ReplayStop, match=reason) as stop:
        follow(MATMUL, steps(*raw))
    assert stop.value.step == step
